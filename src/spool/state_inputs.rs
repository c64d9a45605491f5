//! What the completeness of a file is told, and what it answers.

use std::time::Duration;

use crate::model::JobState;

/// What the disk shows of a file's bytes: another stamp, another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    pub(crate) bytes: u64,
    pub(crate) modified_ns: i128,
    pub(crate) changed_ns: i128,
}

impl FileStamp {
    /// The same as far as writers can be seen; `changed_ns` also moves when we put or take a mark.
    pub(crate) fn has_bytes_of(self, other: Self) -> bool {
        self.bytes == other.bytes && self.modified_ns == other.modified_ns
    }
}

/// Whether a file may be a recording, as far as its path tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// Temporary or junk.
    Never,
    /// It has the extension of a recording.
    ByName,
    /// Its first bytes decide.
    ByContent,
}

/// Why nothing more happens to a file until the user does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Failed,
    Cancelled,
    Interrupted,
}

impl End {
    pub(crate) fn state(self) -> JobState {
        match self {
            Self::Failed => JobState::Failed,
            Self::Cancelled => JobState::Cancelled,
            Self::Interrupted => JobState::Interrupted,
        }
    }
}

/// What an end left behind: which, and what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) end: End,
    /// For people: cause and remedy. Empty where there is nothing to say.
    pub(crate) reason: String,
}

/// What is to be remembered on disk about a file, over a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    Nothing,
    Receiving,
    /// The last writer has gone, and the bytes are not known to be on the disk: whole as long as the system runs.
    Closed,
    Ended(Ending),
}

/// What a change asks of the caller.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Reaction {
    /// What was offered with this generation is no longer to be had.
    pub(crate) withdrawn: Option<u64>,
    pub(crate) stage: Option<JobState>,
}

impl Reaction {
    pub(crate) fn absorb(&mut self, other: Self) {
        self.withdrawn = self.withdrawn.or(other.withdrawn);
        self.stage = other.stage.or(self.stage);
    }
}

/// What a look at the disk shows when the settle time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) stamp: FileStamp,
    /// An empty one is by its name only.
    pub(crate) is_recording: bool,
    pub(crate) is_too_large: bool,
    /// It says by itself that more is to come: a length in its header, or the time that `rsync` leaves behind.
    pub(crate) is_unfinished: bool,
}

/// When to look again, as spans since the spool was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) now: Duration,
    /// If it has changed.
    pub(crate) next: Duration,
    /// If it says that it is unfinished: then it is taken as it is.
    pub(crate) patience: Duration,
    /// If it is empty: then that is said.
    pub(crate) empty: Duration,
}

/// What the look led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It changed or is not due: look again when it is.
    NotYet,
    /// No recording, or none yet: nothing more happens until it is changed.
    LeftAlone,
    TooLarge,
    /// It is called a recording, and nothing has come for a while.
    Empty,
    /// To be brought to the disk, and then to be offered.
    Complete,
}
