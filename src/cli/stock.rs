//! The rooms that tools work in while nothing is mounted: local disk, bucket and index.

use std::sync::Arc;

use crate::cli::report::Trouble;
use crate::config::{Config, Storage};
use crate::daemon::{
    DaemonError, cache_options, carrier_options, open_bucket, open_index, open_near, open_placed,
};
use crate::index::{Index, IndexError};
use crate::model::Destination;
use crate::publishing::{Home, Stock, StockError};
use crate::store::{BlockCache, Bucket, LocalStore, PlacedStore};
use crate::sync::{LeaseKeeper, LeaseOptions};

/// All that belongs to one state folder. While this lives, nobody can mount it.
pub(crate) struct Opened {
    pub(crate) near: Arc<LocalStore>,
    pub(crate) bucket: Option<Arc<dyn Bucket>>,
    pub(crate) index: Index,
    home: Home,
}

impl Opened {
    pub(crate) fn open(config: &Config) -> Result<Self, Trouble> {
        Self::try_open(config).map_err(|trouble| match trouble {
            Trouble::Daemon(err) => unless_mounted(err),
            trouble => trouble,
        })
    }

    /// The same for who knows what to do where the state folder is in use.
    pub(crate) fn try_open(config: &Config) -> Result<Self, Trouble> {
        let near = Arc::new(open_near(config)?);
        let bucket = open_bucket(config)?;
        let index = open_index(config, &near, bucket.as_ref())?;
        // Settings that were changed since the last mount count from the next one on.
        let home = match (index.destination().map_err(StockError::Index)?, config.storage) {
            (Destination::Here, _) | (_, Storage::Local) => Home::Disk,
            (Destination::Bucket { .. }, Storage::S3) => Home::Bucket,
            (Destination::Bucket { .. }, Storage::Both) => Home::Both,
        };
        Ok(Self { near, bucket, index, home })
    }

    /// The same where there is a state folder: a mistyped one has nothing to be checked, which is no good news.
    pub(crate) fn open_existing(config: &Config) -> Result<Self, Trouble> {
        if !config.state.is_dir() {
            return Err(Trouble::plain(
                format!("there is no state folder {}", config.state.display()),
                "Name the one you mount with: `--state DIR`.",
            ));
        }
        Self::open(config)
    }

    pub(crate) fn stock(&self) -> Stock<'_> {
        let far = self.bucket.as_deref();
        Stock { near: self.near.as_ref(), far, index: &self.index, home: self.home }
    }

    /// Does something to both places, while nobody else may change the bucket where that belongs to it too. A bucket
    /// that recordings were moved away from is only read, unless `clears` says that something is to be removed there.
    pub(crate) fn under_lease<T>(
        &self,
        config: &Config,
        clears: bool,
        work: impl FnOnce(Stock<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let lease = match &self.bucket {
            Some(bucket) if clears || self.home != Home::Disk => {
                Some(hold_lease(self, bucket, config)?)
            }
            _ => None,
        };
        let far = lease.as_ref().map(|lease| lease.bucket().as_ref());
        let done = work(Stock { far: far.or(self.bucket.as_deref()), ..self.stock() });
        lease.into_iter().for_each(LeaseKeeper::release);
        done
    }

    /// Both places as the mount sees them.
    pub(crate) fn placed(&self, config: &Config) -> Result<PlacedStore, Trouble> {
        Ok(open_placed(config, self.near.clone(), self.bucket.clone())?)
    }

    /// About how many there are: for progress bars.
    pub(crate) fn recordings(&self) -> Result<u64, Trouble> {
        let totals = self.index.totals().map_err(StockError::Index)?;
        Ok(totals.recordings)
    }
}

/// Says of a state folder in use what to do about it.
pub(crate) fn unless_mounted(err: DaemonError) -> Trouble {
    match err {
        DaemonError::Index(IndexError::InUse { .. }) => Trouble::plain(
            "the recordings are mounted, or another command is working on them",
            "Unmount first: `scribefs umount`. Or use another state folder with `--state DIR`.",
        ),
        err => err.into(),
    }
}

/// The lease on the bucket, as a mount would hold it. It is renewed until it is given back.
pub(crate) fn hold_lease(
    opened: &Opened,
    bucket: &Arc<dyn Bucket>,
    config: &Config,
) -> Result<LeaseKeeper, Trouble> {
    Ok(LeaseKeeper::hold(LeaseOptions {
        bucket: bucket.clone(),
        index: opened.index.clone(),
        writer: carrier_options(config).writer,
    })?)
}

/// What was read from the bucket, where there is any of it.
pub(crate) fn cache(config: &Config) -> Result<Option<BlockCache>, Trouble> {
    let path = config.state.join("cache");
    if !path.is_dir() {
        return Ok(None);
    }
    let opened = BlockCache::open(&path, cache_options(config));
    opened.map(Some).map_err(|source| Trouble::File {
        path,
        source,
        remedy: "It holds only copies: remove the folder.".to_owned(),
    })
}
