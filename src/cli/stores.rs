//! The rooms that tools work in while nothing is mounted: local disk, bucket and index.

use std::sync::Arc;

use crate::cli::print::CliError;
use crate::config::{Config, Storage};
use crate::daemon::{
    DaemonError, cache_options, open_bucket, open_index, open_local_store, open_placed,
    uploader_config,
};
use crate::index::{Index, IndexError};
use crate::model::Destination;
use crate::publishing::{StorageTarget, Stores, StoresError};
use crate::store::{BlockCache, Bucket, LocalStore, TieredStore};
use crate::sync::{LeaseKeeper, LeaseOptions};

/// All that belongs to one state folder. While this lives, nobody can mount it.
pub(crate) struct Opened {
    pub(crate) local: Arc<LocalStore>,
    pub(crate) bucket: Option<Arc<dyn Bucket>>,
    pub(crate) index: Index,
    home: StorageTarget,
}

impl Opened {
    pub(crate) fn open(config: &Config) -> Result<Self, CliError> {
        Self::try_open(config).map_err(|trouble| match trouble {
            CliError::Daemon(err) => unless_mounted(err),
            trouble => trouble,
        })
    }

    /// The same for who knows what to do where the state folder is in use.
    pub(crate) fn try_open(config: &Config) -> Result<Self, CliError> {
        let local = Arc::new(open_local_store(config)?);
        let bucket = open_bucket(config)?;
        let index = open_index(config, &local, bucket.as_ref())?;
        // Settings that were changed since the last mount count from the next one on.
        let home = match (index.destination().map_err(StoresError::Index)?, config.storage) {
            (Destination::Here, _) | (_, Storage::Local) => StorageTarget::Disk,
            (Destination::Bucket { .. }, Storage::S3) => StorageTarget::Bucket,
            (Destination::Bucket { .. }, Storage::Both) => StorageTarget::Both,
        };
        Ok(Self { local, bucket, index, home })
    }

    /// The same where there is a state folder: a mistyped one has nothing to be checked, which is no good news.
    pub(crate) fn open_existing(config: &Config) -> Result<Self, CliError> {
        if !config.state.is_dir() {
            return Err(CliError::plain(
                format!("there is no state folder {}", config.state.display()),
                "Name the one you mount with: `--state DIR`.",
            ));
        }
        Self::open(config)
    }

    pub(crate) fn stores(&self) -> Stores<'_> {
        let remote = self.bucket.as_deref();
        Stores { local: self.local.as_ref(), remote, index: &self.index, home: self.home }
    }

    /// Does something to both places, while nobody else may change the bucket where that belongs to it too. A bucket
    /// that recordings were moved away from is only read, unless `clears` says that something is to be removed there.
    pub(crate) fn under_lease<T>(
        &self,
        config: &Config,
        clears: bool,
        work: impl FnOnce(Stores<'_>) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let lease = match &self.bucket {
            Some(bucket) if clears || self.home != StorageTarget::Disk => {
                Some(hold_lease(self, bucket, config)?)
            }
            _ => None,
        };
        let remote = lease.as_ref().map(|lease| lease.bucket().as_ref());
        let done = work(Stores { remote: remote.or(self.bucket.as_deref()), ..self.stores() });
        lease.into_iter().for_each(LeaseKeeper::release);
        done
    }

    /// Both places as the mount sees them.
    pub(crate) fn placed(&self, config: &Config) -> Result<TieredStore, CliError> {
        Ok(open_placed(config, self.local.clone(), self.bucket.clone())?)
    }

    /// About how many there are: for progress bars.
    pub(crate) fn recordings(&self) -> Result<u64, CliError> {
        let totals = self.index.totals().map_err(StoresError::Index)?;
        Ok(totals.recordings)
    }
}

/// Says of a state folder in use what to do about it.
pub(crate) fn unless_mounted(err: DaemonError) -> CliError {
    match err {
        DaemonError::Index(IndexError::InUse { .. }) => CliError::plain(
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
) -> Result<LeaseKeeper, CliError> {
    Ok(LeaseKeeper::hold(LeaseOptions {
        bucket: bucket.clone(),
        index: opened.index.clone(),
        writer: uploader_config(config).writer,
    })?)
}

/// What was read from the bucket, where there is any of it.
pub(crate) fn cache(config: &Config) -> Result<Option<BlockCache>, CliError> {
    let path = config.state.join("cache");
    if !path.is_dir() {
        return Ok(None);
    }
    let opened = BlockCache::open(&path, cache_options(config));
    opened.map(Some).map_err(|source| CliError::File {
        path,
        source,
        remedy: "It holds only copies: remove the folder.".to_owned(),
    })
}
