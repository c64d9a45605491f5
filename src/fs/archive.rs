//! What is published, as a tree of names: asked of the index each time, remembered nowhere.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::fs::errno::FsError;
use crate::fs::removal::Removals;
use crate::index::Index;
use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, FileName, Node, Object, Recording,
    RecordingId, VirtualNode,
};
use crate::view::{self, Facet, NamedNode, NodeAttributes};

/// A name in a listing. `cookie` continues after it, whatever has happened since.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) cookie: u64,
    pub(crate) name: FileName,
    pub(crate) attributes: NodeAttributes,
}

#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) index: Index,
    pub(crate) removals: Arc<Removals>,
}

/// The conversation that a node of the archive belongs to.
pub(crate) fn conversation_of(node: Node) -> Option<ConversationSeq> {
    match node {
        Node::Virtual(_) | Node::Inbox(_) => None,
        Node::Conversation(seq)
        | Node::Year(seq, _)
        | Node::Month(seq, _, _)
        | Node::Day(seq, _)
        | Node::Transcript(seq, _) => Some(seq),
        Node::Audio(id) | Node::Page(id, _) => Some(id.conversation),
    }
}

/// The folder that a node of the archive lies in, unless it is a conversation in the trash.
pub(crate) fn parent_of(node: Node) -> Node {
    match node {
        Node::Virtual(VirtualNode::Trash) => Node::Virtual(VirtualNode::Control),
        Node::Virtual(_) | Node::Inbox(_) => Node::Virtual(VirtualNode::Root),
        Node::Conversation(_) => Node::Virtual(VirtualNode::Conversations),
        Node::Year(seq, _) => Node::Conversation(seq),
        Node::Month(seq, year, _) => Node::Year(seq, year),
        Node::Day(seq, day) => Node::Month(seq, day.year(), day.month()),
        Node::Transcript(seq, day) => Node::Day(seq, day),
        Node::Audio(id) | Node::Page(id, _) => Node::Day(id.conversation, id.day),
    }
}

/// Lookups and attributes.
impl Archive {
    pub(crate) fn find(&self, parent: Node, name: &OsStr) -> Result<NodeAttributes, FsError> {
        let name = FileName::new(name.as_bytes()).ok_or(FsError::Missing)?;
        let found = match parent {
            Node::Virtual(VirtualNode::Conversations) => {
                let id = ConversationId::of_folder(name.as_bytes());
                let found = self.index.conversation_named(&id.ok_or(FsError::Missing)?)?;
                view::conversation_folder(&found.ok_or(FsError::Missing)?).attributes
            }
            Node::Virtual(VirtualNode::Trash) => self.find_trashed(&name)?,
            Node::Conversation(seq) => {
                let year = view::parse_year(&name).ok_or(FsError::Missing)?;
                self.attributes(Node::Year(seq, year))?
            }
            Node::Year(seq, year) => {
                let month = view::parse_month(&name).ok_or(FsError::Missing)?;
                self.attributes(Node::Month(seq, year, month))?
            }
            Node::Month(seq, year, month) => {
                let day = view::parse_day(year, month, &name).ok_or(FsError::Missing)?;
                self.attributes(Node::Day(seq, day))?
            }
            Node::Day(seq, day) => self.find_file(seq, day, &name)?,
            Node::Virtual(_)
            | Node::Inbox(_)
            | Node::Transcript(..)
            | Node::Audio(_)
            | Node::Page(..) => return Err(FsError::NotDirectory),
        };
        if self.is_hidden(found.node) {
            return Err(FsError::Missing);
        }
        Ok(found)
    }

    fn find_trashed(&self, name: &FileName) -> Result<NodeAttributes, FsError> {
        let folders = view::trash_folders(&self.index.trashed_conversations()?);
        let found = folders.into_iter().find(|folder| folder.name == *name);
        found.map(|folder| folder.attributes).ok_or(FsError::Missing)
    }

    fn find_file(
        &self,
        seq: ConversationSeq,
        day: Day,
        name: &FileName,
    ) -> Result<NodeAttributes, FsError> {
        let conversation = self.conversation(seq)?;
        if view::is_transcript(&conversation, name)
            && let Some(transcript) = self.index.filed_transcript(seq, day)?
        {
            return Ok(view::transcript_file(&conversation, &transcript).attributes);
        }
        for (stem, facet) in view::candidates(name) {
            let recording = self.index.filed_recording_with_stem(seq, day, &stem)?;
            let file = recording.and_then(|recording| view::recording_file(&recording, facet));
            if let Some(file) = file.filter(|file| file.name == *name) {
                return Ok(file.attributes);
            }
        }
        Err(FsError::Missing)
    }

    pub(crate) fn attributes(&self, node: Node) -> Result<NodeAttributes, FsError> {
        let conversation = self.conversation(conversation_of(node).ok_or(FsError::Missing)?)?;
        let seq = conversation.seq;
        let has_day = |is_meant: &dyn Fn(&Day) -> bool| {
            Ok::<_, FsError>(self.index.filed_days(seq)?.iter().any(is_meant))
        };
        let found = match node {
            Node::Virtual(_) | Node::Inbox(_) => None,
            Node::Conversation(_) => Some(view::conversation_folder(&conversation)),
            Node::Year(_, year) => {
                has_day(&|day| day.year() == year)?.then(|| view::year_folder(&conversation, year))
            }
            Node::Month(_, year, month) => {
                has_day(&|day| (day.year(), day.month()) == (year, month))?
                    .then(|| view::month_folder(&conversation, year, month))
            }
            Node::Day(_, day) => {
                has_day(&|other| *other == day)?.then(|| view::day_folder(&conversation, day))
            }
            Node::Transcript(_, day) => {
                let transcript = self.index.filed_transcript(seq, day)?;
                transcript.map(|transcript| view::transcript_file(&conversation, &transcript))
            }
            Node::Audio(_) => view::recording_file(&self.recording(node)?, Facet::Audio),
            Node::Page(_, kind) => view::recording_file(&self.recording(node)?, Facet::Page(kind)),
        };
        found.map(|found| found.attributes).ok_or(FsError::Missing)
    }

