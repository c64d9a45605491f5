//! What a panic does to the daemon: it ends. A thread that is missing would leave a mount that hangs, or that no
//! longer takes recordings; a daemon that has ended leaves one that is seen to be broken and is mounted again.

use std::panic::{self, PanicHookInfo};
use std::process;
use std::sync::OnceLock;
use std::thread;

use crate::daemon::exit_report;
use crate::fs::Connection;
use crate::index::is_panic_contained;

/// To be ended before the process is: a thread that waits in the kernel for somebody who waits for us would keep it from
/// ending.
static CONNECTION: OnceLock<Connection> = OnceLock::new();

pub(crate) fn end_with_the_process(connection: Connection) {
    // A process has one mount.
    let _ = CONNECTION.set(connection);
}

/// From now on a panic on any thread ends the process, before anything is unwound. A damaged page of the index does not:
/// that is found out where the index is asked.
pub(crate) fn abort_on_panic() {
    panic::set_hook(Box::new(|panic| {
        if is_panic_contained() {
            log::debug!("the index: {}", message_of(panic));
            return;
        }
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name").to_owned();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        exit_report::say(&format!("its thread `{name}` panicked at {place}"));
        // Messages of panics quote what was being worked on, which may be what somebody said.
        log::debug!("thread `{name}`: {}", message_of(panic));
        if let Some(connection) = CONNECTION.get() {
            connection.abort();
        }
        process::abort();
    }));
}

/// In commands: what is caught is told where it is caught.
pub fn pass_over_contained_panics() {
    let rest = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !is_panic_contained() {
            rest(panic);
        }
    }));
}

fn message_of<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    panic.payload_as_str().unwrap_or("no message")
}
