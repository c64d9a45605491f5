//! Where files of the store are written before they get their name.
//!
//! A staged file is whole and on disk before it is moved, so that nobody ever sees half of one. The move either
//! takes the place of what is there or, for what must never be written over, fails where there is something.
//!
//! Whoever writes a file holds a lock on it, so that a file without one was left by a dead process.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use xattr::FileExt as _;

use crate::store::StagedFile;

/// What nobody can lock and no process has written to for so long belongs to nobody.
const ABANDONED: Duration = Duration::from_hours(1);

/// A file that nobody has locked may still be about to be locked, or to get its name, for so long.
const UNLOCKED: Duration = Duration::from_secs(60);

/// Bytes of a copy after which they are brought to disk: what is left for the end is soon there.
const SYNC_BYTES: u64 = 64 << 20;

/// On every file that a store has written: it tells our files from others in the same folder.
const MARK: &str = "user.scribefs.object";

/// A folder on the disk of the store, for files that are not whole yet.
#[derive(Debug)]
pub(crate) struct Staging {
    folder: PathBuf,
    count: AtomicU64,
}

impl Staging {
    /// The folder, made if it is missing, without what dead processes have left in it.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        make_folder(&folder)?;
        sweep(&folder)?;
        Ok(Self { folder, count: AtomicU64::new(0) })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A durable copy of `bytes` under a name of its own.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        self.fill(|staged| staged.write_all(bytes))
    }

    /// A durable copy of `file`, wherever its position is.
    pub(crate) fn file(&self, file: &File) -> io::Result<PathBuf> {
        self.fill(|staged| copy(file, staged, &|| true).map(drop))
    }

    /// The same, as long as it is wanted: `None` where `may_go_on` said no.
    pub(crate) fn file_while(
        &self,
        file: &File,
        may_go_on: &dyn Fn() -> bool,
    ) -> io::Result<Option<StagedFile>> {
        let (mut staged, path) = self.new_file()?;
        let is_whole = match copy(file, &mut staged, may_go_on) {
            Ok(true) => finish(&staged).map(|()| true),
            copied => copied,
        };
        let staged = StagedFile::at(path, staged);
        Ok(is_whole?.then_some(staged))
    }

    /// An empty file.
    pub(crate) fn empty(&self) -> io::Result<StagedFile> {
        self.new_file().map(|(file, path)| StagedFile::at(path, file))
    }

    fn fill(&self, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<PathBuf> {
        let (mut staged, path) = self.new_file()?;
        let filled = fill(&mut staged).and_then(|()| finish(&staged));
        if filled.is_err() {
            discard(&path);
        }
        filled.map(|()| path)
    }

    fn new_file(&self) -> io::Result<(File, PathBuf)> {
        loop {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            let path = self.folder.join(format!("{}-{number}", process::id()));
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(0o600);
            match options.open(&path) {
                // A dead process had our number.
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                opened => {
                    let file = opened?;
                    // Where a disk knows no locks, a sweep goes by the age alone.
                    let _ = file.try_lock();
                    return Ok((file, path));
                }
            }
        }
    }
}

/// Marks a file as ours and brings it to disk.
pub(crate) fn finish(staged: &File) -> io::Result<()> {
    // A disk that keeps no attributes keeps our files all the same; only `gc` leaves them alone then.
    let _ = staged.set_xattr(MARK, b"1");
    staged.sync_all()
}

/// Makes a folder that only its owner may enter. One that is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether a store has written that file.
pub(crate) fn is_marked(path: &Path) -> bool {
    xattr::get(path, MARK).is_ok_and(|mark| mark.is_some())
}

/// Removes a staged file that is of no use. It is swept later, should this fail.
pub(crate) fn discard(staged: &Path) {
    let _ = fs::remove_file(staged);
}

/// Gives a staged file its name, if nothing has that name yet. Whether it got it; it is still staged where not.
pub(crate) fn move_new(staged: &Path, path: &Path) -> io::Result<bool> {
    let moved = match rename_new(staged, path) {
        // Not every file system has this call, and those that lack it have links.
        Err(err) if is_unknown(&err) => link_new(staged, path),
        moved => moved,
    };
    match moved {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        moved => moved.map(|()| true),
    }
}

fn rename_new(staged: &Path, path: &Path) -> io::Result<()> {
    let (from, to) =
        (CString::new(staged.as_os_str().as_bytes())?, CString::new(path.as_os_str().as_bytes())?);
    let here = libc::AT_FDCWD;
    // SAFETY: both strings end in NUL and live until the call is over.
    let renamed =
        unsafe { libc::renameat2(here, from.as_ptr(), here, to.as_ptr(), libc::RENAME_NOREPLACE) };
    if renamed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn link_new(staged: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(staged, path) {
        Ok(()) => {
            discard(staged);
            Ok(())
        }
        // Neither call: what is there is looked at first. One process writes to a store, and asks for one
        // name at a time.
        Err(err) if is_unknown(&err) => match path.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => fs::rename(staged, path),
            Err(err) => Err(err),
        },
        Err(err) => Err(err),
    }
}

