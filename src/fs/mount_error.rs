//! [`MountError`]: why nothing was mounted.

use std::io;
use std::path::PathBuf;

/// Why there is no mount, by what must be mended.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("cannot mount at {path}")]
    Mountpoint { path: PathBuf, source: io::Error },
    /// Another daemon has mounted there meanwhile.
    #[error("{path} is in use: scribefs is mounted there already")]
    InUse { path: PathBuf },
    /// `/dev/fuse` is missing, or `mount(2)` was refused.
    #[error("the kernel refuses to mount FUSE")]
    Kernel { source: io::Error },
    /// `fusermount3` could not be run: the package `fuse3` is missing.
    #[error("cannot run `fusermount3`; install the package fuse3")]
    Helper { source: io::Error },
    #[error("`fusermount3` refused: {said}")]
    Refused { said: String },
    #[error("the kernel's FUSE version is not supported")]
    Session { source: io::Error },
    #[error("threads could not be started")]
    Threads { source: io::Error },
}
