//! The daemon's life: rooms open, the mount answers, somebody says stop, rooms close.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::daemon::components::Components;
use crate::daemon::daemon_config::DaemonConfig;
use crate::daemon::error::DaemonError;
use crate::daemon::panic::{abort_on_panic, end_with_the_process};
use crate::daemon::shutdown::{Ending, Shutdown, SignalThread};
use crate::daemon::thread_check::ThreadCheck;
use crate::daemon::{Readiness, exit_report, pid_file};
use crate::fs::UnderlyingFolder;

/// How often it is looked whether all threads are still there.
const CENSUS_EVERY: Duration = Duration::from_secs(5);

/// Threads also end because the mount does; that is heard of within this time.
const NEWS_TAKES: Duration = Duration::from_secs(2);

/// Serves the mount until it is to end. `readiness` hears whether it came up, and `explain` puts the
/// reason into words where it did not.
pub fn serve(
    plan: &DaemonConfig,
    readiness: Readiness,
    explain: impl FnOnce(&DaemonError) -> String,
) -> ExitCode {
    abort_on_panic();
    // Arms what the crash tests ask for. A build without tests does not even look.
    let _armed = fail::has_failpoints().then(fail::FailScenario::setup);
    let (sender, endings) = channel();
    let shutdown = Shutdown::new(sender);
    let opened = SignalThread::start(&shutdown)
        .map_err(DaemonError::Threads)
        .and_then(|signals| Ok((signals, Components::open(plan, alarm(&shutdown), &shutdown)?)));
    let (signals, rooms) = match opened {
        Ok(opened) => opened,
        Err(DaemonError::Stopped) => {
            log::info!("stopped before anything was mounted");
            readiness.failed(&explain(&DaemonError::Stopped));
            return ExitCode::SUCCESS;
        }
        Err(err) => {
            let why = explain(&err);
            // A line of the log has no ends in it.
            exit_report::say(&why.replace('\n', ". "));
            readiness.failed(&why);
            return ExitCode::FAILURE;
        }
    };
    shutdown.mounted(&rooms.mount);
    end_with_the_process(rooms.mount.connection());
    let watching = watch_mount(&rooms, &shutdown);
    let thread_check = ThreadCheck::take();
    log::info!("mounted at {}", plan.mount.mountpoint.display());
    if let Err(err) = pid_file::write(&plan.config.state, rooms.mount.mountpoint()) {
        log::warn!("this daemon will not be recognised if it is killed but cannot exit: {err}");
    }
    readiness.ready();
    tell_supervisor(NotifyState::Ready);
    let ending = wait(&endings, thread_check, plan.mount.underlying.as_deref());
    if ending == Ending::Unmounted {
        log::info!("the mount was removed: the daemon exits");
    }
    tell_supervisor(NotifyState::Stopping);
    if ending == Ending::Broken {
        // Left as it is, the mount looks broken, which it is. Detached, it would look empty.
        rooms.mount.connection().abort();
        std::mem::forget(rooms);
        return ExitCode::FAILURE;
    }
    shutdown.limit();
    let mount = rooms.mount.clone();
    rooms.close();
    signals.stop();
    if !mount.has_ended() {
        // Nothing ends a connection that is still in use but the end of this process.
        log::warn!("files are still open, and will answer ENOTCONN from now on");
    } else if watching.is_some_and(|thread| thread.join().is_err()) {
        log::error!("a thread of the daemon has panicked");
    }
    log::info!("unmounted");
    ExitCode::SUCCESS
}

/// Until somebody asks for the end, or a thread is missing.
fn wait(
    endings: &Receiver<Ending>,
    mut thread_check: ThreadCheck,
    underlying: Option<&UnderlyingFolder>,
) -> Ending {
    loop {
        match endings.recv_timeout(CENSUS_EVERY) {
            Ok(ending) => return ending,
            Err(RecvTimeoutError::Disconnected) => {
                exit_report::say("nothing is left that could ask it to");
                return Ending::Broken;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(underlying) = underlying {
            underlying.look();
        }
        let now = ThreadCheck::take();
        let Some(missing) = thread_check.missing_in(&now) else {
            thread_check.add_new_in(now);
            continue;
        };
        if let Ok(ending) = endings.recv_timeout(NEWS_TAKES) {
            return ending;
        }
        exit_report::say(&format!("its thread `{missing}` has ended"));
        return Ending::Broken;
    }
}

fn alarm(shutdown: &Arc<Shutdown>) -> Arc<dyn Fn() + Send + Sync> {
    let shutdown = shutdown.clone();
    Arc::new(move || {
        exit_report::say("the index can no longer be used");
        shutdown.ask(Ending::Broken);
    })
}

/// Whoever calls `umount` ends the daemon too. A connection that breaks is no wish to end: another daemon is needed.
fn watch_mount(rooms: &Components, shutdown: &Arc<Shutdown>) -> Option<JoinHandle<()>> {
    let (mount, shutdown) = (rooms.mount.clone(), shutdown.clone());
    let thread = Builder::new().name("mount-end".to_owned()).spawn(move || {
        mount.wait();
        if mount.has_broken() {
            exit_report::say("its connection to the kernel has ended, and nobody unmounted it");
            shutdown.ask(Ending::Broken);
        } else {
            shutdown.ask(Ending::Unmounted);
        }
    });
    thread.inspect_err(|err| log::error!("cannot watch for `umount`: {err}")).ok()
}

/// For `Type=notify` in systemd; without a supervisor nothing happens.
fn tell_supervisor(state: NotifyState<'_>) {
    if let Err(err) = sd_notify::notify(&[state]) {
        log::warn!("the service manager could not be notified: {err}");
    }
}
