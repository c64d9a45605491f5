//! [`Storage`]: where recordings are to be in the end.

use std::fmt;

/// Where recordings are to be in the end. On local disk they are first of all in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// On local disk. A bucket that is named is only read from.
    Local,
    /// In the bucket; the local copy of the audio may go when it is there.
    S3,
    /// In the bucket and on local disk.
    Both,
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::S3 => "s3",
            Self::Both => "both",
        })
    }
}
