//! `Invalidation`: what the kernel has to forget because of a change, each thing once however many changes there
//! were.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::fs::archive::{Archive, conversation_of, days_of};
use crate::fs::errno::FsError;
use crate::index::Change;
use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, FileName, InboxId, Node, Recording,
    VirtualNode,
};
use crate::view;

const CONVERSATIONS: Node = Node::Virtual(VirtualNode::Conversations);
const TRASH: Node = Node::Virtual(VirtualNode::Trash);

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Invalidation {
    /// Names that are there and were not, or the other way round. Not of folders that stay: who stands in one
    /// would find it gone.
    pub(crate) entries: BTreeSet<(Node, OsString)>,
    /// Folders whose attributes and listings are not what they were.
    pub(crate) folders: BTreeSet<Node>,
    /// Files whose attributes and bytes are not what they were.
    pub(crate) files: BTreeSet<Node>,
}

impl Invalidation {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.folders.is_empty() && self.files.is_empty()
    }

    pub(crate) fn changed(&mut self, node: Node) {
        match node {
            Node::Audio(_) | Node::Page(..) | Node::Transcript(..) => self.files.insert(node),
            Node::Inbox(_)
            | Node::Virtual(_)
            | Node::Conversation(_)
            | Node::Year(..)
            | Node::Month(..)
            | Node::Day(..)
            | Node::Trashed(_) => self.folders.insert(node),
        };
    }

    pub(crate) fn renamed(&mut self, folder: Node, name: &OsStr) {
        self.entries.insert((folder, name.to_owned()));
    }

    /// A name of the inbox that the daemon has made or removed itself.
    pub(crate) fn in_inbox(&mut self, folder: InboxId, name: &FileName) {
        self.renamed(Node::Inbox(folder), name.as_os_str());
        self.changed(Node::Inbox(folder));
    }

    pub(crate) fn of_change(&mut self, archive: &Archive, change: &Change) -> Result<(), FsError> {
        match change {
            Change::Published { recording, new_conversation, new_day } => {
                let conversation = archive.conversation(recording.id.conversation)?;
                self.of_recording(archive, &conversation, recording)?;
                // The folders above have the time of what is newest in them.
                let (seq, day) = (conversation.seq, recording.id.day);
                self.changed(Node::Month(seq, day.year(), day.month()));
                self.changed(Node::Year(seq, day.year()));
                self.changed(Node::Conversation(seq));
                if *new_day || *new_conversation {
                    self.of_way_to(archive, &conversation, recording.id.day)?;
                }
            }
            Change::Replaced { recording } => {
                let conversation = archive.conversation(recording.id.conversation)?;
                self.of_recording(archive, &conversation, recording)?;
            }
            Change::Removed { recording, conversation, last_of_day, .. } => {
                self.of_recording(archive, conversation, recording)?;
                self.changed(TRASH);
                if *last_of_day {
                    self.of_way_to(archive, conversation, recording.id.day)?;
                }
            }
            Change::DayTranscript { conversation, day } => {
                self.changed(Node::Transcript(*conversation, *day));
                self.changed(Node::Day(*conversation, *day));
            }
            Change::Renamed { seq, from, to: _ } => {
                self.of_conversation(from);
                self.of_transcripts(archive, *seq, from)?;
            }
            Change::Trashed { id, .. } | Change::Restored { id, .. } => self.of_conversation(id),
            Change::RecordingMoved { recording, with_day } => {
                let conversation = archive.conversation(recording.id.conversation)?;
                self.of_recording(archive, &conversation, recording)?;
                self.changed(TRASH);
                if *with_day {
                    self.of_way_to(archive, &conversation, recording.id.day)?;
                }
            }
            Change::Purging { name } => {
                self.renamed(TRASH, name.as_os_str());
                self.changed(TRASH);
            }
            // What is to be forgotten because of what was missed is told conversation by conversation.
            Change::Placed { .. } | Change::Job(_) | Change::Missed => {}
        }
        Ok(())
    }

    /// All that the kernel may know of a conversation.
    pub(crate) fn of_all_in(
        &mut self,
        archive: &Archive,
        conversation: &Conversation,
    ) -> Result<(), FsError> {
        let seq = conversation.seq;
        self.of_conversation(&conversation.id);
        self.changed(Node::Conversation(seq));
        for day in archive.index.filed_days(seq)? {
            for recording in archive.index.filed_recordings(seq, day)? {
                self.of_recording(archive, conversation, &recording)?;
            }
            self.of_way_to(archive, conversation, day)?;
        }
        Ok(())
    }

    /// A conversation came or went under that name.
    fn of_conversation(&mut self, id: &ConversationId) {
        for folder in [CONVERSATIONS, TRASH] {
            self.renamed(folder, OsStr::from_bytes(&id.name()));
            self.changed(folder);
        }
    }

    fn of_recording(
        &mut self,
        archive: &Archive,
        conversation: &Conversation,
        recording: &Recording,
    ) -> Result<(), FsError> {
        let (seq, day) = (recording.id.conversation, recording.id.day);
        let transcript = archive.index.filed_transcript(seq, day)?;
        let transcript = transcript.map(|it| view::transcript_file(conversation, &it));
        for entry in view::recording_files(recording).into_iter().chain(transcript) {
            self.changed(entry.attributes.node);
            self.renamed(Node::Day(seq, day), entry.name.as_os_str());
        }
        self.changed(Node::Day(seq, day));
        Ok(())
    }

    /// The folders down to a day that is new or gone: of those above it, the ones that have no other.
    fn of_way_to(
        &mut self,
        archive: &Archive,
        conversation: &Conversation,
        day: Day,
    ) -> Result<(), FsError> {
        let seq = conversation.seq;
        let (year, month) =
            (Node::Year(seq, day.year()), Node::Month(seq, day.year(), day.month()));
        self.renamed(month, format!("{:02}", day.day()).as_ref());
        self.changed(month);
        if !has_another(archive, month, day)? {
            self.renamed(year, format!("{:02}", day.month()).as_ref());
            self.changed(year);
        }
        if !has_another(archive, year, day)? {
            let name = format!("{:04}", day.year());
            self.renamed(Node::Conversation(seq), name.as_ref());
            self.changed(Node::Conversation(seq));
        }
        if !has_another(archive, Node::Conversation(seq), day)? {
            self.of_conversation(&conversation.id);
        }
        Ok(())
    }

    /// A transcript is named after its conversation.
    fn of_transcripts(
        &mut self,
        archive: &Archive,
        seq: ConversationSeq,
        old: &ConversationId,
    ) -> Result<(), FsError> {
        let mut conversation = archive.conversation(seq)?;
        conversation.id = old.clone();
        for day in archive.index.filed_days(seq)? {
            if let Some(transcript) = archive.index.filed_transcript(seq, day)? {
                let entry = view::transcript_file(&conversation, &transcript);
                self.renamed(Node::Day(seq, day), entry.name.as_os_str());
            }
            self.changed(Node::Day(seq, day));
        }
        Ok(())
    }
}

/// Whether a folder shows another day than this one.
fn has_another(archive: &Archive, folder: Node, day: Day) -> Result<bool, FsError> {
    let Some(seq) = conversation_of(folder) else { return Ok(false) };
    let always = || Some((Day::from_ymd(1, 1, 1)?, Day::from_ymd(9999, 12, 31)?));
    let Some((first, last)) = days_of(folder).or_else(always) else { return Ok(false) };
    let index = &archive.index;
    let mut found = index.shown_day_from(seq, first)?;
    if found == Some(day) {
        let next = day.date().tomorrow().ok().and_then(Day::new);
        found = next.map_or(Ok(None), |next| index.shown_day_from(seq, next))?;
    }
    Ok(found.is_some_and(|found| found <= last))
}
