//! [`Reach`]: how far a request came that was not carried out. Whether a bucket can be reached concerns everybody, what
//! it says to one request does not.

use crate::store::StoreError;

/// How far a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing came back.
    Silent,
    /// Its bytes were on their way for too long. A line may be slow in one direction.
    Slow,
    /// There was an answer.
    Answered,
}

/// The source of a [`StoreError::Unavailable`] that says how far the request came.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Interrupted {
    pub(crate) words: String,
    pub(crate) reach: Reach,
}

impl StoreError {
    pub fn reach(&self) -> Reach {
        match self {
            Self::Missing { .. } | Self::Refused { .. } => Reach::Answered,
            Self::Unavailable { source, .. } => {
                source.downcast_ref::<Interrupted>().map_or(Reach::Silent, |it| it.reach)
            }
        }
    }
}
