//! `umount`: detaches the mount at once, and waits for its daemon, so that what follows finds the state folder free.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::cli::find_mount;
use crate::cli::mount_arguments::Umount;
use crate::cli::print::{self, CliError};
use crate::daemon::Environment;
use crate::fs::{self as filesystem, Liveness};

/// How long the daemon is asked for its number. One that hangs must not keep its mount from being detached.
const ANSWER_TAKES: Duration = Duration::from_secs(5);

/// After this the user is told what is being waited for.
const SILENCE: Duration = Duration::from_secs(2);

/// Longest wait; the daemon has set itself a limit that is shorter.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn umount(args: &Umount, environment: &Environment) -> Result<ExitCode, CliError> {
    let mountpoint = match &args.mountpoint {
        Some(path) => environment.working_directory().join(path),
        None => find_mount::only_mount(environment.working_directory())?,
    };
    let trouble = |source| CliError::File {
        path: mountpoint.clone(),
        source,
        remedy: "`findmnt -t fuse.scribefs` shows what is mounted.".to_owned(),
    };
    let is_mounted = filesystem::is_mounted(&mountpoint).map_err(trouble)?;
    let daemon = if is_mounted { Daemon::behind(&mountpoint) } else { None };
    // Ending a silent one may have unmounted it.
    if !is_mounted || filesystem::is_mounted(&mountpoint).map_err(trouble)? {
        filesystem::unmount(&mountpoint).map_err(trouble)?;
    }
    if let Some(daemon) = daemon {
        // With files open it would not hear of this before they are closed.
        daemon.ask_to_end();
        if !args.no_wait {
            daemon.wait_for_end(&mountpoint)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The process behind a mount. Its number is not given to another one while this lives.
struct Daemon {
    pid: u32,
    handle: OwnedFd,
}

impl Daemon {
    /// `None` where it is dead, or where this user may not ask. One that answers nobody is cut off first: whoever waits
    /// for it is let go, and it ends by itself if it still can.
    fn behind(mountpoint: &Path) -> Option<Self> {
        let found = match filesystem::liveness(mountpoint) {
            Liveness::Alive => Self::of(mountpoint),
            Liveness::Dead => return None,
            Liveness::Silent => Err(RecvTimeoutError::Timeout),
        };
        found.unwrap_or_else(|_| {
            print::remark("scribefs: the mount does not answer; ending its connection");
            if let Err(err) = filesystem::end_silent(mountpoint) {
                print::remark(&format!("scribefs: cannot end it: {err}"));
            }
            None
        })
    }

    fn of(mountpoint: &Path) -> Result<Option<Self>, RecvTimeoutError> {
        let Some(user) = filesystem::user_of(mountpoint) else { return Ok(None) };
        let (answers, answer) = channel();
        let asked = mountpoint.to_owned();
        thread::spawn(move || {
            let status = find_mount::status(&asked).ok();
            // After the time nobody listens any more.
            let _ = answers.send(status.and_then(|status| status["pid"].as_u64()));
        });
        let pid = answer.recv_timeout(ANSWER_TAKES)?;
        Ok(pid.and_then(|pid| Self::with_id(u32::try_from(pid).ok()?, user)))
    }

    /// A mount may say what it likes: no process is touched but one of the user who has mounted it.
    fn with_id(pid: u32, user: u32) -> Option<Self> {
        let daemon = Self { pid, handle: handle_of(pid).ok()? };
        (user_of(pid) == Some(user)).then_some(daemon)
    }

    fn ask_to_end(&self) {
        let (handle, none) = (self.handle.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: an open handle, and no further information. A process that has ended already is an error that
        // nobody minds.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, handle, libc::SIGTERM, none, 0) };
    }

    fn wait_for_end(&self, mountpoint: &Path) -> Result<(), CliError> {
        if self.ends_within(SILENCE)? {
            return Ok(());
        }
        print::remark(
            "scribefs: unmounted; waiting for the daemon to finish (programs have ten seconds to close open files)",
        );
        if self.ends_within(PATIENCE)? {
            return Ok(());
        }
        Err(CliError::plain(
            format!(
                "the daemon of {} is still running (process {})",
                mountpoint.display(),
                self.pid
            ),
            "Its log says what it waits for. Nothing is lost if you kill it.",
        ))
    }

    fn ends_within(&self, time: Duration) -> io::Result<bool> {
        let mut poll =
            libc::pollfd { fd: self.handle.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let milliseconds = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: `poll` is one valid entry, and the call does not outlive it.
        match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
            -1 => Err(io::Error::last_os_error()),
            ready => Ok(ready != 0),
        }
    }
}

fn handle_of(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let handle = libc::c_int::try_from(handle).unwrap_or(-1);
    if handle < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(handle) })
}

/// The owner of `/proc/PID` would not tell: it is root where a process lets nobody look into it.
fn user_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_user_and_by_its_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let daemon = Daemon { pid: child.id(), handle: handle_of(child.id()).unwrap() };
        assert_eq!(user_of(child.id()), Some(crate::effective_user::effective_user()));
        assert!(!daemon.ends_within(Duration::ZERO).unwrap());
        daemon.ask_to_end();
        assert!(daemon.ends_within(PATIENCE).unwrap());
        child.wait().unwrap();
        daemon.ask_to_end();
    }
}
