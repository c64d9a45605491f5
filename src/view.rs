//! Records to names, nodes and attributes: what the conversations' tree looks like. Pure.
//!
//! ```text
//! <conversation>/<yyyy>/<mm>/<dd>/   <stem>.<extension>   <stem>_metadata.json   <stem>.json ...
//!                                    <conversation>_transcript.txt
//! ```
//!
//! No two names of a day are the same: stems are unique on their day, and `FileName::numbered_stem` gives
//! out none with which a page's or a transcript's name could meet another's.

mod lookup;

use std::time::SystemTime;

use jiff::Timestamp;

pub use crate::view::lookup::{
    Facet, candidates, is_transcript, parse_day, parse_month, parse_year,
};

use crate::model::{Access, Conversation, Day, DayTranscript, FileName, Key, Node, Recording};

/// What `stat` says of a node that we made up or published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeAttributes {
    pub node: Node,
    pub is_directory: bool,
    pub bytes: u64,
    pub modified: SystemTime,
    /// `None`: whoever the mount lets in may read it.
    pub access: Option<Access>,
}

/// A name in a listing, and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedNode {
    pub name: FileName,
    pub attributes: NodeAttributes,
}

/// A conversation's folder, under its present id.
pub fn conversation_folder(conversation: &Conversation) -> NamedNode {
    folder(conversation.id.name(), Node::Conversation(conversation.seq), conversation.created_at)
}

/// The folder in the trash of a recording that is there by itself.
pub fn trashed_folder(recording: &Recording) -> NodeAttributes {
    let modified = recording.overlay.trashed_at.unwrap_or(recording.published_at).into();
    let node = Node::Trashed(recording.id);
    NodeAttributes { node, is_directory: true, bytes: 0, modified, access: None }
}

pub fn year_folder(conversation: &Conversation, year: u16) -> NamedNode {
    folder(format!("{year:04}"), Node::Year(conversation.seq, year), conversation.created_at)
}

pub fn month_folder(conversation: &Conversation, year: u16, month: u8) -> NamedNode {
    let node = Node::Month(conversation.seq, year, month);
    folder(format!("{month:02}"), node, conversation.created_at)
}

/// A folder with the time of what was published last in it, in place of its conversation's birth.
pub fn dated(folder: NodeAttributes, newest: Option<Timestamp>) -> NodeAttributes {
    let modified = newest.map_or(folder.modified, SystemTime::from);
    NodeAttributes { modified, ..folder }
}

/// A day's folder.
pub fn day_folder(conversation: &Conversation, day: Day) -> NamedNode {
    let node = Node::Day(conversation.seq, day);
    folder(format!("{:02}", day.day()), node, conversation.created_at)
}

/// All files of a day's folder, in the order of their inode numbers.
pub fn day_entries(
    conversation: &Conversation,
    transcript: Option<&DayTranscript>,
    recordings: &[Recording],
) -> Vec<NamedNode> {
    let transcript = transcript.map(|transcript| transcript_file(conversation, transcript));
    transcript.into_iter().chain(recordings.iter().flat_map(shown_files)).collect()
}

/// Whether a file of a recording is to be seen in its day's folder.
pub fn is_shown(recording: &Recording, facet: Facet) -> bool {
    let is_hidden = |kind| recording.overlay.hidden.contains(&kind);
    let is_page_hidden = matches!(facet, Facet::Page(kind) if is_hidden(kind));
    recording.overlay.trashed_at.is_none() && !is_page_hidden
}

fn shown_files(recording: &Recording) -> Vec<NamedNode> {
    let shown = Facet::ALL.into_iter().filter(|facet| is_shown(recording, *facet));
    shown.filter_map(|facet| recording_file(recording, facet)).collect()
}

/// The day's transcript, under the conversation's present id.
pub fn transcript_file(conversation: &Conversation, transcript: &DayTranscript) -> NamedNode {
    let name = [&conversation.id.name()[..], lookup::TRANSCRIPT_SUFFIX.as_bytes()].concat();
    NamedNode {
        name: FileName::new(name).expect("an id is a legal name and leaves room"),
        attributes: NodeAttributes {
            node: Node::Transcript(transcript.conversation, transcript.day),
            is_directory: false,
            bytes: transcript.object.bytes,
            modified: transcript.modified_at.into(),
            access: transcript.access,
        },
    }
}

/// A recording's audio and pages, in the order of their inode numbers.
pub fn recording_files(recording: &Recording) -> Vec<NamedNode> {
    Facet::ALL.into_iter().filter_map(|facet| recording_file(recording, facet)).collect()
}

/// One file of a recording, if it has that page.
pub fn recording_file(recording: &Recording, facet: Facet) -> Option<NamedNode> {
    let (name, node, bytes, modified) = match facet {
        Facet::Audio => {
            let name = recording.audio_name.clone();
            (name, Node::Audio(recording.id), recording.audio.bytes, recording.modified_at)
        }
        Facet::Page(kind) => {
            let page = recording.page(kind)?;
            let name = [recording.stem.as_bytes(), kind.suffix().as_bytes()].concat();
            let node = Node::Page(recording.id, kind);
            (FileName::new(name)?, node, page.object.bytes, recording.written_at(page))
        }
    };
    let (modified, access) = (modified.into(), recording.overlay.access);
    let attributes = NodeAttributes { node, is_directory: false, bytes, modified, access };
    Some(NamedNode { name, attributes })
}

/// Where the bytes of a published node are. Of `transcript` and `recording`, the one that `node` belongs to is
/// looked at.
pub fn key_of(
    node: Node,
    transcript: Option<&DayTranscript>,
    recording: Option<&Recording>,
) -> Option<Key> {
    let object = match node {
        Node::Transcript(..) => &transcript?.object,
        Node::Audio(_) => &recording?.audio,
        Node::Page(_, kind) => &recording?.page(kind)?.object,
        Node::Virtual(_)
        | Node::Inbox(_)
        | Node::Conversation(_)
        | Node::Year(..)
        | Node::Month(..)
        | Node::Day(..)
        | Node::Trashed(_) => return None,
    };
    Some(object.key.clone())
}

fn folder(name: impl Into<Vec<u8>>, node: Node, modified: Timestamp) -> NamedNode {
    let name = FileName::new(name).expect("ids and numbers are legal names");
    let modified = modified.into();
    let attributes = NodeAttributes { node, is_directory: true, bytes: 0, modified, access: None };
    NamedNode { name, attributes }
}

#[cfg(test)]
mod tests;
