//! What is asked of a file's completeness.

use std::time::Duration;

use crate::model::JobState;
use crate::spool::Work;
use crate::spool::completeness::{Completeness, Phase};
use crate::spool::state_inputs::{Ending, FileStamp, Mark};

/// What is asked.
impl Completeness {
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn writers(&self) -> u32 {
        self.writers
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        match self.phase {
            Phase::Settling { due, .. } | Phase::Fading { due } => Some(due),
            _ => None,
        }
    }

    /// What must be remembered on the disk, as things stand.
    pub(crate) fn mark(&self) -> Mark {
        match &self.phase {
            Phase::Receiving { .. } => Mark::Receiving,
            Phase::Settling { .. } | Phase::Syncing { .. } if !self.is_safe => Mark::Closed,
            Phase::Ended { ending, .. } => Mark::Ended(ending.clone()),
            Phase::Resting
            | Phase::Settling { .. }
            | Phase::Syncing { .. }
            | Phase::Offered { .. }
            | Phase::Leaving { .. }
            | Phase::Fading { .. } => Mark::Nothing,
        }
    }

    pub(crate) fn is_fading(&self) -> bool {
        matches!(self.phase, Phase::Fading { .. })
    }

    pub(crate) fn offered(&self) -> Option<FileStamp> {
        match self.phase {
            Phase::Offered { stamp, .. } => Some(stamp),
            _ => None,
        }
    }

    pub(crate) fn has_note(&self) -> bool {
        self.has_note
    }

    pub(crate) fn ending(&self) -> Option<&Ending> {
        match &self.phase {
            Phase::Ended { ending, .. } => Some(ending),
            _ => None,
        }
    }

    /// What the disk showed last, where that is known.
    pub(crate) fn seen(&self) -> Option<FileStamp> {
        match &self.phase {
            Phase::Resting | Phase::Receiving { .. } | Phase::Fading { .. } => None,
            Phase::Settling { seen, .. } | Phase::Ended { seen, .. } => *seen,
            Phase::Syncing { seen } => Some(*seen),
            Phase::Offered { stamp, .. } | Phase::Leaving { stamp } => Some(*stamp),
        }
    }

    /// `None` for a file that no work is done on.
    pub(crate) fn work(&self) -> Option<Work> {
        let just = |state| Some(Work { state, done: 0.0 });
        match &self.phase {
            Phase::Resting | Phase::Fading { .. } => None,
            Phase::Receiving { .. } => just(JobState::Receiving),
            Phase::Settling { .. } | Phase::Syncing { .. } => just(JobState::Settling),
            Phase::Offered { work, .. } => Some(work.clone()),
            Phase::Leaving { .. } => Some(Work { state: JobState::Publishing, done: 1.0 }),
            Phase::Ended { ending, .. } => just(ending.end.state()),
        }
    }
}
