//! What is remembered about a file over a crash: that it is being written, that it is not on the disk yet, or how
//! it ended.
//!
//! A hidden extended attribute of the file itself: it comes and goes with the file, moves with it, and reaches the disk in the
//! same breath as the file's own name, so that no power cut leaves a half file without its mark. Where the disk has no
//! such attributes, or refuses one (a read-only file of another user), a small file in `marks/` stands in, named
//! after the path: numbers of devices and files change over a reboot on disks like that.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::concurrency::{Mutex, MutexGuard};
use crate::model::{FileName, InboxId};
use crate::spool::disk_xattrs;
use crate::spool::state_inputs::{End, Ending, Mark};

const NAME: &str = "user.scribefs.mark";

/// Another one after each start of the system: what was closed before it may have lost bytes.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Files whose marks may be put at once.
const TURNS: usize = 64;

/// Puts, reads and takes marks.
#[derive(Debug)]
pub(crate) struct Marks {
    dir: PathBuf,
    boot_id: String,
    /// Guards the knowledge of which stand-ins exist: mostly none.
    stand_ins: Mutex<StandIns>,
    /// One guards the mark and the note of a file on the disk, so that what is put last is what holds now.
    turns: [Mutex<()>; TURNS],
}

#[derive(Debug, Default)]
struct StandIns {
    names: HashSet<String>,
    /// Of earlier versions, by the file's number on its disk.
    old: HashMap<u64, String>,
}

impl Marks {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut stand_ins = StandIns::default();
        for entry in fs::read_dir(dir)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            match old_inode(&name) {
                Some(inode) => drop(stand_ins.old.insert(inode, name)),
                None => drop(stand_ins.names.insert(name)),
            }
        }
        // Without one nothing that was only closed counts as whole.
        let boot_id = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        let (dir, stand_ins) = (dir.to_owned(), Mutex::new(stand_ins));
        Ok(Self { dir, boot_id, stand_ins, turns: [const { Mutex::new(()) }; TURNS] })
    }

    /// To be held from the question what a file's mark is to be until it is put.
    pub(crate) fn turn(&self, id: InboxId) -> MutexGuard<'_, ()> {
        let at = usize::try_from(id.0 % TURNS as u64).unwrap_or(0);
        self.turns[at].lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Puts a mark in place of the last one. An error is logged: the file goes on working without.
    pub(crate) fn put(&self, file: BorrowedFd<'_>, path: &[FileName], mark: &Mark) {
        let Err(err) = self.try_put(file, path, mark) else { return };
        log::warn!(
            "inbox: a file's mark could not be written, it may be forgotten on a crash: {err}"
        );
    }

    fn try_put(&self, file: BorrowedFd<'_>, path: &[FileName], mark: &Mark) -> io::Result<()> {
        let name = OsStr::new(NAME);
        let Some(value) = self.to_bytes(mark) else {
            self.drop_stand_in(path)?;
            return match disk_xattrs::remove(file, name) {
                Err(err) if !is_refused(&err) && err.raw_os_error() != Some(libc::ENODATA) => {
                    Err(err)
                }
                _ => Ok(()),
            };
        };
        match disk_xattrs::set(file, name, &value, 0) {
            Ok(()) => self.drop_stand_in(path),
            Err(err) if is_refused(&err) => {
                let stand_in = stand_in(path);
                fs::write(self.dir.join(&stand_in), value)?;
                self.lock().names.insert(stand_in);
                Ok(())
            }
            Err(err) => Err(err),
        }
    }

    /// `inode`: the file's number on its disk, to know stand-ins of earlier versions by.
    pub(crate) fn get(&self, file: BorrowedFd<'_>, path: &[FileName], inode: u64) -> Mark {
        let stand_in = stand_in(path);
        let old = self.lock().old.remove(&inode);
        if let Some(old) = old
            && fs::rename(self.dir.join(old), self.dir.join(&stand_in)).is_ok()
        {
            self.lock().names.insert(stand_in.clone());
        }
        if self.lock().names.contains(&stand_in)
            && let Ok(value) = fs::read(self.dir.join(stand_in))
        {
            return self.mark_of(&value);
        }
        let value = disk_xattrs::get(file, OsStr::new(NAME)).ok().flatten();
        value.map_or(Mark::Nothing, |value| self.mark_of(&value))
    }

    /// The file is gone: another one may get its path.
    pub(crate) fn forget(&self, path: &[FileName]) {
        if let Err(err) = self.drop_stand_in(path) {
            log::warn!("inbox: a removed file's mark stays behind: {err}");
        }
    }

    /// The file has another path.
    pub(crate) fn follow(&self, from: &[FileName], to: &[FileName]) {
        let (from, to) = (stand_in(from), stand_in(to));
        if !self.lock().names.remove(&from) {
            return;
        }
        match fs::rename(self.dir.join(from), self.dir.join(&to)) {
            Ok(()) => drop(self.lock().names.insert(to)),
            Err(err) => log::warn!("inbox: a renamed file's mark was lost: {err}"),
        }
    }

    pub(crate) fn has_stand_ins(&self) -> bool {
        !self.lock().names.is_empty()
    }

    fn drop_stand_in(&self, path: &[FileName]) -> io::Result<()> {
        let mut lock = self.lock();
        if lock.names.is_empty() {
            return Ok(());
        }
        let stand_in = stand_in(path);
        if !lock.names.remove(&stand_in) {
            return Ok(());
        }
        drop(lock);
        fs::remove_file(self.dir.join(stand_in))
    }

    fn to_bytes(&self, mark: &Mark) -> Option<Vec<u8>> {
        let text = match mark {
            Mark::Nothing => return None,
            Mark::Receiving => "receiving".to_owned(),
            Mark::Closed => format!("closed\n{}", self.boot_id),
            Mark::Ended(Ending { end, reason }) => format!("{}\n{reason}", end.state().as_str()),
        };
        Some(text.into_bytes())
    }

    /// What cannot be read is taken for the mark that is safest: kept, and never taken by itself.
    fn mark_of(&self, value: &[u8]) -> Mark {
        let text = String::from_utf8_lossy(value);
        let (word, rest) = text.split_once('\n').unwrap_or((&text, ""));
        if word == "closed" && rest == self.boot_id && !rest.is_empty() {
            return Mark::Closed;
        }
        let ends = [End::Failed, End::Cancelled, End::Interrupted];
        let end = ends.into_iter().find(|end| end.state().as_str() == word);
        match end {
            Some(end) => Mark::Ended(Ending { end, reason: rest.to_owned() }),
            None => Mark::Receiving,
        }
    }

    fn lock(&self) -> MutexGuard<'_, StandIns> {
        self.stand_ins.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

