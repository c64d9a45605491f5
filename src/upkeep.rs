//! Tools that work on the stores and the index while nothing is mounted: check and repair, garbage collection, rebuild
//! of a lost index, import of older archives, migration, and the trial of a bucket.

mod captions;
mod check;
mod check_bucket;
mod copies;
mod folders;
pub(crate) mod former_keys;
mod gc;
mod import;
mod migrate;
mod rebuild;
mod salvage;
#[cfg(test)]
mod tests;

pub use check::{Checked, Counts, Depth, Finding, Problem, Where, check, inspect, mend};
pub use check_bucket::{ProbeError, Probed, Step, try_bucket};
pub use gc::{Left, Orphan, clear_cache, orphans, remove_orphan};
pub use import::{
    BucketDays, Find, ImportError, Imported, NotTaken, Reason, Survey, days, fetch_day, import,
    lies_in, survey, time_for_inbox,
};
pub use migrate::{Moved, Old, bring_home, leave_disk};
pub use rebuild::{RebuildError, Rebuilt, rebuild, rebuild_with_bucket};
