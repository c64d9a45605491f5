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
mod context;
mod control;
mod errno;
mod event_lines;
mod events;
mod fetching;
mod files;
mod folder_modes;
mod invalidation;
mod kernel_notifier;
mod liveness;
mod log_limit;
mod mount;
mod mount_error;
mod mount_options;
mod mount_table;
mod mounting;
mod new_mount;
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
mod xattrs;

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use crate::fs::context::{CommandError, FsContext, StatusSource};
pub use crate::fs::liveness::Liveness;
pub use crate::fs::mount::{Connection, Mount};
pub use crate::fs::mount_error::MountError;
pub use crate::fs::mount_options::MountOptions;
pub use crate::fs::underlying::UnderlyingFolder;
pub use crate::fs::unmounting::MountServer;

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

/// Whether an open file or folder lies in the scribefs that is mounted at `path`.
pub fn lies_in_mount(file: &File, path: &Path) -> io::Result<bool> {
    let device = file.metadata()?.dev();
    let device = (libc::major(device), libc::minor(device));
    let mount = mount_table::top_of(path)?;
    Ok(mount.is_some_and(|mount| mount.is_ours() && mount.device == device))
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
