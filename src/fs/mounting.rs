//! Attaching to the kernel: `mount(2)` for root, `fusermount3` for everybody else.
//!
//! The mount is our own and not fuser's: its version 0.18 drops the subtype when it mounts by itself, and
//! may unmount somebody else's mount at the same path when it ends. `AutoUnmount` is never used: a mount
//! whose daemon has died must look broken (ENOTCONN), because an empty one would be mirrored as deletion.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::effective_user::is_root;
use crate::fs::mount_table::FILESYSTEM_TYPE;
use crate::fs::{MountError, MountOptions};

pub(crate) const SUBTYPE: &str = "scribefs";
pub(crate) const DEVICE: &str = "/dev/fuse";
pub(crate) const HELPER: &str = "fusermount3";

/// Mounts at `options.mountpoint` and returns the connection to the kernel, not yet greeted.
pub(crate) fn attach(options: &MountOptions) -> Result<OwnedFd, MountError> {
    let place = options
        .mountpoint
        .metadata()
        .map_err(|source| MountError::Mountpoint { path: options.mountpoint.clone(), source })?;
    if !place.is_dir() {
        let source = io::Error::from_raw_os_error(libc::ENOTDIR);
        return Err(MountError::Mountpoint { path: options.mountpoint.clone(), source });
    }
    if is_root() {
        match mount_directly(options, place.mode()) {
            // Root of a container may not mount, but the setuid helper outside of it might.
            Err(err) if err.raw_os_error() == Some(libc::EPERM) => {}
            Err(source) => return Err(MountError::Kernel { source }),
            Ok(device) => return Ok(device),
        }
    }
    mount_with_helper(options)
}

fn mount_directly(options: &MountOptions, root_mode: u32) -> io::Result<OwnedFd> {
    let device: OwnedFd = OpenOptions::new().read(true).write(true).open(DEVICE)?.into();
    // SAFETY: both only read a number.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let mut words = format!(
        "fd={},rootmode={:o},user_id={uid},group_id={gid},default_permissions",
        device.as_raw_fd(),
        root_mode & libc::S_IFMT,
    );
    if options.allow_other {
        words.push_str(",allow_other");
    }
    let source = CString::new(options.source.as_str())?;
    let target = CString::new(options.mountpoint.as_os_str().as_bytes())?;
    let filesystem = CString::new(FILESYSTEM_TYPE)?;
    let words = CString::new(words)?;
    let mut flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOATIME;
    if options.no_exec {
        flags |= libc::MS_NOEXEC;
    }
    if options.read_only {
        flags |= libc::MS_RDONLY;
    }
    // SAFETY: all four are strings that end in NUL and outlive the call.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            filesystem.as_ptr(),
            flags,
            words.as_ptr().cast(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(device)
}

/// `fusermount3` opens the device and mounts; the descriptor comes back over a socket.
fn mount_with_helper(options: &MountOptions) -> Result<OwnedFd, MountError> {
    let mut words = if options.read_only { "ro" } else { "rw" }.to_owned();
    words.push_str(",nosuid,nodev,noatime,default_permissions,subtype=");
    words.push_str(SUBTYPE);
    words.push_str(",fsname=");
    // Commas part options, and the helper knows the backslash.
    words.push_str(&options.source.replace('\\', "\\\\").replace(',', "\\,"));
    if options.allow_other {
        words.push_str(",allow_other");
    }
    if options.no_exec {
        words.push_str(",noexec");
    }
    let (ours, theirs) = UnixStream::pair().map_err(|source| MountError::Helper { source })?;
    // Its standard input is the one descriptor that a child gets without further ado.
    let mut helper = Command::new(HELPER)
        .arg("-o")
        .arg(words)
        .arg("--")
        .arg(&options.mountpoint)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| MountError::Helper { source })?;
    let device = receive_descriptor(&ours);
    let mut said = String::new();
    if let Some(stderr) = helper.stderr.as_mut() {
        // What it said only explains a failure that is known otherwise.
        let _ = stderr.take(4096).read_to_string(&mut said);
    }
    let status = helper.wait().map_err(|source| MountError::Helper { source })?;
    match device {
        Ok(device) if status.success() => Ok(device),
        Ok(_) | Err(_) => Err(MountError::Refused { said: said.trim().replace('\n', "; ") }),
    }
}

fn receive_descriptor(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0u8; 1];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: byte.len() };
    // Room for one descriptor, aligned as a control message must be.
    let mut control = [0u64; 4];
    // SAFETY: all zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the message points to buffers of the lengths it names, which outlive the call.
    let got =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: recvmsg has filled the message; the header lies within `control` or is null.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if got == 0 || header.is_null() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: not null, so a header that recvmsg wrote.
    let header_read = unsafe { header.read_unaligned() };
    if (header_read.cmsg_level, header_read.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: a message of rights carries at least one descriptor after its header.
    let descriptor = unsafe { libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned() };
    // SAFETY: the kernel has just made it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Lets the kernel read ahead 1 MiB at a time instead of 128 KiB; only root may, and it is no loss if not.
pub(crate) fn raise_read_ahead(mountpoint: &Path) {
    let Ok(place) = std::fs::metadata(mountpoint) else { return };
    let (major, minor) = (libc::major(place.dev()), libc::minor(place.dev()));
    let knob = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(err) = std::fs::write(&knob, "1024") {
        log::debug!("{knob}: {err}");
    }
}

/// Whether worker threads may have connections of their own: that needs the device to be opened again.
pub(crate) fn can_clone_device() -> bool {
    File::options().read(true).write(true).open(DEVICE).is_ok()
}
