//! The rooms, opened from the ground up and closed from the top down.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use crate::config::Config;
use crate::daemon::control::ControlCommands;
use crate::daemon::daemon_config::DaemonConfig;
use crate::daemon::error::DaemonError;
use crate::daemon::overlap::check_folders;
use crate::daemon::reindex::{existing_index, open_index};
use crate::daemon::shutdown::Shutdown;
use crate::daemon::shutdown_mark::ShutdownMark;
use crate::daemon::state;
use crate::daemon::state_folder::{close_if_empty, private_folder};
use crate::daemon::status::DaemonStatus;
use crate::daemon::storage::{open_placed, sync_role};
use crate::fs::{self as filesystem, Mount, MountOptions};
use crate::index::Index;
use crate::jobs::{JobConfig, JobContext, Jobs};
use crate::spool::{Spool, SpoolOptions, Watch};
#[cfg(feature = "s3")]
use crate::store::S3Bucket;
use crate::store::{Bucket, BucketOptions, LocalStore, Store};
use crate::sync::Storage;

/// All that runs while the mount is up.
pub(crate) struct Components {
    pub(crate) mount: Arc<Mount>,
    spool: Spool,
    index: Index,
    local: Arc<LocalStore>,
    storage: Arc<Storage>,
    /// `None`: nothing is written here, a bucket is followed.
    pipeline: Option<Jobs>,
    control_commands: Arc<ControlCommands>,
    watch: Option<Watch>,
    shutdown_mark: ShutdownMark,
}

impl Components {
    /// Opens everything; the mount, which everybody waits for, comes last.
    pub(crate) fn open(
        plan: &DaemonConfig,
        alarm: Arc<dyn Fn() + Send + Sync>,
        shutdown: &Shutdown,
    ) -> Result<Self, DaemonError> {
        let config = &plan.config;
        private_state(config)?;
        let bucket = open_bucket(config)?;
        // Whoever has the index has the state: a second daemon ends here.
        let (local, index) = open_state(config, bucket.as_ref())?;
        index.when_damaged({
            let alarm = alarm.clone();
            move || alarm()
        });
        let leaving = ShutdownMark::clear(&config.state)?;
        shutdown.begins();
        let store = Arc::new(open_placed(config, local.clone(), bucket.clone())?);
        let role = sync_role(config, bucket.is_some());
        let storage = Arc::new(Storage::start(role, local.clone(), store, &index, &alarm)?);
        let rest = Self::open_rest(plan, alarm, shutdown, &index, local, &storage, leaving);
        rest.inspect_err(|_| storage.stop())
    }

    fn open_rest(
        plan: &DaemonConfig,
        alarm: Arc<dyn Fn() + Send + Sync>,
        shutdown: &Shutdown,
        index: &Index,
        local: Arc<LocalStore>,
        storage: &Arc<Storage>,
        shutdown_mark: ShutdownMark,
    ) -> Result<Self, DaemonError> {
        let config = &plan.config;
        let store: Arc<dyn Store> = storage.store.clone();
        set_inbox_mode(config)?;
        let spool = Spool::open(&config.state.join("spool"), spool_options(config))?;
        let control_commands = Arc::new(ControlCommands::start(store.clone(), index.clone())?);
        let known = DaemonStatus::new(plan, control_commands.clone(), storage.clone());
        let shown = filesystem::FsContext {
            spool: spool.clone(),
            index: index.clone(),
            store: store.clone(),
            facts: Arc::new(known),
        };
        let (mut pipeline, mut watching) = (None, None);
        if !config.read_only {
            let services = JobContext { spool: spool.clone(), store, index: index.clone(), alarm };
            pipeline = Some(Jobs::start(setup(plan)?, services)?);
            watching = watch(plan, &spool)?;
        }
        let options = MountOptions { read_only: config.read_only, ..plan.mount.clone() };
        let mounted = match shutdown.is_asked() {
            true => Err(DaemonError::Stopped),
            false => Mount::start(&options, &shown).map_err(DaemonError::from),
        };
        let mount = match mounted {
            Ok(mount) => Arc::new(mount),
            Err(err) => {
                pipeline.into_iter().for_each(Jobs::stop);
                return Err(err);
            }
        };
        let (index, storage) = (index.clone(), storage.clone());
        Ok(Self {
            mount,
            spool,
            index,
            local,
            storage,
            pipeline,
            control_commands,
            watch: watching,
            shutdown_mark,
        })
    }

