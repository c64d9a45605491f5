//! The disk behind [`PowerFs`](super::PowerFs): nodes in memory, each as it is and as it is for sure.
//!
//! The rule is the narrow one: `fsync` of a file keeps its bytes and attributes, `fsync` of a folder keeps the
//! names in it, and nothing else is kept. Changes of names are a journal, as on every filesystem that people
//! use: a rename is there or not, and what came before it too. Real disks often keep more, and sometimes not.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

pub(crate) const ROOT: u64 = 1;

/// How the power goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// Only what was synced is left.
    Strict,
    /// Of each file either what was synced is left, or what was written, or the new length without the new bytes;
    /// and some more of the changes of names.
    Random(u64),
}

/// What a node is at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) body: Body,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) accessed: SystemTime,
    pub(crate) modified: SystemTime,
    pub(crate) changed: SystemTime,
    pub(crate) attributes: BTreeMap<OsString, Vec<u8>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, u64>),
    Link(OsString),
}

impl Body {
    fn emptied(&self) -> Self {
        match self {
            Self::File(_) => Self::File(Vec::new()),
            Self::Folder(_) => Self::Folder(BTreeMap::new()),
            Self::Link(target) => Self::Link(target.clone()),
        }
    }
}

#[derive(Debug)]
struct Node {
    current: Image,
    durable: Image,
}

/// A name in a folder, and what it leads to from now on.
#[derive(Debug)]
struct Naming {
    folder: u64,
    name: OsString,
    to: Option<u64>,
}

/// All nodes. A number is never used twice.
#[derive(Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    /// Names that are on disk for sure, by folder.
    names: BTreeMap<u64, BTreeMap<OsString, u64>>,
    /// Changes of names since, in order; those of one step together.
    journal: Vec<Vec<Naming>>,
    last: u64,
    /// How often something was synced, so that a test knows that anything was.
    pub(crate) syncs: u64,
}

pub(crate) type Answer<T> = Result<T, i32>;

impl Disk {
    pub(crate) fn new() -> Self {
        let mut disk = Self {
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            journal: Vec::new(),
            last: 0,
            syncs: 0,
        };
        disk.add(Body::Folder(BTreeMap::new()), libc::S_IFDIR | 0o755, (0, 0));
        disk
    }

    pub(crate) fn image(&self, id: u64) -> Answer<&Image> {
        self.nodes.get(&id).map(|node| &node.current).ok_or(libc::ENOENT)
    }

    pub(crate) fn image_mut(&mut self, id: u64) -> Answer<&mut Image> {
        let node = self.nodes.get_mut(&id).ok_or(libc::ENOENT)?;
        node.current.changed = SystemTime::now();
        Ok(&mut node.current)
    }

    pub(crate) fn bytes_mut(&mut self, id: u64) -> Answer<&mut Vec<u8>> {
        let image = self.image_mut(id)?;
        image.modified = image.changed;
        match &mut image.body {
            Body::File(bytes) => Ok(bytes),
            _ => Err(libc::EISDIR),
        }
    }

    pub(crate) fn entries(&self, id: u64) -> Answer<&BTreeMap<OsString, u64>> {
        match &self.image(id)?.body {
            Body::Folder(entries) => Ok(entries),
            _ => Err(libc::ENOTDIR),
        }
    }

    /// Changes names in one step.
    fn rename_entries(&mut self, step: Vec<Naming>) -> Answer<()> {
        for naming in &step {
            let image = self.image_mut(naming.folder)?;
            image.modified = image.changed;
            let Body::Folder(entries) = &mut image.body else { return Err(libc::ENOTDIR) };
            apply(entries, naming);
        }
        self.journal.push(step);
        Ok(())
    }

    pub(crate) fn child(&self, parent: u64, name: &OsStr) -> Answer<u64> {
        self.entries(parent)?.get(name).copied().ok_or(libc::ENOENT)
    }

    pub(crate) fn is_folder(&self, id: u64) -> bool {
        self.image(id).is_ok_and(|image| matches!(image.body, Body::Folder(_)))
    }

    pub(crate) fn links(&self, id: u64) -> u32 {
        if self.is_folder(id) {
            return 1;
        }
        let folders = self.nodes.values().filter_map(|node| match &node.current.body {
            Body::Folder(entries) => Some(entries),
            _ => None,
        });
        let names = folders.flat_map(BTreeMap::values).filter(|it| **it == id).count();
        u32::try_from(names).unwrap_or(u32::MAX)
    }

    fn add(&mut self, body: Body, mode: u32, owner: (u32, u32)) -> u64 {
        self.last += 1;
        let now = SystemTime::now();
        let current = Image {
            body,
            mode,
            uid: owner.0,
            gid: owner.1,
            accessed: now,
            modified: now,
            changed: now,
            attributes: BTreeMap::new(),
        };
        // A name that is on disk may lead to a file of which nothing else is.
        let durable = Image { body: current.body.emptied(), ..current.clone() };
        self.nodes.insert(self.last, Node { current, durable });
        self.last
    }

