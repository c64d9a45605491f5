//! Jobs: what is done with one recording between the inbox and the conversations.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{ConversationId, FileName, InboxId, RecordingId};

/// A job's number, from 1, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(pub u64);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a file of the inbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Receiving,
    Settling,
    Queued,
    Decoding,
    Diarizing,
    Transcribing,
    Publishing,
    Done,
    Failed,
    Cancelled,
    Duplicate,
    /// The writer died with the daemon: kept, and never ingested by itself.
    Interrupted,
}

impl JobState {
    /// Nothing more will happen unless the user does something.
    pub fn is_final(self) -> bool {
        use JobState::{Cancelled, Done, Duplicate, Failed, Interrupted};
        matches!(self, Done | Failed | Cancelled | Duplicate | Interrupted)
    }

    /// The word in xattrs, status and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Settling => "settling",
            Self::Queued => "queued",
            Self::Decoding => "decoding",
            Self::Diarizing => "diarizing",
            Self::Transcribing => "transcribing",
            Self::Publishing => "publishing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Duplicate => "duplicate",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a complete recording waits for before work on it can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// A speech model that is not installed.
    Model,
    /// Room on a disk.
    Room,
    /// Descriptors or memory of the daemon's own.
    Resources,
}

impl Waiting {
    /// The word in xattrs, status and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Room => "room",
            Self::Resources => "resources",
        }
    }
}

/// A model, by name and by what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    pub name: String,
    /// SHA-256 over the hashes of its files, 64 hexadecimal digits.
    pub sha256: String,
}

/// How many people speak, where the user knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SpeakerBounds {
    pub at_least: Option<u16>,
    pub at_most: Option<u16>,
}

/// Everything that decides what comes out: the same recipe on the same bytes is the same work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    pub recognizer: ModelRef,
    /// `None` where no diarization model is installed: everybody is one speaker.
    pub diarizer: Option<ModelRef>,
    /// BCP 47 code; `None` lets the engine find out.
    pub language: Option<String>,
    pub speakers: SpeakerBounds,
    /// Threads that an engine may use.
    pub threads: u16,
    /// Of scribefs.
    pub version: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

impl Recipe {
    /// Where nothing is known of how a transcript was made but who made it.
    pub(crate) fn of_model(name: &str, language: Option<String>) -> Self {
        Self {
            recognizer: ModelRef { name: name.to_owned(), sha256: String::new() },
            diarizer: None,
            language,
            speakers: SpeakerBounds::default(),
            threads: 0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            options: BTreeMap::new(),
        }
    }
}

/// Why a job ended without a transcript, in kinds that a person acts on differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// Not a recording, or one that nothing can be made of.
    NotAudio,
    /// A format that needs a program that is not installed.
    NeedsConverter,
    /// Larger or longer than allowed.
    TooLarge,
    /// No model is installed: the job waits and is not failed for good.
    NoModel,
    /// The worker crashed, was killed, ran out of memory or stopped answering.
    Crashed,
    OutOfMemory,
    TimedOut,
    /// The local disk or the store refused.
    Storage,
    /// A fault of ours.
    Internal,
}

impl FailureCause {
    /// Whether the same work might succeed when it is done again.
    pub fn is_worth_retrying(self) -> bool {
        matches!(self, Self::Crashed | Self::OutOfMemory | Self::TimedOut | Self::Storage)
    }
}

/// What is told to the user: the cause, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub cause: FailureCause,
    /// One sentence: what is wrong with this file.
    pub message: String,
    /// One or more sentences: what to do now.
    pub remedy: String,
}

/// One job's row in the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub inbox: InboxId,
    /// Of the file when the job began: a later one cancels it.
    pub generation: u64,
    /// Folders and name below `inbox/`.
    pub path: Vec<FileName>,
    pub bytes: u64,
    /// Modification time in nanoseconds since 1970, to know the file again after a restart.
    pub modified_ns: i128,
    /// Where it will be filed: decided once, so that work done twice is filed in one place.
    pub conversation: ConversationId,
    pub state: JobState,
    /// Attempts that failed so far. A daemon that was killed counts for nothing.
    pub attempts: u32,
    pub recipe: Option<Recipe>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub failure: Option<Failure>,
    /// What a person may want to know of how it ended, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// What came of it, or what it is a duplicate of.
    pub recording: Option<RecordingId>,
}
