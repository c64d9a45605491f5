//! [`StorageError`]: what stops whoever works with the stores and the index together.

use crate::index::IndexError;
use crate::store::StoreError;

/// A store or the index refused. What was asked for is not done, or only in part; it can be asked for again.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the store refused")]
    Store(#[from] StoreError),
    #[error("the index refused")]
    Index(#[from] IndexError),
}
