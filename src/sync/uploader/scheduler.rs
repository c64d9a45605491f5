//! Who is carried next: the oldest that may go, each by one thread only.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::index::{Index, IndexError};
use crate::model::{Recording, RecordingId};
use crate::store::outbox::{Event, Trouble};
use crate::store::{Admission, BucketHealth, Permit, boot_time};
use crate::sync::lease::Now;
use crate::sync::uploader::UploaderStatus;
use crate::sync::uploader::disk_pause::DiskPause;
use crate::sync::uploader::upload::{Upload, UploadOutcome};
use crate::sync::uploader::upload_error::Blame;

/// Rows of the index that are looked at in one step.
const PAGE: usize = 64;

/// Nobody sleeps longer than that without looking: clocks can be set.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// No recording rests for longer.
const LONGEST_REST: Duration = Duration::from_mins(5);

/// What a thread is to do now.
pub(crate) enum Next {
    Carry(Box<Recording>, Option<Box<Upload>>, UploadSlot),
    /// Nothing before `until` (by [`Now::boot`]), or before anything has changed since `seen`.
    Wait {
        until: Option<Duration>,
        seen: u64,
    },
    Closed,
}

/// The right to carry one recording.
#[derive(Debug)]
pub(crate) struct UploadSlot {
    permit: Permit,
    /// Somebody has asked for it.
    pub(crate) is_requested: bool,
}

impl UploadSlot {
    /// Who may go does not wait for a time of its own: it was waited for by everybody.
    pub(crate) fn event(&self) -> Event {
        Event::Called
    }
}

/// Shared by all threads of the uploader.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    state: Mutex<State>,
    bell: Condvar,
    /// What readers know of the bucket, and are told.
    health: Arc<BucketHealth>,
}

/// Guarded by `Scheduler::state`.
#[derive(Debug, Default)]
struct State {
    busy: HashSet<RecordingId>,
    /// Those that wait for a time of their own, and their uploads.
    resting: HashMap<RecordingId, Rest>,
    /// Why nobody may go at all.
    barred: Option<String>,
    disk: DiskPause,
    /// Counts what has changed, so that nobody falls asleep over it.
    changes: u64,
    last_error: Option<String>,
    last_success: Option<Timestamp>,
    /// How often the bucket had come back when nobody waited for it any longer.
    recoveries: u64,
    /// Somebody has asked for a try.
    is_called: bool,
    is_closing: bool,
}

#[derive(Debug)]
struct Rest {
    until: Duration,
    upload: Box<Upload>,
    /// Somebody asks for a try: what looks hopeless is looked at all the same.
    is_requested: bool,
}

impl Scheduler {
    pub(crate) fn new(health: Arc<BucketHealth>) -> Self {
        Self { health, ..Self::default() }
    }

    /// The next for a thread that has nothing to do.
    pub(crate) fn turn(&self, index: &Index, now: Now) -> Result<Next, IndexError> {
        let (permit, seen) = {
            let mut state = self.state();
            state.notice_recovery(&self.health);
            let seen = state.changes;
            if state.is_closing {
                return Ok(Next::Closed);
            }
            if state.barred.is_some() {
                return Ok(Next::Wait { until: None, seen });
            }
            if let Some(left) = state.disk.left() {
                return Ok(Next::Wait { until: Some(now.boot + left), seen });
            }
            match self.health.upload_admission(now.boot) {
                Admission::Open => (Permit::Ordinary, seen),
                Admission::Probe => (Permit::Probe, seen),
                Admission::Wait(until) => return Ok(Next::Wait { until: Some(until), seen }),
                Admission::Probing => return Ok(Next::Wait { until: None, seen }),
            }
        };
        match self.oldest(index, now)? {
            Some(recording) => Ok(self.hand_out(recording, permit, now, seen)),
            None => {
                let mut state = self.state();
                state.disk.end();
                Ok(Next::Wait { until: state.next_awake(now.boot), seen })
            }
        }
    }

