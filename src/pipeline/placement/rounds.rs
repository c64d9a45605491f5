//! Who is carried next: the oldest that may go, each by one thread only.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::index::{Index, IndexError};
use crate::model::{Recording, RecordingId};
use crate::pipeline::placement::CarrierStatus;
use crate::pipeline::placement::disk_pause::DiskPause;
use crate::pipeline::placement::fault::Blame;
use crate::pipeline::placement::gate::{Admission, Gate};
use crate::pipeline::placement::trip::{Carried, Trip};
use crate::store::BucketHealth;
use crate::store::outbox::{Event, Trouble};

/// Rows of the index that are looked at in one step.
const PAGE: usize = 64;

/// Nobody sleeps longer than that without looking: clocks can be set.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// No recording rests for longer.
const LONGEST_REST: SignedDuration = SignedDuration::from_mins(5);

/// What a thread is to do now.
pub(crate) enum Turn {
    Carry(Box<Recording>, Option<Box<Trip>>, Ticket),
    /// Nothing before `until`, or before anything has changed since `seen`.
    Wait {
        until: Option<Timestamp>,
        seen: u64,
    },
    Closed,
}

/// The right to carry one recording.
#[derive(Debug)]
pub(crate) struct Ticket {
    begun: Timestamp,
    is_probe: bool,
    /// Somebody has asked for it.
    pub(crate) is_requested: bool,
}

impl Ticket {
    /// Who may go does not wait for a time of its own: the gate has waited for everybody.
    pub(crate) fn event(&self) -> Event {
        Event::Called
    }
}

/// Shared by all threads of the carrier.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    state: Mutex<State>,
    bell: Condvar,
    /// What readers know of the bucket, and are told.
    health: Arc<BucketHealth>,
}

/// Guarded by `Rounds::state`.
#[derive(Debug, Default)]
struct State {
    gate: Gate,
    busy: HashSet<RecordingId>,
    /// Those that wait for a time of their own, and their trips.
    resting: HashMap<RecordingId, Rest>,
    /// Why nobody may go at all.
    barred: Option<String>,
    disk: DiskPause,
    /// Counts what has changed, so that nobody falls asleep over it.
    changes: u64,
    last_error: Option<String>,
    last_success: Option<Timestamp>,
    /// When the bucket last did not answer.
    failed_at: Option<Instant>,
    /// Somebody has asked for a try.
    is_called: bool,
    is_closing: bool,
}

#[derive(Debug)]
struct Rest {
    until: Timestamp,
    trip: Box<Trip>,
    /// Somebody asks for a try: what looks hopeless is looked at all the same.
    is_requested: bool,
}

impl Rounds {
    pub(crate) fn new(health: Arc<BucketHealth>) -> Self {
        Self { health, ..Self::default() }
    }

    /// The next for a thread that has nothing to do.
    pub(crate) fn turn(&self, index: &Index, now: Timestamp) -> Result<Turn, IndexError> {
        let (is_probe, seen) = {
            let mut state = self.state();
            state.hear_from_readers(&self.health);
            let seen = state.changes;
            if state.is_closing {
                return Ok(Turn::Closed);
            }
            if state.barred.is_some() {
                return Ok(Turn::Wait { until: None, seen });
            }
            if let Some(left) = state.disk.left() {
                let until = now.checked_add(left).ok();
                return Ok(Turn::Wait { until, seen });
            }
            match state.gate.admission(now) {
                Admission::Open => (false, seen),
                Admission::Probe => (true, seen),
                Admission::Closed(until) => return Ok(Turn::Wait { until: Some(until), seen }),
                Admission::Probing => return Ok(Turn::Wait { until: None, seen }),
            }
        };
        match self.oldest(index, now)? {
            Some(recording) => Ok(self.hand_out(recording, is_probe, now, seen)),
            None => {
                let mut state = self.state();
                state.disk.end();
                Ok(Turn::Wait { until: state.next_awake(now), seen })
            }
        }
    }

    /// The oldest recording that nobody carries and that does not rest.
    fn oldest(&self, index: &Index, now: Timestamp) -> Result<Option<Recording>, IndexError> {
        let mut page = index.unplaced(PAGE)?;
        while let Some(last) = page.last().cloned() {
            let found = {
                let state = self.state();
                page.into_iter().find(|recording| state.may_go(recording.id, now))
            };
            if found.is_some() {
                return Ok(found);
            }
            page = index.unplaced_after(&last, PAGE)?;
        }
        Ok(None)
    }

