//! `Change`: what subscribers of the index are told.

use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, FileName, Job, Placement, Recording,
    RecordingId,
};

/// Something in the conversations has changed: for kernel caches, events and status.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Published {
        recording: Box<Recording>,
        new_conversation: bool,
        new_day: bool,
    },
    Replaced {
        recording: Box<Recording>,
    },
    DayTranscript {
        conversation: ConversationSeq,
        day: Day,
    },
    Renamed {
        seq: ConversationSeq,
        from: ConversationId,
        to: ConversationId,
    },
    Trashed {
        seq: ConversationSeq,
        id: ConversationId,
    },
    Restored {
        seq: ConversationSeq,
        id: ConversationId,
    },
    /// Gone for good. The day and the conversation are gone with it if it was their last.
    Removed {
        recording: Box<Recording>,
        conversation: Box<Conversation>,
        last_of_day: bool,
        last_of_conversation: bool,
    },
    /// A recording has come into the trash by itself, or out of it; its overlay says which.
    RecordingMoved {
        recording: Box<Recording>,
        /// It was the last one that its day showed, or is the first one.
        with_day: bool,
    },
    /// Something in the trash is about to be removed for good.
    Purging {
        /// In the trash.
        name: FileName,
    },
    Placed {
        id: RecordingId,
        placement: Placement,
    },
    Job(Box<Job>),
    /// There were more changes than this subscriber's queue takes: anything may be different.
    Missed,
}

impl Change {
    /// Whether something has lost its name: who missed that would not find it out by looking at what there is.
    pub(crate) fn ends_a_name(&self) -> bool {
        match self {
            Self::Renamed { .. }
            | Self::Trashed { .. }
            | Self::Restored { .. }
            | Self::Removed { .. }
            | Self::Purging { .. } => true,
            Self::Published { .. }
            | Self::Replaced { .. }
            | Self::DayTranscript { .. }
            | Self::RecordingMoved { .. }
            | Self::Placed { .. }
            | Self::Job(_)
            | Self::Missed => false,
        }
    }
}
