//! A process that stays and does nothing but wait: when the daemon dies, it starts another one over the dead mount.
//!
//! It has one thread and touches nobody's data, so what kills the daemon does not kill it. A daemon that ends because
//! it was asked to ends it too. Whoever kills the supervisor leaves the daemon running without one.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::daemon::Readiness;
use crate::daemon::exit_report::ExitReport;
use crate::fs::{self as filesystem, Liveness};

/// A daemon that lived for less than this has failed quickly.
const QUICK: Duration = Duration::from_secs(60);

/// So many quick failures in a row are not cured by one more start.
const MOST_QUICK_FAILURES: u32 = 5;

/// Rest before the second start in a row, and twice as long before each further one. The first follows at once.
const REST: Duration = Duration::from_secs(1);

/// Time between looks whether a daemon that was killed can end. Nothing tells of it.
const LOOK: Duration = Duration::from_secs(1);

/// Runs `serve` in a child process, and again whenever that dies. Returns in the child what `serve` returns, and in
/// the supervisor when there is to be no daemon any more.
///
/// Must be called before this process has started any thread.
pub fn supervise(
    mountpoint: &Path,
    readiness: Readiness,
    serve: impl Fn(Readiness) -> ExitCode,
) -> ExitCode {
    let signals = match WaitedSignals::block() {
        Ok(signals) => signals,
        Err(err) => {
            log::error!("cannot start a supervisor: {err}");
            return serve(readiness);
        }
    };
    let mut readiness = Some(readiness);
    let mut quick_failures = 0;
    loop {
        let begun = Instant::now();
        let awaited = readiness.take().unwrap_or_else(Readiness::unawaited);
        let last_words = ExitReport::pipe();
        // SAFETY: this process has one thread, as the caller promises.
        let child = match unsafe { libc::fork() } {
            -1 => {
                log::error!("cannot start the daemon: {}", io::Error::last_os_error());
                return ExitCode::FAILURE;
            }
            0 => {
                signals.unblock();
                if let Ok(last_words) = last_words {
                    last_words.are_ours();
                }
                return serve(awaited);
            }
            child => child,
        };
        // Only the daemon may hold it: whoever waits for word from it must also hear that it has died.
        drop(awaited);
        let Ended { end, is_asked, was_stuck } = signals.wait_for_end(child, mountpoint);
        // Without a mount it was unmounted, or it never got so far: there is nothing to be brought back. Freeing one
        // that was stuck may have unmounted it.
        let is_mounted = || filesystem::is_mounted(mountpoint).unwrap_or(false);
        if end == End::Code(0) || is_asked || !(was_stuck || is_mounted()) {
            return end.code();
        }
        let why = last_words.ok().and_then(ExitReport::heard);
        let why = why.map_or("and gave no reason".to_owned(), |why| format!("because {why}"));
        quick_failures = if begun.elapsed() < QUICK { quick_failures + 1 } else { 0 };
        if MOST_QUICK_FAILURES < quick_failures {
            log::error!("the daemon {end} repeatedly, now {why}: giving up");
            return ExitCode::FAILURE;
        }
        log::error!("the daemon {end}, {why}: restarting it");
        if signals.is_asked_within(rest_after(quick_failures)) {
            // It was to be unmounted, and what is left of it is a mount that answers nothing.
            let detached = filesystem::detach_dead(mountpoint);
            return if detached.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        if !was_stuck && !is_mounted() {
            log::info!("the dead mount was unmounted: not restarting the daemon");
            return ExitCode::SUCCESS;
        }
    }
}

fn rest_after(quick_failures: u32) -> Duration {
    match quick_failures {
        0 | 1 => Duration::ZERO,
        more => REST * 2_u32.saturating_pow(more - 2),
    }
}

/// Ends the connection of a daemon that was killed and cannot end: a thread of it waits in the kernel for a program
/// that waits for its answer.
fn free(child: libc::pid_t, mountpoint: &Path) -> bool {
    // A process with much memory also takes a moment; and somebody else's mount may be at the path by now.
    if !filesystem::is_dying(child) || filesystem::liveness(mountpoint) != Liveness::Silent {
        return false;
    }
    log::error!("the daemon was killed but cannot exit: ending its connection");
    let ended = filesystem::end_silent(mountpoint);
    ended.inspect_err(|err| log::error!("cannot end the connection: {err}")).is_ok()
}

/// The end of a daemon.
#[derive(Debug)]
struct Ended {
    end: End,
    /// Somebody had asked for it.
    is_asked: bool,
    was_stuck: bool,
}

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Code(u8),
    Signal(i32),
}

