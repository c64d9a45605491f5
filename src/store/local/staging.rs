//! Where files of the store are written before they get their name.
//!
//! A staged file is whole and on disk before it is moved, so that nobody ever sees half of one. The move either
//! takes the place of what is there or, for what must never be written over, fails where there is something.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use xattr::FileExt as _;

/// What no process has written to for so long belongs to nobody.
const ABANDONED: Duration = Duration::from_hours(1);

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
        self.fill(|staged| copy(file, staged))
    }

    fn fill(&self, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<PathBuf> {
        let (mut staged, path) = self.new_file()?;
        let filled = fill(&mut staged);
        // A disk that keeps no attributes keeps our files all the same; only `gc` leaves them alone then.
        let _ = staged.set_xattr(MARK, b"1");
        let filled = filled.and_then(|()| staged.sync_all());
        if filled.is_err() {
            discard(&path);
        }
        filled.map(|()| path)
    }

    fn new_file(&self) -> io::Result<(File, PathBuf)> {
        loop {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            let path = self.folder.join(format!("{}-{number}", process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                // A dead process had our number.
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                opened => return opened.map(|file| (file, path)),
            }
        }
    }
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

/// Gives a staged file its name, if nothing has that name yet. Whether it got it; it is gone either way.
pub(crate) fn move_new(staged: &Path, path: &Path) -> io::Result<bool> {
    let moved = match rename_new(staged, path) {
        // Not every file system has this call, and those that lack it have links.
        Err(err) if is_unknown(&err) => link_new(staged, path),
        moved => moved,
    };
    match moved {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            discard(staged);
            Ok(false)
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Err(err),
        Err(err) => {
            discard(staged);
            Err(err)
        }
        Ok(()) => Ok(true),
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

/// Removes what dead processes have left. Another process may be at work here too: what was written to
/// lately stays.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_folder = entry.file_type().is_ok_and(|it| it.is_dir());
        let removed = match written_at(&entry.path(), is_folder) {
            Ok(at) if at.elapsed().is_ok_and(|age| ABANDONED <= age) => match is_folder {
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

/// Copies all of `from`, wherever its position is. On one disk the kernel copies, or shares the blocks
/// where the file system can.
fn copy(from: &File, to: &mut File) -> io::Result<()> {
    let mut offset: i64 = 0;
    loop {
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
            0 if offset == 0 => return copy_through_memory(from, to),
            0 => return Ok(()),
            copied if 0 < copied => {}
            _ => match io::Error::last_os_error() {
                err if err.kind() == io::ErrorKind::Interrupted => {}
                _ if offset == 0 => return copy_through_memory(from, to),
                err => return Err(err),
            },
        }
    }
}

/// Bytes that one call copies: enough to keep calls rare.
const CHUNK: usize = 64 << 20;

fn copy_through_memory(from: &File, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let read = match from.read_at(&mut buffer, offset) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read])?;
        offset += read as u64;
    }
}
