//! Mounts in place of a mount whose daemon has died, so that nobody sees the folder below it in between: programs would
//! write there, and mirrors would take it for an empty mount.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::fs::mount_table::{MountLine, all_at, top_of};
use crate::fs::mounting::{self, DEVICE, SUBTYPE};
use crate::fs::new_mount::{NewMount, move_beneath};
use crate::fs::unmounting::{detach, detach_dead, detach_own};
use crate::fs::{MountError, MountOptions, UnderlyingFolder};

/// As [`mounting::attach`], where a dead mount of ours covers the place.
pub(crate) fn attach_over_dead(options: &MountOptions) -> Result<OwnedFd, MountError> {
    if mounting::is_root() {
        match attach_beneath(options) {
            Ok(device) => return Ok(device),
            // A kernel before 6.5, or root of a container.
            Err(err) => log::debug!("mount: it cannot be put below the dead one: {err}"),
        }
    }
    let underlying = options.underlying.as_deref();
    let mut closed = underlying.and_then(UnderlyingFolder::close);
    detach_dead(&options.mountpoint, None)
        .map_err(|source| MountError::Mountpoint { path: options.mountpoint.clone(), source })?;
    if let Some(underlying) = underlying.filter(|_| closed.is_none()) {
        underlying.open();
        closed = underlying.close();
    }
    let device = mounting::attach(options);
    drop(closed);
    device
}

/// Puts the new mount below the dead one, and takes that away.
fn attach_beneath(options: &MountOptions) -> io::Result<OwnedFd> {
    let place = &options.mountpoint;
    // Of several dead ones the lowest stays until then.
    while 1 < all_at(place)?.into_iter().filter(MountLine::is_ours).count() {
        detach(place)?;
    }
    let dead = top_of(place)?.filter(MountLine::is_ours).ok_or(io::ErrorKind::NotFound)?;
    let device: OwnedFd = OpenOptions::new().read(true).write(true).open(DEVICE)?.into();
    let mount = new_mount(options, &device)?;
    move_beneath(mount.as_fd(), place)?;
    match detach_own(place, dead.device.1)? {
        true => Ok(device),
        false => Err(io::Error::other("somebody else has mounted there")),
    }
}

fn new_mount(options: &MountOptions, device: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: both only read a number.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let new = NewMount::open(c"fuse")?;
    new.set(c"source", &options.source)?;
    new.set(c"subtype", SUBTYPE)?;
    new.set(c"fd", &device.as_raw_fd().to_string())?;
    new.set(c"rootmode", &format!("{:o}", libc::S_IFDIR))?;
    new.set(c"user_id", &uid.to_string())?;
    new.set(c"group_id", &gid.to_string())?;
    new.set_flag(c"default_permissions")?;
    if options.allow_other {
        new.set_flag(c"allow_other")?;
    }
    let mut attributes =
        libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOATIME;
    if options.no_exec {
        attributes |= libc::MOUNT_ATTR_NOEXEC;
    }
    if options.read_only {
        new.set_flag(c"ro")?;
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    new.create(attributes)
}
