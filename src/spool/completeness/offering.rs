//! The daemon's side of completeness: files found, looked at, offered, ended and let go.

use std::time::Duration;

use crate::model::{JobState, Waiting};
use crate::spool::Work;
use crate::spool::completeness::{Completeness, Phase};
use crate::spool::state_inputs::{
    Candidate, End, Ending, FileStamp, Look, Mark, Reaction, Schedule, Verdict,
};

/// What the daemon does.
impl Completeness {
    /// A file that is there when the spool is opened, or that somebody put there behind our back.
    pub(crate) fn found(
        &mut self,
        mark: Mark,
        candidate: Candidate,
        stamp: FileStamp,
        due: Duration,
    ) -> Reaction {
        if self.phase != Phase::Resting || self.writers > 0 {
            return Reaction::default();
        }
        match mark {
            Mark::Nothing => {
                let reaction = self.settle(candidate, Some(stamp), due);
                // What has a mark gets it when it is closed: this one had its time. What rests may still be on its way.
                self.is_safe = self.due().is_some();
                reaction
            }
            Mark::Closed => self.settle(candidate, Some(stamp), due),
            Mark::Receiving => {
                let reason = String::new();
                self.end(Ending { end: End::Interrupted, reason }, Some(stamp))
            }
            Mark::Ended(ending) => {
                self.has_note = ending.end == End::Failed;
                self.phase = Phase::Ended { ending, seen: Some(stamp) };
                Reaction::default()
            }
        }
    }

    /// The settle time is over: `look` decides.
    pub(crate) fn looked(&mut self, look: Look, schedule: Schedule) -> Verdict {
        let Phase::Settling { due, seen, patience } = self.phase else {
            return Verdict::LeftAlone;
        };
        if self.writers > 0 || schedule.now < due {
            return Verdict::NotYet;
        }
        if !seen.is_some_and(|seen| seen.has_bytes_of(look.stamp)) {
            self.seen_anew(seen.is_some(), look.stamp, schedule.next);
            return Verdict::NotYet;
        }
        if !look.is_recording {
            self.phase = Phase::Resting;
            return Verdict::LeftAlone;
        }
        if look.stamp.bytes == 0 && patience.is_some() {
            return Verdict::Empty;
        }
        if look.stamp.bytes == 0 {
            let until = schedule.empty;
            self.phase =
                Phase::Settling { due: until, seen: Some(look.stamp), patience: Some(until) };
            return Verdict::NotYet;
        }
        if look.is_too_large {
            return Verdict::TooLarge;
        }
        if look.is_unfinished && patience.is_none() {
            let until = schedule.patience;
            self.phase =
                Phase::Settling { due: until, seen: Some(look.stamp), patience: Some(until) };
            return Verdict::NotYet;
        }
        self.phase = Phase::Syncing { seen: look.stamp };
        Verdict::Complete
    }

    fn seen_anew(&mut self, was_known: bool, stamp: FileStamp, due: Duration) {
        self.generation += u64::from(was_known);
        self.is_safe &= !was_known;
        self.phase = Phase::Settling { due, seen: Some(stamp), patience: None };
    }

    /// Bytes and names have been brought to the disk. `false` where it is about something else than what is
    /// there now.
    pub(crate) fn synced(&mut self, generation: u64, stamp: FileStamp, next: Duration) -> bool {
        let Phase::Syncing { seen } = self.phase else { return false };
        if self.generation != generation {
            return false;
        }
        if !seen.has_bytes_of(stamp) {
            self.seen_anew(true, stamp, next);
            return false;
        }
        self.is_safe = true;
        true
    }

    /// It is on the disk, and nothing there says that it is not whole.
    pub(crate) fn offer(&mut self, generation: u64, stamp: FileStamp, next: Duration) -> bool {
        if !self.synced(generation, stamp, next) {
            return false;
        }
        let work = Work { state: JobState::Queued, done: 0.0 };
        self.phase = Phase::Offered { stamp, work, waits_for: None };
        true
    }

