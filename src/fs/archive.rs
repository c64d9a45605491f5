//! What is published, as a tree of names: asked of the index each time, remembered nowhere.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::fs::errno::FsError;
use crate::fs::recent_removals::RecentRemovals;
use crate::index::{Index, TrashEntry, Trashed};
use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, FileName, Node, Object, Recording,
    VirtualNode,
};
use crate::view::{self, Facet, NodeAttributes};

#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) index: Index,
    pub(crate) removals: Arc<RecentRemovals>,
}

/// What has a name, and whether it can be seen. What cannot went with something that was removed a moment ago: whoever
/// has seen it before may still remove it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) attributes: NodeAttributes,
    pub(crate) is_shown: bool,
}

impl Found {
    fn shown(attributes: NodeAttributes) -> Self {
        Self { attributes, is_shown: true }
    }
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
        Node::Audio(id) | Node::Page(id, _) | Node::Trashed(id) => Some(id.conversation),
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
        Node::Trashed(_) => Node::Virtual(VirtualNode::Trash),
    }
}

/// The days that a year, a month or a day has room for.
pub(crate) fn days_of(folder: Node) -> Option<(Day, Day)> {
    let day = |year: u16, month: u8, day: u8| {
        let (year, month) = (i16::try_from(year).ok()?, i8::try_from(month).ok()?);
        Day::from_ymd(year, month, i8::try_from(day).ok()?)
    };
    match folder {
        Node::Year(_, year) => day(year, 1, 1).zip(day(year, 12, 31)),
        Node::Month(_, year, month) => {
            let first = day(year, month, 1)?;
            Some((first, Day::new(first.date().last_of_month())?))
        }
        Node::Day(_, day) => Some((day, day)),
        _ => None,
    }
}

/// Lookups and attributes.
impl Archive {
    pub(crate) fn find(&self, parent: Node, name: &OsStr) -> Result<Found, FsError> {
        let name = FileName::new(name.as_bytes()).ok_or(FsError::Missing)?;
        match parent {
            Node::Virtual(VirtualNode::Conversations) => self.find_conversation(&name),
            Node::Virtual(VirtualNode::Trash) => {
                let entry = self.index.trash_entry_named(&name)?;
                Ok(Found::shown(trash_attributes(&entry.ok_or(FsError::Missing)?)))
            }
            Node::Conversation(seq) => {
                let year = view::parse_year(&name).ok_or(FsError::Missing)?;
                self.find_folder(Node::Year(seq, year))
            }
            Node::Year(seq, year) => {
                let month = view::parse_month(&name).ok_or(FsError::Missing)?;
                self.find_folder(Node::Month(seq, year, month))
            }
            Node::Month(seq, year, month) => {
                let day = view::parse_day(year, month, &name).ok_or(FsError::Missing)?;
                self.find_folder(Node::Day(seq, day))
            }
            Node::Day(seq, day) => self.find_file(seq, day, &name),
            Node::Trashed(_) => {
                let files = view::recording_files(&self.recording(parent)?);
                let found = files.into_iter().find(|file| file.name == name);
                found.map(|file| Found::shown(file.attributes)).ok_or(FsError::Missing)
            }
            Node::Virtual(_)
            | Node::Inbox(_)
            | Node::Transcript(..)
            | Node::Audio(_)
            | Node::Page(..) => Err(FsError::NotDirectory),
        }
    }

    fn find_conversation(&self, name: &FileName) -> Result<Found, FsError> {
        let id = ConversationId::of_folder(name.as_bytes()).ok_or(FsError::Missing)?;
        if let Some(found) = self.index.conversation_named(&id)? {
            let folder = view::conversation_folder(&found).attributes;
            return Ok(Found::shown(self.dated(folder)?));
        }
        let removed = self.removals.conversation_named(&id);
        let removed = removed.filter(|seq| self.removals.covers(Node::Conversation(*seq)));
        let conversation = self.conversation(removed.ok_or(FsError::Missing)?)?;
        let attributes = view::conversation_folder(&conversation).attributes;
        Ok(Found { attributes, is_shown: false })
    }

    fn find_folder(&self, folder: Node) -> Result<Found, FsError> {
        let seq = conversation_of(folder).ok_or(FsError::Missing)?;
        let (first, last) = days_of(folder).ok_or(FsError::Missing)?;
        let is_shown = self.index.shown_day_from(seq, first)?.is_some_and(|day| day <= last);
        if !is_shown && !self.removals.covers(folder) {
            return Err(FsError::Missing);
        }
        Ok(Found { attributes: self.attributes(folder)?, is_shown })
    }

