//! How the daemon's end is asked for, and that it comes: by a signal at any time from the first step on, by
//! `umount`, by a fault; within a limit, whatever hangs.

use std::io::{self, IsTerminal};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::daemon::exit_report;
use crate::fs::Mount;

/// From the wish to end to the end: ten seconds for whoever has files open, and some for what is being written.
/// Shorter than `TimeoutStopSec` in the units. A process that ends so loses no more than one that is killed.
const LIMIT: Duration = Duration::from_secs(25);

/// Why the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A signal asked for it.
    Asked,
    /// Somebody has unmounted.
    Unmounted,
    /// It can no longer do its work: a new daemon must look at what there is.
    Broken,
}

pub(crate) struct Shutdown {
    sender: Sender<Ending>,
    state: Mutex<State>,
}

/// Guarded by `Shutdown::state`.
#[derive(Default)]
struct State {
    /// Something is up that must be closed: a signal no longer ends the process on the spot.
    has_begun: bool,
    is_asked: bool,
    is_limited: bool,
    /// To be detached when the limit is reached: a dead mount must not stay where nobody mounts again.
    mount: Option<Arc<Mount>>,
}

impl Shutdown {
    pub(crate) fn new(sender: Sender<Ending>) -> Arc<Self> {
        Arc::new(Self { sender, state: Mutex::default() })
    }

    pub(crate) fn ask(self: &Arc<Self>, ending: Ending) {
        if ending == Ending::Asked {
            self.state().is_asked = true;
        }
        // Nobody listens where the daemon is ending already.
        let _ = self.sender.send(ending);
    }

    /// From here on threads, leases and children are there that have to be stopped in order.
    pub(crate) fn begins(&self) {
        self.state().has_begun = true;
    }

    /// Whether a signal came while the daemon was starting.
    pub(crate) fn is_asked(&self) -> bool {
        self.state().is_asked
    }

    pub(crate) fn mounted(&self, mount: &Arc<Mount>) {
        self.state().mount = Some(mount.clone());
    }

    /// From now on the process has a limited time to live.
    pub(crate) fn limit(self: &Arc<Self>) {
        if std::mem::replace(&mut self.state().is_limited, true) {
            return;
        }
        let limited = self.clone();
        let end = move || {
            thread::sleep(LIMIT);
            let mount = limited.state().mount.take();
            exit_report::say(&format!("it did not exit within {} s", LIMIT.as_secs()));
            if let Some(mount) = mount {
                mount.detach();
                mount.connection().abort();
            }
            end_now(1);
        };
        if let Err(err) = Builder::new().name("end-limit".to_owned()).spawn(end) {
            log::error!("the exit has no time limit: {err}");
        }
    }

    fn signal(self: &Arc<Self>, signal: i32) {
        log::info!("signal {signal} received");
        if !self.state().has_begun {
            // Nothing is mounted, no lease is held, and what is being rebuilt has a name of its own.
            end_now(0);
        }
        self.limit();
        self.ask(Ending::Asked);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without what libraries would do at the end: it could wait for the very thread that hangs.
fn end_now(code: i32) -> ! {
    // SAFETY: takes a number, and does not return.
    unsafe { libc::_exit(code) }
}

/// The thread that signals come to.
pub(crate) struct SignalThread {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl SignalThread {
    /// To be started before anything else: a signal that nobody waits for ends the process as it is, and leaves
    /// a dead mount behind.
    pub(crate) fn start(shutdown: &Arc<Shutdown>) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let (handle, shutdown) = (signals.handle(), shutdown.clone());
        // Asked now: of a terminal that was closed nothing is known any more.
        let has_terminal = io::stderr().is_terminal();
        let thread = Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP && !has_terminal {
                    // Whatever is written to a log file looks where it belongs.
                    log::info!("signal {signal} received: reopening the log");
                } else {
                    shutdown.signal(signal);
                }
            }
        })?;
        Ok(Self { handle, thread })
    }

    pub(crate) fn stop(self) {
        self.handle.close();
        if self.thread.join().is_err() {
            log::error!("the thread of signals has panicked");
        }
    }
}
