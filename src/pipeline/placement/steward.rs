//! Holds the lease on the bucket, wakes the carriers when there is something new, and sees to what is due now
//! and then: uploads given up, local copies that make room, the trash, old change markers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::index::{Change, IndexError};
use crate::pipeline::eviction::{self, RemovalError};
use crate::pipeline::lease::{Lease, LeaseError, RENEWED, Writer};
use crate::pipeline::placement::changes::Changes;
use crate::pipeline::placement::fault::causes;
use crate::pipeline::placement::{Grounds, Shared};
use crate::pipeline::trash::{self, Bins};
use crate::store::StoreError;

/// Longest time without a look around.
const TICK: Duration = Duration::from_secs(1);

/// Without a lease: the first and the longest time until the next try.
const FIRST_TRY: Duration = Duration::from_secs(1);

/// How often copies are looked at, since free space changes by itself.
const EVICTION: Duration = Duration::from_secs(10);

/// How often the rest is.
const HOUSEKEEPING: Duration = Duration::from_hours(1);

/// After a failure of the bucket.
const AGAIN: Duration = Duration::from_mins(5);

pub(crate) struct Steward {
    shared: Arc<Shared>,
    writer: Writer,
    lease: Option<Lease>,
    lease_due: Instant,
    /// Time until the next try to get a lease.
    patience: Duration,
    eviction_due: Instant,
    housekeeping_due: Instant,
}

impl Steward {
    pub(crate) fn new(shared: Arc<Shared>, writer: Writer, lease: Option<Lease>) -> Self {
        let now = Instant::now();
        let lease_due = if lease.is_some() { now + RENEWED } else { now + FIRST_TRY };
        if lease.is_none() {
            shared.rounds.bar(Some("the bucket has not answered yet".to_owned()));
        }
        Self {
            shared,
            writer,
            lease,
            lease_due,
            patience: FIRST_TRY,
            eviction_due: now,
            housekeeping_due: now,
        }
    }

    /// Serves until the end.
    pub(crate) fn serve(mut self, changed: &Receiver<Change>) {
        while !self.shared.rounds.is_closing() {
            if let Err(err) = self.look_around() {
                self.shared.give_up(&err);
                break;
            }
            match changed.recv_timeout(TICK) {
                Ok(_) => {
                    // One look for all that came together.
                    while changed.try_recv().is_ok() {}
                    self.shared.rounds.wake();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
    }

    fn look_around(&mut self) -> Result<(), IndexError> {
        let now = Instant::now();
        if self.shared.rounds.take_call() {
            self.lease_due = now.min(self.lease_due);
            self.housekeeping_due = now;
        }
        if self.lease_due <= now {
            self.see_to_the_lease();
        }
        if self.lease.is_none() {
            return Ok(());
        }
        if self.eviction_due <= now {
            let retention = &self.shared.options.retention;
            let evicted = eviction::evict(&self.shared.grounds, retention, Timestamp::now());
            self.eviction_due = now + pause(evicted.map(drop), EVICTION)?;
        }
        if self.housekeeping_due <= now {
            self.housekeeping_due = now + pause(self.keep_house(), HOUSEKEEPING)?;
        }
        Ok(())
    }

    fn see_to_the_lease(&mut self) {
        let now = Timestamp::now();
        let outcome = match self.lease.as_mut() {
            Some(lease) => lease.renew(now),
            None => {
                let bucket = self.shared.grounds.bucket.clone();
                Lease::take(bucket, &self.writer, now).map(|lease| self.lease = Some(lease))
            }
        };
        let wait = match outcome {
            Ok(()) => {
                self.patience = FIRST_TRY;
                self.shared.rounds.bar(None);
                RENEWED
            }
            Err(LeaseError::Store(StoreError::Unavailable { .. })) => self.wait_for_the_bucket(now),
            Err(err) => {
                let why = causes(&err);
                if self.shared.rounds.bar(Some(why.clone())) {
                    log::error!("nothing is brought to the bucket: {why}");
                }
                self.lease = None;
                RENEWED
            }
        };
        self.lease_due = Instant::now() + wait;
    }

    /// A lease whose time is over may be somebody else's when the bucket is back.
    fn wait_for_the_bucket(&mut self, now: Timestamp) -> Duration {
        if self.lease.as_ref().is_none_or(|lease| !lease.is_live(now)) {
            self.shared.rounds.bar(Some("the bucket does not answer".to_owned()));
        }
        self.patience = (self.patience * 2).min(RENEWED);
        self.patience
    }

    fn keep_house(&self) -> Result<(), RemovalError> {
        let Shared { grounds, options, rounds, changes, .. } = self.shared.as_ref();
        give_up_uploads(grounds)?;
        if let Some(kept) = options.retention.trash {
            let is_busy = |seq| rounds.is_busy_with(|id| id.conversation == seq);
            trash::empty(Bins::of(grounds, changes), kept, &is_busy, Timestamp::now())?;
        }
        Changes::prune(grounds.bucket.as_ref(), Timestamp::now())?;
        Ok(())
    }
}

/// Gives up multipart uploads that no recording goes on with: it was refused, or looked for again.
pub(crate) fn give_up_uploads(grounds: &Grounds) -> Result<(), RemovalError> {
    let uploads = grounds.index.uploads()?;
    if uploads.is_empty() {
        return Ok(());
    }
    let unplaced = grounds.index.unplaced(usize::MAX)?;
    let is_wanted = |id: &str| unplaced.iter().any(|it| it.placement.upload_id() == Some(id));
    for (id, key) in uploads {
        if !is_wanted(&id) {
            grounds.bucket.abort_upload(&key, &id)?;
            grounds.index.forget_upload(&id)?;
        }
    }
    Ok(())
}

/// The time until the next look. A bucket that fails is asked again later; an index that fails is the end.
fn pause(outcome: Result<(), RemovalError>, usual: Duration) -> Result<Duration, IndexError> {
    match outcome {
        Ok(()) => Ok(usual),
        Err(RemovalError::Store(err)) => {
            log::debug!("nothing was removed: {}", causes(&err));
            Ok(AGAIN)
        }
        Err(RemovalError::Index(err)) => Err(err),
    }
}