    /// It could not be looked at or brought to the disk: again at `due`. Says how often that has happened, as far
    /// as it `counts`: what we ourselves are short of does not.
    pub(crate) fn postponed(
        &mut self,
        generation: u64,
        due: Duration,
        counts: bool,
    ) -> Option<u32> {
        let (seen, patience) = match self.phase {
            Phase::Settling { seen, patience, .. } => (seen, patience),
            Phase::Syncing { seen } => (Some(seen), Some(due)),
            _ => return None,
        };
        if self.generation != generation {
            return None;
        }
        self.failures += u32::from(counts);
        self.phase = Phase::Settling { due, seen, patience };
        Some(self.failures)
    }

    /// Written, closed and not brought to the disk yet.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Settling { .. } | Phase::Syncing { .. }) && !self.is_safe
    }

    /// Nobody waits for the settle time any more.
    pub(crate) fn hurry_to_disk(&mut self) {
        if let Phase::Settling { seen: Some(seen), .. } = self.phase {
            self.phase = Phase::Syncing { seen };
        }
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// A note that nobody needs any more.
    pub(crate) fn fade(&mut self, due: Duration) {
        if self.writers == 0 {
            self.phase = Phase::Fading { due };
        }
    }

    /// It is no note of ours any more.
    pub(crate) fn reappears(&mut self) {
        if self.is_fading() {
            self.phase = Phase::Resting;
        }
    }

    pub(crate) fn is_current(&self, generation: u64) -> bool {
        self.generation == generation && matches!(self.phase, Phase::Offered { .. })
    }

    /// `false` where it is about something else than what is there now.
    pub(crate) fn marked(&mut self, generation: u64, fresh: Work) -> bool {
        let current = self.generation == generation;
        match &mut self.phase {
            Phase::Offered { work, waits_for, .. } if current => {
                (*work, *waits_for) = (fresh, None);
                true
            }
            _ => false,
        }
    }

    /// Work on it cannot begin yet. `false` where that is known already, or it is about something else.
    pub(crate) fn waits(&mut self, generation: u64, what: Waiting) -> bool {
        let current = self.generation == generation;
        match &mut self.phase {
            Phase::Offered { waits_for, .. } if current => waits_for.replace(what) != Some(what),
            _ => false,
        }
    }

    pub(crate) fn waits_for(&self) -> Option<Waiting> {
        match self.phase {
            Phase::Offered { waits_for, .. } => waits_for,
            _ => None,
        }
    }

    /// The bytes are not those that were offered.
    pub(crate) fn changed_behind(
        &mut self,
        candidate: Candidate,
        stamp: FileStamp,
        due: Duration,
    ) -> Reaction {
        if self.offered().is_none() {
            return Reaction::default();
        }
        self.resized(candidate, Some(stamp), due)
    }

    pub(crate) fn ended(&mut self, ending: Ending) -> Reaction {
        let seen = self.seen();
        self.end(ending, seen)
    }

    /// The last look found what makes it impossible to take: too large, or not to be read.
    pub(crate) fn refused(&mut self, ending: Ending) -> Reaction {
        match self.phase {
            Phase::Settling { .. } | Phase::Syncing { .. } => self.ended(ending),
            _ => Reaction::default(),
        }
    }

    /// From here nobody begins to write, until it is gone or [`Self::stays`].
    pub(crate) fn leaves(&mut self) {
        if let Phase::Offered { stamp, .. } = self.phase {
            self.phase = Phase::Leaving { stamp };
        }
    }

    pub(crate) fn stays(&mut self) {
        if let Phase::Leaving { stamp } = self.phase {
            let work = Work { state: JobState::Publishing, done: 1.0 };
            self.phase = Phase::Offered { stamp, work, waits_for: None };
        }
    }
}
