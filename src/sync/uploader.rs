//! The carrier: brings what is published on local disk to the bucket, oldest first, and keeps at it.
//!
//! A few threads carry recordings (`errand` by errand, in `courier.rs`); who goes when is decided in
//! `rounds.rs`, by what is known of the bucket ([`BucketHealth`]), since one that is away is away for everybody.
//! One steward holds the lease and does what is due now and then. While the bucket is away nothing changes
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

pub use crate::sync::uploader::options::{CarrierOptions, CarrierStatus};

use crate::index::IndexError;
use crate::publishing::change_log::Changes;
use crate::sync::bucket_identity::PlaceError;
use crate::sync::context::Grounds;
use crate::sync::lease::{LeaseError, LeaseKeeper, LeaseOptions, NotHeld, Now};
use crate::sync::uploader::maintenance::Steward;
use crate::sync::uploader::memory_budget::MemoryBudget;
use crate::sync::uploader::rate_limit::Pace;
use crate::sync::uploader::scheduler::Rounds;
use crate::sync::uploader::shared::Shared;

/// Why there is no carrier.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// Another scribefs writes to the bucket.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// It is not the bucket that this state folder belongs to.
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("the index refused")]
    Index(#[from] IndexError),
    #[error("the writer's name cannot be kept in {path}")]
    Writer { path: PathBuf, source: io::Error },
    #[error("threads could not be started")]
    Threads(#[source] io::Error),
}

/// The running carrier: its threads, and the way to them.
pub struct Carrier {
    shared: Arc<Shared>,
    lease: LeaseKeeper,
    threads: Vec<JoinHandle<()>>,
    /// Recordings that wait and that are paused, as the index last said.
    counted: Mutex<(u64, u64)>,
}

/// How long a stop waits for requests that are under way. They end later by themselves, unheard: the next
/// carrier looks.
const PATIENCE: Duration = Duration::from_secs(10);

impl Carrier {
    /// Starts all threads. A bucket that does not answer is waited for.
    ///
    /// # Errors
    /// `Lease`: the bucket answers and says that another scribefs writes to it.
    pub fn start(options: CarrierOptions, grounds: Grounds) -> Result<Self, CarrierError> {
        let rounds = Arc::new(Rounds::new(grounds.health.clone()));
        rounds.bar(Some("the bucket has not answered yet".to_owned()));
        let changes = Arc::<Changes>::default();
        let lease = take_lease(&options, &grounds, &rounds, &changes)?;
        // Whatever is changed from here on is changed under the lease.
        let grounds = Grounds { bucket: lease.bucket().clone(), ..grounds };
        let changed = grounds.index.subscribe();
        let count = options.uploads_at_once.max(1);
        let pace = Pace::new(options.bytes_per_second);
        let fence = lease.fence().clone();
        let budget = MemoryBudget::default();
        let shared = Arc::new(Shared { grounds, options, rounds, pace, budget, changes, fence });
        let steward = Steward::new(shared.clone());
        let counted = Mutex::default();
        let mut carrier = Self { shared: shared.clone(), lease, threads: Vec::new(), counted };
        carrier.spawn("steward", move || steward.serve(&changed))?;
        for number in 0..count {
            let shared = shared.clone();
            carrier.spawn(&format!("carrier-{number}"), move || shared.carry())?;
        }
        Ok(carrier)
    }

    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), CarrierError> {
        let thread = Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(thread.map_err(CarrierError::Threads)?);
        Ok(())
    }

    /// Tries now what waits for its time: after somebody has mended what was refused.
    pub fn retry_now(&self) {
        self.lease.retry_now();
        self.shared.rounds.call();
    }

    pub fn status(&self) -> Result<CarrierStatus, IndexError> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match self.shared.grounds.index.totals() {
            Ok(totals) => *counted = (totals.pending, totals.paused),
            // An index without room may not be readable. That uploads pause is to be told all the same.
            Err(IndexError::Full(_)) => {}
            Err(err) => return Err(err),
        }
        let (pending, paused) = *counted;
        let bytes_per_second = self.shared.pace.bytes_per_second(Instant::now());
        let status = self.shared.rounds.status(Now::read());
        Ok(CarrierStatus { pending, paused, bytes_per_second, ..status })
    }

    /// Lets requests that are under way end, for a while, joins the threads and then gives the lease back. What
    /// was on its way goes on with the next carrier.
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
                log::error!("a thread of the carrier has panicked");
            }
        }
        // Another writer must not begin while a request of ours may still arrive.
        if is_quiet { self.lease.release() } else { self.lease.abandon() }
    }
}

/// The lease, or the thread that goes on trying to get it.
fn take_lease(
    options: &CarrierOptions,
    grounds: &Grounds,
    rounds: &Arc<Rounds>,
    changes: &Arc<Changes>,
) -> Result<LeaseKeeper, CarrierError> {
    let lease = LeaseOptions {
        bucket: grounds.bucket.clone(),
        index: grounds.index.clone(),
        writer: options.writer.clone(),
    };
    let rounds = rounds.clone();
    let report = Box::new(move |why| {
        rounds.bar(why);
    });
    match LeaseKeeper::start(lease, changes.clone(), report) {
        Ok(Ok(keeper)) => Ok(keeper),
        Ok(Err(NotHeld::Lease(err))) => Err(err.into()),
        Ok(Err(NotHeld::Place(err))) => Err(err.into()),
        Err(source) => Err(CarrierError::Writer { path: options.writer.clone(), source }),
    }
}
