//! What redb's errors mean to a caller. Decided here and nowhere else.

use std::error::Error;
use std::io;

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

use crate::index::IndexError;

/// Why a change was not even tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the index is closed")]
    Closed,
    #[error("a write to the index failed before; it must be opened again")]
    FailedBefore,
    #[error("the disk is full")]
    Full,
}

impl From<Refusal> for IndexError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::Full(Box::new(refusal)),
            refusal => Self::Disk(Box::new(refusal)),
        }
    }
}

pub(crate) fn damaged(source: impl Error + Send + Sync + 'static) -> IndexError {
    IndexError::Damaged(Box::new(source))
}

pub(crate) fn opening(path: &str, source: DatabaseError) -> IndexError {
    match source {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            IndexError::InUse { path: path.to_owned() }
        }
        DatabaseError::Storage(source) => source.into(),
        source => damaged(source),
    }
}

impl From<StorageError> for IndexError {
    fn from(source: StorageError) -> Self {
        match source {
            StorageError::Corrupted(_) => Self::Damaged(Box::new(source)),
            // A file that is no redb file is reported as invalid data, a cut one as too short.
            StorageError::Io(err) if is_damage(&err) => Self::Damaged(Box::new(err)),
            StorageError::Io(err) if is_full(&err) => Self::Full(Box::new(err)),
            // What redb answers others after the first error, and once the database is closed because of it. Who met
            // that error itself has been told which one it was; the others can ask again.
            StorageError::PreviousIo | StorageError::DatabaseClosed => Self::Full(Box::new(source)),
            source => Self::Disk(Box::new(source)),
        }
    }
}

/// The disk, or what its owner may use of it.
fn is_full(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

fn is_damage(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

impl From<TableError> for IndexError {
    fn from(source: TableError) -> Self {
        match source {
            TableError::Storage(source) => source.into(),
            source => damaged(source),
        }
    }
}

impl From<TransactionError> for IndexError {
    fn from(source: TransactionError) -> Self {
        match source {
            TransactionError::Storage(source) => source.into(),
            source => Self::Disk(Box::new(source)),
        }
    }
}

impl From<CommitError> for IndexError {
    fn from(source: CommitError) -> Self {
        match source {
            CommitError::Storage(source) => source.into(),
            source => Self::Disk(Box::new(source)),
        }
    }
}
