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
mod parts_ahead;
mod rate_limit;
mod scheduler;
#[cfg(test)]
mod tests;
mod throughput;
mod upload;
mod upload_error;
mod upload_worker;

use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::index::{Index, IndexError};
use crate::model::causes;
use crate::publishing::change_log::Changes;
use crate::store::outbox::Sizes;
use crate::store::{Bucket, BucketHealth, Store, chance};
use crate::sync::bucket_identity::PlaceError;
use crate::sync::eviction::Retention;
use crate::sync::lease::{Fence, LeaseError, LeaseKeeper, LeaseOptions, NotHeld, Now};
use crate::sync::uploader::maintenance::Steward;
use crate::sync::uploader::memory_budget::MemoryBudget;
use crate::sync::uploader::rate_limit::Pace;
use crate::sync::uploader::scheduler::{Rounds, Turn};
use crate::sync::uploader::upload_worker::Courier;

/// How recordings are carried, and what is kept for how long.
#[derive(Debug, Clone)]
pub struct CarrierOptions {
    /// Recordings that are carried at once. Default 4: enough to fill a line. Each may hold one object of up to
    /// `sizes.single_put_bytes` in memory.
    pub uploads_at_once: usize,
    /// Most that all of them send in a second; `None`: as fast as it goes.
    pub bytes_per_second: Option<NonZeroU64>,
    pub sizes: Sizes,
    pub retention: Retention,
    /// The file that keeps this writer's name between mounts, in the state folder.
    pub writer: PathBuf,
}

/// The rooms between which things are carried.
#[derive(Clone)]
pub struct Grounds {
    /// Local disk alone: what is not there is `Missing`, whatever the bucket has.
    pub near: Arc<dyn Store>,
    /// What the rest of the house sees: local disk, and the bucket behind it.
    pub store: Arc<dyn Store>,
    pub bucket: Arc<dyn Bucket>,
    /// What readers of the bucket know of it.
    pub health: Arc<BucketHealth>,
    pub index: Index,
    /// Bytes that are free on the disk of `near`; `None` where that is not known.
    pub free_bytes: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
    /// Told now and then how many bytes local copies take: the cache of blocks has the rest of the room for both.
    pub copied: Arc<dyn Fn(u64) + Send + Sync>,
    /// Rung when the index can no longer be written: the daemon must end and be started anew.
    pub alarm: Arc<dyn Fn() + Send + Sync>,
}

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

/// How it goes, for `storage.json`. Says nothing secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CarrierStatus {
    /// Recordings that are not in the bucket yet, and those that were refused.
    pub pending: u64,
    pub paused: u64,
    /// Why nothing is sent: somebody has to do something.
    pub paused_because: Option<String>,
    /// The bucket does not answer; when it is tried next.
    pub away_until: Option<Timestamp>,
    pub last_error: Option<String>,
    pub last_success: Option<Timestamp>,
    /// Sent in the last seconds.
    pub bytes_per_second: u64,
}

/// The running carrier: its threads, and the way to them.
pub struct Carrier {
    shared: Arc<Shared>,
    lease: LeaseKeeper,
    threads: Vec<JoinHandle<()>>,
    /// Recordings that wait and that are paused, as the index last said.
    counted: Mutex<(u64, u64)>,
}

/// What the threads share.
pub(crate) struct Shared {
    pub(crate) grounds: Grounds,
    pub(crate) options: CarrierOptions,
    pub(crate) rounds: Arc<Rounds>,
    pub(crate) pace: Pace,
    budget: MemoryBudget,
    pub(crate) changes: Arc<Changes>,
    /// Shut while the lease on the bucket may be somebody else's.
    pub(crate) fence: Arc<Fence>,
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

impl Shared {
    fn courier<'a>(&'a self, heard: &'a dyn Fn()) -> Courier<'a> {
        Courier {
            near: self.grounds.near.as_ref(),
            store: self.grounds.store.as_ref(),
            bucket: self.grounds.bucket.as_ref(),
            index: &self.grounds.index,
            sizes: self.options.sizes,
            pace: &self.pace,
            budget: &self.budget,
            changes: &self.changes,
            clock: &Timestamp::now,
            chance: &chance,
            heard,
            fence: &self.fence,
        }
    }

    /// Carries one recording after the other until the end.
    fn carry(&self) {
        loop {
            match self.carry_one() {
                Ok(true) => {}
                Ok(false) => return,
                Err(IndexError::Full(_)) => self.rounds.wait_for_room(),
                Err(err) => return self.give_up(&err),
            }
        }
    }

    /// Waits for a recording that may go and carries it. `false`: the end has come.
    fn carry_one(&self) -> Result<bool, IndexError> {
        if !self.fence.is_open() {
            // Whoever holds the lease lets everybody go again.
            self.rounds.bar_unless_barred("there is no lease on the bucket at present");
        }
        match self.rounds.turn(&self.grounds.index, Now::read())? {
            Turn::Carry(recording, rested, ticket) => {
                let id = recording.id;
                let heard = || self.rounds.heard();
                let (event, is_requested) = (ticket.event(), ticket.is_requested);
                let carried =
                    self.courier(&heard).carry(*recording, rested, event, is_requested)?;
                self.rounds.done(id, &ticket, carried, Now::read(), chance());
            }
            Turn::Wait { until, seen } => self.rounds.wait(until, seen),
            Turn::Closed => return Ok(false),
        }
        Ok(true)
    }

    /// Without an index nothing can be carried safely.
    pub(crate) fn give_up(&self, err: &IndexError) {
        if !self.rounds.is_closing() {
            log::error!("the carrier ends: {}", causes(err));
            (self.grounds.alarm)();
        }
        self.close();
    }

    fn close(&self) {
        self.rounds.close();
        self.pace.close();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}
