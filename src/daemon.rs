//! The composition root: where the rooms are put together, the process detaches and signals arrive.

mod components;
mod control;
mod daemon_config;
mod detach;
mod environment;
mod error;
mod exit_report;
mod logging;
mod overlap;
mod panic;
mod pid_file;
mod process;
mod reindex;
mod serve;
mod shutdown;
mod shutdown_mark;
mod state;
mod state_folder;
mod status;
mod storage;
mod supervisor;
mod thread_check;

pub use components::{open_bucket, open_local_store};
pub use daemon_config::DaemonConfig;
pub use detach::{Detached, Readiness, detach};
pub use environment::Environment;
pub use error::DaemonError;
pub use logging::{log_to_file, set_up_logging};
pub use overlap::{Overlap, check_overlaps};
pub use panic::pass_over_contained_panics;
pub use pid_file::last_server;
pub use process::{
    close_inherited_files, effective_user, harden, is_private_to_write, use_private_umask,
};
pub use reindex::{open_index, reindex};
pub use serve::serve;
pub use state::{StateError, settle_writer};
pub use state_folder::private_folder;
pub use storage::{cache_options, open_placed, uploader_config};
pub use supervisor::supervise;
