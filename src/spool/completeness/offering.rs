//! The daemon's side of completeness: files found, looked at, offered, ended and let go.

use std::time::Duration;

use crate::model::JobState;
use crate::spool::Work;
use crate::spool::completeness::{Completeness, Phase};
use crate::spool::signs::{Candidate, End, Ending, Look, Mark, Reaction, Stamp, Verdict};

/// What the daemon does.
impl Completeness {
    /// A file that is there when the spool is opened, or that somebody put there behind our back.
    pub(crate) fn found(
        &mut self,
        mark: Mark,
        candidate: Candidate,
        stamp: Stamp,
        due: Duration,
    ) -> Reaction {
        if self.phase != Phase::Resting || self.writers > 0 {
            return Reaction::default();
        }
        match mark {
            Mark::Nothing => self.settle(candidate, Some(stamp), due),
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

    /// The settle time is over: `look` decides. `next`: when to look again if it has changed.
    pub(crate) fn looked(&mut self, look: Look, now: Duration, next: Duration) -> Verdict {
        let Phase::Settling { due, seen } = self.phase else { return Verdict::LeftAlone };
        if self.writers > 0 || now < due {
            return Verdict::NotYet;
        }
        if !seen.is_some_and(|seen| seen.has_bytes_of(look.stamp)) {
            self.generation += u64::from(seen.is_some());
            self.phase = Phase::Settling { due: next, seen: Some(look.stamp) };
            return Verdict::NotYet;
        }
        if look.stamp.bytes == 0 || !look.is_recording {
            self.phase = Phase::Resting;
            return Verdict::LeftAlone;
        }
        if look.is_too_large {
            return Verdict::TooLarge;
        }
        let work = Work { state: JobState::Queued, done: 0.0 };
        self.phase = Phase::Offered { stamp: look.stamp, work };
        Verdict::Offered
    }

    pub(crate) fn is_current(&self, generation: u64) -> bool {
        self.generation == generation && matches!(self.phase, Phase::Offered { .. })
    }

    /// `false` where it is about something else than what is there now.
    pub(crate) fn marked(&mut self, generation: u64, fresh: Work) -> bool {
        let current = self.generation == generation;
        match &mut self.phase {
            Phase::Offered { work, .. } if current => {
                *work = fresh;
                true
            }
            _ => false,
        }
    }

    /// The bytes are not those that were offered.
    pub(crate) fn changed_behind(
        &mut self,
        candidate: Candidate,
        stamp: Stamp,
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

    /// What the last look found is more than may be taken.
    pub(crate) fn too_large(&mut self, ending: Ending) -> Reaction {
        match self.phase {
            Phase::Settling { .. } => self.ended(ending),
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
            self.phase = Phase::Offered { stamp, work };
        }
    }
}
