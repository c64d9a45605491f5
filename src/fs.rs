//! The filesystem: the tree that users see, and a thin adapter to the kernel's FUSE.
//!
//! `tree` knows names and changes, `archive` what is published, `files` what is open, all in plain Rust;
//! `adapter` turns requests of the kernel into calls of theirs. Nothing here waits for the network or an
//! engine, except the threads of `fetching`.

mod adapter;
mod answers;
mod archive;
mod archive_listing;
mod attributes;
mod backing;
mod changing;
mod control;
mod errno;
mod events;
mod fetching;
mod files;
mod invalidation;
mod labels;
mod liveness;
mod log_limit;
mod mount;
mod mount_table;
mod mounting;
mod new_mount;
mod news;
mod notifying;
mod page_drops;
mod recent_removals;
mod removing;
mod replacing;
mod replies;
mod snapshots;
mod tree;
mod underlying;
mod unmounting;
mod worker_pool;
mod writing;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

pub use crate::fs::liveness::Liveness;
pub use crate::fs::mount::{Connection, Mount};
pub use crate::fs::underlying::UnderlyingFolder;
use crate::index::Index;
use crate::model::Key;
use crate::spool::Spool;
use crate::store::Store;

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

/// A daemon, and the mount that it serves or has served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountServer {
    pub pid: libc::pid_t,
    /// Absolute, without links.
    pub mountpoint: PathBuf,
}

/// The rooms that the filesystem shows.
#[derive(Clone)]
pub struct Services {
    pub spool: Spool,
    pub index: Index,
    pub store: Arc<dyn Store>,
    pub facts: Arc<dyn Facts>,
}

/// What only the daemon knows, for the files of `.scribefs/`. Asked on threads that answer the kernel, so
/// nothing in it may wait.
pub trait Facts: Send + Sync {
    /// Fields of `status.json` beside ours: mount, state directory, models. The same name wins over ours.
    fn status(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Fields of `storage.json` beside ours.
    fn storage(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Lines for `metrics`, in the text format of Prometheus, each ending in a line end.
    fn metrics(&self) -> String {
        String::new()
    }

    /// Days that what is in the trash is kept for; `None`: for ever.
    fn trash_days(&self) -> Option<u32> {
        None
    }

    /// Whether all that is published is known. Until a bucket has been read to its end once, an empty folder could be
    /// mirrored as deletion.
    fn is_complete(&self) -> bool {
        true
    }

    /// A link with which anybody can get the object for that time; `None`: there is none. The one question
    /// that may wait.
    fn link(&self, _key: &Key, _lasts: Duration) -> Option<String> {
        None
    }

    /// A line of `control` that is not `retry PATH` or `cancel PATH`.
    fn command(&self, _verb: &str, _rest: &str) -> Result<(), CommandError> {
        Err(CommandError::Unknown)
    }
}

/// Nobody knows more.
impl Facts for () {}

/// Why a line of `control` is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("no such command, or it is malformed")]
    Unknown,
    #[error("no such recording")]
    NoRecording,
    #[error("the recording has no such speaker")]
    NoSpeaker,
    /// The same command may be taken a little later.
    #[error("too many commands are waiting")]
    Busy,
}

/// Why there is no mount, by what must be mended.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("cannot mount at {path}")]
    Mountpoint { path: PathBuf, source: io::Error },
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

/// Detaches the mount at `path`, alive or dead. The daemon behind it ends when its files are closed.
pub fn unmount(path: &Path) -> io::Result<()> {
    if !mount_table::is_mounted(path)? {
        return Err(io::Error::new(io::ErrorKind::NotFound, "scribefs is not mounted there"));
    }
    unmounting::detach(&mount_table::absolute(path)?)
}

/// Detaches a mount of ours whose daemon has died. Says whether there was one.
///
/// # Errors
/// `TimedOut` where the mount does not answer and its daemon may still live.
pub fn detach_dead(path: &Path) -> io::Result<bool> {
    unmounting::detach_dead(path, None)
}

/// Whether there is a mount of ours whose daemon has died. The next one that starts there takes its place.
///
/// # Errors
/// `TimedOut` where the mount does not answer and its daemon may still live. `server` is the one that may be known to
/// have been killed and to be unable to end: its connection is ended then.
pub fn is_dead(path: &Path, server: Option<&MountServer>) -> io::Result<bool> {
    unmounting::is_dead(path, server)
}

/// Ends the connection of a mount that answers nobody: whoever waits for it gets an error.
pub fn end_silent(path: &Path) -> io::Result<()> {
    unmounting::end_silent(&mount_table::absolute(path)?)
}

/// Whether a process was killed and cannot end, since a thread of it waits in the kernel.
pub fn is_dying(process: libc::pid_t) -> bool {
    unmounting::is_dying(process)
}

/// Whether anybody answers at `path`. Takes seconds where nobody does.
pub fn liveness(path: &Path) -> Liveness {
    liveness::of(path)
}

/// The same of several at once.
pub fn liveness_of_all(paths: &[PathBuf]) -> Vec<Liveness> {
    liveness::of_all(paths.iter().map(PathBuf::as_path))
}

/// Whether a scribefs is mounted at `path`, alive or dead.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    mount_table::is_mounted(path)
}

/// Where a scribefs is mounted, alive or dead, as far as this process can see.
pub fn mounts() -> Vec<PathBuf> {
    mount_table::mounts().into_iter().map(|mount| mount.path).collect()
}

/// Those of them that `user` has mounted.
pub fn mounts_of(user: u32) -> Vec<PathBuf> {
    let mounts = mount_table::mounts().into_iter();
    mounts.filter(|mount| mount.user == Some(user)).map(|mount| mount.path).collect()
}

/// Who has mounted the scribefs at `path`.
pub fn user_of(path: &Path) -> Option<u32> {
    mount_table::top_of(path).ok()??.user
}

/// The path without links, also where nobody answers behind it.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    mount_table::absolute(path)
}