    /// Refuses new recordings, lets readers finish, stops the work and commits what there is.
    pub(crate) fn close(self) {
        self.shutdown_mark.set();
        drop(self.watch);
        self.spool.close();
        // Whoever waits for news would else notice the end only when its time is over.
        self.spool.end_subscriptions();
        self.index.end_subscriptions();
        self.mount.stop();
        self.pipeline.into_iter().for_each(Jobs::stop);
        self.control_commands.stop();
        self.storage.stop();
        // Whoever finds the index free finds the store free.
        self.local.unlock();
        if let Err(err) = self.index.close() {
            log::error!("the index could not be closed: {err}");
        }
        self.shutdown_mark.remove();
    }
}

/// What is on local disk, and the index over it. A follower's own folder is another one than a writer's: what
/// the settings name as `store` may be the folder of a writer on this machine.
fn open_state(
    config: &Config,
    bucket: Option<&Arc<dyn Bucket>>,
) -> Result<(Arc<LocalStore>, Index), DaemonError> {
    if let Some(bucket) = bucket
        && config.read_only
    {
        let found = existing_index(&config.state.join("index.redb"))?;
        let index = state::open_follower(config, bucket.as_ref(), found)?;
        let path = config.state.join("followed");
        let opened = LocalStore::open(&path);
        let local = opened.map_err(|source| DaemonError::Folder { path, source })?;
        return Ok((Arc::new(local), index));
    }
    let local = Arc::new(open_local_store(config)?);
    let index = open_index(config, &local, bucket)?;
    state::settle_writer(config, bucket.map(AsRef::as_ref), &index)?;
    Ok((local, index))
}

fn private_state(config: &Config) -> Result<(), DaemonError> {
    if private_folder(&config.state)? {
        log::warn!("other users could enter the state folder; from now on only you can");
    }
    Ok(())
}

/// Local disk, where everything that is published comes first.
pub fn open_local_store(config: &Config) -> Result<LocalStore, DaemonError> {
    check_folders(config)?;
    private_state(config)?;
    let path = &config.uploads;
    let closed = close_if_empty(path);
    let opened = closed.and_then(|()| LocalStore::open(path));
    opened.map_err(|source| DaemonError::Folder { path: path.clone(), source })
}

/// The bucket behind it, where one is configured. No network is asked.
pub fn open_bucket(config: &Config) -> Result<Option<Arc<dyn Bucket>>, DaemonError> {
    config.bucket.as_ref().map(connect).transpose()
}

#[cfg(feature = "s3")]
fn connect(options: &BucketOptions) -> Result<Arc<dyn Bucket>, DaemonError> {
    let bucket = S3Bucket::open(options)
        .map_err(|source| DaemonError::Bucket { bucket: options.bucket.clone(), source })?;
    Ok(Arc::new(bucket))
}

#[cfg(not(feature = "s3"))]
fn connect(options: &BucketOptions) -> Result<Arc<dyn Bucket>, DaemonError> {
    Err(DaemonError::Store(format!("s3://{}", options.bucket)))
}

/// The inbox belongs to the daemon's user, so others may drop only where it says so.
fn set_inbox_mode(config: &Config) -> Result<(), DaemonError> {
    let Some(mode) = config.inbox_mode else { return Ok(()) };
    let path = config.state.join("spool/inbox");
    let set = fs::create_dir_all(&path)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
    set.map_err(|source| DaemonError::Folder { path, source })
}

fn spool_options(config: &Config) -> SpoolOptions {
    SpoolOptions {
        settle: config.settle,
        settle_after_rename: config.settle_after_rename,
        max_upload_bytes: config.max_upload_bytes,
        keep_free_bytes: config.keep_free_bytes,
        sync_on_close: config.sync_on_close,
    }
}

fn setup(plan: &DaemonConfig) -> Result<JobConfig, DaemonError> {
    let setup = plan.setup();
    // What workers of a dead daemon have left behind.
    match fs::remove_dir_all(&setup.scratch) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            return Err(DaemonError::Folder { path: setup.scratch, source: err });
        }
        _ => {}
    }
    private_folder(&setup.scratch)?;
    Ok(setup)
}

fn watch(plan: &DaemonConfig, spool: &Spool) -> Result<Option<Watch>, DaemonError> {
    let config = &plan.config;
    if config.watch.is_empty() {
        return Ok(None);
    }
    let ours = vec![plan.mount.mountpoint.clone(), config.state.clone(), config.uploads.clone()];
    let watch = spool.watch_apart_from(config.watch.clone(), ours).map_err(|source| {
        let folders: Vec<String> =
            config.watch.iter().map(|folder| folder.display().to_string()).collect();
        DaemonError::Watch { folders: folders.join(", "), source }
    })?;
    Ok(Some(watch))
}
