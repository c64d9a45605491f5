//! The uploader: brings what is published on local disk to the bucket, oldest first, and keeps at it.
//!
//! A few threads carry recordings (step by step, in `upload_worker.rs`); who goes when is decided in
//! `scheduler.rs`, by what is known of the bucket (`BucketHealth`), since one that is away is away for everybody.
//! One thread, maintenance, does what is due now and then. While the bucket is away nothing changes
//! but the status.

mod disk_pause;
mod maintenance;
mod memory_budget;
mod object_labels;
mod options;
mod parts_ahead;
mod rate_limit;
mod scheduler;
mod shared;
#[cfg(test)]
mod tests;
mod throughput;
mod upload;
mod upload_error;
mod upload_worker;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

pub use crate::sync::uploader::options::{UploaderConfig, UploaderStatus};

use crate::index::IndexError;
use crate::publishing::change_log::ChangeLog;
use crate::sync::bucket_identity::BucketIdentityError;
use crate::sync::context::SyncContext;
use crate::sync::lease::{LeaseError, LeaseKeeper, LeaseOptions, NotHeld, Now};
use crate::sync::uploader::maintenance::Maintenance;
use crate::sync::uploader::memory_budget::MemoryBudget;
use crate::sync::uploader::rate_limit::RateLimit;
use crate::sync::uploader::scheduler::Scheduler;
use crate::sync::uploader::shared::Shared;

/// Why there is no uploader.
#[derive(Debug, thiserror::Error)]
pub enum UploaderError {
    /// Another scribefs writes to the bucket.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// It is not the bucket that this state folder belongs to.
    #[error(transparent)]
    Place(#[from] BucketIdentityError),
    #[error("the index refused")]
    Index(#[from] IndexError),
    #[error("the writer's name cannot be kept in {path}")]
    Writer { path: PathBuf, source: io::Error },
    #[error("threads could not be started")]
    Threads(#[source] io::Error),
}

/// The running uploader: its threads, and the way to them.
pub struct Uploader {
    shared: Arc<Shared>,
    lease: LeaseKeeper,
    threads: Vec<JoinHandle<()>>,
    /// Recordings that wait and that are paused, as the index last said.
    counted: Mutex<(u64, u64)>,
}

/// How long a stop waits for requests that are under way. They end later by themselves, unheard: the next
/// uploader looks.
const PATIENCE: Duration = Duration::from_secs(10);

impl Uploader {
    /// Starts all threads. A bucket that does not answer is waited for.
    ///
    /// # Errors
    /// `Lease`: the bucket answers and says that another scribefs writes to it.
    pub fn start(options: UploaderConfig, context: SyncContext) -> Result<Self, UploaderError> {
        let scheduler = Arc::new(Scheduler::new(context.health.clone()));
        scheduler.bar(Some("the bucket has not answered yet".to_owned()));
        let changes = Arc::<ChangeLog>::default();
        let lease = take_lease(&options, &context, &scheduler, &changes)?;
        // Whatever is changed from here on is changed under the lease.
        let context = SyncContext { bucket: lease.bucket().clone(), ..context };
        let changed = context.index.subscribe();
        let count = options.uploads_at_once.max(1);
        let rate_limit = RateLimit::new(options.bytes_per_second);
        let fence = lease.fence().clone();
        let budget = MemoryBudget::default();
        let shared =
            Arc::new(Shared { context, options, scheduler, rate_limit, budget, changes, fence });
        let maintenance = Maintenance::new(shared.clone());
        let counted = Mutex::default();
        let mut uploader = Self { shared: shared.clone(), lease, threads: Vec::new(), counted };
        uploader.spawn("maintenance", move || maintenance.serve(&changed))?;
        for number in 0..count {
            let shared = shared.clone();
            uploader.spawn(&format!("upload-{number}"), move || shared.carry())?;
        }
        Ok(uploader)
    }

    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), UploaderError> {
        let thread = Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(thread.map_err(UploaderError::Threads)?);
        Ok(())
    }

    /// Tries now what waits for its time: after somebody has mended what was refused.
    pub fn retry_now(&self) {
        self.lease.retry_now();
        self.shared.scheduler.call();
    }

    pub fn status(&self) -> Result<UploaderStatus, IndexError> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match self.shared.context.index.totals() {
            Ok(totals) => *counted = (totals.pending, totals.paused),
            // An index without room may not be readable. That uploads pause is to be told all the same.
            Err(IndexError::Full(_)) => {}
            Err(err) => return Err(err),
        }
        let (pending, paused) = *counted;
        let bytes_per_second = self.shared.rate_limit.bytes_per_second(Instant::now());
        let status = self.shared.scheduler.status(Now::read());
        Ok(UploaderStatus { pending, paused, bytes_per_second, ..status })
    }

    /// Lets requests that are under way end, for a while, joins the threads and then gives the lease back. What
    /// was on its way goes on with the next uploader.
    pub fn stop(self) {
        self.shared.close();
        let begun = Instant::now();
        let mut is_quiet = true;
        for thread in self.threads {
            while !thread.is_finished() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(10));
            }
            if !thread.is_finished() {
                let name = thread.thread().name().unwrap_or_default().to_owned();
                log::warn!("{name}: a request is still under way; it ends unheard");
                is_quiet = false;
            } else if thread.join().is_err() {
                log::error!("an upload thread has panicked");
            }
        }
        // Another writer must not begin while a request of ours may still arrive.
        if is_quiet { self.lease.release() } else { self.lease.abandon() }
    }
}

/// The lease, or the thread that goes on trying to get it.
fn take_lease(
    options: &UploaderConfig,
    context: &SyncContext,
    scheduler: &Arc<Scheduler>,
    changes: &Arc<ChangeLog>,
) -> Result<LeaseKeeper, UploaderError> {
    let lease = LeaseOptions {
        bucket: context.bucket.clone(),
        index: context.index.clone(),
        writer: options.writer.clone(),
    };
    let scheduler = scheduler.clone();
    let report = Box::new(move |why| {
        scheduler.bar(why);
    });
    match LeaseKeeper::start(lease, changes.clone(), report) {
        Ok(Ok(keeper)) => Ok(keeper),
        Ok(Err(NotHeld::Lease(err))) => Err(err.into()),
        Ok(Err(NotHeld::Place(err))) => Err(err.into()),
        Err(source) => Err(UploaderError::Writer { path: options.writer.clone(), source }),
    }
}
