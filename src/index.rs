//! What there is, where it is and what is still to do: redb tables behind typed questions.
//!
//! The index can be rebuilt from the store. One writer thread commits for everybody (group commit), with
//! quick repair, so that opening after a crash does not walk the tree. Readers open short transactions
//! and hold none between calls.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use jiff::Timestamp;

use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, FileName, Job, JobId,
    Overlay, Placement, Recording, RecordingId,
};

/// What went wrong in the index, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Another daemon has it open.
    #[error("index {path} is in use by another scribefs")]
    InUse { path: String },
    /// A newer version has written it.
    #[error("index has format {found} and this scribefs reads up to {known}")]
    TooNew { found: u32, known: u32 },
    /// It can be rebuilt from the store: `scribefs reindex`.
    #[error("index is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The disk refused; the process must not go on writing.
    #[error("index could not be written")]
    Disk(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no such conversation")]
    NoConversation,
    #[error("a conversation `{0}` exists")]
    NameTaken(ConversationId),
    /// Numbers for conversations or for a day's recordings have run out.
    #[error("no numbers are left")]
    NumbersExhausted,
}

/// Something in the conversations has changed: for kernel caches, events and status.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Published { recording: Box<Recording>, new_conversation: bool, new_day: bool },
    Replaced { recording: Box<Recording> },
    DayTranscript { conversation: ConversationSeq, day: Day },
    Renamed { seq: ConversationSeq, from: ConversationId, to: ConversationId },
    Trashed { seq: ConversationSeq, id: ConversationId },
    Restored { seq: ConversationSeq, id: ConversationId },
    Placed { id: RecordingId, placement: Placement },
    Job(Box<Job>),
}

/// Numbers for status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Totals {
    pub conversations: u64,
    pub recordings: u64,
    /// Of the original recordings.
    pub audio_bytes: u64,
    /// Not yet where the configuration wants them.
    pub pending: u64,
    pub paused: u64,
}

/// The index of one state directory.
#[derive(Debug, Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    _todo: (),
}

/// Questions. Each sees one consistent moment. Trashed conversations are not among the answers
/// unless the name says so.
impl Index {
    /// Opens or makes it.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        todo!("{path:?}")
    }

    pub fn conversation(&self, seq: ConversationSeq) -> Result<Option<Conversation>, IndexError> {
        todo!("{seq:?}")
    }

    pub fn conversation_named(
        &self,
        id: &ConversationId,
    ) -> Result<Option<Conversation>, IndexError> {
        todo!("{id:?}")
    }

    /// In order of number, from the one after `after`.
    pub fn conversations(
        &self,
        after: ConversationSeq,
        limit: usize,
    ) -> Result<Vec<Conversation>, IndexError> {
        todo!("{after:?} {limit}")
    }

    pub fn trashed_conversations(&self) -> Result<Vec<Conversation>, IndexError> {
        todo!()
    }

    /// Days that have a recording, in order.
    pub fn days(&self, seq: ConversationSeq) -> Result<Vec<Day>, IndexError> {
        todo!("{seq:?}")
    }

    pub fn day_transcript(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Option<DayTranscript>, IndexError> {
        todo!("{seq:?} {day:?}")
    }

    /// In order of number.
    pub fn recordings(&self, seq: ConversationSeq, day: Day) -> Result<Vec<Recording>, IndexError> {
        todo!("{seq:?} {day:?}")
    }

    pub fn recording(&self, id: RecordingId) -> Result<Option<Recording>, IndexError> {
        todo!("{id:?}")
    }

    pub fn recording_with_stem(
        &self,
        seq: ConversationSeq,
        day: Day,
        stem: &FileName,
    ) -> Result<Option<Recording>, IndexError> {
        todo!("{seq:?} {day:?} {stem:?}")
    }

    /// The recording that has these bytes (BLAKE3, hexadecimal), also if its conversation is in the trash.
    pub fn recording_with_audio(&self, blake3: &str) -> Result<Option<Recording>, IndexError> {
        todo!("{blake3}")
    }

    /// Recordings that are not yet where they belong, oldest first.
    pub fn unplaced(&self, limit: usize) -> Result<Vec<Recording>, IndexError> {
        todo!("{limit}")
    }

    pub fn job(&self, id: JobId) -> Result<Option<Job>, IndexError> {
        todo!("{id:?}")
    }

    /// Jobs that have not come to an end, oldest first.
    pub fn unfinished_jobs(&self) -> Result<Vec<Job>, IndexError> {
        todo!()
    }

    /// The newest jobs, newest first.
    pub fn recent_jobs(&self, limit: usize) -> Result<Vec<Job>, IndexError> {
        todo!("{limit}")
    }

    pub fn totals(&self) -> Result<Totals, IndexError> {
        todo!()
    }

    /// Every change from now on. A slow reader loses nothing and blocks nobody (the channel has no bound).
    pub fn subscribe(&self) -> Receiver<Change> {
        todo!()
    }
}

