//! Which entries are known, where they are, and who still refers to them. Memory only.
//!
//! An entry is known from the first look at it until it is gone from the disk and neither the kernel nor an
//! open handle refers to it. FORGET may come before the last RELEASE, and a removed file that is open
//! goes on working through its handle.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use crate::model::{FileName, InboxId};
use crate::spool::completeness::Completeness;
use crate::spool::desk::Desk;
use crate::spool::disk::DiskId;
use crate::spool::{EntryKind, OpenFile};

/// Open directories that are kept at hand. Beyond it all are let go and opened again when needed: simple,
/// and rare enough.
const OPEN_DIRECTORIES: usize = 512;

/// One known entry.
#[derive(Debug)]
pub(crate) struct Node {
    /// `None` for the inbox itself and for what has been removed.
    pub(crate) place: Option<Place>,
    pub(crate) disk_id: DiskId,
    /// What the kernel holds, counted as it counts.
    pub(crate) lookups: u64,
    pub(crate) handles: Vec<Arc<OpenFile>>,
    pub(crate) body: Body,
}

/// Where an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) parent: InboxId,
    pub(crate) name: FileName,
}

/// What an entry is.
#[derive(Debug)]
pub(crate) enum Body {
    File(Box<Completeness>),
    Directory(Directory),
    /// Links, and what was put there behind our back.
    Other,
}

/// What is known to be in a directory.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    by_name: HashMap<FileName, InboxId>,
    /// In the order in which a listing shows them.
    by_id: BTreeMap<InboxId, FileName>,
    /// Whether the disk has been asked for everything that is in it.
    pub(crate) is_scanned: bool,
    open: Option<Arc<OwnedFd>>,
    /// Held while an entry of this directory is made, removed or renamed, so that disk and table change
    /// together. Two are taken in order of number.
    pub(crate) changing: Arc<Mutex<()>>,
}

impl Directory {
    pub(crate) fn child(&self, name: &FileName) -> Option<InboxId> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn children_after(&self, id: InboxId, limit: usize) -> Vec<(InboxId, FileName)> {
        let after = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        let children = self.by_id.range(after).take(limit);
        children.map(|(id, name)| (*id, name.clone())).collect()
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = (InboxId, &FileName)> {
        self.by_id.iter().map(|(id, name)| (*id, name))
    }
}

impl Body {
    pub(crate) fn new(kind: EntryKind) -> Self {
        match kind {
            EntryKind::File => Self::File(Box::default()),
            EntryKind::Directory => Self::Directory(Directory::default()),
            EntryKind::Symlink | EntryKind::Other => Self::Other,
        }
    }
}

/// All known entries.
#[derive(Debug, Default)]
pub(crate) struct Table {
    nodes: HashMap<InboxId, Node>,
    open_directories: usize,
    pub(crate) desk: Desk,
}

impl Table {
    pub(crate) fn with_root(disk_id: DiskId) -> Self {
        let mut table = Self::default();
        let body = Body::new(EntryKind::Directory);
        let root = Node { place: None, disk_id, lookups: 0, handles: Vec::new(), body };
        table.nodes.insert(InboxId::ROOT, root);
        table
    }

    pub(crate) fn node(&self, id: InboxId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub(crate) fn node_mut(&mut self, id: InboxId) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (InboxId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    pub(crate) fn directory(&self, id: InboxId) -> Option<&Directory> {
        match &self.nodes.get(&id)?.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) | Body::Other => None,
        }
    }

