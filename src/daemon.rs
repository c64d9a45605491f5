//! The composition root: where the rooms are put together, the process detaches and signals arrive.

mod bringing;
mod detach;
mod environment;
mod errands;
mod facts;
mod lamp;
mod reindex;
mod rooms;
mod serve;
mod storage;

pub use detach::{Detached, Readiness, detach};
pub use environment::Environment;
pub use lamp::set_up_logging;
pub use reindex::{open_index, reindex};
pub use rooms::{DaemonError, carrier_options, open_bucket, open_near};
pub use serve::{Plan, serve};
pub use storage::{cache_options, open_placed};