    /// The oldest recording that nobody carries and that does not rest.
    fn oldest(&self, index: &Index, now: Now) -> Result<Option<Recording>, IndexError> {
        let mut page = index.pending_uploads(PAGE)?;
        while let Some(last) = page.last().cloned() {
            let found = {
                let state = self.state();
                page.into_iter().find(|recording| state.may_go(recording.id, now.boot))
            };
            if found.is_some() {
                return Ok(found);
            }
            page = index.pending_uploads_after(&last, PAGE)?;
        }
        Ok(None)
    }

    /// Unless another thread was faster.
    fn hand_out(&self, recording: Recording, permit: Permit, now: Now, seen: u64) -> Next {
        let mut state = self.state();
        let is_probe = permit == Permit::Probe;
        let is_free = !is_probe || self.health.upload_admission(now.boot) == Admission::Probe;
        if !is_free || !state.may_go(recording.id, now.boot) {
            return Next::Wait { until: Some(now.boot), seen };
        }
        if is_probe {
            self.health.send_upload_probe();
        }
        state.busy.insert(recording.id);
        let rest = state.resting.remove(&recording.id);
        let is_requested = rest.as_ref().is_some_and(|rest| rest.is_requested);
        let ticket = UploadSlot { permit, is_requested };
        Next::Carry(Box::new(recording), rest.map(|rest| rest.upload), ticket)
    }

    /// Takes note of how it went.
    pub(crate) fn done(
        &self,
        id: RecordingId,
        ticket: &UploadSlot,
        carried: UploadOutcome,
        now: Now,
        chance: f64,
    ) {
        let mut state = self.state();
        state.busy.remove(&id);
        if !matches!(carried, UploadOutcome::DiskFull(_)) {
            state.disk.end();
        }
        match carried {
            UploadOutcome::Stored => {
                state.last_success = Some(now.wall);
                self.health.upload_succeeded(now.boot);
                state.notice_recovery(&self.health);
            }
            UploadOutcome::DiskFull(upload) => {
                if let Some(upload) = upload {
                    let is_requested = ticket.is_requested;
                    state.resting.insert(id, Rest { until: now.boot, upload, is_requested });
                }
                self.health.upload_withdrawn(ticket.permit, now.boot);
                state.disk.start();
            }
            UploadOutcome::Overtaken | UploadOutcome::Stopped => {
                self.health.upload_withdrawn(ticket.permit, now.boot);
            }
            UploadOutcome::Waits { until, blame, why, upload } => {
                let until = now.boot + rest_until(until, now.wall);
                state.resting.insert(id, Rest { until, upload, is_requested: false });
                state.complain(id, blame.as_ref(), &why);
                match &blame {
                    Some(Blame::Bucket(trouble, reach)) => {
                        let refusal = match trouble {
                            Trouble::Refused { why } => Some(why.as_str()),
                            _ => None,
                        };
                        self.health.upload_failed(ticket.permit, now.boot, chance, *reach, refusal);
                    }
                    Some(Blame::Recording(_)) | None => {
                        self.health.upload_withdrawn(ticket.permit, now.boot);
                    }
                }
            }
        }
        drop(state);
        self.wake();
    }

    /// The index has no room on its disk: nobody goes for a while.
    pub(crate) fn wait_for_room(&self) {
        self.state().disk.start();
    }

    /// Sleeps until then, or until something has changed since `seen`.
    pub(crate) fn wait(&self, until: Option<Duration>, seen: u64) {
        let mut state = self.state();
        let span = until.map(|until| until.saturating_sub(boot_time()));
        let mut left = span.map_or(LONGEST_SLEEP, |span| span.min(LONGEST_SLEEP));
        while state.changes == seen && !state.is_closing && !left.is_zero() {
            let (woken, timeout) =
                self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() {
                left = Duration::ZERO;
            }
        }
    }

    /// Something has changed: whoever sleeps looks again.
    pub(crate) fn wake(&self) {
        self.state().changes += 1;
        self.bell.notify_all();
    }

