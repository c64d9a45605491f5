//! [`DaemonError`]: why the daemon does not come up.

use std::io;
use std::path::PathBuf;

use crate::daemon::overlap::Overlap;
use crate::daemon::state::StateError;
use crate::fs::MountError;
use crate::index::IndexError;
use crate::spool::SpoolError;
use crate::store::{LockError, StoreError};
use crate::sync::{SyncError, UploaderError};
use crate::upkeep::RebuildError;

/// Why the daemon does not come up, by what must be mended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("cannot use the folder {path}")]
    Folder { path: PathBuf, source: io::Error },
    /// The choice needs a Cargo feature that this build lacks, or is not a place at all.
    #[error("the store {0} cannot be used by this build")]
    Store(String),
    /// Another state folder has the same store.
    #[error("the store {folder} cannot be used")]
    StoreLock { folder: PathBuf, source: LockError },
    #[error(transparent)]
    Overlap(#[from] Overlap),
    #[error("the bucket {bucket} cannot be used")]
    Bucket { bucket: String, source: StoreError },
    #[error(transparent)]
    Uploader(#[from] UploaderError),
    /// It belongs to another role or to another bucket.
    #[error("the state folder cannot be used for this")]
    State(#[from] StateError),
    #[error("the index could not be opened")]
    Index(#[from] IndexError),
    #[error("the index could not be rebuilt from the store")]
    Rebuild(#[from] RebuildError),
    #[error("the spool could not be opened")]
    Spool(#[from] SpoolError),
    #[error("cannot watch the folders {folders}")]
    Watch { folders: String, source: SpoolError },
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("threads could not be started")]
    Threads(#[source] io::Error),
    #[error("it was stopped before it had mounted anything")]
    Stopped,
}

impl From<SyncError> for DaemonError {
    fn from(err: SyncError) -> Self {
        match err {
            SyncError::Uploader(err) => Self::Uploader(err),
            SyncError::Index(err) => Self::Index(err),
            SyncError::Threads(err) => Self::Threads(err),
        }
    }
}
