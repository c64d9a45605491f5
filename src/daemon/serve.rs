//! The daemon's life: rooms open, the mount answers, somebody says stop, rooms close.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::config::Config;
use crate::daemon::Readiness;
use crate::daemon::rooms::{DaemonError, Rooms};
use crate::fs::MountOptions;

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct Plan {
    pub config: Config,
    pub mount: MountOptions,
    /// This very program: workers are its children.
    pub executable: PathBuf,
    /// All that workers get to know of the environment.
    pub worker_variables: BTreeMap<String, String>,
    /// Reads what scribefs cannot; `None` where none is installed.
    pub ffmpeg: Option<PathBuf>,
}

/// Why the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// A signal asked for it.
    Asked,
    /// Somebody has unmounted.
    Unmounted,
    /// The index can no longer be written: a new daemon must look at what there is.
    Broken,
}

/// Serves the mount until it is to end. `readiness` hears whether it came up, and `explain` puts the
/// reason into words where it did not.
pub fn serve(
    plan: &Plan,
    readiness: Readiness,
    explain: impl FnOnce(&DaemonError) -> String,
) -> ExitCode {
    // Arms what the crash tests ask for; does nothing in a build without tests.
    let _armed = fail::FailScenario::setup();
    let (sender, endings) = channel();
    let opened = Rooms::open(plan, alarm(&sender))
        .and_then(|rooms| Ok((watch_signals(&sender).map_err(DaemonError::Threads)?, rooms)));
    let ((signals, listener), rooms) = match opened {
        Ok(opened) => opened,
        Err(err) => {
            let why = explain(&err);
            log::error!("{why}");
            readiness.failed(&why);
            return ExitCode::FAILURE;
        }
    };
    let watching = watch_mount(&rooms, sender);
    log::info!("mounted at {}", plan.mount.mountpoint.display());
    readiness.ready();
    tell_supervisor(NotifyState::Ready);
    let ending = wait(&endings);
    tell_supervisor(NotifyState::Stopping);
    signals.close();
    if ending == Ending::Broken {
        // Left as it is, the mount looks broken, which it is. Detached, it would look empty.
        log::error!("the daemon ends: the index can no longer be written");
        std::mem::forget(rooms);
        return ExitCode::FAILURE;
    }
    rooms.close();
    for thread in std::iter::once(listener).chain(watching) {
        if thread.join().is_err() {
            log::error!("a thread of the daemon has panicked");
        }
    }
    log::info!("unmounted");
    ExitCode::SUCCESS
}

fn wait(endings: &Receiver<Ending>) -> Ending {
    // All senders gone means that every thread that could tell has died.
    endings.recv().unwrap_or(Ending::Broken)
}

fn alarm(sender: &Sender<Ending>) -> Arc<dyn Fn() + Send + Sync> {
    let sender = sender.clone();
    Arc::new(move || {
        // A second alarm finds nobody who listens: the first was enough.
        let _ = sender.send(Ending::Broken);
    })
}

fn watch_signals(sender: &Sender<Ending>) -> io::Result<(Handle, JoinHandle<()>)> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (handle, sender) = (signals.handle(), sender.clone());
    let thread = Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            log::info!("signal {signal} received");
            if sender.send(Ending::Asked).is_err() {
                return;
            }
        }
    })?;
    Ok((handle, thread))
}

/// Whoever calls `umount` ends the daemon too.
fn watch_mount(rooms: &Rooms, sender: Sender<Ending>) -> Option<JoinHandle<()>> {
    let mount = rooms.mount.clone();
    let thread = Builder::new().name("mount-end".to_owned()).spawn(move || {
        mount.wait();
        // Nobody listens where the daemon is ending already.
        let _ = sender.send(Ending::Unmounted);
    });
    thread.inspect_err(|err| log::error!("nobody watches for `umount`: {err}")).ok()
}

/// For `Type=notify` in systemd; without a supervisor nothing happens.
fn tell_supervisor(state: NotifyState<'_>) {
    if let Err(err) = sd_notify::notify(&[state]) {
        log::warn!("the service manager could not be told: {err}");
    }
}
