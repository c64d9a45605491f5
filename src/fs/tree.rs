//! The filesystem in plain Rust: names, attributes and changes, whoever asks. Knows nothing of FUSE.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::fs::FsContext;
use crate::fs::archive::Archive;
use crate::fs::attributes::{Ownership, Stat};
use crate::fs::control::Control;
use crate::fs::errno::FsError;
use crate::fs::events::EventLog;
use crate::fs::recent_removals::RecentRemovals;
use crate::fs::snapshots::{Snapshot, Snapshots};
use crate::model::{FileName, InboxId, Inode, Node, VirtualNode};
use crate::spool::{Space, Spool};

const README: &str = include_str!("README.txt");
const README_READ_ONLY: &str = include_str!("README-read-only.txt");

/// Continues a listing after `.` and `..`. Real cookies are small numbers, so these are never theirs.
const AFTER_DOT: u64 = i64::MAX as u64 - 1;
const AFTER_DOT_DOT: u64 = i64::MAX as u64;

/// Longest name of any entry.
pub(crate) const NAME_BYTES: u32 = FileName::MAX_BYTES as u32;

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) spool: Spool,
    pub(crate) archive: Archive,
    pub(crate) control: Control,
    pub(crate) events: Arc<EventLog>,
    pub(crate) snapshots: Snapshots,
    /// What `README.txt` says.
    pub(crate) readme: &'static str,
    shown: Ownership,
    mounted_at: SystemTime,
}

/// One entry of a listing, and the cookie that goes on after it.
#[derive(Debug, Clone)]
pub(crate) struct DirectoryEntry {
    pub(crate) name: FileName,
    pub(crate) stat: Stat,
    pub(crate) cookie: u64,
}

/// Part of a listing: `.` and `..` are told apart because they must not be looked up.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Dot { inode: Inode, cookie: u64 },
    DotDot { inode: Inode, cookie: u64 },
    Entry(Box<DirectoryEntry>),
}

impl Part {
    /// Whether it comes after the entry that `cookie` goes on from.
    pub(crate) fn follows(&self, cookie: u64) -> bool {
        let after = if cookie < AFTER_DOT { cookie } else { 0 };
        match self {
            Self::Dot { .. } => cookie == 0,
            Self::DotDot { .. } => cookie == 0 || cookie == AFTER_DOT,
            Self::Entry(entry) => after < entry.cookie,
        }
    }
}

pub(crate) fn node(inode: Inode) -> Result<Node, FsError> {
    Node::from_inode(inode).ok_or(FsError::Gone)
}

/// Folders with fixed contents.
fn virtual_children(folder: VirtualNode) -> &'static [(&'static str, VirtualNode)] {
    match folder {
        VirtualNode::Root => &[
            ("README.txt", VirtualNode::Readme),
            ("conversations", VirtualNode::Conversations),
            (".scribefs", VirtualNode::Control),
        ],
        VirtualNode::Control => &[
            ("status.json", VirtualNode::Status),
            ("storage.json", VirtualNode::Storage),
            ("events", VirtualNode::Events),
            ("errors", VirtualNode::Errors),
            ("metrics", VirtualNode::Metrics),
            ("control", VirtualNode::ControlFile),
            ("trash", VirtualNode::Trash),
        ],
        _ => &[],
    }
}

const INBOX_NAME: &str = "inbox";
const INBOX: Node = Node::Inbox(InboxId::ROOT);
const TRASH: Node = Node::Virtual(VirtualNode::Trash);

/// Looking.
impl Tree {
    pub(crate) fn new(services: &FsContext, shown: Ownership, is_read_only: bool) -> Self {
        Self {
            readme: if is_read_only { README_READ_ONLY } else { README },
            spool: services.spool.clone(),
            archive: Archive {
                index: services.index.clone(),
                removals: Arc::new(RecentRemovals::default()),
            },
            control: Control {
                index: services.index.clone(),
                spool: services.spool.clone(),
                facts: services.facts.clone(),
            },
            events: Arc::new(EventLog::new()),
            snapshots: Snapshots::default(),
            shown,
            mounted_at: SystemTime::now(),
        }
    }

    pub(crate) fn lookup(&self, parent: Inode, name: &OsStr) -> Result<Stat, FsError> {
        if FileName::MAX_BYTES < name.len() {
            return Err(FsError::NameTooLong);
        }
        match node(parent)? {
            Node::Inbox(id) => Ok(Stat::of_inbox(&self.spool.lookup(id, name)?)),
            // The inbox counts its references, so its root is looked up like any other.
            Node::Virtual(VirtualNode::Root) if name == INBOX_NAME => {
                Ok(Stat::of_inbox(&self.spool.attributes(InboxId::ROOT)?))
            }
            Node::Virtual(folder @ (VirtualNode::Root | VirtualNode::Control)) => {
                let found = virtual_children(folder).iter().find(|(known, _)| name == *known);
                found.map(|(_, child)| self.virtual_stat(*child)).ok_or(FsError::Missing)
            }
            parent => {
                let found = match self.archive.find(parent, name) {
                    Err(FsError::Missing) => return Err(self.missing()),
                    found => found?,
                };
                let stat = Stat::of_published(&found.attributes, self.shown);
                Ok(match found.is_shown {
                    true if parent == TRASH => stat.passing(),
                    true => stat,
                    false => stat.fleeting(),
                })
            }
        }
    }

    /// Of what is published: what is not known of may be there all the same.
    fn missing(&self) -> FsError {
        if self.control.facts.is_complete() { FsError::Missing } else { FsError::Incomplete }
    }

