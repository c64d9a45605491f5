//! The composition root: where the rooms are put together, the process detaches and signals arrive.

mod census;
mod detach;
mod end_mark;
mod environment;
mod errands;
mod error;
mod facts;
mod last_words;
mod logging;
mod overlap;
mod panic;
mod pid_file;
mod plan;
mod process;
mod reindex;
mod rooms;
mod serve;
mod shutdown;
mod state;
mod state_folder;
mod storage;
mod supervisor;

pub use detach::{Detached, Readiness, detach};
pub use environment::Environment;
pub use error::DaemonError;
pub use logging::{log_to_file, set_up_logging};
pub use overlap::{Overlap, check_overlaps};
pub use panic::pass_over_contained_panics;
pub use pid_file::last_server;
pub use plan::Plan;
pub use process::{
    close_inherited_files, effective_user, harden, is_private_to_write, use_private_umask,
};
pub use reindex::{open_index, reindex};
pub use rooms::{open_bucket, open_near};
pub use serve::serve;
pub use state::{StateError, settle_writer};
pub use state_folder::private_folder;
pub use storage::{cache_options, carrier_options, open_placed};
pub use supervisor::supervise;
