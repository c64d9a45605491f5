//! `NewMount`: a filesystem that is made first and put into the tree afterwards, by `fsopen(2)` and its kin. Only root may.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A filesystem that is being configured.
pub(crate) struct NewMount(OwnedFd);

impl NewMount {
    pub(crate) fn open(filesystem: &CStr) -> io::Result<Self> {
        // SAFETY: a string that ends in NUL, and flags.
        let context =
            unsafe { libc::syscall(libc::SYS_fsopen, filesystem.as_ptr(), libc::FSOPEN_CLOEXEC) };
        owned(context).map(Self)
    }

    pub(crate) fn set(&self, key: &CStr, value: &str) -> io::Result<()> {
        self.configure(libc::FSCONFIG_SET_STRING, Some(key), Some(&CString::new(value)?))
    }

    pub(crate) fn set_flag(&self, key: &CStr) -> io::Result<()> {
        self.configure(libc::FSCONFIG_SET_FLAG, Some(key), None)
    }

    /// The mount, which nobody sees yet. It lives as long as the descriptor, or the place that it is moved to.
    pub(crate) fn create(self, attributes: u64) -> io::Result<OwnedFd> {
        self.configure(libc::FSCONFIG_CMD_CREATE, None, None)?;
        let (context, flags) = (self.0.as_raw_fd(), libc::FSMOUNT_CLOEXEC);
        // SAFETY: an open descriptor, and flags.
        owned(unsafe { libc::syscall(libc::SYS_fsmount, context, flags, attributes) })
    }

    fn configure(
        &self,
        command: libc::fsconfig_command,
        key: Option<&CStr>,
        value: Option<&CStr>,
    ) -> io::Result<()> {
        let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
        let (context, key, value) = (self.0.as_raw_fd(), pointer(key), pointer(value));
        // SAFETY: an open descriptor; the strings, where the command takes them, end in NUL and outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_fsconfig, context, command, key, value, 0) };
        checked(result)
    }
}

/// Puts a mount below the topmost one at a place: it shows when that one goes. Linux 6.5 and newer can.
pub(crate) fn move_beneath(mount: BorrowedFd<'_>, place: &Path) -> io::Result<()> {
    let place = CString::new(place.as_os_str().as_bytes())?;
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_BENEATH;
    // SAFETY: an open descriptor, two strings that end in NUL, and flags.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            place.as_ptr(),
            flags,
        )
    };
    checked(result)
}

/// The folder as it is without what is mounted in it.
pub(crate) fn without_mounts(folder: &Path) -> io::Result<OwnedFd> {
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: a string that ends in NUL, and flags.
    let tree =
        unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, folder.as_ptr(), flags) };
    owned(tree)
}

/// The place of the folder `name` in an open one.
pub(crate) fn open_folder_at(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: an open descriptor and a string that ends in NUL.
    let file = unsafe { libc::openat(dir.as_fd().as_raw_fd(), name.as_ptr(), flags) };
    owned(file.into())
}

fn checked(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor that the kernel has just made for us; negative: it has refused.
pub(crate) fn owned(descriptor: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = libc::c_int::try_from(descriptor).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