    pub(crate) fn forget(&self, inode: Inode, count: u64) {
        if let Some(Node::Inbox(id)) = Node::from_inode(inode)
            && id != InboxId::ROOT
        {
            self.spool.forget(id, count);
        }
    }

    /// The kernel knows a node from a listing.
    pub(crate) fn remember(&self, part: &Part) {
        if let Part::Entry(entry) = part
            && let Some(Node::Inbox(id)) = Node::from_inode(entry.stat.inode)
            && id != InboxId::ROOT
        {
            self.spool.remember(id);
        }
    }

    pub(crate) fn stat(&self, inode: Inode) -> Result<Stat, FsError> {
        match node(inode)? {
            Node::Inbox(id) => Ok(Stat::of_inbox(&self.spool.attributes(id)?)),
            Node::Virtual(node) => Ok(self.virtual_stat(node)),
            node => match self.archive.attributes(node) {
                Err(FsError::Missing) => Err(FsError::Gone),
                attributes => Ok(Stat::of_published(&attributes?, self.shown)),
            },
        }
    }

    pub(crate) fn virtual_stat(&self, node: VirtualNode) -> Stat {
        match node {
            VirtualNode::Readme => {
                let stat = Stat::of_virtual(node, self.shown, self.mounted_at);
                stat.with_bytes(self.readme.len() as u64)
            }
            VirtualNode::Events => {
                let (bytes, modified) = self.events.size();
                Stat::of_virtual(node, self.shown, modified).with_bytes(bytes)
            }
            VirtualNode::Status
            | VirtualNode::Storage
            | VirtualNode::Errors
            | VirtualNode::Metrics => match self.snapshot(node) {
                Ok(Snapshot { text, modified }) => {
                    Stat::of_virtual(node, self.shown, modified).with_bytes(text.len() as u64)
                }
                // Opening it reports the error.
                Err(_) => Stat::of_virtual(node, self.shown, self.mounted_at),
            },
            _ => Stat::of_virtual(node, self.shown, self.mounted_at),
        }
    }

    /// The text of a file of `.scribefs/` that is written when somebody looks at it.
    pub(crate) fn snapshot(&self, node: VirtualNode) -> Result<Snapshot, FsError> {
        self.snapshots.get(node, || self.control.text(node))
    }

    pub(crate) fn read_link(&self, inode: Inode) -> Result<PathBuf, FsError> {
        match node(inode)? {
            Node::Inbox(id) => Ok(self.spool.read_symlink(id)?),
            _ => Err(FsError::Invalid),
        }
    }

    pub(crate) fn space(&self) -> Result<Space, FsError> {
        Ok(self.spool.space()?)
    }

    /// Entries after `cookie`, about `limit` at a time; none: that was all.
    pub(crate) fn list(
        &self,
        folder: Inode,
        cookie: u64,
        limit: usize,
    ) -> Result<Vec<Part>, FsError> {
        let here = node(folder)?;
        let dot = Part::Dot { inode: folder, cookie: AFTER_DOT };
        let parent = self.archive.parent(here).inode();
        let dot_dot = Part::DotDot { inode: parent, cookie: AFTER_DOT_DOT };
        let mut parts = vec![dot, dot_dot];
        parts.retain(|part| part.follows(cookie));
        let after = if cookie < AFTER_DOT { cookie } else { 0 };
        let entries = self.entries(here, after, limit)?;
        parts.extend(entries.into_iter().map(|entry| Part::Entry(Box::new(entry))));
        Ok(parts)
    }

    fn entries(
        &self,
        folder: Node,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DirectoryEntry>, FsError> {
        match folder {
            Node::Inbox(id) => {
                let listed = self.spool.list(id, after, limit)?.into_iter();
                let entry = |listed: crate::spool::ListedEntry| DirectoryEntry {
                    stat: Stat::of_inbox(&listed.attributes),
                    name: listed.name,
                    cookie: listed.cookie,
                };
                Ok(listed.map(entry).collect())
            }
            Node::Virtual(folder @ (VirtualNode::Root | VirtualNode::Control)) => {
                self.virtual_entries(folder, after)
            }
            _ if !self.control.facts.is_complete() => Err(FsError::Incomplete),
            folder => {
                let listed = self.archive.list(folder, after, limit)?.into_iter();
                let entry = |listed: crate::fs::archive_listing::Listed| {
                    let stat = Stat::of_published(&listed.attributes, self.shown);
                    let stat = if folder == TRASH { stat.passing() } else { stat };
                    DirectoryEntry { name: listed.name, stat, cookie: listed.cookie }
                };
                Ok(listed.map(entry).collect())
            }
        }
    }

    fn virtual_entries(
        &self,
        folder: VirtualNode,
        after: u64,
    ) -> Result<Vec<DirectoryEntry>, FsError> {
        let children = virtual_children(folder).iter();
        let mut named: Vec<(&str, Stat)> =
            children.map(|(name, child)| (*name, self.virtual_stat(*child))).collect();
        if folder == VirtualNode::Root {
            named.push((INBOX_NAME, self.stat(INBOX.inode())?));
        }
        let entries = named.into_iter().zip(1u64..).filter(|(_, cookie)| after < *cookie);
        let entry = |((name, stat), cookie): ((&str, Stat), u64)| {
            let name = FileName::new(name).ok_or(FsError::Invalid)?;
            Ok(DirectoryEntry { name, stat, cookie })
        };
        entries.map(entry).collect()
    }
}
