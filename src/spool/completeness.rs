//! When a file of the inbox is complete: a state machine without clock, disk or threads.
//!
//! A file is offered when its last writer has gone, it is not empty, its name and bytes are those of a
//! recording, and nothing has changed for the settle time. `flush` says nothing about it. With passthrough the
//! kernel writes without telling us, so only opens and releases count, and what the disk shows at the end.

mod asked;
#[cfg(test)]
mod judge;
mod offering;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::model::{JobState, Waiting};
use crate::spool::Work;
use crate::spool::state_inputs::{Candidate, End, Ending, FileStamp, Reaction};

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// Empty, no recording, or not looked at: nothing is due.
    Resting,
    /// `before`: what a writer finds, to go back to if it changes nothing.
    Receiving {
        before: Option<(Ending, FileStamp)>,
        is_committed: bool,
    },
    /// `patience`: until when an unfinished file is given time, once that is decided.
    Settling {
        due: Duration,
        seen: Option<FileStamp>,
        patience: Option<Duration>,
    },
    /// Complete, and on its way to the disk.
    Syncing {
        seen: FileStamp,
    },
    Offered {
        stamp: FileStamp,
        work: Work,
        waits_for: Option<Waiting>,
    },
    /// Published, and about to be removed: nobody may begin to write any more.
    Leaving {
        stamp: FileStamp,
    },
    Ended {
        ending: Ending,
        seen: Option<FileStamp>,
    },
    /// A note whose recording is gone: shown to nobody, and removed when its folder has come to rest.
    Fading {
        due: Duration,
    },
}

/// Where one file stands. Times are spans since the spool was opened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Completeness {
    /// Goes up with every change that makes other content, or another path, possible.
    generation: u64,
    writers: u32,
    phase: Phase,
    /// A note beside the file says why it failed.
    has_note: bool,
    /// No crash of the system can take bytes away: they were brought to the disk, or never came through us.
    is_safe: bool,
    /// Looks that failed since it last changed.
    failures: u32,
}

impl Default for Completeness {
    fn default() -> Self {
        Self {
            generation: 1,
            writers: 0,
            phase: Phase::Resting,
            has_note: false,
            is_safe: false,
            failures: 0,
        }
    }
}

/// What writers and users do.
impl Completeness {
    /// `None` where it is too late: the file is on its way out.
    pub(crate) fn opened_for_writing(&mut self) -> Option<Reaction> {
        if matches!(self.phase, Phase::Leaving { .. }) {
            return None;
        }
        let mut reaction = self.change();
        self.writers += 1;
        self.is_safe = false;
        // Between the last writer and what it left there may come another one: nothing has been decided then.
        if !matches!(self.phase, Phase::Receiving { .. }) {
            let before = match &self.phase {
                Phase::Ended { ending, seen: Some(seen) } => Some((ending.clone(), *seen)),
                _ => None,
            };
            self.phase = Phase::Receiving { before, is_committed: false };
            reaction.stage = Some(JobState::Receiving);
        }
        Some(reaction)
    }

    /// One writer less. Says whether it was the last one: then [`Self::closed`] follows.
    pub(crate) fn writer_left(&mut self) -> bool {
        self.writers = self.writers.saturating_sub(1);
        self.writers == 0
    }

    /// The last writer has gone. `stamp`: what it left; `None` where it could not even open it.
    pub(crate) fn closed(
        &mut self,
        candidate: Candidate,
        stamp: Option<FileStamp>,
        due: Duration,
        now: Duration,
    ) -> Reaction {
        let Phase::Receiving { before, is_committed } = &mut self.phase else {
            return Reaction::default();
        };
        if self.writers > 0 {
            return Reaction::default();
        }
        let is_committed = *is_committed;
        if let Some((ending, seen)) = before.take()
            && stamp.is_none_or(|stamp| seen.has_bytes_of(stamp))
        {
            return self.end(ending, stamp.or(Some(seen)));
        }
        self.has_note = false;
        let reaction = self.settle(candidate, stamp, if is_committed { now } else { due });
        if is_committed {
            self.hurry(now);
        }
        reaction
    }

    /// Cut or grown, by whoever.
    pub(crate) fn resized(
        &mut self,
        candidate: Candidate,
        stamp: Option<FileStamp>,
        due: Duration,
    ) -> Reaction {
        let mut reaction = self.change();
        self.is_safe = false;
        match &mut self.phase {
            Phase::Receiving { before, .. } => *before = None,
            Phase::Leaving { .. } => {}
            Phase::Ended { .. } => reaction.absorb(self.begin_again(candidate, stamp, due)),
            Phase::Resting
            | Phase::Settling { .. }
            | Phase::Syncing { .. }
            | Phase::Offered { .. }
            | Phase::Fading { .. } => reaction.absorb(self.settle(candidate, stamp, due)),
        }
        reaction
    }

    /// Another name, or other folders.
    pub(crate) fn renamed(
        &mut self,
        candidate: Candidate,
        stamp: Option<FileStamp>,
        due: Duration,
    ) -> Reaction {
        let mut reaction = self.change();
        match self.phase {
            // What has failed stays so under any name: touching it is the way to try again.
            Phase::Receiving { .. } | Phase::Ended { .. } | Phase::Leaving { .. } => {}
            Phase::Resting
            | Phase::Settling { .. }
            | Phase::Syncing { .. }
            | Phase::Offered { .. }
            | Phase::Fading { .. } => reaction.absorb(self.settle(candidate, stamp, due)),
        }
        reaction
    }