/// No name can have a `/`, so no two paths are one text.
fn stand_in(path: &[FileName]) -> String {
    let mut hasher = blake3::Hasher::new();
    for name in path {
        hasher.update(name.as_bytes()).update(b"/");
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

fn old_inode(name: &str) -> Option<u64> {
    let (device, inode) = name.split_once('-')?;
    device.parse::<u64>().ok()?;
    inode.parse().ok()
}

/// No attributes on this disk, none for this file, or no room for one more.
fn is_refused(err: &io::Error) -> bool {
    let refusals = [
        libc::EOPNOTSUPP,
        libc::EACCES,
        libc::EPERM,
        libc::ENOSPC,
        libc::EDQUOT,
        libc::E2BIG,
        libc::ERANGE,
    ];
    err.raw_os_error().is_some_and(|code| refusals.contains(&code))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn path(text: &str) -> Vec<FileName> {
        text.split('/').map(|name| FileName::new(name).unwrap()).collect()
    }

    #[test]
    fn every_mark_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let marks = Marks::open(dir.path()).unwrap();
        for mark in [
            Mark::Receiving,
            Mark::Closed,
            Mark::Ended(Ending { end: End::Failed, reason: "no\nsound".to_owned() }),
            Mark::Ended(Ending { end: End::Cancelled, reason: String::new() }),
            Mark::Ended(Ending { end: End::Interrupted, reason: String::new() }),
        ] {
            assert_eq!(marks.mark_of(&marks.to_bytes(&mark).unwrap()), mark);
        }
        assert_eq!(marks.mark_of(b"from a later version"), Mark::Receiving);
    }

    #[test]
    fn what_was_closed_before_the_system_went_down_is_not_known_to_be_whole() {
        let dir = tempfile::tempdir().unwrap();
        let before = Marks::open(dir.path()).unwrap().to_bytes(&Mark::Closed).unwrap();
        let after = Marks { boot_id: "another".to_owned(), ..Marks::open(dir.path()).unwrap() };
        assert_eq!(after.mark_of(&before), Mark::Receiving);
        let unknown = Marks { boot_id: String::new(), ..Marks::open(dir.path()).unwrap() };
        let closed = unknown.to_bytes(&Mark::Closed).unwrap();
        assert_eq!(unknown.mark_of(&closed), Mark::Receiving);
    }

    #[test]
    fn a_stand_in_is_found_by_the_path_whatever_number_the_disk_has() {
        let dir = tempfile::tempdir().unwrap();
        let file = tempfile::tempfile_in(dir.path()).unwrap();
        let (old, new) = (path("standup/a.wav"), path("standup/b.wav"));
        fs::write(dir.path().join(stand_in(&old)), "receiving").unwrap();
        let marks = Marks::open(dir.path()).unwrap();
        assert_eq!(marks.get(file.as_fd(), &old, 77), Mark::Receiving);
        marks.follow(&old, &new);
        assert_eq!(marks.get(file.as_fd(), &old, 77), Mark::Nothing);
        let marks = Marks::open(dir.path()).unwrap();
        assert_eq!(marks.get(file.as_fd(), &new, 78), Mark::Receiving);
        marks.forget(&new);
        assert!(!marks.has_stand_ins());
    }

    #[test]
    fn stand_ins_of_an_earlier_version_are_found_by_the_files_number() {
        let dir = tempfile::tempdir().unwrap();
        let file = tempfile::tempfile_in(dir.path()).unwrap();
        fs::write(dir.path().join("2049-77"), "cancelled\n").unwrap();
        let marks = Marks::open(dir.path()).unwrap();
        let cancelled = Mark::Ended(Ending { end: End::Cancelled, reason: String::new() });
        assert_eq!(marks.get(file.as_fd(), &path("a.wav"), 77), cancelled);
        let marks = Marks::open(dir.path()).unwrap();
        assert_eq!(marks.get(file.as_fd(), &path("a.wav"), 1), cancelled);
    }
}
