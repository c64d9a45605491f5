//! Which blocks the cache holds, how large they are, and which goes next. Memory only.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::store::content::{BlockId, ContentHash};

/// A file's time is brought up to date when it is older than this: reads should not become writes.
const TOUCHED_EVERY: Duration = Duration::from_mins(10);

/// The books of the cache. The least recently used block goes first.
#[derive(Debug, Default)]
pub(crate) struct Lru {
    entries: BTreeMap<BlockId, Entry>,
    /// The same blocks, the next to go first.
    order: BTreeMap<u64, BlockId>,
    last_turn: u64,
    bytes: u64,
    /// Of files that are being written.
    promised_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    bytes: u64,
    turn: u64,
    touched: SystemTime,
}

impl Lru {
    /// Bytes of all files, those that are being written too.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + self.promised_bytes
    }

    pub(crate) fn blocks(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn has(&self, id: &BlockId) -> bool {
        self.entries.contains_key(id)
    }

    /// Numbers of an object's blocks, in order.
    pub(crate) fn numbers(&self, hash: ContentHash) -> Vec<u64> {
        let ends = BlockId { hash, number: 0 }..=BlockId { hash, number: u64::MAX };
        self.entries.range(ends).map(|(id, _)| id.number).collect()
    }

    /// Objects that have a block here.
    pub(crate) fn contents(&self) -> Vec<ContentHash> {
        let mut hashes: Vec<_> = self.entries.keys().map(|id| id.hash).collect();
        hashes.dedup();
        hashes
    }

    pub(crate) fn add(&mut self, id: BlockId, bytes: u64, touched: SystemTime) {
        self.remove(&id);
        self.last_turn += 1;
        self.entries.insert(id, Entry { bytes, turn: self.last_turn, touched });
        self.order.insert(self.last_turn, id);
        self.bytes += bytes;
    }

    /// Makes it the last to go. Whether its file should be touched; `None` if it is not here.
    pub(crate) fn touch(&mut self, id: &BlockId, now: SystemTime) -> Option<bool> {
        let entry = self.entries.get_mut(id)?;
        self.last_turn += 1;
        self.order.remove(&entry.turn);
        self.order.insert(self.last_turn, *id);
        entry.turn = self.last_turn;
        let is_old = now.duration_since(entry.touched).is_ok_and(|age| TOUCHED_EVERY < age);
        if is_old {
            entry.touched = now;
        }
        Some(is_old)
    }

    pub(crate) fn remove(&mut self, id: &BlockId) -> bool {
        let Some(entry) = self.entries.remove(id) else { return false };
        self.order.remove(&entry.turn);
        self.bytes -= entry.bytes;
        true
    }

    pub(crate) fn remove_oldest(&mut self) -> Option<BlockId> {
        let id = *self.order.first_key_value()?.1;
        self.remove(&id);
        Some(id)
    }

    /// Promises room for a file, to be followed by [`Self::settle`]. What has to go for it.
    pub(crate) fn promise(&mut self, bytes: u64, limit_bytes: u64) -> Vec<BlockId> {
        self.promised_bytes += bytes;
        let mut gone = Vec::new();
        while limit_bytes < self.bytes() {
            let Some(id) = self.remove_oldest() else { break };
            gone.push(id);
        }
        gone
    }

    pub(crate) fn settle(&mut self, bytes: u64) {
        self.promised_bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> BlockId {
        BlockId { hash: [1; 32], number }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let now = SystemTime::now();
        let mut ledger = Lru::default();
        (0..3).for_each(|number| ledger.add(id(number), 10, now));
        assert_eq!(ledger.touch(&id(0), now), Some(false));
        assert_eq!(ledger.promise(10, 30), [id(1)]);
        assert_eq!(ledger.bytes(), 30);
        ledger.settle(10);
        assert_eq!((ledger.bytes(), ledger.blocks()), (20, 2));
    }

    #[test]
    fn a_block_that_is_added_twice_is_counted_once() {
        let mut ledger = Lru::default();
        ledger.add(id(1), 10, SystemTime::now());
        ledger.add(id(1), 10, SystemTime::now());
        assert_eq!(ledger.bytes(), 10);
        assert_eq!(ledger.remove_oldest(), Some(id(1)));
        assert_eq!(ledger.remove_oldest(), None);
    }

    #[test]
    fn a_file_is_touched_when_its_time_is_old() {
        let now = SystemTime::now();
        let mut ledger = Lru::default();
        ledger.add(id(1), 10, now - Duration::from_hours(1));
        assert_eq!(ledger.touch(&id(1), now), Some(true));
        assert_eq!(ledger.touch(&id(1), now), Some(false));
        assert_eq!(ledger.touch(&id(2), now), None);
    }
}
