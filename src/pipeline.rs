//! The daemon's road: what is complete in the spool becomes a conversation in the store and the index.
//!
//! One thread, the dispatcher, hears the spool and makes jobs; others take them from the queue: some decode, some have
//! engines. The road that a recording takes through all rooms is in `run.rs`, to be read from top to bottom.

mod backlog;
mod causes;
mod change_log;
mod check;
mod claim;
mod clear;
mod content_hash;
mod convert;
mod copies;
mod decode;
mod dispatcher;
mod duplicates;
mod eviction;
mod folders;
mod follow;
mod former_keys;
mod import;
mod job_models;
mod lease;
mod links;
mod memory;
mod migrate;
mod once;
mod order_socket;
mod outcome;
mod pages;
mod pages_due;
mod pages_update;
mod place;
mod placement;
mod probe;
mod publish;
mod queue;
mod rebuild;
mod recorded_at;
mod refile;
mod refusals;
mod remarks;
mod removals;
mod rewrite;
mod run;
mod runner;
mod salvage;
mod shelves;
mod shortage;
mod speakers;
mod staged_pages;
mod stock;
#[cfg(test)]
mod tests;
mod transcripts;
mod trash;
mod verify;
mod worker_failures;
mod worker_output;
mod worker_process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::index::Index;
use crate::model::SpeakerBounds;
use crate::models::Library;
use crate::spool::Spool;
use crate::store::Store;

pub use causes::causes;
pub use change_log::Told;
pub use check::{Checked, Counts, Depth, Fault, Finding, Where, check, inspect, mend};
pub use clear::{Left, Orphan, clear_cache, orphans, remove_orphan};
pub use dispatcher::Pipeline;
pub use eviction::{RemovalError, Retention};
pub use follow::{
    DiscoveryError, FOLLOW_EVERY, FollowStatus, Follower, Following, PageRefresher, StartError,
    discover,
};
pub use import::{
    BucketDays, Find, ImportError, Imported, NotTaken, Reason, Survey, days, fetch_day, import,
    lies_in, survey, time_for_inbox,
};
pub use lease::{
    Fence, HoldError, Lease, LeaseError, LeaseKeeper, LeaseOptions, Now, Watch, Writer,
};
pub use links::{LinkError, link};
pub use migrate::{Moved, Old, bring_home, leave_disk};
pub use once::{FileTranscriber, try_workers};
pub use pages_due::{Drained, write_pages_due};
pub use place::{PlaceError, bind_follower, is_renamed, place_id};
pub use placement::{Carrier, CarrierError, CarrierOptions, CarrierStatus, Grounds};
pub use probe::{ProbeError, Probed, Step, try_bucket};
pub use rebuild::{RebuildError, Rebuilt, rebuild, rebuild_with_bucket};
pub use rewrite::{RewriteError, name_speakers};
pub use stock::{Home, Stock, StockError};
pub use trash::{TrashClock, empty_trash};

/// How recordings are worked on.
#[derive(Debug, Clone)]
pub struct Setup {
    /// This very program: workers are its children.
    pub executable: PathBuf,
    /// Their environment, and all of it: the daemon's own may hold keys.
    pub variables: BTreeMap<String, String>,
    pub library: Library,
    /// Folder of the library: all that a worker may read.
    pub models_dir: PathBuf,
    /// Name of the recognizer's model.
    pub recognizer: String,
    /// Name of the diarizer's model; `None` takes everybody for one speaker.
    pub diarizer: Option<String>,
    /// BCP 47 code; `None` lets the engine find out.
    pub language: Option<String>,
    pub speakers: SpeakerBounds,
    /// Threads of one worker.
    pub threads: u16,
    /// Recordings that are worked on at once; one more while all are long and a short one waits.
    pub workers: usize,
    /// Longer recordings are refused.
    pub longest: Duration,
    /// Room on the disk that decoded sound leaves free.
    pub keep_free_bytes: u64,
    /// Most memory that a worker may take. Default 4096: it needs a third of that.
    pub memory_mb: u64,
    /// A worker that says nothing for so long is taken for stalled and killed. Default 60 s.
    pub stall: Duration,
    /// A worker that has had nothing to do for so long is sent home. Default 5 min.
    pub idle: Duration,
    /// Where decoded sound is kept while it is worked on, in files without a name.
    pub scratch: PathBuf,
    /// Where what is published comes first.
    pub uploads: PathBuf,
    /// Reads what we cannot; `None` where none is installed.
    pub ffmpeg: Option<PathBuf>,
    /// The zone in which days are counted.
    pub zone: TimeZone,
}

/// The rooms that the road leads through.
#[derive(Clone)]
pub struct Services {
    pub spool: Spool,
    pub store: Arc<dyn Store>,
    pub index: Index,
    /// Rung when the index can no longer be written: the daemon must end and be started anew.
    pub alarm: Arc<dyn Fn() + Send + Sync>,
}

/// Jobs that have been started this often are not started again by themselves.
const MOST_ATTEMPTS: u32 = 3;