    pub(crate) fn removed(&mut self) -> Reaction {
        let reaction = self.change();
        if self.writers == 0 {
            self.phase = Phase::Resting;
        }
        reaction
    }

    /// Attributes have changed, the bytes have not. Where `before` is not what was seen last, somebody else has
    /// changed the file, and that must not go unnoticed.
    pub(crate) fn restamped(&mut self, before: FileStamp, fresh: FileStamp) {
        match &mut self.phase {
            Phase::Resting
            | Phase::Receiving { .. }
            | Phase::Leaving { .. }
            | Phase::Fading { .. } => {}
            Phase::Settling { seen: Some(seen), .. }
            | Phase::Ended { seen: Some(seen), .. }
            | Phase::Syncing { seen } => {
                if seen.has_bytes_of(before) {
                    *seen = fresh;
                }
            }
            Phase::Settling { seen: None, .. } | Phase::Ended { seen: None, .. } => {}
            Phase::Offered { stamp, .. } => {
                if *stamp == before {
                    *stamp = fresh;
                }
            }
        }
    }

    /// The modification time was set, as `touch` does: the sign to try again.
    pub(crate) fn touched(
        &mut self,
        candidate: Candidate,
        before: FileStamp,
        fresh: FileStamp,
        due: Duration,
    ) -> Reaction {
        if let Phase::Receiving { before, .. } = &mut self.phase {
            *before = None;
        }
        self.restamped(before, fresh);
        self.retried(candidate, due)
    }

    pub(crate) fn retried(&mut self, candidate: Candidate, due: Duration) -> Reaction {
        match self.phase {
            Phase::Ended { seen, .. } => {
                let mut reaction = self.change();
                reaction.absorb(self.begin_again(candidate, seen, due));
                reaction
            }
            _ => Reaction::default(),
        }
    }

    /// The user does not want to wait for the settle time.
    pub(crate) fn committed(
        &mut self,
        candidate: Candidate,
        stamp: Option<FileStamp>,
        now: Duration,
    ) -> Reaction {
        match &mut self.phase {
            Phase::Receiving { is_committed, .. } => *is_committed = true,
            Phase::Settling { .. } => self.hurry(now),
            Phase::Resting => {
                let reaction = self.settle(candidate, stamp, now);
                self.hurry(now);
                return reaction;
            }
            Phase::Syncing { .. }
            | Phase::Offered { .. }
            | Phase::Leaving { .. }
            | Phase::Ended { .. }
            | Phase::Fading { .. } => {}
        }
        Reaction::default()
    }

    /// `None` where it cannot be: somebody is still writing, or it is done.
    pub(crate) fn cancelled(&mut self) -> Option<Reaction> {
        let seen = self.seen();
        match self.phase {
            Phase::Settling { .. } | Phase::Syncing { .. } | Phase::Offered { .. } => {
                Some(self.end(Ending { end: End::Cancelled, reason: String::new() }, seen))
            }
            Phase::Resting | Phase::Ended { .. } | Phase::Fading { .. } => {
                Some(Reaction::default())
            }
            Phase::Receiving { .. } | Phase::Leaving { .. } => None,
        }
    }
}

/// What all changes have in common.
impl Completeness {
    fn change(&mut self) -> Reaction {
        let withdrawn = self.offered().map(|_| self.generation);
        self.generation += 1;
        self.failures = 0;
        Reaction { withdrawn, ..Reaction::default() }
    }

    fn settle(&mut self, candidate: Candidate, seen: Option<FileStamp>, due: Duration) -> Reaction {
        let is_empty = seen.is_some_and(|stamp| stamp.bytes == 0);
        // Of an empty one that is called a recording it must be said in the end that nothing has come.
        let may_be_recording = match candidate {
            Candidate::Never => false,
            Candidate::ByName => true,
            Candidate::ByContent => !is_empty,
        };
        if !may_be_recording {
            self.phase = Phase::Resting;
            return Reaction::default();
        }
        self.phase = Phase::Settling { due, seen, patience: None };
        Reaction { stage: Some(JobState::Settling), ..Reaction::default() }
    }

    /// Whoever knows that it is whole need not wait for anything.
    fn hurry(&mut self, now: Duration) {
        if let Phase::Settling { due, patience, .. } = &mut self.phase {
            (*due, *patience) = (now, Some(now));
        }
    }

    fn begin_again(
        &mut self,
        candidate: Candidate,
        seen: Option<FileStamp>,
        due: Duration,
    ) -> Reaction {
        self.has_note = false;
        self.settle(candidate, seen, due)
    }

    fn end(&mut self, ending: Ending, seen: Option<FileStamp>) -> Reaction {
        let stage = Some(ending.end.state());
        self.has_note |= ending.end == End::Failed;
        self.phase = Phase::Ended { ending, seen };
        Reaction { stage, ..Reaction::default() }
    }
}
