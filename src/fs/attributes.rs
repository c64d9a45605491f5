//! What `stat` says of every node, and how long the kernel may believe it.

use std::time::{Duration, SystemTime};

use crate::model::{Access, Inode, Node, VirtualNode};
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

/// How everything but the inbox is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ownership {
    pub(crate) owner: Owner,
    /// Whether recordings belong to whoever has dropped them, and not all to `owner`.
    pub(crate) keeps_droppers: bool,
    /// Mode bits that nobody gets.
    pub(crate) umask: u32,
}

impl Ownership {
    fn of(self, access: Option<Access>) -> Owner {
        let dropper = access.and_then(|access| access.owner).filter(|_| self.keeps_droppers);
        dropper.map_or(self.owner, |(uid, gid)| Owner { uid, gid })
    }
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
    pub(crate) fn of_published(attributes: &NodeAttributes, shown: Ownership) -> Self {
        let kind = if attributes.is_directory { EntryKind::Directory } else { EntryKind::File };
        let mode = match attributes.access {
            Some(access) => access.reading_mode(),
            None if attributes.is_directory => 0o755,
            None => 0o444,
        } & !shown.umask;
        let owner = shown.of(attributes.access);
        Self::made_up(attributes.node, kind, mode, owner, attributes.modified)
            .with_bytes(attributes.bytes)
            .lasting(Lasting::Published)
    }

    /// What names files of the inbox is not for everybody: the names may be as private as the files.
    pub(crate) fn of_virtual(node: VirtualNode, shown: Ownership, modified: SystemTime) -> Self {
        use VirtualNode::{
            Control, ControlFile, Conversations, Errors, Events, Metrics, Readme, Root, Status,
            Storage, Trash,
        };
        let (kind, mode, lasting) = match node {
            Root | Conversations | Control | Trash => {
                (EntryKind::Directory, 0o755, Lasting::Published)
            }
            Readme => (EntryKind::File, 0o444, Lasting::Published),
            Storage | Metrics => (EntryKind::File, 0o444, Lasting::Fleeting),
            Status | Events | Errors => (EntryKind::File, 0o440, Lasting::Fleeting),
            // Readable, and empty: whoever copies the whole tree gets through.
            ControlFile => (EntryKind::File, 0o600, Lasting::Fleeting),
        };
        let mode = mode & !shown.umask;
        Self::made_up(Node::Virtual(node), kind, mode, shown.owner, modified).lasting(lasting)
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

    /// Of what is only still there to be removed.
    pub(crate) fn fleeting(self) -> Self {
        self.lasting(Lasting::Fleeting)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_drop_stays_private_and_belongs_to_whoever_has_dropped_it() {
        let node = Node::Virtual(VirtualNode::Root);
        let modified = SystemTime::UNIX_EPOCH;
        let shown = |access, umask, keeps_droppers| {
            let owner = Owner { uid: 7, gid: 7 };
            let file = NodeAttributes { node, is_directory: false, bytes: 1, modified, access };
            let stat = Stat::of_published(&file, Ownership { owner, umask, keeps_droppers });
            (stat.owner.uid, stat.mode)
        };
        let private = Some(Access { owner: Some((1000, 1000)), mode: 0o600 });
        let public = Some(Access { owner: Some((1000, 1000)), mode: 0o644 });
        assert_eq!(shown(None, 0o022, true), (7, 0o444));
        assert_eq!(shown(private, 0o022, true), (1000, 0o400));
        assert_eq!(shown(public, 0o022, true), (1000, 0o444));
        assert_eq!(shown(public, 0o027, true), (1000, 0o440));
        assert_eq!(shown(private, 0o022, false), (7, 0o400));
    }
}