    pub(crate) fn directory_mut(&mut self, id: InboxId) -> Option<&mut Directory> {
        match &mut self.nodes.get_mut(&id)?.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) | Body::Other => None,
        }
    }

    pub(crate) fn file(&self, id: InboxId) -> Option<&Completeness> {
        match &self.nodes.get(&id)?.body {
            Body::File(file) => Some(file),
            Body::Directory(_) | Body::Other => None,
        }
    }

    pub(crate) fn file_mut(&mut self, id: InboxId) -> Option<&mut Completeness> {
        match &mut self.nodes.get_mut(&id)?.body {
            Body::File(file) => Some(file),
            Body::Directory(_) | Body::Other => None,
        }
    }

    pub(crate) fn child(&self, parent: InboxId, name: &FileName) -> Option<InboxId> {
        self.directory(parent)?.child(name)
    }

    /// Folders and name below the inbox; `None` for what has been removed.
    pub(crate) fn path(&self, id: InboxId) -> Option<Vec<FileName>> {
        let mut path = Vec::new();
        let mut at = id;
        while at != InboxId::ROOT {
            let place = self.node(at)?.place.as_ref()?;
            path.push(place.name.clone());
            at = place.parent;
        }
        path.reverse();
        Some(path)
    }

    /// Enters what has been found on the disk. The caller holds `changing` of the parent.
    pub(crate) fn insert(&mut self, id: InboxId, place: Place, disk_id: DiskId, kind: EntryKind) {
        let body = Body::new(kind);
        let node = Node { place: None, disk_id, lookups: 0, handles: Vec::new(), body };
        self.nodes.insert(id, node);
        self.put(id, place);
    }

    /// Gives an entry without a place one. What was there has been detached.
    fn put(&mut self, id: InboxId, place: Place) {
        let Some(directory) = self.directory_mut(place.parent) else { return };
        directory.by_name.insert(place.name.clone(), id);
        directory.by_id.insert(id, place.name.clone());
        if let Some(node) = self.node_mut(id) {
            node.place = Some(place);
        }
    }

    /// Takes an entry from its place and keeps it otherwise.
    fn lift(&mut self, id: InboxId) -> Option<Place> {
        let place = self.node_mut(id)?.place.take()?;
        if let Some(directory) = self.directory_mut(place.parent) {
            directory.by_id.remove(&id);
            if directory.by_name.get(&place.name) == Some(&id) {
                directory.by_name.remove(&place.name);
            }
        }
        Some(place)
    }

    /// The entry is gone from its place on the disk, and everything in it with it.
    pub(crate) fn detach(&mut self, id: InboxId) {
        let mut gone = vec![id];
        while let Some(id) = gone.pop() {
            if let Some(directory) = self.directory(id) {
                gone.extend(directory.by_id.keys());
            }
            self.lift(id);
            self.free_if_unused(id);
        }
    }

    /// The entry has moved. What was at `to` has been detached.
    pub(crate) fn rename(&mut self, id: InboxId, to: Place) {
        self.lift(id);
        self.put(id, to);
    }

    pub(crate) fn exchange(&mut self, one: InboxId, other: InboxId) {
        if let (Some(place), Some(other_place)) = (self.lift(one), self.lift(other)) {
            self.put(one, other_place);
            self.put(other, place);
        }
    }

    pub(crate) fn forget(&mut self, id: InboxId, count: u64) {
        if let Some(node) = self.node_mut(id) {
            node.lookups = node.lookups.saturating_sub(count);
            self.free_if_unused(id);
        }
    }

    /// Takes back a handle. `false` if it was not there any more.
    pub(crate) fn remove_handle(&mut self, open: &OpenFile) -> bool {
        let Some(node) = self.node_mut(open.id) else { return false };
        let place = node.handles.iter().position(|handle| std::ptr::eq(&raw const **handle, open));
        let Some(place) = place else { return false };
        node.handles.swap_remove(place);
        true
    }

    pub(crate) fn free_if_unused(&mut self, id: InboxId) {
        let Some(node) = self.node(id) else { return };
        let is_used = id == InboxId::ROOT
            || node.place.is_some()
            || node.lookups > 0
            || !node.handles.is_empty();
        if is_used {
            return;
        }
        if let Some(Node { body: Body::Directory(Directory { open: Some(_), .. }), .. }) =
            self.nodes.remove(&id)
        {
            self.open_directories = self.open_directories.saturating_sub(1);
        }
    }

    pub(crate) fn open_directory(&self, id: InboxId) -> Option<Arc<OwnedFd>> {
        self.directory(id)?.open.clone()
    }

    pub(crate) fn keep_open(&mut self, id: InboxId, open: Arc<OwnedFd>) {
        if self.open_directories >= OPEN_DIRECTORIES {
            for (id, node) in &mut self.nodes {
                if let (Body::Directory(directory), false) = (&mut node.body, *id == InboxId::ROOT)
                {
                    directory.open = None;
                }
            }
            self.open_directories = 0;
        }
        if let Some(directory) = self.directory_mut(id)
            && directory.open.replace(open).is_none()
        {
            self.open_directories += 1;
        }
    }
}