/// Changes. Each returns when it is durable; several at once share one commit.
impl Index {
    /// The conversation of that name, made if there is none. `at` is its time of birth then.
    pub fn ensure_conversation(
        &self,
        id: &ConversationId,
        at: Timestamp,
    ) -> Result<Conversation, IndexError> {
        todo!("{id:?} {at:?}")
    }

    /// A free number and a free stem on that day: `meeting`, else `meeting-2`, ... Reserved until published
    /// or until the daemon ends.
    pub fn reserve(
        &self,
        seq: ConversationSeq,
        day: Day,
        wanted: &FileName,
    ) -> Result<(RecordingId, FileName), IndexError> {
        todo!("{seq:?} {day:?} {wanted:?}")
    }

    /// Recording, day transcript and the end of its job (if there is one) in one step.
    pub fn publish(
        &self,
        recording: Recording,
        transcript: DayTranscript,
        job: Option<Job>,
    ) -> Result<(), IndexError> {
        todo!("{recording:?} {transcript:?} {job:?}")
    }

    /// A recording's row again, with new pages, and the day's transcript with it.
    pub fn replace(
        &self,
        recording: Recording,
        transcript: DayTranscript,
    ) -> Result<(), IndexError> {
        todo!("{recording:?} {transcript:?}")
    }

    pub fn set_placement(&self, id: RecordingId, placement: Placement) -> Result<(), IndexError> {
        todo!("{id:?} {placement:?}")
    }

    pub fn set_overlay(&self, id: RecordingId, overlay: Overlay) -> Result<(), IndexError> {
        todo!("{id:?} {overlay:?}")
    }

    pub fn rename_conversation(
        &self,
        seq: ConversationSeq,
        to: &ConversationId,
    ) -> Result<(), IndexError> {
        todo!("{seq:?} {to:?}")
    }

    pub fn trash_conversation(
        &self,
        seq: ConversationSeq,
        at: Timestamp,
    ) -> Result<(), IndexError> {
        todo!("{seq:?} {at:?}")
    }

    pub fn restore_conversation(&self, seq: ConversationSeq) -> Result<(), IndexError> {
        todo!("{seq:?}")
    }

    /// A new job's number.
    pub fn next_job_id(&self) -> Result<JobId, IndexError> {
        todo!()
    }

    /// Writes a job's row. Only changes of state are durable before this returns; progress is not kept here.
    pub fn save_job(&self, job: Job) -> Result<(), IndexError> {
        todo!("{job:?}")
    }

    /// Forgets all conversations, days and recordings (jobs stay), to be rebuilt from the store.
    pub fn clear_recordings(&self) -> Result<(), IndexError> {
        todo!()
    }

    /// Waits for what is being committed, and lets nothing new begin.
    pub fn close(&self) -> Result<(), IndexError> {
        todo!()
    }
}
