//! Which entries are known, where they are, and who still refers to them. Memory only.
//!
//! An entry is known from the first look at it until it is gone from the disk and neither the kernel nor an
//! open handle refers to it. FORGET may come before the last RELEASE, and a removed file that is open
//! goes on working through its handle.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::model::{FileName, InboxId, JobState};
use crate::spool::completeness::Completeness;
use crate::spool::directory::Directory;
use crate::spool::disk_id::DiskId;
use crate::spool::notifications::Notifications;
use crate::spool::state_inputs::Candidate;
use crate::spool::{EntryKind, OpenFile, names};

/// Open directories that are kept at hand. Beyond it all are let go and opened again when needed: simple,
/// and rare enough.
const OPEN_DIRECTORIES: usize = 256;

/// One known entry.
#[derive(Debug)]
pub(crate) struct Node {
    /// `None` for the inbox itself and for what has been removed.
    pub(crate) place: Option<Place>,
    /// In the listing of the directory that it is in.
    position: u64,
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
    /// Files that are work, oldest first, and those of them that have failed: asked for often, so not counted anew
    /// each time.
    works: BTreeSet<InboxId>,
    failed: BTreeSet<InboxId>,
    /// Recordings in hidden folders.
    left_alone: BTreeSet<InboxId>,
    pub(crate) notifications: Notifications,
}

impl Node {
    fn new(disk_id: DiskId, kind: EntryKind) -> Self {
        let body = Body::new(kind);
        Self { place: None, position: 0, disk_id, lookups: 0, handles: Vec::new(), body }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }
}

impl Table {
    pub(crate) fn with_root(disk_id: DiskId) -> Self {
        let mut table = Self::default();
        table.nodes.insert(InboxId::ROOT, Node::new(disk_id, EntryKind::Directory));
        table
    }

    pub(crate) fn node(&self, id: InboxId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub(crate) fn node_mut(&mut self, id: InboxId) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
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
        self.nodes.insert(id, Node::new(disk_id, kind));
        let position = self.directory_mut(place.parent).map_or(0, Directory::fresh_position);
        self.put(id, place, position);
    }

    /// Gives an entry without a place one. What was there has been detached.
    fn put(&mut self, id: InboxId, place: Place, position: u64) {
        let Some(directory) = self.directory_mut(place.parent) else { return };
        directory.put(id, place.name.clone(), position);
        if let Some(node) = self.node_mut(id) {
            (node.place, node.position) = (Some(place), position);
        }
    }

    /// Takes an entry from its place and keeps it otherwise.
    fn lift(&mut self, id: InboxId) -> Option<(Place, u64)> {
        let node = self.node_mut(id)?;
        let (place, position) = (node.place.take()?, node.position);
        if let Some(directory) = self.directory_mut(place.parent) {
            directory.lift(id, &place.name, position);
        }
        Some((place, position))
    }

    /// The entry is gone from its place on the disk, and everything in it with it.
    pub(crate) fn detach(&mut self, id: InboxId) {
        let mut gone = vec![id];
        while let Some(id) = gone.pop() {
            if let Some(directory) = self.directory(id) {
                gone.extend(directory.children());
            }
            self.lift(id);
            self.count(id);
            self.free_if_unused(id);
        }
    }

    /// The entry has moved. What was at `to` has been detached.
    pub(crate) fn rename(&mut self, id: InboxId, to: Place) {
        let from = self.lift(id);
        let Some(directory) = self.directory_mut(to.parent) else { return };
        let position = match from {
            Some((from, own)) if from.parent == to.parent => {
                directory.position_after_rename(own, &to.name)
            }
            _ => directory.fresh_position(),
        };
        self.put(id, to, position);
    }

    /// Names keep their positions: they are what a listing shows.
    pub(crate) fn exchange(&mut self, one: InboxId, other: InboxId) {
        if let (Some(place), Some(other_place)) = (self.lift(one), self.lift(other)) {
            self.put(one, other_place.0, other_place.1);
            self.put(other, place.0, place.1);
        }
    }

    pub(crate) fn forget(&mut self, id: InboxId, count: u64) {
        if let Some(node) = self.node_mut(id) {
            node.lookups = node.lookups.saturating_sub(count);
            self.free_if_unused(id);
        }
    }

    pub(crate) fn all_handles(&self) -> Vec<Arc<OpenFile>> {
        self.nodes.values().flat_map(|node| node.handles.iter().cloned()).collect()
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

    /// Lets go of all open directories. Says whether there were any.
    pub(crate) fn close_directories(&mut self) -> bool {
        for node in self.nodes.values_mut() {
            if let Body::Directory(directory) = &mut node.body {
                directory.open = None;
            }
        }
        std::mem::take(&mut self.open_directories) != 0
    }

    pub(crate) fn keep_open(&mut self, id: InboxId, open: Arc<OwnedFd>) {
        if self.open_directories >= OPEN_DIRECTORIES {
            self.close_directories();
        }
        if let Some(directory) = self.directory_mut(id)
            && directory.open.replace(open).is_none()
        {
            self.open_directories += 1;
        }
    }

    pub(crate) fn candidate(&self, id: InboxId) -> Candidate {
        self.path(id).map_or(Candidate::Never, |path| names::candidate(&path))
    }

    /// Files that are work, oldest first.
    pub(crate) fn works(&self) -> impl Iterator<Item = InboxId> {
        self.works.iter().copied()
    }

    /// How many files are work, and how many of them have failed.
    pub(crate) fn work_counts(&self) -> (usize, usize) {
        (self.works.len(), self.failed.len())
    }

    /// Where all known files are whose names are meant.
    pub(crate) fn places_of_files(&self, is_meant: impl Fn(&FileName) -> bool) -> Vec<Place> {
        let files = self.nodes.values().filter(|node| matches!(node.body, Body::File(_)));
        let places = files.filter_map(|node| node.place.as_ref());
        places.filter(|place| is_meant(&place.name)).cloned().collect()
    }

    /// Whether the file at a path has failed.
    pub(crate) fn is_failed(&self, path: &[FileName]) -> bool {
        let id = path.iter().try_fold(InboxId::ROOT, |folder, name| self.child(folder, name));
        id.is_some_and(|id| self.failed.contains(&id))
    }

    /// How many recordings lie in hidden folders, and where one of them is.
    pub(crate) fn left_alone(&self) -> (usize, Option<Vec<FileName>>) {
        (self.left_alone.len(), self.left_alone.first().and_then(|id| self.path(*id)))
    }

    /// To be called after every change of a file's state or path.
    pub(crate) fn count(&mut self, id: InboxId) {
        let state = self.file(id).and_then(Completeness::work).map(|work| work.state);
        let state = state.filter(|state| is_work(self.candidate(id), *state));
        put_or_remove(&mut self.works, id, state.is_some());
        put_or_remove(&mut self.failed, id, state == Some(JobState::Failed));
        let path = self.file(id).and_then(|_| self.path(id));
        let is_left_alone = path.is_some_and(|path| names::is_in_hidden_folder(&path));
        put_or_remove(&mut self.left_alone, id, is_left_alone);
    }
}

fn put_or_remove(set: &mut BTreeSet<InboxId>, id: InboxId, is_in: bool) {
    if is_in {
        set.insert(id);
    } else {
        set.remove(&id);
    }
}

fn is_work(candidate: Candidate, state: JobState) -> bool {
    match candidate {
        Candidate::Never => false,
        Candidate::ByName => true,
        // Whether it is a recording is known once it has been offered.
        Candidate::ByContent => {
            !matches!(state, JobState::Receiving | JobState::Settling | JobState::Interrupted)
        }
    }
}
