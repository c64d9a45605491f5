//! The trees of watched folders, walked through open directories: whoever may write there cannot lead us elsewhere by
//! swapping a folder for a link.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use crate::model::FileName;
use crate::spool::EntryKind;
use crate::spool::disk::{self, DiskStat};

const FILESYSTEM_TYPE: &str = "fuse.scribefs";

/// A file in a watched folder.
pub(crate) struct Found<'a> {
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) stat: DiskStat,
    /// Folders and name below the watched folder; never empty.
    pub(crate) below: &'a [FileName],
}

/// Where scribefs is mounted, as major and minor numbers: what was published is not dropped again.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    devices: HashSet<(u32, u32)>,
}

impl Mounts {
    pub(crate) fn now() -> Self {
        let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let devices = String::from_utf8_lossy(&text).lines().filter_map(device_of).collect();
        Self { devices }
    }

    /// Asks only what the kernel knows by itself: the filesystem may be hung.
    fn has(&self, dir: BorrowedFd<'_>) -> io::Result<bool> {
        if self.devices.is_empty() {
            return Ok(false);
        }
        let mut stat = std::mem::MaybeUninit::<libc::statx>::uninit();
        let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
        // SAFETY: the empty name ends in NUL and `stat` has room for one `statx`.
        disk::check(unsafe {
            libc::statx(dir.as_raw_fd(), c"".as_ptr(), flags, libc::STATX_TYPE, stat.as_mut_ptr())
        })?;
        // SAFETY: statx succeeded, so it has filled `stat`.
        let stat = unsafe { stat.assume_init() };
        Ok(self.devices.contains(&(stat.stx_dev_major, stat.stx_dev_minor)))
    }
}

