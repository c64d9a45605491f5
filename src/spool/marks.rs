//! What is remembered about a file over a crash: that it is being written, or how it ended.
//!
//! A hidden extended attribute of the file itself: it comes and goes with the file, moves with it, and reaches the disk in the
//! same breath as the file's own name, so that no power cut leaves a half file without its mark. Where the disk has no
//! such attributes, or refuses one (a read-only file of another user), a small file in `marks/` stands in.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::spool::disk::DiskId;
use crate::spool::disk_xattrs;
use crate::spool::signs::{End, Ending, Mark};

const NAME: &str = "user.scribefs.mark";

/// Puts, reads and takes marks.
#[derive(Debug)]
pub(crate) struct Marks {
    dir: PathBuf,
    /// Guards the knowledge of which stand-ins exist: mostly none.
    stand_ins: Mutex<HashSet<DiskId>>,
}

impl Marks {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut stand_ins = HashSet::new();
        for entry in fs::read_dir(dir)? {
            stand_ins.extend(entry?.file_name().to_str().and_then(parse_stand_in));
        }
        Ok(Self { dir: dir.to_owned(), stand_ins: Mutex::new(stand_ins) })
    }

    /// Puts a mark in place of the last one. An error is logged: the file goes on working without.
    pub(crate) fn put(&self, file: BorrowedFd<'_>, disk_id: DiskId, mark: &Mark) {
        let Err(err) = self.try_put(file, disk_id, mark) else { return };
        log::warn!(
            "inbox: a file's mark could not be written, it may be forgotten on a crash: {err}"
        );
    }

    fn try_put(&self, file: BorrowedFd<'_>, disk_id: DiskId, mark: &Mark) -> io::Result<()> {
        let name = OsStr::new(NAME);
        let Some(value) = to_bytes(mark) else {
            self.drop_stand_in(disk_id)?;
            return match disk_xattrs::remove(file, name) {
                Err(err) if !is_refused(&err) && err.raw_os_error() != Some(libc::ENODATA) => {
                    Err(err)
                }
                _ => Ok(()),
            };
        };
        match disk_xattrs::set(file, name, &value, 0) {
            Ok(()) => self.drop_stand_in(disk_id),
            Err(err) if is_refused(&err) => {
                fs::write(self.stand_in(disk_id), value)?;
                self.lock().insert(disk_id);
                Ok(())
            }
            Err(err) => Err(err),
        }
    }

    pub(crate) fn get(&self, file: BorrowedFd<'_>, disk_id: DiskId) -> Mark {
        if self.lock().contains(&disk_id)
            && let Ok(value) = fs::read(self.stand_in(disk_id))
        {
            return from_bytes(&value);
        }
        let value = disk_xattrs::get(file, OsStr::new(NAME)).ok().flatten();
        value.map_or(Mark::Nothing, |value| from_bytes(&value))
    }

    /// The file is gone: another one may get its number on the disk.
    pub(crate) fn forget(&self, disk_id: DiskId) {
        if let Err(err) = self.drop_stand_in(disk_id) {
            log::warn!("inbox: a removed file's mark stays behind: {err}");
        }
    }

    fn drop_stand_in(&self, disk_id: DiskId) -> io::Result<()> {
        if !self.lock().remove(&disk_id) {
            return Ok(());
        }
        fs::remove_file(self.stand_in(disk_id))
    }

    fn stand_in(&self, disk_id: DiskId) -> PathBuf {
        self.dir.join(format!("{}-{}", disk_id.device, disk_id.inode))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<DiskId>> {
        self.stand_ins.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

fn parse_stand_in(name: &str) -> Option<DiskId> {
    let (device, inode) = name.split_once('-')?;
    Some(DiskId { device: device.parse().ok()?, inode: inode.parse().ok()? })
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

fn to_bytes(mark: &Mark) -> Option<Vec<u8>> {
    let text = match mark {
        Mark::Nothing => return None,
        Mark::Receiving => "receiving".to_owned(),
        Mark::Ended(Ending { end, reason }) => format!("{}\n{reason}", end.state().as_str()),
    };
    Some(text.into_bytes())
}

/// What cannot be read is taken for the mark that is safest: kept, and never taken by itself.
fn from_bytes(value: &[u8]) -> Mark {
    let text = String::from_utf8_lossy(value);
    let (word, reason) = text.split_once('\n').unwrap_or((&text, ""));
    let ends = [End::Failed, End::Cancelled, End::Interrupted];
    let end = ends.into_iter().find(|end| end.state().as_str() == word);
    match end {
        Some(end) => Mark::Ended(Ending { end, reason: reason.to_owned() }),
        None => Mark::Receiving,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_read_as_it_was_written() {
        for mark in [
            Mark::Receiving,
            Mark::Ended(Ending { end: End::Failed, reason: "no\nsound".to_owned() }),
            Mark::Ended(Ending { end: End::Cancelled, reason: String::new() }),
            Mark::Ended(Ending { end: End::Interrupted, reason: String::new() }),
        ] {
            assert_eq!(from_bytes(&to_bytes(&mark).unwrap()), mark);
        }
        assert_eq!(from_bytes(b"from a later version"), Mark::Receiving);
    }
}