    /// Unless another thread was faster.
    fn hand_out(&self, recording: Recording, is_probe: bool, now: Timestamp, seen: u64) -> Turn {
        let mut state = self.state();
        let is_free = !is_probe || state.gate.admission(now) == Admission::Probe;
        if !is_free || !state.may_go(recording.id, now) {
            return Turn::Wait { until: Some(now), seen };
        }
        if is_probe {
            state.gate.send_probe();
        }
        state.busy.insert(recording.id);
        let rest = state.resting.remove(&recording.id);
        let is_requested = rest.as_ref().is_some_and(|rest| rest.is_requested);
        let ticket = Ticket { begun: now, is_probe, is_requested };
        Turn::Carry(Box::new(recording), rest.map(|rest| rest.trip), ticket)
    }

    /// Takes note of how it went.
    pub(crate) fn done(
        &self,
        id: RecordingId,
        ticket: &Ticket,
        carried: Carried,
        now: Timestamp,
        chance: f64,
    ) {
        let mut state = self.state();
        state.busy.remove(&id);
        if !matches!(carried, Carried::DiskFull(_)) {
            state.disk.end();
        }
        match carried {
            Carried::Stored => {
                state.last_success = Some(now);
                if state.gate.answered() {
                    state.everybody_may_go();
                }
            }
            Carried::DiskFull(trip) => {
                if let Some(trip) = trip {
                    let rest = Rest { until: now, trip, is_requested: ticket.is_requested };
                    state.resting.insert(id, rest);
                }
                if ticket.is_probe {
                    state.gate.probe_is_back();
                }
                state.disk.start();
            }
            Carried::Overtaken | Carried::Stopped => {
                if ticket.is_probe {
                    state.gate.probe_is_back();
                }
            }
            Carried::Waits { until, blame, why, trip } => {
                state.resting.insert(id, Rest { until, trip, is_requested: false });
                state.complain(id, blame.as_ref(), &why);
                match &blame {
                    Some(Blame::Bucket(trouble)) => {
                        state.gate.failed(ticket.begun, now, chance, trouble);
                        if *trouble == Trouble::Passing {
                            self.health.failed();
                            state.failed_at = Some(Instant::now());
                        }
                    }
                    Some(Blame::Recording(_)) | None if ticket.is_probe => {
                        state.gate.probe_is_back();
                    }
                    Some(Blame::Recording(_)) | None => {}
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
    pub(crate) fn wait(&self, until: Option<Timestamp>, seen: u64) {
        let mut state = self.state();
        let span = until.map(|until| until.duration_since(Timestamp::now()));
        let span = span.map_or(LONGEST_SLEEP, |span| span.try_into().unwrap_or(Duration::ZERO));
        let mut left = span.min(LONGEST_SLEEP);
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
        state.gate.call();
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
        self.health.answered();
        let mut state = self.state();
        if state.gate.until().is_some() && state.gate.answered() {
            state.everybody_may_go();
        }
        drop(state);
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

    pub(crate) fn status(&self, now: Timestamp) -> CarrierStatus {
        let state = self.state();
        let refused = state.gate.refused().map(str::to_owned);
        CarrierStatus {
            paused_because: state.barred.clone().or(state.disk.reason()).or(refused),
            away_until: state.gate.until().map(|until| until.max(now)),
            last_error: state.last_error.clone(),
            last_success: state.last_success,
            ..CarrierStatus::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_go(&self, id: RecordingId, now: Timestamp) -> bool {
        // A clock that was set back must not keep it for longer than it would ever rest.
        let has_rested =
            |rest: &Rest| rest.until <= now || LONGEST_REST < rest.until.duration_since(now);
        !self.busy.contains(&id) && self.resting.get(&id).is_none_or(has_rested)
    }

    /// A reader that was answered since the bucket failed an upload has found out for everybody.
    fn hear_from_readers(&mut self, health: &BucketHealth) {
        let Some(failed_at) = self.failed_at else { return };
        if health.answered_at().is_some_and(|at| failed_at < at) {
            self.failed_at = None;
            if self.gate.refused().is_none() && self.gate.answered() {
                self.everybody_may_go();
            }
        }
    }

    fn next_awake(&self, now: Timestamp) -> Option<Timestamp> {
        self.resting.values().map(|rest| rest.until).filter(|until| now < *until).min()
    }

    fn everybody_may_go(&mut self) {
        log::info!("the bucket answers again");
        self.wake_all();
        self.last_error = None;
    }

    fn wake_all(&mut self) {
        for rest in self.resting.values_mut() {
            rest.until = Timestamp::MIN;
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
