//! [`MountOptions`]: how the filesystem is mounted.

use std::path::PathBuf;
use std::sync::Arc;

use crate::fs::underlying::UnderlyingFolder;

#[derive(Debug, Clone)]
pub struct MountOptions {
    pub mountpoint: PathBuf,
    /// What `mount` and `df` show in their first column. Default `scribefs`.
    pub source: String,
    /// Let other users in, as far as the permissions go. Default no.
    pub allow_other: bool,
    /// Let nothing be executed. Default no.
    pub no_exec: bool,
    /// Let nothing be changed, not even in the inbox: for what another machine writes. Default no.
    pub read_only: bool,
    /// User that everything but the inbox belongs to. Default `None`: recordings to whoever has dropped them, the
    /// rest to the user who mounts.
    pub uid: Option<u32>,
    /// The same for the group.
    pub gid: Option<u32>,
    /// Mode bits that nobody gets, outside of the inbox. Default 022.
    pub umask: u32,
    /// The folder that will be covered. Default none: nobody looks for what is written there.
    pub underlying: Option<Arc<UnderlyingFolder>>,
}

impl MountOptions {
    pub fn new(mountpoint: impl Into<PathBuf>) -> Self {
        Self {
            mountpoint: mountpoint.into(),
            source: "scribefs".to_owned(),
            allow_other: false,
            no_exec: false,
            read_only: false,
            uid: None,
            gid: None,
            umask: 0o022,
            underlying: None,
        }
    }
}
