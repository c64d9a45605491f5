//! What `stat` says of every node, and how long the kernel may believe it.

use std::time::{Duration, SystemTime};

use crate::model::{Inode, Node, VirtualNode};
use crate::spool::{Attributes, EntryKind};
use crate::view::NodeAttributes;

/// How long the kernel may answer without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// Until we say otherwise: published things, and our own fixed ones.
    Published,
    /// Changed by its users through the kernel, and by us a second behind.
    Passing,
    /// Never the same twice.
    Fleeting,
}

impl Lasting {
    pub(crate) fn time(self) -> Duration {
        match self {
            Self::Published => Duration::from_secs(86_400),
            Self::Passing => Duration::from_secs(1),
            Self::Fleeting => Duration::ZERO,
        }
    }
}

/// How long the kernel may remember that there is nothing.
pub(crate) const ABSENCE_LASTS: Duration = Duration::from_secs(1);

/// Who everything but the inbox belongs to: the user who has mounted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Stat {
    pub(crate) inode: Inode,
    pub(crate) kind: EntryKind,
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) owner: Owner,
    pub(crate) accessed: SystemTime,
    pub(crate) modified: SystemTime,
    pub(crate) changed: SystemTime,
    pub(crate) lasting: Lasting,
}

impl Stat {
    pub(crate) fn of_inbox(attributes: &Attributes) -> Self {
        Self {
            inode: Node::Inbox(attributes.id).inode(),
            kind: attributes.kind,
            bytes: attributes.bytes,
            blocks: attributes.blocks,
            mode: attributes.mode,
            links: attributes.links,
            owner: Owner { uid: attributes.uid, gid: attributes.gid },
            accessed: attributes.accessed,
            modified: attributes.modified,
            changed: attributes.changed,
            lasting: Lasting::Passing,
        }
    }

    /// Folders say 0755 although nothing can be made in them, so that `rm -r` by their owner gets through
    /// to us.
    pub(crate) fn of_published(attributes: &NodeAttributes, owner: Owner) -> Self {
        let kind = if attributes.is_directory { EntryKind::Directory } else { EntryKind::File };
        let mode = if attributes.is_directory { 0o755 } else { 0o444 };
        Self::made_up(attributes.node, kind, mode, owner, attributes.modified)
            .with_bytes(attributes.bytes)
            .lasting(Lasting::Published)
    }

    pub(crate) fn of_virtual(node: VirtualNode, owner: Owner, modified: SystemTime) -> Self {
        use VirtualNode::{
            Control, ControlFile, Conversations, Errors, Events, Metrics, Readme, Root, Status,
            Storage, Trash,
        };
        let (kind, mode, lasting) = match node {
            Root | Conversations | Control | Trash => {
                (EntryKind::Directory, 0o755, Lasting::Published)
            }
            Readme => (EntryKind::File, 0o444, Lasting::Published),
            Status | Storage | Events | Errors | Metrics => {
                (EntryKind::File, 0o444, Lasting::Fleeting)
            }
            ControlFile => (EntryKind::File, 0o200, Lasting::Fleeting),
        };
        Self::made_up(Node::Virtual(node), kind, mode, owner, modified).lasting(lasting)
    }

    pub(crate) fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self.blocks = bytes.div_ceil(512);
        self
    }

    /// Of folders in the trash: when one leaves it, another may get its name.
    pub(crate) fn passing(self) -> Self {
        self.lasting(Lasting::Passing)
    }

    fn lasting(mut self, lasting: Lasting) -> Self {
        self.lasting = lasting;
        self
    }

    /// One link also for folders: the number of subfolders is not known without listing them.
    fn made_up(node: Node, kind: EntryKind, mode: u32, owner: Owner, modified: SystemTime) -> Self {
        Self {
            inode: node.inode(),
            kind,
            bytes: 0,
            blocks: 0,
            mode,
            links: 1,
            owner,
            accessed: modified,
            modified,
            changed: modified,
            lasting: Lasting::Fleeting,
        }
    }
}