    /// Everything may be tried now.
    pub(crate) fn call(&self) {
        let mut state = self.state();
        self.health.retry_uploads(boot_time());
        state.wake_all();
        state.resting.values_mut().for_each(|rest| rest.is_requested = true);
        state.is_called = true;
        drop(state);
        self.wake();
    }

    /// Nobody may go, or everybody again. Whether that is new.
    pub(crate) fn bar(&self, why: Option<String>) -> bool {
        let mut state = self.state();
        if state.barred == why {
            return false;
        }
        state.barred = why;
        drop(state);
        self.wake();
        true
    }

    /// Nobody may go, for whatever reason was named before, or else this one.
    pub(crate) fn bar_unless_barred(&self, why: &str) {
        self.state().barred.get_or_insert_with(|| why.to_owned());
    }

    /// Whether somebody has called since this was asked last.
    pub(crate) fn take_call(&self) -> bool {
        std::mem::take(&mut self.state().is_called)
    }

    /// The bucket has taken something.
    pub(crate) fn heard(&self) {
        self.health.upload_succeeded(boot_time());
        self.state().notice_recovery(&self.health);
        self.wake();
    }

    pub(crate) fn is_busy_with(&self, is_meant: impl Fn(&RecordingId) -> bool) -> bool {
        self.state().busy.iter().any(is_meant)
    }

    pub(crate) fn close(&self) {
        self.state().is_closing = true;
        self.bell.notify_all();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state().is_closing
    }

    pub(crate) fn status(&self, now: Now) -> UploaderStatus {
        let state = self.state();
        let refused = self.health.upload_refusal();
        let wait = self.health.uploads_wait(now.boot);
        let wait = wait.and_then(|wait| SignedDuration::try_from(wait).ok());
        UploaderStatus {
            paused_because: state.barred.clone().or(state.disk.reason()).or(refused),
            away_until: wait.and_then(|wait| now.wall.checked_add(wait).ok()),
            last_error: state.last_error.clone(),
            last_success: state.last_success,
            ..UploaderStatus::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Placements keep times of the wall clock, which may have been set since.
fn rest_until(until: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO).min(LONGEST_REST)
}

impl State {
    fn may_go(&self, id: RecordingId, now: Duration) -> bool {
        let has_rested = |rest: &Rest| rest.until <= now;
        !self.busy.contains(&id) && self.resting.get(&id).is_none_or(has_rested)
    }

    /// Nobody waits any longer for a bucket that has come back.
    fn notice_recovery(&mut self, health: &BucketHealth) {
        let recoveries = health.recoveries();
        if std::mem::replace(&mut self.recoveries, recoveries) != recoveries {
            self.everybody_may_go();
        }
    }

    fn next_awake(&self, now: Duration) -> Option<Duration> {
        self.resting.values().map(|rest| rest.until).filter(|until| now < *until).min()
    }

    fn everybody_may_go(&mut self) {
        log::info!("the bucket answers again");
        self.wake_all();
        self.last_error = None;
    }

    fn wake_all(&mut self) {
        for rest in self.resting.values_mut() {
            rest.until = Duration::ZERO;
        }
    }

    /// Says each trouble once, loudly where somebody has to do something.
    fn complain(&mut self, id: RecordingId, blame: Option<&Blame>, why: &str) {
        let Some(blame) = blame else { return };
        let is_news = self.last_error.as_deref() != Some(why);
        self.last_error = Some(why.to_owned());
        if !is_news {
            return;
        }
        let (seq, day, number) = (id.conversation.0, id.day, id.number);
        match blame.trouble() {
            Trouble::Refused { .. } | Trouble::Damaged { .. } => {
                log::error!("recording {number} of {day} in conversation {seq}: not stored: {why}");
            }
            Trouble::Passing | Trouble::UploadLost => {
                log::warn!("recording {number} of {day} in conversation {seq}: waits: {why}");
            }
        }
    }
}
