//! Values that every floor speaks in: ids, days, keys, who said what, jobs and records.
//!
//! Nothing here does I/O, reads a clock or starts a thread.

mod access;
mod causes;
mod conversation;
mod day;
mod inode;
mod job;
mod key;
mod name;
mod order;
mod page_kind;
mod placement;
mod printable;
mod recording;
mod slug;
mod sound;
mod stem;
mod talk;

pub use access::Access;
pub use causes::causes;
pub use conversation::{Conversation, ConversationId, ConversationSeq};
pub use day::Day;
pub use inode::{InboxId, Inode, Node, VirtualNode};
pub use job::{
    Failure, FailureCause, Job, JobId, JobState, ModelRef, Recipe, SpeakerBounds, Waiting,
};
pub use key::Key;
pub use name::FileName;
pub use order::{DecodeOrder, WorkEvent, WorkOrder, WorkStage};
pub use page_kind::PageKind;
pub use placement::{
    BoundPlace, Destination, Fingerprint, ObjectVersion, Placement, StateRole, UploadedPart,
};
pub use printable::{escaped_json, printable, printable_lines, without_error_numbers};
pub use recording::{
    DayTranscript, Object, Overlay, Page, RecordedAt, Recording, RecordingId, TimeSource,
};
pub use sound::{CreationTime, SoundFacts, TIME_REFERENCE};
pub use talk::{Flag, Segment, Speaker, SpeakerId, Talk, Turn, Warning, Word};
