//! System calls on the spool's disk: one function each, relative to open directories, following no link.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::spool::disk_id::DiskId;
use crate::spool::{Attributes, EntryKind, RenameMode, SetTime};

/// What the disk says about one entry.
#[derive(Clone, Copy)]
pub(crate) struct DiskStat(libc::stat);

impl DiskStat {
    pub(crate) fn disk_id(&self) -> DiskId {
        DiskId { device: self.0.st_dev, inode: self.0.st_ino }
    }

    pub(crate) fn kind(&self) -> EntryKind {
        match self.0.st_mode & libc::S_IFMT {
            libc::S_IFREG => EntryKind::File,
            libc::S_IFDIR => EntryKind::Directory,
            libc::S_IFLNK => EntryKind::Symlink,
            _ => EntryKind::Other,
        }
    }

    pub(crate) fn mode(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.0.st_uid, self.0.st_gid)
    }

    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or(0)
    }

    /// Nanoseconds since 1970.
    pub(crate) fn modified_ns(&self) -> i128 {
        i128::from(self.0.st_mtime) * 1_000_000_000 + i128::from(self.0.st_mtime_nsec)
    }

    /// Nanoseconds since 1970.
    pub(crate) fn changed_ns(&self) -> i128 {
        i128::from(self.0.st_ctime) * 1_000_000_000 + i128::from(self.0.st_ctime_nsec)
    }

    pub(crate) fn attributes(&self, id: crate::model::InboxId) -> Attributes {
        let stat = &self.0;
        Attributes {
            id,
            kind: self.kind(),
            bytes: self.bytes(),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            mode: self.mode(),
            uid: stat.st_uid,
            gid: stat.st_gid,
            links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            accessed: system_time(stat.st_atime, stat.st_atime_nsec),
            modified: system_time(stat.st_mtime, stat.st_mtime_nsec),
            changed: system_time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// Opens `name` in `dir`; a link as the last part is refused (`ELOOP`), and no terminal or fifo is waited for.
pub(crate) fn open_at(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    flags: i32,
    mode: u32,
) -> io::Result<OwnedFd> {
    let name = c_string(name)?;
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    // SAFETY: `name` ends in NUL, and the call only reads it.
    let fd = check(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode) })?;
    // SAFETY: openat has just given us `fd`, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Holds an entry, whatever it is, without opening it.
pub(crate) fn pin_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    open_at(dir, name, libc::O_PATH, 0)
}

/// Open for reading, so that it can be synced too; only pinned where we may not read it.
pub(crate) fn open_directory_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    match open_at(dir, name, libc::O_RDONLY | libc::O_DIRECTORY, 0) {
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {
            open_at(dir, name, libc::O_PATH | libc::O_DIRECTORY, 0)
        }
        opened => opened,
    }
}

/// Whether this process has too little of something, which says nothing about the file.
pub(crate) fn is_shortage(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

pub(crate) fn stat_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<DiskStat> {
    stat_with(dir, &c_string(name)?, libc::AT_SYMLINK_NOFOLLOW)
}

pub(crate) fn stat_of(file: impl AsFd) -> io::Result<DiskStat> {
    stat_with(file.as_fd(), c"", libc::AT_EMPTY_PATH)
}

fn stat_with(dir: BorrowedFd<'_>, name: &CStr, flags: i32) -> io::Result<DiskStat> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `name` ends in NUL and `stat` has room for one `stat`.
    check(unsafe { libc::fstatat(dir.as_raw_fd(), name.as_ptr(), stat.as_mut_ptr(), flags) })?;
    // SAFETY: fstatat succeeded, so it has filled `stat`.
    Ok(DiskStat(unsafe { stat.assume_init() }))
}

pub(crate) fn make_directory_at(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: `name` ends in NUL, and the call only reads it.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) }).map(drop)
}

pub(crate) fn make_symlink_at(target: &OsStr, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let (target, name) = (c_string(target)?, c_string(name)?);
    // SAFETY: both strings end in NUL, and the call only reads them.
    check(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }).map(drop)
}

pub(crate) fn read_symlink_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<OsString> {
    let name = c_string(name)?;
    let mut target = vec![0_u8; usize::try_from(libc::PATH_MAX).unwrap_or(4096)];
    // SAFETY: `name` ends in NUL, and `target` has as many bytes as the call is told.
    let bytes = check_size(unsafe {
        libc::readlinkat(dir.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast(), target.len())
    })?;
    target.truncate(bytes);
    Ok(OsString::from_vec(target))
}

pub(crate) fn unlink_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    remove_with(dir, name, 0)
}

pub(crate) fn remove_directory_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    remove_with(dir, name, libc::AT_REMOVEDIR)
}

