//! From the spool to a published conversation: what is complete in the inbox becomes a job, and a job a recording.
//!
//! One thread, the dispatcher, subscribes to the spool and makes jobs; others take them from the queue: some decode,
//! some have engines. What is done with one recording is in `job_run.rs`, to be read from top to bottom.

mod backlog;
mod convert;
mod decode;
mod dispatcher;
pub(crate) mod duplicates;
mod job_models;
mod job_run;
mod memory;
mod one_shot;
mod order_socket;
mod outcome;
pub(crate) mod publish;
mod queue;
mod recorded_at;
mod remarks;
mod runner;
mod shortage;
mod speakers;
#[cfg(test)]
mod tests;
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

pub use dispatcher::Jobs;
pub use one_shot::{FileTranscriber, try_workers};

/// How recordings are worked on.
#[derive(Debug, Clone)]
pub struct JobConfig {
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
pub struct JobContext {
    pub spool: Spool,
    pub store: Arc<dyn Store>,
    pub index: Index,
    /// Rung when the index can no longer be written: the daemon must end and be started anew.
    pub alarm: Arc<dyn Fn() + Send + Sync>,
}

/// Jobs that have been started this often are not started again by themselves.
const MOST_ATTEMPTS: u32 = 3;
