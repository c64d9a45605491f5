//! [`Outcome`]: what came of a job, and what the errors of other rooms mean for it.

use crate::index::IndexError;
use crate::jobs::publish::PublishError;
use crate::jobs::shortage::shortage;
use crate::jobs::worker_failures::{self, Role};
use crate::jobs::worker_process::WorkerError;
use crate::model::{Failure, FailureCause, JobId, Recording, Waiting, causes};
use crate::spool::SpoolError;

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Outcome {
    Published(Box<Recording>),
    /// Its bytes are those of this recording.
    Duplicate(Box<Recording>),
    /// The file was changed or removed, or somebody said stop.
    Withdrawn,
    /// No recognizer is installed: the job waits for one.
    NoModel,
    /// Its sound takes more than these bytes, which are not to be had.
    NoRoom {
        bytes: u64,
    },
    /// Another job works on the same bytes.
    Twin {
        of: JobId,
    },
    Failed(Failure),
    /// There is too little of something: no attempt was made, or none that counts.
    Short(Waiting),
    /// The index can no longer be written: the daemon must end.
    Broken(IndexError),
}

/// Why the road ended early.
pub(crate) enum Stop {
    Outcome(Outcome),
    Index(IndexError),
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

impl From<IndexError> for Stop {
    fn from(err: IndexError) -> Self {
        Self::Index(err)
    }
}

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Outcome(outcome) => outcome,
            Stop::Index(err @ (IndexError::Disk(_) | IndexError::Damaged(_))) => Self::Broken(err),
            Stop::Index(err) => refused(&err),
        }
    }
}

pub(crate) fn from_publish(err: PublishError) -> Stop {
    match err {
        PublishError::Withdrawn => Stop::Outcome(Outcome::Withdrawn),
        PublishError::Index(err) => Stop::Index(err),
        PublishError::Store(err) => Stop::Outcome(refused(&err)),
    }
}

pub(crate) fn from_worker(err: WorkerError) -> Outcome {
    match err {
        WorkerError::Stopped => Outcome::Withdrawn,
        WorkerError::NoRoom { reached_bytes } => Outcome::NoRoom { bytes: reached_bytes },
        WorkerError::Failed(failure) => Outcome::Failed(failure),
        WorkerError::NeedsConverter { what } => {
            Outcome::Failed(worker_failures::misbehaved(Role::Engines, &format!("met {what}")))
        }
    }
}

pub(crate) fn from_spool(err: SpoolError) -> Outcome {
    match err {
        SpoolError::Changed | SpoolError::Missing => Outcome::Withdrawn,
        SpoolError::Full { .. } | SpoolError::Overlap { .. } | SpoolError::Disk(_) => refused(&err),
    }
}

/// What that leads to: what is short is waited for.
pub(crate) fn refused(err: &(dyn std::error::Error + 'static)) -> Outcome {
    shortage(err).map_or_else(|| Outcome::Failed(storage(err)), Outcome::Short)
}

/// A disk or a store that refused, with all its causes.
pub(crate) fn storage(err: &(dyn std::error::Error + 'static)) -> Failure {
    Failure {
        cause: FailureCause::Storage,
        message: format!("The result could not be stored: {}.", causes(err)),
        remedy: "Free some space or fix the cause (`scribefs doctor` helps to find it), then `touch` the recording \
                 to try again."
            .to_owned(),
    }
}
