//! Detaching from the kernel, and ending connections: of this daemon, and of one that has died or answers nobody.
//!
//! A daemon that is killed while one of its threads waits in the kernel for the lock of a folder, held by a program that
//! waits for the daemon, can neither end nor let that program go. Ending the connection fails all calls that wait for an
//! answer, and frees both.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fs::liveness::{self, Liveness};
use crate::fs::mount_table::{MountLine, absolute, is_mounted, top_of};
use crate::fs::mounting::HELPER;
use crate::fs::new_mount::{NewMount, owned};

/// A daemon, and the mount that it serves or has served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountServer {
    pub pid: libc::pid_t,
    /// Absolute, without links.
    pub mountpoint: PathBuf,
}

/// What the kernel shows of connections, where it is mounted: whoever has mounted a filesystem may write to its files.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// Mounts that may lie on top of each other at one path.
const MOST_LAYERS: usize = 16;

/// Takes the mount away from the tree at once; what is still open goes on until it is closed.
pub(crate) fn detach(mountpoint: &Path) -> io::Result<()> {
    let target = CString::new(mountpoint.as_os_str().as_bytes())?;
    // SAFETY: a string that ends in NUL.
    let result =
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) };
    if result == 0 {
        return Ok(());
    }
    let err = io::Error::last_os_error();
    if err.raw_os_error() != Some(libc::EPERM) {
        return Err(err);
    }
    let output = Command::new(HELPER).args(["-u", "-z", "--"]).arg(mountpoint).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The same, but only where the mount of device `minor` is the one at this path: somebody may have mounted
/// something else there since. Says whether it was.
pub(crate) fn detach_own(mountpoint: &Path, minor: u32) -> io::Result<bool> {
    let is_own = top_of(mountpoint)?.is_some_and(|mount| mount.device == (0, minor));
    if is_own {
        detach(mountpoint)?;
    }
    Ok(is_own)
}

/// Detaches mounts of ours at `mountpoint` whose daemon has died, so that the path can be used again.
/// Says whether there was one.
///
/// # Errors
/// `TimedOut` where a mount does not answer and its daemon may still live.
pub(crate) fn detach_dead(mountpoint: &Path, server: Option<&MountServer>) -> io::Result<bool> {
    let mut found = false;
    // Each round takes one away.
    for _ in 0..MOST_LAYERS {
        if !is_dead(mountpoint, server)? {
            break;
        }
        detach(mountpoint)?;
        found = true;
    }
    Ok(found)
}

/// Whether there is a mount of ours at `mountpoint` whose daemon has died.
///
/// # Errors
/// As [`detach_dead`].
pub(crate) fn is_dead(mountpoint: &Path, server: Option<&MountServer>) -> io::Result<bool> {
    if !is_mounted(mountpoint)? {
        return Ok(false);
    }
    match liveness::of(mountpoint) {
        Liveness::Alive => Ok(false),
        Liveness::Dead => Ok(true),
        Liveness::Silent if server.is_some_and(|it| is_dying_server(it, mountpoint)) => {
            end_silent(mountpoint)?;
            is_mounted(mountpoint)
        }
        Liveness::Silent => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the mount does not answer"))
        }
    }
}

/// Ends the connection of the mount at `mountpoint`. It stays, and every call fails; only where the kernel shows no
/// connections and nobody uses the mount it is gone.
pub(crate) fn end_silent(mountpoint: &Path) -> io::Result<()> {
    let Some(mount) = top_of(mountpoint)?.filter(MountLine::is_ours) else { return Ok(()) };
    let Err(err) = abort(mount.device.1) else { return Ok(()) };
    log::debug!("mount: its connection is ended by force: {err}");
    let target = CString::new(mountpoint.as_os_str().as_bytes())?;
    let flags = libc::MNT_FORCE | libc::UMOUNT_NOFOLLOW;
    // SAFETY: a string that ends in NUL.
    if unsafe { libc::umount2(target.as_ptr(), flags) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // The connection is ended all the same.
        err if err.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        err => Err(err),
    }
}

/// Ends the connection whatever is still open: every call that waits on it fails.
pub(crate) fn abort(device_minor: u32) -> io::Result<()> {
    let knob = format!("{device_minor}/abort");
    if fs::write(Path::new(CONNECTIONS).join(&knob), "1").is_ok() {
        return Ok(());
    }
    let connections = connections()?;
    let knob = CString::new(knob)?;
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: an open folder and a string that ends in NUL.
    let file = unsafe { libc::openat(connections.as_raw_fd(), knob.as_ptr(), flags) };
    File::from(owned(file.into())?).write_all(b"1")
}

/// What the kernel shows of connections, mounted for nobody but us. Only root may.
fn connections() -> io::Result<OwnedFd> {
    NewMount::open(c"fusectl")?.create(0)
}

/// Whether `server` serves the mount at this path and was killed and cannot end. That some daemon cannot is no reason to
/// end a mount that is only slow.
fn is_dying_server(server: &MountServer, mountpoint: &Path) -> bool {
    let serves = absolute(mountpoint).is_ok_and(|place| place == server.mountpoint);
    // Its number may be another process's by now.
    let line = ProcessLine::of(server.pid);
    serves && line.is_some_and(|line| line.name == "scribefs" && line.is_dying())
}

/// Whether a process was killed and cannot end, since a thread of it waits in the kernel.
pub(crate) fn is_dying(process: libc::pid_t) -> bool {
    ProcessLine::of(process).is_some_and(|line| line.is_dying())
}

/// What `/proc/PID/stat` says of a process.
struct ProcessLine {
    name: String,
    state: char,
    threads: u32,
}

impl ProcessLine {
    fn of(process: libc::pid_t) -> Option<Self> {
        Self::parsed(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    fn parsed(text: &str) -> Option<Self> {
        // A name may have blanks and brackets in it.
        let (head, rest) = text.rsplit_once(") ")?;
        let (_, name) = head.split_once('(')?;
        let mut fields = rest.split(' ');
        let state = fields.next()?.chars().next()?;
        let threads = fields.nth(16)?.parse().ok()?;
        Some(Self { name: name.to_owned(), state, threads })
    }

    /// Its first thread has ended, and others have not.
    fn is_dying(&self) -> bool {
        self.state == 'Z' && 1 < self.threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_folder_is_not_mounted() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_mounted(dir.path()).unwrap());
        assert!(!detach_dead(dir.path(), None).unwrap());
    }

    #[test]
    fn a_process_is_dying_whose_first_thread_has_ended_before_the_others() {
        let line = |state: &str, threads: u32| {
            let text =
                format!("7 (a) b) {state} 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 12 0");
            ProcessLine::parsed(&text).unwrap()
        };
        assert_eq!(line("Z", 3).name, "a) b");
        assert!(line("Z", 3).is_dying());
        assert!(!line("Z", 0).is_dying() && !line("S", 3).is_dying());
        let own = libc::pid_t::try_from(std::process::id()).unwrap();
        assert!(ProcessLine::of(own).is_some_and(|line| 0 < line.threads && !line.is_dying()));
    }
}
