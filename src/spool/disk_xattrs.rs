//! System calls for extended attributes, of open files and of pinned entries.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::spool::disk::{c_string, check, check_size, magic_path};

/// Read at first; longer values are asked for again.
const FIRST_BYTES: usize = 256;

/// Sets one. `flags` as of setxattr(2).
pub(crate) fn set(file: BorrowedFd<'_>, name: &OsStr, value: &[u8], flags: i32) -> io::Result<()> {
    #[cfg(test)]
    crate::spool::disk::note_in_log(file, &String::from_utf8_lossy(value));
    let name = c_string(name)?;
    let (data, bytes) = (value.as_ptr().cast(), value.len());
    // SAFETY: `name` ends in NUL, and `data` has as many bytes as the call is told.
    let result =
        check(unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), data, bytes, flags) });
    or_by_path(result, file, |path| {
        // SAFETY: both strings end in NUL, and `data` has as many bytes as the call is told.
        check(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), data, bytes, flags) })
    })
    .map(drop)
}

/// `None` where there is none of that name.
pub(crate) fn get(file: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let name = c_string(name)?;
    let value = read_growing(|buffer| {
        let (data, bytes) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: `name` ends in NUL, and `data` has room for as many bytes as the call is told.
        let result =
            check_size(unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), data, bytes) });
        or_by_path(result, file, |path| {
            // SAFETY: as above, and `path` ends in NUL.
            check_size(unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), data, bytes) })
        })
    });
    match value {
        Ok(value) => Ok(Some(value)),
        Err(err) if err.raw_os_error() == Some(libc::ENODATA) => Ok(None),
        Err(err) => Err(err),
    }
}

/// All names.
pub(crate) fn list(file: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let names = read_growing(|buffer| {
        let (data, bytes) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: `data` has room for as many bytes as the call is told.
        let result = check_size(unsafe { libc::flistxattr(file.as_raw_fd(), data, bytes) });
        or_by_path(result, file, |path| {
            // SAFETY: as above, and `path` ends in NUL.
            check_size(unsafe { libc::listxattr(path.as_ptr(), data, bytes) })
        })
    })?;
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

pub(crate) fn remove(file: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    #[cfg(test)]
    crate::spool::disk::note_in_log(file, "no mark");
    let name = c_string(name)?;
    // SAFETY: `name` ends in NUL, and the call only reads it.
    let result = check(unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) });
    or_by_path(result, file, |path| {
        // SAFETY: both strings end in NUL, and the call only reads them.
        check(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) })
    })
    .map(drop)
}

/// A pinned entry is no open file (`EBADF`) and must be reached by its path in `/proc`.
fn or_by_path<T>(
    result: io::Result<T>,
    file: BorrowedFd<'_>,
    by_path: impl FnOnce(&CStr) -> io::Result<T>,
) -> io::Result<T> {
    match result {
        Err(err) if err.raw_os_error() == Some(libc::EBADF) => by_path(&magic_path(file)),
        result => result,
    }
}

fn read_growing(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; FIRST_BYTES];
    loop {
        match read(&mut buffer) {
            Ok(bytes) => {
                buffer.truncate(bytes);
                return Ok(buffer);
            }
            Err(err) if err.raw_os_error() == Some(libc::ERANGE) => {
                // An empty buffer asks for the size; it may have grown again by the next round.
                let needed = read(&mut [])?;
                buffer.resize(needed.max(FIRST_BYTES), 0);
            }
            Err(err) => return Err(err),
        }
    }
}
