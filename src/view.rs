//! Records to names, nodes and attributes: what the conversations' tree looks like. Pure.

use std::time::SystemTime;

use crate::model::{Conversation, Day, DayTranscript, FileName, Key, Node, Recording};

/// What `stat` says of a node that we made up or published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAttributes {
    pub node: Node,
    pub is_directory: bool,
    pub bytes: u64,
    pub modified: SystemTime,
}

/// A name in a listing, and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedNode {
    pub name: FileName,
    pub attributes: NodeAttributes,
}

/// All files of a day's folder, in the order of their inode numbers.
pub fn day_entries(
    conversation: &Conversation,
    transcript: Option<&DayTranscript>,
    recordings: &[Recording],
) -> Vec<NamedNode> {
    todo!("{conversation:?} {transcript:?} {recordings:?}")
}

/// Subfolders of a conversation: years.
pub fn years(conversation: &Conversation, days: &[Day]) -> Vec<NamedNode> {
    todo!("{conversation:?} {days:?}")
}

/// Where the bytes of a published node are.
pub fn key_of(
    node: Node,
    transcript: Option<&DayTranscript>,
    recording: Option<&Recording>,
) -> Option<Key> {
    todo!("{node:?} {transcript:?} {recording:?}")
}
