//! The thread that holds the lease on the bucket and does nothing else: whatever takes long elsewhere, it is
//! renewed in time, and lost in public.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::index::{Index, IndexError};
use crate::model::causes;
use crate::publishing::change_log::ChangeLog;
use crate::store::{Backoff, Bucket, StoreError, boot_time, chance};
use crate::sync::bucket_identity::{self, BucketIdentityError};
use crate::sync::lease::claim::{Lease, LeaseError, Now};
use crate::sync::lease::fence::{Fence, FencedBucket};
use crate::sync::lease::watch::Watch;
use crate::sync::lease::writer::Writer;

/// How often it is renewed: a few failures in a row do no harm.
const RENEWED: Duration = Duration::from_mins(1);

/// After a failure of the bucket.
const FIRST_TRY: Duration = Duration::from_secs(1);

/// A machine that wakes up finds out within this time that its lease has ended.
const TICK: Duration = Duration::from_secs(1);

/// Where the bucket knows no conditions: requests of another writer that began at once have arrived by then.
const CONFIRMED_AFTER: Duration = Duration::from_secs(20);

/// What a lease is taken on.
#[derive(Clone)]
pub struct LeaseOptions {
    pub bucket: Arc<dyn Bucket>,
    pub index: Index,
    /// The file that keeps this writer's name between mounts, in the state folder.
    pub writer: PathBuf,
}

/// Why the bucket may not be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotHeld {
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Place(#[from] BucketIdentityError),
}

/// Holds the lease until it is stopped.
pub struct LeaseKeeper {
    shared: Arc<Shared>,
    thread: JoinHandle<Option<Lease>>,
    bucket: Arc<dyn Bucket>,
    changes: Arc<ChangeLog>,
}

struct Shared {
    fence: Arc<Fence>,
    state: Mutex<State>,
    bell: Condvar,
}

/// Guarded by `Shared::state`.
#[derive(Default)]
struct State {
    is_stopping: bool,
    /// Somebody says that it is worth a try before its time.
    is_called: bool,
}

/// Told why the bucket may not be changed at present; `None`: it may.
pub(crate) type Report = Box<dyn Fn(Option<String>) + Send>;

/// The thread's own.
struct LeaseThread {
    shared: Arc<Shared>,
    options: LeaseOptions,
    writer: Writer,
    watch: Watch,
    changes: Arc<ChangeLog>,
    report: Report,
    lease: Option<Lease>,
    /// The lease is confirmed, and the bucket is the one that the index is of.
    is_ready: bool,
    /// When there is something to be done next, by [`boot_time`].
    due: Duration,
    backoff: Backoff,
    /// What was logged last.
    logged: Option<String>,
}

impl LeaseKeeper {
    /// Takes the lease, or goes on trying where the bucket does not answer yet.
    ///
    /// # Errors
    /// `NotHeld`: the bucket answers, and another scribefs writes to it, or it is not the bucket of the index.
    pub(crate) fn start(
        options: LeaseOptions,
        changes: Arc<ChangeLog>,
        report: Report,
    ) -> io::Result<Result<Self, NotHeld>> {
        let mut keeper = LeaseThread::new(options, changes, report)?;
        match keeper.step(Now::read()) {
            Err(
                NotHeld::Lease(LeaseError::Store(_))
                | NotHeld::Place(
                    BucketIdentityError::Store(_) | BucketIdentityError::Index(IndexError::Full(_)),
                ),
            )
            | Ok(()) => {}
            Err(err) => return Ok(Err(err)),
        }
        keeper.run_on_thread().map(Ok)
    }

    /// Takes the lease for a tool, which does nothing without.
    pub fn hold(options: LeaseOptions) -> Result<Self, HoldError> {
        let mut keeper = LeaseThread::new(options, Arc::default(), Box::new(|_| ()))?;
        keeper.step(Now::read()).map_err(HoldError::from)?;
        if !keeper.is_ready {
            log::info!(
                "the bucket supports no conditional requests: waiting {CONFIRMED_AFTER:?} to see whether another \
                 scribefs has started at the same time"
            );
            std::thread::sleep(keeper.due.saturating_sub(boot_time()));
            keeper.step(Now::read()).map_err(HoldError::from)?;
        }
        Ok(keeper.run_on_thread()?)
    }