    /// The conversation, also if it is in the trash: its nodes are the same there.
    pub(crate) fn conversation(&self, seq: ConversationSeq) -> Result<Conversation, FsError> {
        self.index.filed_conversation(seq)?.ok_or(FsError::Missing)
    }

    pub(crate) fn is_trashed(&self, seq: ConversationSeq) -> Result<bool, FsError> {
        Ok(self.conversation(seq)?.trashed_at.is_some())
    }

    /// [`parent_of`], and the trash of what is in it.
    pub(crate) fn parent(&self, node: Node) -> Node {
        match node {
            Node::Conversation(seq) if self.is_trashed(seq).unwrap_or(false) => {
                Node::Virtual(VirtualNode::Trash)
            }
            node => parent_of(node),
        }
    }

    /// The recording that a file belongs to.
    pub(crate) fn recording(&self, node: Node) -> Result<Recording, FsError> {
        match node {
            Node::Audio(id) | Node::Page(id, _) => {
                self.index.filed_recording(id)?.ok_or(FsError::Missing)
            }
            _ => Err(FsError::Missing),
        }
    }

    /// Where the bytes of a file are, and how many.
    pub(crate) fn object(&self, node: Node) -> Result<Object, FsError> {
        let object = match node {
            Node::Transcript(seq, day) => {
                self.index.filed_transcript(seq, day)?.map(|transcript| transcript.object)
            }
            Node::Page(_, kind) => self.recording(node)?.page(kind).map(|page| page.object.clone()),
            node => Some(self.recording(node)?.audio),
        };
        object.ok_or(FsError::Gone)
    }

    fn is_hidden(&self, node: Node) -> bool {
        conversation_of(node).is_some_and(|seq| self.removals.is_hidden(seq, node))
    }
}

/// Listings.
impl Archive {
    /// Entries after `after` (0: all), at most `limit` where there can be many.
    pub(crate) fn list(
        &self,
        folder: Node,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Listed>, FsError> {
        let named = match folder {
            Node::Virtual(VirtualNode::Conversations) => {
                let Ok(after) = u32::try_from(after) else { return Ok(Vec::new()) };
                let found = self.index.conversations(ConversationSeq(after), limit)?;
                found.iter().map(view::conversation_folder).collect()
            }
            Node::Virtual(VirtualNode::Trash) => {
                view::trash_folders(&self.index.trashed_conversations()?)
            }
            Node::Conversation(seq) => {
                view::years(&self.conversation(seq)?, &self.index.filed_days(seq)?)
            }
            Node::Year(seq, year) => {
                view::months(&self.conversation(seq)?, year, &self.index.filed_days(seq)?)
            }
            Node::Month(seq, year, month) => {
                view::days(&self.conversation(seq)?, year, month, &self.index.filed_days(seq)?)
            }
            Node::Day(seq, day) => {
                let transcript = self.index.filed_transcript(seq, day)?;
                let recordings = self.index.filed_recordings(seq, day)?;
                view::day_entries(&self.conversation(seq)?, transcript.as_ref(), &recordings)
            }
            Node::Virtual(_)
            | Node::Inbox(_)
            | Node::Transcript(..)
            | Node::Audio(_)
            | Node::Page(..) => return Err(FsError::NotDirectory),
        };
        let listed = named.into_iter().map(Listed::new);
        let is_shown =
            |entry: &Listed| after < entry.cookie && !self.is_hidden(entry.attributes.node);
        Ok(listed.filter(is_shown).collect())
    }
}

impl Listed {
    fn new(named: NamedNode) -> Self {
        let cookie = place_in_folder(named.attributes.node);
        Self { cookie, name: named.name, attributes: named.attributes }
    }
}

/// Grows with the inode number, and begins with 1: what a listing goes on from.
fn place_in_folder(node: Node) -> u64 {
    const FILES_OF_RECORDING: u64 = 16;
    let of = |id: RecordingId| u64::from(id.number) * FILES_OF_RECORDING;
    match node {
        Node::Virtual(_) | Node::Inbox(_) => 0,
        Node::Conversation(seq) => u64::from(seq.0),
        Node::Year(_, year) => u64::from(year),
        Node::Month(_, _, month) => u64::from(month),
        Node::Day(_, day) => u64::from(day.day()),
        Node::Transcript(..) => 1,
        Node::Audio(id) => of(id),
        Node::Page(id, kind) => of(id) + 1 + kind as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PageKind;

    #[test]
    fn cookies_of_a_day_grow_with_the_inode_numbers() {
        let seq = ConversationSeq(7);
        let day = Day::from_ymd(2024, 1, 15).unwrap();
        let id = |number| RecordingId { conversation: seq, day, number };
        let nodes = [
            Node::Transcript(seq, day),
            Node::Audio(id(1)),
            Node::Page(id(1), PageKind::Metadata),
            Node::Page(id(1), PageKind::Html),
            Node::Audio(id(2)),
        ];
        assert!(nodes.is_sorted_by_key(|node| node.inode()));
        assert!(nodes.is_sorted_by_key(|node| place_in_folder(*node)));
    }
}
