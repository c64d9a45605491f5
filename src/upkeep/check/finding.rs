//! [`Finding`]: what a check has found wrong with an object, and where.

use std::fmt;

use crate::model::{Key, Object, RecordingId};

/// One of the two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    Disk,
    Bucket,
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "on local disk",
            Self::Bucket => "in the bucket",
        })
    }
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Problem {
    /// It should be there and is not, or not whole.
    Missing {
        place: Where,
    },
    Size {
        place: Where,
        found: u64,
        expected: u64,
    },
    /// It has the right size and other bytes.
    Content {
        place: Where,
    },
    /// A page that tells enough of a recording that the index does not know, and whose audio is there.
    Unindexed {
        place: Where,
    },
    /// Metadata that the index does not know, and that cannot be read or names what is not there.
    Strange {
        place: Where,
    },
    /// No row names it, and it is about a recording that is kept under another name.
    Orphan {
        place: Where,
    },
    /// No row names it, and nobody knows of another copy of it.
    OnlyCopy {
        place: Where,
    },
    /// It lies where recordings are filed, and scribefs has not put it there. It is none of our business.
    Foreign {
        place: Where,
    },
}

impl Problem {
    fn place(&self) -> Where {
        match self {
            Self::Missing { place }
            | Self::Size { place, .. }
            | Self::Content { place }
            | Self::Unindexed { place }
            | Self::Strange { place }
            | Self::Orphan { place }
            | Self::OnlyCopy { place }
            | Self::Foreign { place } => *place,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        match self {
            Self::Missing { .. } => write!(f, "missing {place}"),
            Self::Size { found, expected, .. } => {
                write!(f, "{place} it has {found} bytes instead of {expected}")
            }
            Self::Content { .. } => write!(f, "{place} its bytes differ from the published ones"),
            Self::Unindexed { .. } => {
                write!(f, "{place} there is a recording that the index lacks")
            }
            Self::Strange { .. } => {
                write!(f, "{place} it cannot be read, or names files that do not exist")
            }
            Self::Orphan { .. } => {
                write!(f, "{place} it is left over from a recording that is kept elsewhere")
            }
            Self::OnlyCopy { .. } => {
                write!(f, "{place} no recording names it, and there is no other copy of it")
            }
            Self::Foreign { .. } => write!(f, "{place} it was not written by scribefs"),
        }
    }
}

/// Something that does not agree.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Finding {
    pub key: Key,
    #[serde(flatten)]
    pub fault: Problem,
    /// As the index has it; `None` where the index does not know the object.
    #[serde(skip)]
    pub object: Option<Object>,
    /// A recording whose way to the bucket would mend it.
    #[serde(skip)]
    pub recording: Option<RecordingId>,
}

impl Finding {
    /// Of an object that the index does not know.
    pub(crate) fn of_stranger(key: Key, fault: Problem) -> Self {
        Self { key, fault, object: None, recording: None }
    }
}