    /// The bucket, which refuses changes while there is no lease.
    pub fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.bucket
    }

    pub(crate) fn fence(&self) -> &Arc<Fence> {
        &self.shared.fence
    }

    /// Tries now what waits for its time.
    pub(crate) fn retry_now(&self) {
        self.shared.state().is_called = true;
        self.shared.bell.notify_all();
    }

    /// Ends it and gives the lease back. Nothing that changes the bucket may be under way any more.
    pub fn release(self) {
        let changes = self.changes.clone();
        if let Some(lease) = self.stop() {
            lease.release(changes.last());
        }
    }

    /// Ends it without giving the lease back: something may still be under way, and the lease ends by itself
    /// after all of that.
    pub(crate) fn abandon(self) {
        drop(self.stop());
    }

    fn stop(self) -> Option<Lease> {
        self.shared.state().is_stopping = true;
        self.shared.bell.notify_all();
        let lease = self.thread.join();
        self.shared.fence.close();
        lease.unwrap_or_else(|_| {
            log::error!("the thread that holds the lease has panicked");
            None
        })
    }
}

/// Why a tool may not begin.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Place(#[from] BucketIdentityError),
    #[error("the writer's name cannot be kept, or no thread be started")]
    Io(#[from] io::Error),
}

impl From<NotHeld> for HoldError {
    fn from(err: NotHeld) -> Self {
        match err {
            NotHeld::Lease(err) => Self::Lease(err),
            NotHeld::Place(err) => Self::Place(err),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until then, or for a tick, or until somebody calls. Whether it is to go on.
    fn wait(&self, due: Duration) -> bool {
        let left = due.saturating_sub(boot_time()).min(TICK);
        let not_yet = |state: &mut State| !state.is_stopping && !state.is_called;
        let waited = self.bell.wait_timeout_while(self.state(), left, not_yet);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }
}

impl LeaseThread {
    fn new(options: LeaseOptions, changes: Arc<ChangeLog>, report: Report) -> io::Result<Self> {
        let writer = Writer::kept_in(&options.writer)?;
        let watch = Watch::kept_in(options.writer.with_extension("watch"));
        let shared =
            Shared { fence: Arc::default(), state: Mutex::default(), bell: Condvar::new() };
        Ok(Self {
            shared: Arc::new(shared),
            options,
            writer,
            watch,
            changes,
            report,
            lease: None,
            is_ready: false,
            due: Duration::ZERO,
            backoff: Backoff::new(FIRST_TRY, RENEWED),
            logged: None,
        })
    }

    fn run_on_thread(self) -> io::Result<LeaseKeeper> {
        let (shared, changes) = (self.shared.clone(), self.changes.clone());
        let fenced = FencedBucket::new(self.options.bucket.clone(), shared.fence.clone());
        let bucket: Arc<dyn Bucket> = Arc::new(fenced);
        let thread = Builder::new().name("lease".to_owned()).spawn(move || self.serve())?;
        Ok(LeaseKeeper { shared, thread, bucket, changes })
    }

    fn serve(mut self) -> Option<Lease> {
        while self.shared.wait(self.due) {
            let is_called = std::mem::take(&mut self.shared.state().is_called);
            let now = Now::read();
            if is_called || self.due <= now.boot {
                // What came of it was reported.
                let _ = self.step(now);
            } else if self.is_ready && !self.shared.fence.is_open() {
                // Suspended for so long: the lease may be somebody else's by now.
                (self.report)(Some("the lease on the bucket has ended".to_owned()));
                self.due = now.boot;
            }
        }
        self.lease.filter(|_| self.is_ready)
    }

    /// Does what is due: takes the lease, confirms or renews it.
    fn step(&mut self, now: Now) -> Result<(), NotHeld> {
        let outcome = self.try_step(now);
        match &outcome {
            Ok(()) => self.backoff.succeeded(),
            Err(err) => self.trouble(err, now),
        }
        outcome
    }

    fn try_step(&mut self, now: Now) -> Result<(), NotHeld> {
        let Some(lease) = &mut self.lease else { return self.take(now) };
        if self.is_ready || lease.deadline() <= now.boot {
            lease.renew(self.changes.last(), now)?;
        }
        if self.is_ready {
            self.open(now);
            return Ok(());
        }
        if !self.options.bucket.knows_conditions() {
            lease.confirm()?;
        }
        self.make_ready(now)
    }

    fn take(&mut self, now: Now) -> Result<(), NotHeld> {
        let bucket = self.options.bucket.clone();
        let knows_conditions = bucket.try_conditions().map_err(LeaseError::Store)?;
        self.is_ready = false;
        let lease = Lease::take(bucket, &self.writer, &mut self.watch, now)?;
        let is_sure = knows_conditions || lease.was_ours();
        self.lease = Some(lease);
        if is_sure {
            return self.make_ready(now);
        }
        self.due = now.boot + CONFIRMED_AFTER;
        (self.report)(Some("waiting to see whether another scribefs has started too".to_owned()));
        Ok(())
    }

    /// The lease is ours. Before anything is changed: is this the right bucket, and what was told last?
    fn make_ready(&mut self, now: Now) -> Result<(), NotHeld> {
        let LeaseOptions { bucket, index, .. } = &self.options;
        bucket_identity::bind_writer(bucket.as_ref(), index)?;
        let last_change = self.lease.as_ref().and_then(Lease::last_change);
        self.changes.go_on_after(bucket.as_ref(), last_change).map_err(LeaseError::Store)?;
        self.is_ready = true;
        self.open(now);
        Ok(())
    }

    fn open(&mut self, now: Now) {
        let Some(lease) = &self.lease else { return };
        self.shared.fence.open_until(lease.deadline());
        self.due = now.boot + RENEWED;
        self.logged = None;
        (self.report)(None);
    }

    fn trouble(&mut self, err: &NotHeld, now: Now) {
        let why = causes(err);
        let wait = match err {
            NotHeld::Lease(LeaseError::Held { free_in, .. }) => {
                self.lose();
                let free_in = Duration::try_from(*free_in).unwrap_or(RENEWED);
                RENEWED.min(free_in.max(FIRST_TRY))
            }
            NotHeld::Place(
                BucketIdentityError::Other { .. } | BucketIdentityError::Unknown { .. },
            ) => {
                if let Some(lease) = self.lose() {
                    lease.release(None);
                }
                RENEWED
            }
            NotHeld::Lease(LeaseError::Store(_)) | NotHeld::Place(_) => {
                self.backoff.failed(chance()).max(FIRST_TRY / 2)
            }
        };
        self.due = now.boot + wait;
        if !self.shared.fence.is_open() {
            self.log(&why, err);
            (self.report)(Some(why));
        }
    }

    /// Nothing may be changed any more.
    fn lose(&mut self) -> Option<Lease> {
        self.shared.fence.close();
        self.is_ready = false;
        self.lease.take()
    }

    /// Says each trouble once, loudly where somebody has to do something.
    fn log(&mut self, why: &str, err: &NotHeld) {
        if self.logged.as_deref() == Some(why) {
            return;
        }
        let is_passing = matches!(
            err,
            NotHeld::Lease(LeaseError::Store(StoreError::Unavailable { .. }))
                | NotHeld::Place(BucketIdentityError::Store(StoreError::Unavailable { .. }))
        );
        if is_passing {
            log::warn!("nothing is uploaded for now: {why}");
        } else {
            log::error!("nothing is uploaded: {why}");
        }
        self.logged = Some(why.to_owned());
    }
}
