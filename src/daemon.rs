//! The composition root: where the rooms are put together, the process detaches and signals arrive.

mod detach;
mod environment;
mod lamp;

pub use detach::{Detached, Readiness, detach};
pub use environment::Environment;
pub use lamp::set_up_logging;
