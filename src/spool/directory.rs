//! `Directory`: what is known to be in one directory of the inbox, and in which order it is listed.
//!
//! Listings keep no state between calls, so the order carries it: each name has a position, new names get higher
//! ones, and a listing goes from high to low. What comes while it is under way is therefore not in it, it ends
//! however busy the directory is, and no name is listed twice.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::concurrency::Mutex;
use crate::model::{FileName, InboxId};

/// Names that left lately are remembered with their positions: whoever gets one by a rename may have been
/// listed below it. Enough for what happens while one listing is under way.
const REMEMBERED: usize = 256;

/// What is known to be in a directory.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    by_name: HashMap<FileName, InboxId>,
    by_position: BTreeMap<u64, InboxId>,
    last_position: u64,
    left: VecDeque<(FileName, u64)>,
    /// Whether the disk has been asked for everything that is in it.
    pub(crate) is_scanned: bool,
    pub(crate) open: Option<Arc<OwnedFd>>,
    /// Held while an entry of this directory is made, removed or renamed, so that disk and table change
    /// together. Two are taken in order of number.
    pub(crate) changing: Arc<Mutex<()>>,
    /// Counts changes of names; what was synced is behind it as long as the disk does not have them all.
    changes: u64,
    synced_changes: u64,
    /// Who made it, and when, as long as nothing has been put into it.
    made: Option<(u32, Duration)>,
    /// It came with what is in it: whoever made it went on to fill it. So it goes when that is published.
    pub(crate) came_full: bool,
    /// When a name last left, as a span since the spool was opened.
    left_at: Option<Duration>,
}

impl Directory {
    pub(crate) fn child(&self, name: &FileName) -> Option<InboxId> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = InboxId> {
        self.by_position.values().copied()
    }

    /// In the order of a listing: those below `position`, or all of them for 0.
    pub(crate) fn children_below(&self, position: u64, limit: usize) -> Vec<(u64, InboxId)> {
        let end = if position == 0 { u64::MAX } else { position };
        let children = self.by_position.range(..end).rev().take(limit);
        children.map(|(position, id)| (*position, *id)).collect()
    }

    /// For an entry that has not been here.
    pub(crate) fn fresh_position(&mut self) -> u64 {
        self.last_position += 1;
        self.last_position
    }

    /// For an entry of this directory that gets another name: its own, unless the name was listed before it.
    pub(crate) fn position_after_rename(&mut self, own: u64, name: &FileName) -> u64 {
        let left = self.left.iter().rev().find(|(left, _)| left == name);
        match left {
            Some((_, position)) if own < *position => {
                let position = *position;
                if self.by_position.contains_key(&position) {
                    self.fresh_position()
                } else {
                    position
                }
            }
            _ => own,
        }
    }

    pub(crate) fn put(&mut self, id: InboxId, name: FileName, position: u64) {
        self.by_name.insert(name, id);
        self.by_position.insert(position, id);
        self.changes += 1;
    }

    pub(crate) fn lift(&mut self, id: InboxId, name: &FileName, position: u64) {
        self.by_position.remove(&position);
        if self.by_name.get(name) == Some(&id) {
            self.by_name.remove(name);
        }
        if self.left.len() >= REMEMBERED {
            self.left.pop_front();
        }
        self.left.push_back((name.clone(), position));
        self.changes += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_position.is_empty()
    }

    pub(crate) fn made_by(&mut self, thread: u32, now: Duration) {
        self.made = (thread != 0).then_some((thread, now));
    }

    /// Something is put into it. `true`: it is the first thing, and by whoever made the folder just before, as programs do that
    /// copy a folder. A folder that was made empty, to be filled later, stays.
    pub(crate) fn filled_by(&mut self, thread: u32, now: Duration, soon: Duration) -> bool {
        let made = self.made.take();
        let is_copy = made.is_some_and(|(by, at)| by == thread && now.saturating_sub(at) <= soon);
        self.came_full |= is_copy;
        is_copy
    }

    pub(crate) fn note_removal(&mut self, now: Duration) {
        self.left_at = Some(now);
    }

    /// Time since a name last left.
    pub(crate) fn quiet_for(&self, now: Duration) -> Duration {
        self.left_at.map_or(Duration::MAX, |left_at| now.saturating_sub(left_at))
    }

    /// The state of names that a sync is to bring to the disk; `None` where it has them all.
    pub(crate) fn unsynced(&self) -> Option<u64> {
        (self.synced_changes < self.changes).then_some(self.changes)
    }

    pub(crate) fn synced(&mut self, changes: u64) {
        self.synced_changes = self.synced_changes.max(changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    #[test]
    fn a_name_that_is_used_again_keeps_out_of_listings_that_have_had_it() {
        let mut directory = Directory::default();
        for number in 1..=3 {
            let position = directory.fresh_position();
            directory.put(InboxId(number), name(&number.to_string()), position);
        }
        // A listing has shown `3`; it is removed, and `1` gets its name.
        directory.lift(InboxId(3), &name("3"), 3);
        directory.lift(InboxId(1), &name("1"), 1);
        let position = directory.position_after_rename(1, &name("3"));
        directory.put(InboxId(1), name("3"), position);
        assert_eq!(directory.children_below(3, 9), [(2, InboxId(2))]);
        // Another name leaves it where it is.
        directory.lift(InboxId(2), &name("2"), 2);
        assert_eq!(directory.position_after_rename(2, &name("new")), 2);
    }

    #[test]
    fn only_changes_since_the_last_sync_are_to_be_synced() {
        let mut directory = Directory::default();
        assert_eq!(directory.unsynced(), None);
        directory.put(InboxId(1), name("a"), 1);
        let changes = directory.unsynced().unwrap();
        directory.put(InboxId(2), name("b"), 2);
        directory.synced(changes);
        assert!(directory.unsynced().is_some(), "`b` came while the disk was busy");
        directory.synced(directory.changes);
        assert_eq!(directory.unsynced(), None);
    }
}