fn is_unknown(err: &io::Error) -> bool {
    let refused = [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::EPERM, libc::EMLINK];
    err.raw_os_error().is_some_and(|code| refused.contains(&code))
}

/// Removes what dead processes have left. Another process may be at work here too: what it has locked stays, and
/// so does what was written to lately.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_folder = entry.file_type().is_ok_and(|it| it.is_dir());
        let removed = match written_at(&entry.path(), is_folder) {
            Ok(at) if is_abandoned(&entry.path(), is_folder, at) => match is_folder {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            },
            Ok(_) => Ok(()),
            Err(err) => Err(err),
        };
        match removed {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
    }
    Ok(())
}

fn is_abandoned(path: &Path, is_folder: bool, written_at: SystemTime) -> bool {
    let is_older = |limit: Duration| written_at.elapsed().is_ok_and(|age| limit <= age);
    // A folder has no lock.
    if is_folder || !is_older(UNLOCKED) {
        return is_older(ABANDONED);
    }
    match File::open(path).map(|file| file.try_lock()) {
        Ok(Ok(())) => true,
        // However long ago that was: a disk can hang, and a process be stopped.
        Ok(Err(TryLockError::WouldBlock)) => false,
        Ok(Err(TryLockError::Error(_))) | Err(_) => is_older(ABANDONED),
    }
}

/// When a file, or anything in a folder, was written to last.
fn written_at(path: &Path, is_folder: bool) -> io::Result<SystemTime> {
    let mut newest = fs::symlink_metadata(path)?.modified()?;
    if is_folder {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let is_folder = entry.file_type()?.is_dir();
            newest = newest.max(written_at(&entry.path(), is_folder)?);
        }
    }
    Ok(newest)
}

/// Copies all of `from`, wherever its position is, as long as it may. Whether all of it was copied. On one disk the
/// kernel copies, or shares the blocks where the file system can.
fn copy(from: &File, to: &mut File, may_go_on: &dyn Fn() -> bool) -> io::Result<bool> {
    let (mut offset, mut synced): (i64, i64) = (0, 0);
    while may_go_on() {
        // SAFETY: both descriptors are open for the whole call, `offset` is a valid place to read from and
        // write to, and no place is given for the other offset.
        let copied = unsafe {
            libc::copy_file_range(
                from.as_raw_fd(),
                &raw mut offset,
                to.as_raw_fd(),
                std::ptr::null_mut(),
                CHUNK,
                0,
            )
        };
        match copied {
            // Some file systems say so instead of refusing.
            0 if offset == 0 => return copy_through_memory(from, to, may_go_on),
            0 => return Ok(true),
            copied if 0 < copied => sync_now_and_then(to, offset, &mut synced)?,
            _ => match io::Error::last_os_error() {
                err if err.kind() == io::ErrorKind::Interrupted => {}
                _ if offset == 0 => return copy_through_memory(from, to, may_go_on),
                err => return Err(err),
            },
        }
    }
    Ok(false)
}

/// Bytes that one call copies: enough to keep calls rare, and few enough to stop soon.
const CHUNK: usize = 16 << 20;

fn copy_through_memory(
    from: &File,
    to: &mut File,
    may_go_on: &dyn Fn() -> bool,
) -> io::Result<bool> {
    let mut buffer = vec![0; 1 << 20];
    let (mut offset, mut synced): (i64, i64) = (0, 0);
    while may_go_on() {
        let read = match from.read_at(&mut buffer, offset.unsigned_abs()) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(true);
        }
        to.write_all(&buffer[..read])?;
        offset += i64::try_from(read).map_err(io::Error::other)?;
        sync_now_and_then(to, offset, &mut synced)?;
    }
    Ok(false)
}

/// A sync of a whole recording at the end could not be stopped for long.
fn sync_now_and_then(to: &File, offset: i64, synced: &mut i64) -> io::Result<()> {
    if SYNC_BYTES <= offset.abs_diff(*synced) {
        to.sync_data()?;
        *synced = offset;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_somebody_writes_to_is_never_swept_however_old_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let staging = Staging::open(dir.path().join("staged")).unwrap();
        let held = staging.empty().unwrap();
        fs::write(staging.folder().join("dead"), b"half of it").unwrap();
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        for entry in fs::read_dir(staging.folder()).unwrap() {
            File::options()
                .write(true)
                .open(entry.unwrap().path())
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
        }
        sweep(staging.folder()).unwrap();
        assert_eq!(fs::read_dir(staging.folder()).unwrap().count(), 1);
        assert!(!staging.folder().join("dead").exists());
        drop(held);
    }
}
