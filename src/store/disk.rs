//! What the disk says of its room.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

/// What users other than root may still write on the disk of an open file or folder.
pub(crate) fn free_bytes(open: &impl AsRawFd) -> io::Result<u64> {
    let mut space = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the descriptor is open for the whole call, and `space` has room for one `statvfs`.
    if unsafe { libc::fstatvfs(open.as_raw_fd(), space.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fstatvfs` returned 0, so it has filled `space`.
    let space = unsafe { space.assume_init() };
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}
