//! Where the log goes: standard error, which is the log file once the daemon has detached.

use log::LevelFilter;

/// Sends the log of this process to standard error, from `level` up.
pub fn set_up_logging(level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    // Libraries speak up only when something is wrong.
    builder.filter_level(level.min(LevelFilter::Warn)).filter_module("scribefs", level);
    // A second call, in tests, finds the first one's logger: that one goes on.
    let _ = builder.try_init();
}