    pub(crate) fn make(
        &mut self,
        parent: u64,
        name: &OsStr,
        body: Body,
        mode: u32,
        owner: (u32, u32),
    ) -> Answer<u64> {
        if self.child(parent, name).is_ok() {
            return Err(libc::EEXIST);
        }
        let id = self.add(body, mode, owner);
        self.rename_entries(vec![naming(parent, name, Some(id))])?;
        Ok(id)
    }

    pub(crate) fn link(&mut self, id: u64, parent: u64, name: &OsStr) -> Answer<()> {
        if self.child(parent, name).is_ok() {
            return Err(libc::EEXIST);
        }
        self.rename_entries(vec![naming(parent, name, Some(id))])
    }

    pub(crate) fn remove(&mut self, parent: u64, name: &OsStr, folder: bool) -> Answer<()> {
        let id = self.child(parent, name)?;
        match (self.is_folder(id), folder) {
            (true, false) => return Err(libc::EISDIR),
            (false, true) => return Err(libc::ENOTDIR),
            (true, true) if !self.entries(id)?.is_empty() => return Err(libc::ENOTEMPTY),
            _ => {}
        }
        // The node stays: it may be open, and its name may come back with the power.
        self.rename_entries(vec![naming(parent, name, None)])
    }

    pub(crate) fn rename(
        &mut self,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        flags: u32,
    ) -> Answer<()> {
        let source = self.child(from.0, from.1)?;
        let target = self.child(to.0, to.1).ok();
        if flags & libc::RENAME_NOREPLACE != 0 && target.is_some() {
            return Err(libc::EEXIST);
        }
        if flags & libc::RENAME_EXCHANGE != 0 {
            let target = target.ok_or(libc::ENOENT)?;
            let there = naming(from.0, from.1, Some(target));
            return self.rename_entries(vec![there, naming(to.0, to.1, Some(source))]);
        }
        if let Some(target) = target {
            match (self.is_folder(source), self.is_folder(target)) {
                (true, false) => return Err(libc::ENOTDIR),
                (false, true) => return Err(libc::EISDIR),
                (true, true) if !self.entries(target)?.is_empty() => return Err(libc::ENOTEMPTY),
                _ => {}
            }
        }
        let gone = naming(from.0, from.1, None);
        self.rename_entries(vec![gone, naming(to.0, to.1, Some(source))])
    }

    pub(crate) fn sync(&mut self, id: u64) -> Answer<()> {
        let node = self.nodes.get_mut(&id).ok_or(libc::ENOENT)?;
        node.durable = node.current.clone();
        self.syncs += 1;
        let touches = |step: &Vec<Naming>| step.iter().any(|naming| naming.folder == id);
        if let Some(last) = self.journal.iter().rposition(touches) {
            self.write_journal(last + 1);
        }
        Ok(())
    }

    /// The first steps of the journal reach the disk.
    fn write_journal(&mut self, steps: usize) {
        for naming in self.journal.drain(..steps).flatten() {
            apply(self.names.entry(naming.folder).or_default(), &naming);
        }
    }

    /// The power goes and comes back.
    pub(crate) fn cut(&mut self, how: Cut) {
        let mut random = match how {
            Cut::Strict => 0,
            Cut::Random(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        let mut draw = |sides: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Nothing comes of nothing: a strict cut draws 0 each time.
            usize::try_from(random >> 11).unwrap() % sides
        };
        let written = draw(self.journal.len() + 1);
        self.write_journal(written);
        self.journal.clear();
        for (id, node) in &mut self.nodes {
            if let Body::Folder(_) = node.current.body {
                let names = self.names.get(id).cloned().unwrap_or_default();
                node.current.body = Body::Folder(names);
                continue;
            }
            node.current = match draw(4) {
                0 | 1 => node.durable.clone(),
                2 => node.current.clone(),
                _ => torn(&node.durable, &node.current),
            };
            node.durable = node.current.clone();
        }
        self.drop_unreachable();
    }

    fn drop_unreachable(&mut self) {
        let mut reached = std::collections::BTreeSet::from([ROOT]);
        let mut unseen = vec![ROOT];
        while let Some(id) = unseen.pop() {
            let Ok(entries) = self.entries(id) else { continue };
            let new: Vec<u64> =
                entries.values().filter(|it| !reached.contains(it)).copied().collect();
            reached.extend(&new);
            unseen.extend(new);
        }
        self.nodes.retain(|id, _| reached.contains(id));
        self.names.retain(|id, _| reached.contains(id));
    }
}

fn naming(folder: u64, name: &OsStr, to: Option<u64>) -> Naming {
    Naming { folder, name: name.to_owned(), to }
}

fn apply(entries: &mut BTreeMap<OsString, u64>, naming: &Naming) {
    match naming.to {
        Some(id) => entries.insert(naming.name.clone(), id),
        None => entries.remove(&naming.name),
    };
}

/// The new length is on disk, and of the bytes only those that were there before.
fn torn(durable: &Image, current: &Image) -> Image {
    match (&durable.body, &current.body) {
        (Body::File(before), Body::File(after)) => {
            let mut bytes = before.clone();
            bytes.resize(after.len(), 0);
            Image { body: Body::File(bytes), ..current.clone() }
        }
        _ => durable.clone(),
    }
}
