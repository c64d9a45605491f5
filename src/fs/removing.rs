//! Removing what is published. It means what it says: an original takes its recording to the trash, a page is hidden,
//! and whatever is then empty goes too. All of it can be restored.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use jiff::Timestamp;

use crate::fs::archive::conversation_of;
use crate::fs::errno::FsError;
use crate::fs::tree::{Tree, node};
use crate::model::{ConversationId, ConversationSeq, Inode, Node, RecordingId, VirtualNode};

impl Tree {
    pub(crate) fn remove_published_file(&self, parent: Inode, name: &OsStr) -> Result<(), FsError> {
        let found = self.removable(parent, name)?;
        let archive = &self.archive;
        let day = match found {
            Node::Audio(id) => {
                archive.index.trash_recording(id, Timestamp::now())?;
                id.day
            }
            // What is in the trash with its recording already is left alone.
            Node::Page(id, kind) => {
                archive.index.hide_page(id, kind)?;
                id.day
            }
            Node::Transcript(seq, day) => {
                archive.index.hide_transcript(seq, day)?;
                day
            }
            _ => return Err(FsError::IsDirectory),
        };
        let seq = conversation_of(found).ok_or(FsError::ReadOnly)?;
        let conversation = archive.conversation(seq)?;
        archive.removals.note_file(&conversation.id, (seq, day), found);
        Ok(())
    }

    /// Folders come and go with what is in them. One that was emptied just now may still be removed.
    pub(crate) fn remove_published_folder(
        &self,
        parent: Inode,
        name: &OsStr,
    ) -> Result<(), FsError> {
        let folder = self.removable(parent, name)?;
        match folder {
            Node::Conversation(_) | Node::Year(..) | Node::Month(..) | Node::Day(..) => {}
            Node::Audio(_) | Node::Page(..) | Node::Transcript(..) => {
                return Err(FsError::NotDirectory);
            }
            Node::Virtual(_) | Node::Inbox(_) | Node::Trashed(_) => return Err(FsError::ReadOnly),
        }
        let seq = conversation_of(folder).ok_or(FsError::ReadOnly)?;
        // In the trash it has all that it had. That it may be removed here was looked at above.
        let is_trashed = self.archive.is_trashed(seq)?;
        if !is_trashed && !self.archive.removals.covers(folder) {
            return Err(FsError::NotEmpty);
        }
        if !is_trashed && !self.archive.list(folder, 0, 1)?.is_empty() {
            return Err(FsError::NotEmpty);
        }
        let conversation = self.archive.conversation(seq)?;
        self.archive.removals.note_folder(&conversation.id, seq, folder);
        Ok(())
    }

    /// What stands in a conversation's folder and may be removed.
    fn removable(&self, parent: Inode, name: &OsStr) -> Result<Node, FsError> {
        let found = match self.lookup(parent, name) {
            Ok(found) => node(found.inode)?,
            // There is nothing, and there could not be anything either.
            Err(FsError::Missing) => return Err(FsError::Missing),
            Err(_) => return Err(FsError::ReadOnly),
        };
        let seq = conversation_of(found).ok_or(FsError::ReadOnly)?;
        // What is in the trash leaves it by being restored, or when its time has come.
        let is_in_trash =
            matches!(node(parent)?, Node::Trashed(_) | Node::Virtual(VirtualNode::Trash));
        // As long as the names are still there, a program that comes a second time may remove them a second time.
        let went_just_now = self.archive.removals.are_in(seq);
        if is_in_trash || (self.archive.is_trashed(seq)? && !went_just_now) {
            return Err(FsError::ReadOnly);
        }
        Ok(found)
    }

    /// `mv` of a conversation into the trash.
    pub(crate) fn trash_conversation(&self, from: (Inode, &OsStr)) -> Result<(), FsError> {
        let found = self.lookup(from.0, from.1)?;
        let Node::Conversation(seq) = node(found.inode)? else { return Err(FsError::ReadOnly) };
        Ok(self.archive.index.trash_conversation(seq, Timestamp::now())?)
    }

    /// Out of the trash, to where it was. It can be called nothing else meanwhile: `to` is the name that it had in
    /// the trash, or the conversation's.
    pub(crate) fn restore_recording(
        &self,
        id: RecordingId,
        from: &OsStr,
        to: &OsStr,
    ) -> Result<(), FsError> {
        let conversation = self.archive.conversation(id.conversation)?;
        if to != from && to.as_bytes() != &*conversation.id.name() {
            return Err(FsError::Invalid);
        }
        self.restore_trashed_recording(id)
    }

    /// Something of the trash, asked for by its attribute: unlike a rename that needs no name at the place where it
    /// comes back, which may still be that of what was removed. `name`: another one for a conversation, or nothing.
    pub(crate) fn restore(&self, entry: Node, name: &[u8]) -> Result<(), FsError> {
        match entry {
            Node::Trashed(id) => self.restore_trashed_recording(id),
            Node::Conversation(seq) if self.archive.is_trashed(seq)? => {
                let id = match name {
                    b"" => self.archive.conversation(seq)?.id,
                    name => ConversationId::of_folder(name).ok_or(FsError::Invalid)?,
                };
                self.restore_conversation(seq, &id)
            }
            _ => Err(FsError::ReadOnly),
        }
    }

    /// Removes for good what is published or in the trash. Its objects go soon, from everywhere.
    pub(crate) fn purge(&self, entry: Node) -> Result<(), FsError> {
        let (index, now) = (&self.archive.index, Timestamp::now());
        match entry {
            Node::Conversation(seq) => index.purge_conversation(seq, now)?,
            Node::Audio(id) | Node::Trashed(id) => index.purge_recording(id, now)?,
            // Nobody can tell of a page, a day or its transcript how much is meant.
            _ => return Err(FsError::Invalid),
        }
        Ok(())
    }

    fn restore_trashed_recording(&self, id: RecordingId) -> Result<(), FsError> {
        self.archive.index.restore_recording(id)?;
        self.archive.removals.forget(id.conversation);
        Ok(())
    }

    pub(crate) fn restore_conversation(
        &self,
        seq: ConversationSeq,
        id: &ConversationId,
    ) -> Result<(), FsError> {
        self.archive.index.restore_conversation_as(seq, id)?;
        self.archive.removals.forget(seq);
        Ok(())
    }
}
