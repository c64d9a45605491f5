//! Changes to the tree. The inbox takes all; of the rest, conversations can be renamed, and moved to the trash and
//! out of it. What can be removed stands in `removing`.

use std::ffi::OsStr;
use std::path::Path;

use crate::fs::attributes::Stat;
use crate::fs::errno::FsError;
use crate::fs::tree::{Tree, node};
use crate::index::IndexError;
use crate::model::{ConversationId, InboxId, Inode, Node, VirtualNode};
use crate::spool::{Creator, RenameMode, SetAttributes};

impl Tree {
    pub(crate) fn set_attributes(
        &self,
        inode: Inode,
        change: &SetAttributes,
    ) -> Result<Stat, FsError> {
        match node(inode)? {
            Node::Inbox(id) => Ok(Stat::of_inbox(&self.spool.set_attributes(id, change)?)),
            // `echo ... > control` empties the file first.
            Node::Virtual(VirtualNode::ControlFile) if change.bytes.is_some() => {
                Ok(self.virtual_stat(VirtualNode::ControlFile))
            }
            _ => Err(FsError::ReadOnly),
        }
    }

    /// Only ordinary files: fifos, sockets and devices have no place in an inbox.
    pub(crate) fn make_node(
        &self,
        parent: Inode,
        name: &OsStr,
        mode: u32,
        creator: Creator,
    ) -> Result<Stat, FsError> {
        let parent = inbox(parent)?;
        if !matches!(mode & libc::S_IFMT, 0 | libc::S_IFREG) {
            return Err(FsError::NotPermitted);
        }
        let (attributes, open) =
            self.spool.create(parent, name, creator, libc::O_EXCL | libc::O_WRONLY)?;
        self.spool.release(&open);
        Ok(Stat::of_inbox(&attributes))
    }

    pub(crate) fn make_directory(
        &self,
        parent: Inode,
        name: &OsStr,
        creator: Creator,
    ) -> Result<Stat, FsError> {
        if node(parent)? == Node::Virtual(VirtualNode::Root) && is_trash_folder(name) {
            // There is a trash of ours already: a file manager that has no own here offers to remove for good, which
            // moves to that.
            return Err(FsError::NotPermitted);
        }
        Ok(Stat::of_inbox(&self.spool.make_directory(inbox(parent)?, name, creator)?))
    }

    pub(crate) fn make_symlink(
        &self,
        parent: Inode,
        name: &OsStr,
        target: &Path,
        creator: Creator,
    ) -> Result<Stat, FsError> {
        Ok(Stat::of_inbox(&self.spool.make_symlink(inbox(parent)?, name, target, creator)?))
    }

    /// One file has one name: the work on it is named after it.
    pub(crate) fn refuse_link(&self, new_parent: Inode) -> FsError {
        inbox(new_parent).map_or_else(|refusal| refusal, |_| FsError::NotPermitted)
    }

    pub(crate) fn unlink(&self, parent: Inode, name: &OsStr) -> Result<(), FsError> {
        if let Node::Inbox(id) = node(parent)? {
            return Ok(self.spool.unlink(id, name)?);
        }
        self.remove_published_file(parent, name)
    }

    pub(crate) fn remove_directory(&self, parent: Inode, name: &OsStr) -> Result<(), FsError> {
        if let Node::Inbox(id) = node(parent)? {
            return Ok(self.spool.remove_directory(id, name)?);
        }
        self.remove_published_folder(parent, name)
    }

    pub(crate) fn rename(
        &self,
        from: (Inode, &OsStr),
        to: (Inode, &OsStr),
        mode: RenameMode,
    ) -> Result<(), FsError> {
        const CONVERSATIONS: Node = Node::Virtual(VirtualNode::Conversations);
        const TRASH: Node = Node::Virtual(VirtualNode::Trash);
        match (node(from.0)?, node(to.0)?) {
            (Node::Inbox(old), Node::Inbox(new)) => {
                Ok(self.spool.rename((old, from.1), (new, to.1), mode)?)
            }
            (CONVERSATIONS | TRASH, CONVERSATIONS) => {
                let found = self.lookup(from.0, from.1)?;
                match node(found.inode)? {
                    Node::Trashed(id) => self.restore_recording(id, from.1, to.1),
                    found => {
                        self.name_conversation(found, to.1, mode)?;
                        fail_point!("fs-conversation-renamed");
                        Ok(())
                    }
                }
            }
            (CONVERSATIONS, TRASH) => self.trash_conversation(from),
            // Not EXDEV: `mv` would copy then, and the file would be transcribed again.
            _ => Err(FsError::ReadOnly),
        }
    }

    /// Gives a conversation another name, and takes it out of the trash if it is there.
    fn name_conversation(
        &self,
        conversation: Node,
        to: &OsStr,
        mode: RenameMode,
    ) -> Result<(), FsError> {
        let Node::Conversation(seq) = conversation else { return Err(FsError::ReadOnly) };
        if mode == RenameMode::Exchange {
            return Err(FsError::Invalid);
        }
        if ConversationId::MAX_BYTES < to.len() {
            return Err(FsError::NameTooLong);
        }
        let id = ConversationId::of_folder(to.as_encoded_bytes()).ok_or(FsError::Invalid)?;
        let index = &self.archive.index;
        let named = if self.archive.is_trashed(seq)? {
            self.restore_conversation(seq, &id)
        } else {
            index.rename_conversation(seq, &id).map_err(FsError::from)
        };
        match (named, mode) {
            (Err(FsError::Index(IndexError::NameTaken(_))), RenameMode::Replace) => {
                Err(FsError::NotEmpty)
            }
            (result, _) => result,
        }
    }
}

/// Whether file managers keep a trash of their own in folders of that name: `.Trash` and `.Trash-<uid>`.
fn is_trash_folder(name: &OsStr) -> bool {
    let rest = name.as_encoded_bytes().strip_prefix(b".Trash");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
}

/// The folder of the inbox in which something is to be made.
pub(crate) fn inbox(parent: Inode) -> Result<InboxId, FsError> {
    match node(parent)? {
        Node::Inbox(id) => Ok(id),
        _ => Err(FsError::ReadOnly),
    }
}
