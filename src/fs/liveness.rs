//! `Liveness`: whether anybody answers behind a mount, without hanging where nobody does.
//!
//! A request that the daemon has taken and does not answer cannot be interrupted, not even by SIGKILL, and a process
//! cannot end while one of its threads waits so. A child process makes the request, and is left behind where it does not
//! come back.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// An answer takes microseconds; a machine that is short of everything may need seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between looks whether the child is back.
const LOOK: Duration = Duration::from_millis(2);

/// How a mount answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Also a mount that this user may not enter.
    Alive,
    /// Its daemon has died: every call fails at once.
    Dead,
    /// Every call hangs.
    Silent,
}

/// Exit codes of the child.
const ALIVE: libc::c_int = 0;
const DEAD: libc::c_int = 1;

pub(crate) fn of(mountpoint: &Path) -> Liveness {
    Probe::start(mountpoint).wait(Instant::now() + PATIENCE)
}

/// The same of several at once: together they take no longer than one.
pub(crate) fn of_all<'a>(mountpoints: impl Iterator<Item = &'a Path>) -> Vec<Liveness> {
    let probes: Vec<Probe> = mountpoints.map(Probe::start).collect();
    let deadline = Instant::now() + PATIENCE;
    probes.into_iter().map(|probe| probe.wait(deadline)).collect()
}

/// A child process that asks; `None` where there can be none.
struct Probe(Option<libc::pid_t>);

impl Probe {
    /// Asks for the free space, which is the one thing that the kernel never remembers: attributes, listings and even
    /// the opening of a folder need nobody who lives.
    fn start(mountpoint: &Path) -> Self {
        let Ok(path) = CString::new(mountpoint.as_os_str().as_bytes()) else { return Self(None) };
        let mut space = MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: this process may have threads, so the child makes system calls only until it ends by `_exit`: `path`
        // ends in NUL, and `space` has room for what is asked.
        let child = unsafe {
            let child = libc::fork();
            if child == 0 {
                // A child that hangs holds no pipe that somebody reads to its end, and no connection to the kernel.
                libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
                let failed = libc::statfs(path.as_ptr(), space.as_mut_ptr()) != 0;
                let gone = [libc::ENOTCONN, libc::ECONNABORTED];
                let is_dead = failed && gone.contains(&*libc::__errno_location());
                libc::_exit(if is_dead { DEAD } else { ALIVE });
            }
            child
        };
        Self((child != -1).then_some(child))
    }

    /// Where nothing can be found out, nothing speaks against the mount.
    fn wait(self, deadline: Instant) -> Liveness {
        let Some(child) = self.0 else { return Liveness::Alive };
        loop {
            let mut status = 0;
            // SAFETY: `status` has room for one number.
            match unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } {
                0 if Instant::now() < deadline => thread::sleep(LOOK),
                0 => {
                    // SAFETY: numbers only; the child has not been waited for, so its id is still its own.
                    unsafe { libc::kill(child, libc::SIGKILL) };
                    return Liveness::Silent;
                }
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == DEAD => {
                    return Liveness::Dead;
                }
                _ => return Liveness::Alive,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_folder_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of(dir.path()), Liveness::Alive);
        let missing = dir.path().join("missing");
        let both = of_all([dir.path(), missing.as_path()].into_iter());
        assert_eq!(both, [Liveness::Alive, Liveness::Alive]);
    }
}
