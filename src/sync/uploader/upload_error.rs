//! What can go wrong on the way, and what kind of trouble that is.

use crate::index::IndexError;
use crate::model::{Fingerprint, Key, causes};
use crate::publishing::rewrite::RewriteError;
use crate::store::outbox::Trouble;
use crate::store::{Reach, StoreError};

/// Why an action was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the bucket failed")]
    Bucket(#[source] StoreError),
    /// The bucket has forgotten the upload.
    #[error("the upload ended without an answer")]
    UploadLost,
    /// What lies in the bucket is not what was sent.
    #[error("{key} did not arrive complete")]
    Torn { key: Key },
    /// Something else lies in the bucket under the recording's name: it gets another one.
    #[error("{key} in the bucket belongs to another recording")]
    Taken { key: Key },
    /// The same where no other name is to be had.
    #[error(
        "the bucket has a {key} that this scribefs did not write: move it away, or use another prefix"
    )]
    Foreign { key: Key },
    #[error("the local copy cannot be read")]
    Near(#[source] StoreError),
    /// The local copy is no longer what was published.
    #[error("the local copy of {key} is damaged")]
    Damaged { key: Key, copy: Fingerprint },
    #[error("the pages could not be rewritten")]
    Rewrite(#[source] RewriteError),
    /// The row was written anew meanwhile.
    #[error("the recording has changed meanwhile")]
    Overtaken,
    #[error("the index refused")]
    Index(#[from] IndexError),
}

/// Whose trouble it is: the bucket's holds up everybody, any other only this recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blame {
    Bucket(Trouble, Reach),
    Recording(Trouble),
}

impl Blame {
    pub(crate) fn trouble(&self) -> &Trouble {
        match self {
            Self::Bucket(trouble, _) | Self::Recording(trouble) => trouble,
        }
    }
}

impl UploadError {
    /// `None`: there is nobody to blame, the recording is to be looked at anew.
    pub(crate) fn blame(&self) -> Option<Blame> {
        let refused = || Trouble::Refused { why: causes(self) };
        match self {
            Self::Bucket(err @ StoreError::Unavailable { .. }) => {
                Some(Blame::Bucket(Trouble::Passing, err.reach()))
            }
            Self::Bucket(err @ (StoreError::Refused { .. } | StoreError::Missing { .. })) => {
                Some(Blame::Bucket(refused(), err.reach()))
            }
            Self::UploadLost => Some(Blame::Recording(Trouble::UploadLost)),
            Self::Torn { .. }
            | Self::Near(StoreError::Unavailable { .. })
            | Self::Rewrite(RewriteError::Store(StoreError::Unavailable { .. })) => {
                Some(Blame::Recording(Trouble::Passing))
            }
            Self::Near(StoreError::Refused { .. } | StoreError::Missing { .. })
            | Self::Taken { .. }
            | Self::Foreign { .. }
            | Self::Rewrite(_) => Some(Blame::Recording(refused())),
            Self::Damaged { copy, .. } => {
                let (why, copy) = (causes(self), copy.clone());
                Some(Blame::Recording(Trouble::Damaged { why, copy }))
            }
            Self::Overtaken | Self::Index(_) => None,
        }
    }
}