impl End {
    fn of(status: libc::c_int) -> Self {
        if libc::WIFSIGNALED(status) {
            return Self::Signal(libc::WTERMSIG(status));
        }
        Self::Code(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    }

    fn code(self) -> ExitCode {
        match self {
            Self::Code(code) => ExitCode::from(code),
            Self::Signal(_) => ExitCode::FAILURE,
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with code {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// Signals that come to nobody but those who wait for them.
struct WaitedSignals(libc::sigset_t);

impl WaitedSignals {
    fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `set` has room for a set, and is one after the first call; the others add to it.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            set.assume_init()
        };
        let signals = Self(set);
        signals.change(libc::SIG_BLOCK)?;
        Ok(signals)
    }

    /// For the child, which has its own way with them.
    fn unblock(&self) {
        if let Err(err) = self.change(libc::SIG_UNBLOCK) {
            log::error!("cannot ask the daemon to exit: {err}");
        }
    }

    fn change(&self, how: libc::c_int) -> io::Result<()> {
        // SAFETY: the set is valid, and the old one is not wanted.
        match unsafe { libc::pthread_sigmask(how, &raw const self.0, std::ptr::null_mut()) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Hands on to `child` what is meant for it.
    fn wait_for_end(&self, child: libc::pid_t, mountpoint: &Path) -> Ended {
        let (mut is_asked, mut was_stuck) = (false, false);
        loop {
            let mut status = 0;
            // SAFETY: `status` has room for one number.
            let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
            if ended == child {
                return Ended { end: End::of(status), is_asked, was_stuck };
            }
            match self.next(LOOK) {
                Some(signal @ (libc::SIGTERM | libc::SIGINT | libc::SIGHUP)) => {
                    is_asked |= signal != libc::SIGHUP;
                    // SAFETY: numbers only; the child has not been waited for, so its id is still its own.
                    unsafe { libc::kill(child, signal) };
                }
                Some(_) => {}
                None => was_stuck |= free(child, mountpoint),
            }
        }
    }

    /// Whether a signal to end comes within `time`.
    fn is_asked_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Some(libc::SIGTERM | libc::SIGINT) => return true,
                Some(_) => {}
                None if until <= Instant::now() => return false,
                None => {}
            }
        }
    }

    /// The next signal within `time`.
    fn next(&self, time: Duration) -> Option<libc::c_int> {
        // SAFETY: all zero is a valid timespec, and so is what is set here.
        let mut limit: libc::timespec = unsafe { MaybeUninit::zeroed().assume_init() };
        limit.tv_sec = libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX);
        limit.tv_nsec = time.subsec_nanos().into();
        // SAFETY: set and limit are valid; what else is known of the signal is not wanted.
        let signal = unsafe {
            libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const limit)
        };
        (signal > 0).then_some(signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_follows_at_once_and_the_others_ever_later() {
        let rests: Vec<u64> = (1..=5).map(|failures| rest_after(failures).as_secs()).collect();
        assert_eq!(rests, [0, 1, 2, 4, 8]);
    }

    #[test]
    fn an_end_is_told_as_it_was() {
        assert_eq!(End::of(libc::SIGKILL).to_string(), "was killed by signal 9");
        assert_eq!(End::of(2 << 8), End::Code(2));
    }
}
