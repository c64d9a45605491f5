//! The one place that picks an errno.
//!
//! | situation | errno |
//! |---|---|
//! | no such entry | `ENOENT` |
//! | a change that the tree does not allow | `EROFS`, at once |
//! | device nodes, hard links, and links that are called recordings, in the inbox | `EPERM` |
//! | a name that cannot be one here | `EINVAL`, too long `ENAMETOOLONG` |
//! | rename onto something | `EEXIST` or `ENOTEMPTY` |
//! | published bytes that cannot be read now, folders of a bucket that was never read | `EIO` |
//! | a node that is gone but still open or cached | `ESTALE` |
//! | the disk of the spool or of the index is full | `ENOSPC` |
//! | access control lists and foreign attribute spaces | `EOPNOTSUPP` |

use std::io;

use crate::fs::CommandError;
use crate::index::IndexError;
use crate::spool::SpoolError;
use crate::store::StoreError;

/// What a filesystem call ended in, by what the kernel must be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FsError {
    #[error("no such entry")]
    Missing,
    /// The node was there when it was opened or looked up.
    #[error("the node is gone")]
    Gone,
    #[error("only the inbox can be changed")]
    ReadOnly,
    #[error("not permitted here")]
    NotPermitted,
    #[error("the folder is not empty")]
    NotEmpty,
    #[error("not a folder")]
    NotDirectory,
    #[error("a folder")]
    IsDirectory,
    #[error("not a legal value")]
    Invalid,
    #[error("the name is too long")]
    NameTooLong,
    #[error("no such attribute")]
    NoAttribute,
    #[error("the buffer is too small for the attribute")]
    AttributeTooLarge,
    #[error("attributes of that kind are not kept")]
    NoSuchAttributeSpace,
    #[error("not a device that is controlled")]
    NoControl,
    #[error("the handle is not open in that way")]
    BadHandle,
    #[error("not between these two")]
    CrossDevice,
    #[error("past the end")]
    PastEnd,
    /// `scribefs fsck` mends it.
    #[error("the file in its place is not the published page")]
    Torn,
    #[error("what is in the bucket is not known yet")]
    Incomplete,
    #[error("command")]
    Command(#[from] CommandError),
    #[error("spool")]
    Spool(#[from] SpoolError),
    #[error("store")]
    Store(#[from] StoreError),
    #[error("index")]
    Index(#[from] IndexError),
    #[error("disk")]
    Disk(#[from] io::Error),
}

impl FsError {
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Missing => libc::ENOENT,
            Self::Gone => libc::ESTALE,
            Self::ReadOnly => libc::EROFS,
            Self::NotPermitted => libc::EPERM,
            Self::NotEmpty => libc::ENOTEMPTY,
            Self::NotDirectory => libc::ENOTDIR,
            Self::IsDirectory => libc::EISDIR,
            Self::Invalid => libc::EINVAL,
            Self::NameTooLong => libc::ENAMETOOLONG,
            Self::NoAttribute => libc::ENODATA,
            Self::AttributeTooLarge => libc::ERANGE,
            Self::NoSuchAttributeSpace => libc::EOPNOTSUPP,
            Self::NoControl => libc::ENOTTY,
            Self::BadHandle => libc::EBADF,
            Self::Command(CommandError::Unknown | CommandError::NoSpeaker) => libc::EINVAL,
            Self::Command(CommandError::NoRecording) => libc::ENOENT,
            Self::Command(CommandError::Busy) => libc::EAGAIN,
            Self::CrossDevice => libc::EXDEV,
            Self::PastEnd => libc::ENXIO,
            Self::Torn | Self::Incomplete => libc::EIO,
            Self::Spool(SpoolError::Missing) => libc::ENOENT,
            Self::Spool(SpoolError::Full { .. }) => libc::ENOSPC,
            Self::Spool(SpoolError::Changed) => libc::ESTALE,
            // Never the answer to a call.
            Self::Spool(SpoolError::Overlap { .. }) => libc::EINVAL,
            Self::Spool(SpoolError::Disk(err)) | Self::Disk(err) => {
                err.raw_os_error().unwrap_or(libc::EIO)
            }
            // Its row named it, so it was there: let the caller look again.
            Self::Store(StoreError::Missing { .. }) => libc::ESTALE,
            // POSIX knows no timeout for `read`.
            Self::Store(StoreError::Unavailable { .. } | StoreError::Refused { .. }) => libc::EIO,
            Self::Index(IndexError::NoConversation) => libc::ENOENT,
            Self::Index(IndexError::NameTaken(_)) => libc::EEXIST,
            Self::Index(IndexError::Full(_)) => libc::ENOSPC,
            Self::Index(
                IndexError::InUse { .. }
                | IndexError::TooNew { .. }
                | IndexError::Damaged(_)
                | IndexError::Disk(_)
                | IndexError::StemTaken(_)
                | IndexError::OnlyInBucket { .. }
                | IndexError::OtherRole { .. }
                | IndexError::NumbersExhausted
                | IndexError::DayFull,
            ) => libc::EIO,
        }
    }

    /// Whether somebody must know: the caller did nothing wrong.
    pub(crate) fn is_our_trouble(&self) -> bool {
        matches!(self.errno(), libc::EIO | libc::ESTALE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disks_own_answer_is_passed_on() {
        let exists = io::Error::from_raw_os_error(libc::EEXIST);
        assert_eq!(FsError::from(SpoolError::Disk(exists)).errno(), libc::EEXIST);
        assert_eq!(FsError::from(io::Error::other("no number")).errno(), libc::EIO);
    }

    #[test]
    fn a_full_spool_says_so() {
        let full = SpoolError::Full { free_bytes: 1, keep_free_bytes: 2 };
        assert_eq!(FsError::from(full).errno(), libc::ENOSPC);
    }
}