    fn find_file(&self, seq: ConversationSeq, day: Day, name: &FileName) -> Result<Found, FsError> {
        let conversation = self.conversation(seq)?;
        if view::is_transcript(&conversation, name) {
            let node = Node::Transcript(seq, day);
            let shown = self.index.shown_transcript(seq, day)?;
            let is_shown = shown.is_some();
            let transcript = match shown {
                None if self.removals.covers(node) => self.index.filed_transcript(seq, day)?,
                shown => shown,
            };
            if let Some(transcript) = transcript {
                let attributes = view::transcript_file(&conversation, &transcript).attributes;
                return Ok(Found { attributes, is_shown });
            }
        }
        for (stem, facet) in view::candidates(name) {
            let recording = self.index.filed_recording_with_stem(seq, day, &stem)?;
            let Some(recording) = recording else { continue };
            let file = view::recording_file(&recording, facet).filter(|file| file.name == *name);
            let Some(file) = file else { continue };
            let (attributes, is_shown) = (file.attributes, view::is_shown(&recording, facet));
            if is_shown || self.removals.covers(attributes.node) {
                return Ok(Found { attributes, is_shown });
            }
        }
        Err(FsError::Missing)
    }

    /// Of any node that the kernel may know of, also when it is no longer to be seen.
    pub(crate) fn attributes(&self, node: Node) -> Result<NodeAttributes, FsError> {
        let conversation = self.conversation(conversation_of(node).ok_or(FsError::Missing)?)?;
        let seq = conversation.seq;
        if let Some(days) = days_of(node)
            && !self.index.has_day(seq, days)?
        {
            return Err(FsError::Missing);
        }
        let found = match node {
            Node::Virtual(_) | Node::Inbox(_) => None,
            Node::Conversation(_) => Some(view::conversation_folder(&conversation)),
            Node::Year(_, year) => Some(view::year_folder(&conversation, year)),
            Node::Month(_, year, month) => Some(view::month_folder(&conversation, year, month)),
            Node::Day(_, day) => Some(view::day_folder(&conversation, day)),
            Node::Transcript(_, day) => {
                let transcript = self.index.filed_transcript(seq, day)?;
                transcript.map(|transcript| view::transcript_file(&conversation, &transcript))
            }
            Node::Audio(_) => view::recording_file(&self.recording(node)?, Facet::Audio),
            Node::Page(_, kind) => view::recording_file(&self.recording(node)?, Facet::Page(kind)),
            Node::Trashed(_) => {
                let recording = self.recording(node)?;
                let is_there = recording.overlay.trashed_at.is_some();
                return is_there.then(|| view::trashed_folder(&recording)).ok_or(FsError::Missing);
            }
        };
        self.dated(found.ok_or(FsError::Missing)?.attributes)
    }

    /// A folder with the time of its newest recording: programs that copy or watch trees look at it.
    pub(crate) fn dated(&self, attributes: NodeAttributes) -> Result<NodeAttributes, FsError> {
        let newest = match (attributes.node, days_of(attributes.node)) {
            (Node::Conversation(seq), _) => self.index.newest_in(seq)?,
            (node, Some((first, last))) => match conversation_of(node) {
                Some(seq) => self.index.newest_on(seq, first, last)?,
                None => None,
            },
            _ => None,
        };
        Ok(view::dated(attributes, newest))
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

    /// The recording that a node belongs to.
    pub(crate) fn recording(&self, node: Node) -> Result<Recording, FsError> {
        match node {
            Node::Audio(id) | Node::Page(id, _) | Node::Trashed(id) => {
                self.index.filed_recording(id)?.ok_or(FsError::Missing)
            }
            _ => Err(FsError::Missing),
        }
    }

    /// What a page that is opened for reading has to say, and since when. What can only still be removed cannot be
    /// read.
    pub(crate) fn readable_page(&self, node: Node) -> Result<(Object, SystemTime), FsError> {
        let seq = conversation_of(node).ok_or(FsError::Gone)?;
        let goes_just_now = |is_in_trash: bool| is_in_trash && self.removals.covers(node);
        match node {
            Node::Transcript(seq, day) => {
                let transcript = self.index.shown_transcript(seq, day)?;
                let is_there = !goes_just_now(self.is_trashed(seq)?);
                let transcript = transcript.filter(|_| is_there).ok_or(FsError::Missing)?;
                Ok((transcript.object, transcript.modified_at.into()))
            }
            Node::Page(_, kind) => {
                let (recording, facet) = (self.recording(node)?, Facet::Page(kind));
                let is_in_trash = recording.overlay.trashed_at.is_some();
                if goes_just_now(is_in_trash || self.is_trashed(seq)?) {
                    return Err(FsError::Missing);
                }
                let file = view::recording_file(&recording, facet);
                let file = file.filter(|_| is_in_trash || view::is_shown(&recording, facet));
                let modified = file.ok_or(FsError::Missing)?.attributes.modified;
                Ok((self.object(node)?, modified))
            }
            _ => Err(FsError::Gone),
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
}

/// An entry of the trash as a folder.
pub(crate) fn trash_attributes(entry: &TrashEntry) -> NodeAttributes {
    match &entry.what {
        Trashed::Conversation(conversation) => view::conversation_folder(conversation).attributes,
        Trashed::Recording(recording) => view::trashed_folder(recording),
    }
}
