//! Mounts in place of a mount whose daemon has died, so that nobody sees the folder below it in between: programs would
//! write there, and mirrors would take it for an empty mount.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use crate::effective_user::is_root;
use crate::fs::mount_table::{MountLine, all_at, id_of, is_mounted, top_of};
use crate::fs::mounting::{self, DEVICE, SUBTYPE};
use crate::fs::new_mount::{NewMount, move_beneath};
use crate::fs::unmounting::{detach, detach_dead, detach_own, is_dead};
use crate::fs::{MountError, MountOptions, UnderlyingFolder};

/// As [`mounting::attach`], where a dead mount of ours covers the place.
pub(crate) fn attach_over_dead(options: &MountOptions) -> Result<OwnedFd, MountError> {
    let place = &options.mountpoint;
    if is_root() {
        match attach_beneath(options) {
            Ok(device) => return Ok(device),
            Err(Obstacle::InUse) => return Err(MountError::InUse { path: place.clone() }),
            // A kernel before 6.5, or root of a container.
            Err(Obstacle::Kernel(err)) => {
                log::debug!("mount: it cannot be put below the dead one: {err}");
            }
        }
    }
    let at = |source| MountError::Mountpoint { path: place.clone(), source };
    let underlying = options.underlying.as_deref();
    let mut closed = underlying.and_then(UnderlyingFolder::close);
    detach_dead(place, None).map_err(at)?;
    if let Some(underlying) = underlying.filter(|_| closed.is_none()) {
        underlying.open();
        closed = underlying.close();
    }
    fail_point!("mount-dead-detached");
    // All that is dead is gone: whatever is there lives.
    if is_mounted(place).map_err(at)? {
        return Err(MountError::InUse { path: place.clone() });
    }
    let device = mounting::attach(options);
    drop(closed);
    device
}

/// Why the new mount was not put below the dead one.
enum Obstacle {
    /// Another daemon was faster: its mount lives.
    InUse,
    /// It may go otherwise.
    Kernel(io::Error),
}

impl From<io::Error> for Obstacle {
    fn from(err: io::Error) -> Self {
        Self::Kernel(err)
    }
}

/// Puts the new mount below the dead one, and takes that away.
fn attach_beneath(options: &MountOptions) -> Result<OwnedFd, Obstacle> {
    let place = &options.mountpoint;
    // Of several dead ones the lowest stays until then.
    while 1 < all_at(place)?.into_iter().filter(MountLine::is_ours).count() {
        top_if_dead(place)?;
        detach(place)?;
    }
    let device: OwnedFd = OpenOptions::new().read(true).write(true).open(DEVICE)?.into();
    let mount = new_mount(options, &device)?;
    fail_point!("mount-before-beneath");
    let dead = top_if_dead(place)?;
    move_beneath(mount.as_fd(), place)?;
    let own = id_of(&mount)?;
    if detach_own(place, dead)? && all_at(place)?.iter().any(|mount| mount.id == own) {
        return Ok(device);
    }
    // Another daemon has taken the dead one away, or has mounted over it. Ours would be over that one where both have
    // come below the same dead one.
    if top_of(place)?.is_some_and(|mount| mount.id == own) {
        detach(place)?;
    }
    Err(Obstacle::InUse)
}

/// The minor device number of the topmost mount, where its daemon has died. It is known from before the daemon was asked:
/// a mount that has come since has another one.
fn top_if_dead(place: &Path) -> Result<u32, Obstacle> {
    let top = top_of(place)?.filter(MountLine::is_ours);
    let top = top.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    match is_dead(place, None) {
        Ok(true) => Ok(top.device.1),
        Ok(false) => Err(Obstacle::InUse),
        // One that has just been mounted and is not served yet.
        Err(err) if err.kind() == io::ErrorKind::TimedOut => Err(Obstacle::InUse),
        Err(err) => Err(err.into()),
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
