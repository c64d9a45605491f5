//! The rooms, opened from the ground up and closed from the top down.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Config, StoreChoice};
use crate::daemon::errands::Errands;
use crate::daemon::facts::Known;
use crate::daemon::serve::Plan;
use crate::fs::{self as filesystem, Mount, MountError};
use crate::index::{Index, IndexError};
use crate::models::Library;
use crate::pipeline::{self, Pipeline, RebuildError, Services, Setup};
use crate::spool::{Spool, SpoolError, SpoolOptions, Watch};
use crate::store::{LocalStore, Store};

/// Why the daemon does not come up, by what must be mended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("cannot use the folder {path}")]
    Folder { path: PathBuf, source: io::Error },
    /// The choice needs a Cargo feature that this build lacks, or is not a place at all.
    #[error("the store {0} cannot be used by this build")]
    Store(String),
    #[error("the index could not be opened")]
    Index(#[from] IndexError),
    #[error("the index could not be made anew from the store")]
    Rebuild(#[from] RebuildError),
    #[error("the spool could not be opened")]
    Spool(#[from] SpoolError),
    #[error("cannot watch the folders {folders}")]
    Watch { folders: String, source: SpoolError },
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("threads could not be started")]
    Threads(#[source] io::Error),
}

/// All that runs while the mount is up.
pub(crate) struct Rooms {
    pub(crate) mount: Arc<Mount>,
    spool: Spool,
    index: Index,
    pipeline: Pipeline,
    errands: Arc<Errands>,
    watch: Option<Watch>,
}

impl Rooms {
    /// Opens everything; the mount, which everybody waits for, comes last.
    pub(crate) fn open(
        plan: &Plan,
        alarm: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, DaemonError> {
        let config = &plan.config;
        private_folder(&config.state)?;
        let store = open_store(config)?;
        // Whoever has the index has the state: a second daemon ends here.
        let index = open_index(config, store.as_ref())?;
        let spool = Spool::open(&config.state.join("spool"), spool_options(config))?;
        let services =
            Services { spool: spool.clone(), store: store.clone(), index: index.clone(), alarm };
        let setup = setup(plan)?;
        let errands = Arc::new(Errands::start(store.clone(), index.clone())?);
        let known = Known::new(plan, errands.clone());
        let pipeline = Pipeline::start(setup, services)?;
        let watch = watch(config, &spool)?;
        let shown = filesystem::Services {
            spool: spool.clone(),
            index: index.clone(),
            store,
            facts: Arc::new(known),
        };
        let mount = Mount::start(&plan.mount, &shown);
        let mount = match mount {
            Ok(mount) => Arc::new(mount),
            Err(err) => {
                pipeline.stop();
                return Err(err.into());
            }
        };
        Ok(Self { mount, spool, index, pipeline, errands, watch })
    }

    /// Refuses new recordings, lets readers finish, stops the work and commits what there is.
    pub(crate) fn close(self) {
        drop(self.watch);
        self.spool.close();
        self.mount.stop();
        self.pipeline.stop();
        self.errands.stop();
        if let Err(err) = self.index.close() {
            log::error!("the index could not be closed: {err}");
        }
    }
}

/// The store that is configured.
pub fn open_store(config: &Config) -> Result<Arc<dyn Store>, DaemonError> {
    match &config.store {
        StoreChoice::Local(path) => {
            let store = LocalStore::open(path)
                .map_err(|source| DaemonError::Folder { path: path.clone(), source })?;
            Ok(Arc::new(store))
        }
        bucket @ StoreChoice::Bucket { .. } => Err(DaemonError::Store(bucket.to_string())),
    }
}

/// The index of that state; made anew from the store where it is missing or damaged.
pub fn open_index(config: &Config, store: &dyn Store) -> Result<Index, DaemonError> {
    let path = config.state.join("index.redb");
    match Index::open_existing(&path) {
        Ok(Some(index)) => return Ok(index),
        Ok(None) => {}
        Err(IndexError::Damaged(why)) => {
            let aside = path.with_extension("redb.damaged");
            log::error!("the index is damaged ({why}) and kept as {}", aside.display());
            fs::rename(&path, &aside)
                .map_err(|source| DaemonError::Folder { path: aside.clone(), source })?;
        }
        Err(err) => return Err(err.into()),
    }
    make_index(&path, store)
}

/// Under another name until it is whole: half an index must not be taken for all there is.
fn make_index(path: &Path, store: &dyn Store) -> Result<Index, DaemonError> {
    let unfinished = path.with_extension("redb.unfinished");
    let folder = |source| DaemonError::Folder { path: unfinished.clone(), source };
    match fs::remove_file(&unfinished) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(folder(err)),
        _ => {}
    }
    let index = Index::open(&unfinished)?;
    let rebuilt = pipeline::rebuild(store, &index)?;
    index.close()?;
    fs::rename(&unfinished, path).map_err(folder)?;
    if rebuilt.recordings != 0 {
        log::warn!("the index was made anew: {} recordings found", rebuilt.recordings);
    }
    for (key, why) in &rebuilt.unreadable {
        log::warn!("{key}: left out of the index: {why}");
    }
    for key in &rebuilt.incomplete {
        log::warn!("{key}: left out of the index: some of its files are missing");
    }
    Ok(Index::open(path)?)
}

fn private_folder(path: &Path) -> Result<(), DaemonError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DaemonError::Folder { path: path.to_owned(), source })
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

fn setup(plan: &Plan) -> Result<Setup, DaemonError> {
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

fn watch(config: &Config, spool: &Spool) -> Result<Option<Watch>, DaemonError> {
    if config.watch.is_empty() {
        return Ok(None);
    }
    let watch = spool.watch(config.watch.clone()).map_err(|source| {
        let folders: Vec<String> =
            config.watch.iter().map(|folder| folder.display().to_string()).collect();
        DaemonError::Watch { folders: folders.join(", "), source }
    })?;
    Ok(Some(watch))
}

impl Plan {
    /// How recordings are worked on.
    pub fn setup(&self) -> Setup {
        let config = &self.config;
        Setup {
            executable: self.executable.clone(),
            library: Library::new(&config.models),
            models_dir: config.models.clone(),
            recognizer: config.recognizer.clone(),
            diarizer: config.diarizer.clone(),
            language: config.language.clone(),
            speakers: config.speakers,
            threads: config.threads,
            workers: config.workers,
            memory_mb: config.worker_memory_mb,
            stall: config.stall_timeout,
            idle: config.idle_timeout,
            scratch: config.state.join("scratch"),
            ffmpeg: self.ffmpeg.clone(),
            zone: config.zone.clone(),
        }
    }
}
