//! scribefs: a filesystem that writes down what was said.
//!
//! The rooms stand on floors; a room uses rooms on lower floors only (`tests/layers.rs`).
//!
//! ```text
//! floor 0  model      ids, days, keys, talk, jobs, records: values
//!          concurrency  locks and threads, of std or of shuttle
//!          regular_file  files that others may have put there, read without waiting and within bounds
//!          effective_user  as whom this process runs
//! floor 1  spool      what is being dropped: files, completeness, free space
//!          audio      what kind, how long, recorded when; to 16 kHz mono
//!          speech     Transcriber, Diarizer and their engines
//!          models     the catalogue of weights, and the folder they are kept in
//!          render     a conversation to pages (pure)
//!          store      the Store trait; local disk, bucket, outbox policy
//!          index      tables, transactions, changes
//!          view       records to names, nodes, attributes (pure)
//! floor 2  worker     the child: audio -> speech -> events on stdout
//!          publishing a recording in the store: audio, pages, the day's transcript
//!          fs         the filesystem, and a thin FUSE adapter
//! floor 3  upkeep     check, repair, gc, rebuild, import, migrate
//! floor 4  sync       uploads, lease, followers, eviction, purge
//! floor 5  jobs       spool -> job -> worker -> publishing
//! floor 6  config     file, environment and flags to one checked Config
//! floor 7  cli        subcommands
//!          daemon     composition root, detach, signals
//! ```
//!
//! What becomes of a recording is best read in [`jobs`]'s `job_run.rs`.

/// A named point where the crash tests end the process, as a power cut or the kernel would.
///
/// It costs nothing outside of tests: the crate `fail` acts only with its feature `failpoints`, which only
/// `[dev-dependencies]` ask for. `tests/oracle.rs` reaches each of these points by its name. Under shuttle another
/// thread may come in between here.
macro_rules! fail_point {
    ($name:literal) => {{
        #[cfg(all(test, feature = "shuttle"))]
        crate::concurrency::thread::yield_now();
        fail::fail_point!($name, |_| std::process::abort())
    }};
}

pub mod audio;
pub mod cli;
mod concurrency;
pub mod config;
pub mod daemon;
mod effective_user;
#[cfg(test)]
mod fixtures;
pub mod fs;
pub mod index;
pub mod jobs;
pub mod model;
pub mod models;
pub mod publishing;
mod regular_file;
pub mod render;
pub mod speech;
pub mod spool;
pub mod store;
pub mod sync;
pub mod upkeep;
pub mod view;
pub mod worker;
