//! Wakes the upload threads when there is something new, and sees to what is due now and then: uploads given up, local
//! copies that make room, the trash, old change markers.

use std::iter;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::index::{Change, ChangeQueue, IndexError};
use crate::model::causes;
use crate::publishing::StorageError;
use crate::publishing::change_log::ChangeLog;
use crate::sync::bucket_removals;
use crate::sync::context::SyncContext;
use crate::sync::eviction::{self, Eviction};
use crate::sync::lease::Now;
use crate::sync::purge::{self, PurgeContext, TrashClock};
use crate::sync::refusals::Refusals;
use crate::sync::uploader::shared::Shared;

/// Longest time without a look around.
const TICK: Duration = Duration::from_secs(1);

/// How often it is looked for what an end in the middle has left of a removal. What users purge goes at once.
const PURGE: Duration = Duration::from_secs(10);

/// How often copies are looked at, since free space changes by itself.
const EVICTION: Duration = Duration::from_secs(10);

/// How often the rest is.
const HOUSEKEEPING: Duration = Duration::from_hours(1);

/// After a failure of the bucket.
const AGAIN: Duration = Duration::from_mins(5);

pub(crate) struct Maintenance {
    shared: Arc<Shared>,
    purge_due: Instant,
    eviction_due: Instant,
    housekeeping_due: Instant,
    /// The last copy that was looked at may not be the last one.
    has_more_copies: bool,
    trash: TrashClock,
    refusals: Refusals,
}

impl Maintenance {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let trash = TrashClock::new(Now::read());
        let refusals = Refusals::default();
        Self {
            shared,
            purge_due: now,
            eviction_due: now,
            housekeeping_due: now,
            has_more_copies: false,
            trash,
            refusals,
        }
    }

    /// Serves until the end.
    pub(crate) fn serve(mut self, changed: &ChangeQueue) {
        while !self.shared.scheduler.is_closing() {
            match self.look_around() {
                // It is looked at again; uploads say why they wait.
                Ok(()) | Err(IndexError::Full(_)) => {}
                Err(err) => {
                    self.shared.give_up(&err);
                    break;
                }
            }
            let rest = if self.has_more_copies { Duration::ZERO } else { TICK };
            match changed.recv_timeout(rest) {
                Ok(change) => {
                    // One look for all that came together.
                    let mut changes =
                        iter::once(change).chain(iter::from_fn(|| changed.try_recv().ok()));
                    if changes.by_ref().any(|it| matches!(it, Change::Purging { .. })) {
                        self.purge_due = Instant::now();
                    }
                    changes.for_each(drop);
                    self.shared.scheduler.wake();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn look_around(&mut self) -> Result<(), IndexError> {
        let now = Instant::now();
        self.has_more_copies = false;
        if self.shared.scheduler.take_call() {
            self.housekeeping_due = now;
            self.refusals.forget();
        }
        if !self.shared.fence.is_open() {
            return Ok(());
        }
        // Users wait for what they have purged, and for no copy that has to be read first.
        if self.purge_due <= now {
            self.purge_due = now + pause(self.remove_due(), PURGE)?;
        }
        if self.eviction_due <= now {
            let evicted = pause(self.evict_one(), EVICTION)?;
            self.eviction_due = if self.has_more_copies { now } else { now + evicted };
            let context = &self.shared.context;
            (context.copied)(context.index.copied_bytes()?);
        }
        if self.housekeeping_due <= now {
            self.housekeeping_due = now + pause(self.keep_house(), HOUSEKEEPING)?;
        }
        Ok(())
    }

    /// One copy in each look: all bytes of it may have to be read.
    fn evict_one(&mut self) -> Result<(), StorageError> {
        let Shared { context, options, scheduler, .. } = self.shared.as_ref();
        let may_go_on = || !scheduler.is_closing();
        let now = Timestamp::now();
        let looked = eviction::evict_next(context, &options.retention, now, &may_go_on)?;
        self.has_more_copies = matches!(looked, Eviction::Evicted | Eviction::Kept);
        Ok(())
    }

    /// What users have purged, what recordings have left under former keys, and what an end in the middle has left of an
    /// earlier removal.
    fn remove_due(&self) -> Result<(), StorageError> {
        let Shared { context, scheduler, changes, .. } = self.shared.as_ref();
        let (refusals, now) = (&self.refusals, Timestamp::now());
        let is_busy = |seq| scheduler.is_busy_with(|id| id.conversation == seq);
        let purged = purge::remove_due(PurgeContext::of(context, changes, refusals), &is_busy, now);
        let bucket = context.bucket.as_ref();
        purged.and_then(|_| {
            bucket_removals::remove_from_bucket(bucket, changes, &context.index, refusals, now)
        })
    }

    fn keep_house(&mut self) -> Result<(), StorageError> {
        let now = Now::read();
        let Shared { context, options, scheduler, changes, .. } = self.shared.as_ref();
        give_up_uploads(context, &self.refusals, now.wall)?;
        if let (Some(kept), Some(observed)) = (options.retention.trash, self.trash.observe(now)) {
            let is_busy = |seq| scheduler.is_busy_with(|id| id.conversation == seq);
            let bins = PurgeContext::of(context, changes, &self.refusals);
            purge::empty(bins, kept, &is_busy, now.wall, observed)?;
        }
        ChangeLog::prune(context.bucket.as_ref(), Timestamp::now())?;
        Ok(())
    }
}

/// Gives up multipart uploads that no recording goes on with: it was looked for again, or is gone.
pub(crate) fn give_up_uploads(
    context: &SyncContext,
    refusals: &Refusals,
    now: Timestamp,
) -> Result<(), StorageError> {
    let bucket = context.bucket.as_ref();
    for (id, key) in context.index.uploads()? {
        let item = format!("{key}: upload {id}");
        if refusals.rests(&item, now) {
            continue;
        }
        let recording = context.index.filed_recording_at(&key)?;
        if recording.is_none_or(|it| it.placement.upload_id() != Some(id.as_str())) {
            match bucket.abort_upload(&key, &id) {
                Ok(()) => context.index.forget_upload(&id)?,
                Err(err) => refusals.pass_over(Some(bucket), item, err, now)?,
            }
        }
    }
    Ok(())
}

/// The time until the next look. A bucket that fails is asked again later, and so is an index without room; an index
/// that fails otherwise is the end.
fn pause(outcome: Result<(), StorageError>, usual: Duration) -> Result<Duration, IndexError> {
    match outcome {
        Ok(()) => Ok(usual),
        Err(StorageError::Store(err)) => {
            log::debug!("nothing was removed: {}", causes(&err));
            Ok(AGAIN)
        }
        Err(StorageError::Index(IndexError::Full(_))) => Ok(AGAIN),
        Err(StorageError::Index(err)) => Err(err),
    }
}