/// Of a line of mountinfo, where it is one of a scribefs.
fn device_of(line: &str) -> Option<(u32, u32)> {
    let (place, kind) = line.split_once(" - ")?;
    if kind.split(' ').next() != Some(FILESYSTEM_TYPE) {
        return None;
    }
    let (major, minor) = place.split(' ').nth(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A watched folder itself may be reached by a link: it is the user who names it.
pub(crate) fn open_root(folder: &Path) -> io::Result<Arc<OwnedFd>> {
    let open = OwnedFd::from(fs::File::open(folder)?);
    if disk::stat_of(&open)?.kind() != EntryKind::Directory {
        return Err(disk::errno(libc::ENOTDIR));
    }
    Ok(Arc::new(open))
}

/// Shows `visit` what is at a path below a watched folder: the file, or all files in the folder. What is not there
/// or cannot be read is left out.
pub(crate) fn visit_below(
    root: &Arc<OwnedFd>,
    below: &[FileName],
    mounts: &Mounts,
    visit: &mut dyn FnMut(Found<'_>),
) {
    let Some((name, folders)) = below.split_last() else {
        return visit_all(root, &[], mounts, visit);
    };
    let mut dir = root.clone();
    for folder in folders {
        let Some(open) = open_folder(dir.as_fd(), folder.as_os_str(), mounts) else { return };
        dir = open;
    }
    visit_entry(&dir, name, below, mounts, visit);
}

fn visit_entry(
    dir: &Arc<OwnedFd>,
    name: &FileName,
    below: &[FileName],
    mounts: &Mounts,
    visit: &mut dyn FnMut(Found<'_>),
) {
    let Ok(stat) = disk::stat_at(dir.as_fd(), name.as_os_str()) else { return };
    match stat.kind() {
        EntryKind::File => visit(Found { dir: dir.as_fd(), stat, below }),
        EntryKind::Directory => {
            if let Some(open) = open_folder(dir.as_fd(), name.as_os_str(), mounts) {
                visit_all(&open, below, mounts, visit);
            }
        }
        // Links are not followed: they may lead in circles, or here.
        EntryKind::Symlink | EntryKind::Other => {}
    }
}

fn visit_all(
    top: &Arc<OwnedFd>,
    below: &[FileName],
    mounts: &Mounts,
    visit: &mut dyn FnMut(Found<'_>),
) {
    // Folders to be opened, each in one that is open: as many are open as the tree is deep.
    let mut unseen: Vec<(Arc<OwnedFd>, Vec<FileName>)> = Vec::new();
    let mut at = Some((top.clone(), below.to_vec()));
    while let Some((dir, path)) = at {
        for entry in entries(dir.as_fd()).into_iter().flatten().flatten() {
            let Some(name) = FileName::new(entry.file_name().into_encoded_bytes()) else {
                continue;
            };
            let below = [path.as_slice(), std::slice::from_ref(&name)].concat();
            match entry.file_type() {
                // Not asked about itself: it may be where a filesystem is mounted that hangs.
                Ok(kind) if kind.is_dir() => unseen.push((dir.clone(), below)),
                Ok(kind) if kind.is_file() => visit_entry(&dir, &name, &below, mounts, visit),
                Ok(_) | Err(_) => {}
            }
        }
        at = loop {
            let Some((parent, path)) = unseen.pop() else { break None };
            let Some(name) = path.last() else { continue };
            if let Some(open) = open_folder(parent.as_fd(), name.as_os_str(), mounts) {
                break Some((open, path));
            }
        };
    }
}

fn entries(dir: BorrowedFd<'_>) -> io::Result<fs::ReadDir> {
    use std::os::unix::ffi::OsStrExt;
    fs::read_dir(OsStr::from_bytes(disk::magic_path(dir).as_bytes()))
}

/// `None` where it cannot be read, is no folder any more, or is a scribefs.
fn open_folder(dir: BorrowedFd<'_>, name: &OsStr, mounts: &Mounts) -> Option<Arc<OwnedFd>> {
    let pinned = disk::open_at(dir, name, libc::O_PATH | libc::O_DIRECTORY, 0).ok()?;
    if mounts.has(pinned.as_fd()).unwrap_or(true) {
        return None;
    }
    let readable = libc::O_RDONLY | libc::O_DIRECTORY;
    disk::open_at(pinned.as_fd(), OsStr::new("."), readable, 0).map(Arc::new).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_scribefs_is_a_mount_of_ours() {
        let ours = "45 24 0:38 / /mnt/my\\040notes rw shared:7 - fuse.scribefs scribefs rw";
        assert_eq!(device_of(ours), Some((0, 38)));
        assert_eq!(device_of("22 1 0:21 / /proc rw - proc proc rw"), None);
        assert_eq!(device_of("45 24 0:39 / /mnt/x rw - fuse.sshfs scribefs rw"), None);
        assert_eq!(device_of(""), None);
    }

    #[test]
    fn a_folder_that_turns_into_a_link_is_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("secret.wav"), "x").unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/one.wav"), "x").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("a/link")).unwrap();
        let root = open_root(dir.path()).unwrap();
        let seen = |below: &[&str]| {
            let below: Vec<FileName> = below.iter().map(|it| FileName::new(*it).unwrap()).collect();
            let mut seen = Vec::new();
            visit_below(&root, &below, &Mounts::default(), &mut |found| {
                seen.push(found.below.iter().map(FileName::display).collect::<Vec<_>>().join("/"));
            });
            seen
        };
        assert_eq!(seen(&[]), ["a/b/one.wav"]);
        assert_eq!(seen(&["a", "b"]), ["a/b/one.wav"]);
        assert_eq!(seen(&["a", "b", "one.wav"]), ["a/b/one.wav"]);
        assert_eq!(seen(&["a", "link"]), [""; 0]);
        assert_eq!(seen(&["a", "link", "secret.wav"]), [""; 0]);
        fs::rename(dir.path().join("a/b"), dir.path().join("a/was-b")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("a/b")).unwrap();
        assert_eq!(seen(&["a", "b", "secret.wav"]), [""; 0]);
    }
}
