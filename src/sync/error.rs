//! [`SyncError`]: why nobody can see to what is published.

use std::io;

use crate::index::IndexError;
use crate::sync::uploader::UploaderError;

/// Why nobody can see to what is published.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error(transparent)]
    Uploader(#[from] UploaderError),
    #[error("the index refused")]
    Index(#[from] IndexError),
    #[error("threads could not be started")]
    Threads(#[source] io::Error),
}