fn remove_with(dir: BorrowedFd<'_>, name: &OsStr, flags: i32) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: `name` ends in NUL, and the call only reads it.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) }).map(drop)
}

pub(crate) fn rename_at(
    from: (BorrowedFd<'_>, &OsStr),
    to: (BorrowedFd<'_>, &OsStr),
    mode: RenameMode,
) -> io::Result<()> {
    let (from_name, to_name) = (c_string(from.1)?, c_string(to.1)?);
    let flags = match mode {
        RenameMode::Replace => 0,
        RenameMode::NoReplace => libc::RENAME_NOREPLACE,
        RenameMode::Exchange => libc::RENAME_EXCHANGE,
    };
    // SAFETY: both names end in NUL, and the call only reads them.
    check(unsafe {
        libc::renameat2(
            from.0.as_raw_fd(),
            from_name.as_ptr(),
            to.0.as_raw_fd(),
            to_name.as_ptr(),
            flags,
        )
    })
    .map(drop)
}

/// Also of an entry that is only pinned.
pub(crate) fn set_mode(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    let path = magic_path(file);
    // SAFETY: `path` ends in NUL, and the call only reads it.
    check(unsafe { libc::chmod(path.as_ptr(), mode) }).map(drop)
}

/// Also of an entry that is only pinned. `None` leaves as it is.
pub(crate) fn set_owner(
    file: BorrowedFd<'_>,
    uid: Option<u32>,
    gid: Option<u32>,
) -> io::Result<()> {
    let (uid, gid) = (uid.unwrap_or(u32::MAX), gid.unwrap_or(u32::MAX));
    // SAFETY: the empty name ends in NUL, and the call only reads it.
    check(unsafe { libc::fchownat(file.as_raw_fd(), c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH) })
        .map(drop)
}

/// Also of an entry that is only pinned. `None` leaves as it is.
pub(crate) fn set_times(
    file: BorrowedFd<'_>,
    accessed: Option<SetTime>,
    modified: Option<SetTime>,
) -> io::Result<()> {
    let times = [time_spec(accessed), time_spec(modified)];
    // SAFETY: the empty name ends in NUL, and `times` has the two times that the call reads.
    check(unsafe {
        libc::utimensat(file.as_raw_fd(), c"".as_ptr(), times.as_ptr(), libc::AT_EMPTY_PATH)
    })
    .map(drop)
}

pub(crate) fn sync(file: BorrowedFd<'_>, data_only: bool) -> io::Result<()> {
    #[cfg(test)]
    note_in_log(file, "sync");
    let fd = file.as_raw_fd();
    if data_only {
        // SAFETY: the call takes nothing but an open descriptor.
        return check(unsafe { libc::fdatasync(fd) }).map(drop);
    }
    // SAFETY: the call takes nothing but an open descriptor.
    check(unsafe { libc::fsync(fd) }).map(drop)
}

/// For tests that look in which order things were done.
#[cfg(test)]
pub(crate) fn note_in_log(file: impl AsFd, what: &str) {
    if let Ok(stat) = stat_of(file) {
        crate::spool::disk_log::note(stat.disk_id(), what);
    }
}

pub(crate) fn space(dir: BorrowedFd<'_>) -> io::Result<libc::statvfs> {
    let mut space = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `space` has room for one `statvfs`.
    check(unsafe { libc::fstatvfs(dir.as_raw_fd(), space.as_mut_ptr()) })?;
    // SAFETY: fstatvfs succeeded, so it has filled `space`.
    Ok(unsafe { space.assume_init() })
}

/// Where this process finds an open or pinned entry: the only way to some calls for a pinned one.
pub(crate) fn magic_path(file: BorrowedFd<'_>) -> CString {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    CString::new(path).expect("a number has no NUL")
}

pub(crate) fn names_in(dir: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let path = magic_path(dir);
    let entries = std::fs::read_dir(OsStr::from_bytes(path.as_bytes()))?;
    entries.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

pub(crate) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

pub(crate) fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| errno(libc::EINVAL))
}

pub(crate) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub(crate) fn check_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn system_time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let part = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
    base + part
}

fn time_spec(time: Option<SetTime>) -> libc::timespec {
    match time {
        None => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
        Some(SetTime::Now) => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_NOW },
        Some(SetTime::At(at)) => {
            let nanoseconds = nanoseconds_since_1970(at);
            libc::timespec {
                tv_sec: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or(0),
                tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
            }
        }
    }
}

fn nanoseconds_since_1970(at: SystemTime) -> i128 {
    let wide = |span: Duration| i128::try_from(span.as_nanos()).unwrap_or(i128::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => wide(after),
        Err(before) => -wide(before.duration()),
    }
}
