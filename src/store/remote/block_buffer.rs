//! Blocks in memory: those that have arrived, and those that are on their way. Within a budget.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::store::content::{BLOCK_BYTES, BlockId, Content, ContentHash};
use crate::store::remote::in_flight::{InFlight, Purpose};

/// With less there is no room for what several readers wait for at once.
const LEAST_BYTES: u64 = 16 << 20;

/// The least recently used blocks go when others come. Blocks on their way count as if they were there.
#[derive(Debug)]
pub(crate) struct BlockBuffer {
    budget_bytes: u64,
    here: HashMap<BlockId, Here>,
    /// The blocks that are here, the next to go first.
    order: BTreeMap<u64, BlockId>,
    last_turn: u64,
    flying: HashMap<BlockId, Arc<InFlight>>,
}

#[derive(Debug)]
struct Here {
    bytes: Bytes,
    turn: u64,
}

impl BlockBuffer {
    pub(crate) fn new(budget_bytes: u64) -> Self {
        Self {
            budget_bytes: budget_bytes.max(LEAST_BYTES),
            here: HashMap::new(),
            order: BTreeMap::new(),
            last_turn: 0,
            flying: HashMap::new(),
        }
    }

    /// A block that is here; it becomes the last to go.
    pub(crate) fn take(&mut self, id: &BlockId) -> Option<Bytes> {
        let here = self.here.get_mut(id)?;
        self.last_turn += 1;
        self.order.remove(&here.turn);
        self.order.insert(self.last_turn, *id);
        here.turn = self.last_turn;
        Some(here.bytes.clone())
    }

    pub(crate) fn in_flight(&self, id: &BlockId) -> Option<&Arc<InFlight>> {
        self.flying.get(id)
    }

    #[cfg(all(test, feature = "shuttle"))]
    pub(crate) fn is_idle(&self) -> bool {
        self.flying.is_empty()
    }

    pub(crate) fn has(&self, id: &BlockId) -> bool {
        self.here.contains_key(id) || self.flying.contains_key(id)
    }

    /// Blocks that may still be sent for without passing the budget.
    pub(crate) fn room(&self) -> u64 {
        (self.budget_bytes / BLOCK_BYTES).saturating_sub(self.flying.len() as u64)
    }

    /// The blocks of a fetch are on their way from now on.
    pub(crate) fn take_off(&mut self, in_flight: &Arc<InFlight>) {
        for number in in_flight.blocks.clone() {
            self.flying.insert(in_flight.content.block(number), in_flight.clone());
        }
        self.keep_budget();
    }

    /// A block has arrived, from wherever.
    pub(crate) fn put(&mut self, id: BlockId, bytes: Bytes) {
        self.flying.remove(&id);
        if self.take(&id).is_none() {
            self.last_turn += 1;
            self.here.insert(id, Here { bytes, turn: self.last_turn });
            self.order.insert(self.last_turn, id);
        }
        self.keep_budget();
    }

    /// A fetch is over: what it has not brought is on its way no more.
    pub(crate) fn land(&mut self, in_flight: &Arc<InFlight>) {
        for number in in_flight.blocks.clone() {
            let id = in_flight.content.block(number);
            if self.flying.get(&id).is_some_and(|other| Arc::ptr_eq(other, in_flight)) {
                self.flying.remove(&id);
            }
        }
    }

    /// Calls off what was sent for ahead of a reader who has gone elsewhere.
    pub(crate) fn call_off(&self, hash: ContentHash) {
        let of_object = self.flying.iter().filter(|(id, _)| id.hash == hash);
        for (_, in_flight) in of_object {
            if in_flight.purpose == Purpose::Ahead {
                in_flight.call_off();
            }
        }
    }

    /// Those of `numbers`, which are in order, that are neither here nor on their way, in runs.
    pub(crate) fn missing(&self, content: Content, numbers: &[u64]) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for number in numbers.iter().filter(|number| !self.has(&content.block(**number))) {
            match runs.last_mut() {
                Some(run) if run.end == *number => run.end += 1,
                _ => runs.push(*number..number + 1),
            }
        }
        runs
    }

    pub(crate) fn forget(&mut self, hash: ContentHash) {
        let order = &mut self.order;
        self.here.retain(|id, here| {
            let stays = id.hash != hash;
            if !stays {
                order.remove(&here.turn);
            }
            stays
        });
    }

    fn keep_budget(&mut self) {
        let most = self.budget_bytes / BLOCK_BYTES;
        while most < (self.here.len() + self.flying.len()) as u64 {
            let Some((_, id)) = self.order.pop_first() else { return };
            self.here.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, Object};
    use crate::store::circuit::Permit;

    const CONTENT: Content = Content { hash: [1; 32], bytes: 1 << 30 };

    fn in_flight(blocks: Range<u64>, purpose: Purpose) -> Arc<InFlight> {
        let key = Key::new("a/b").unwrap();
        let object = Object { key, bytes: CONTENT.bytes, blake3: "01".repeat(32) };
        Arc::new(InFlight::new(&object, CONTENT, blocks, purpose, Permit::Ordinary))
    }

    fn put(buffer: &mut BlockBuffer, number: u64) {
        buffer.put(CONTENT.block(number), Bytes::from_static(b"block"));
    }

    #[test]
    fn a_block_is_sent_for_once() {
        let mut buffer = BlockBuffer::new(0);
        buffer.take_off(&in_flight(2..4, Purpose::Asked));
        put(&mut buffer, 6);
        let numbers: Vec<u64> = (0..10).collect();
        assert_eq!(buffer.missing(CONTENT, &numbers), [0..2, 4..6, 7..10]);
        assert_eq!(buffer.missing(CONTENT, &[0, 2, 5, 8, 9]), [0..1, 5..6, 8..10]);
    }

    #[test]
    fn blocks_here_make_room_for_those_on_their_way() {
        let mut buffer = BlockBuffer::new(0);
        (0..16).for_each(|number| put(&mut buffer, number));
        assert!(buffer.take(&CONTENT.block(0)).is_some());
        buffer.take_off(&in_flight(20..24, Purpose::Asked));
        assert_eq!(buffer.room(), 12);
        let gone: Vec<u64> =
            (0..16).filter(|number| buffer.take(&CONTENT.block(*number)).is_none()).collect();
        assert_eq!(gone, [1, 2, 3, 4]);
    }

    #[test]
    fn what_a_flight_has_not_brought_is_on_its_way_no_more() {
        let mut buffer = BlockBuffer::new(0);
        let in_flight = in_flight(0..3, Purpose::Asked);
        buffer.take_off(&in_flight);
        put(&mut buffer, 0);
        buffer.land(&in_flight);
        assert!(buffer.take(&CONTENT.block(0)).is_some());
        assert_eq!(buffer.missing(CONTENT, &[0, 1, 2]), vec![1..3]);
    }

    #[test]
    fn only_what_nobody_waits_for_is_called_off() {
        let mut buffer = BlockBuffer::new(0);
        let (asked, ahead) = (in_flight(0..2, Purpose::Asked), in_flight(2..6, Purpose::Ahead));
        buffer.take_off(&asked);
        buffer.take_off(&ahead);
        buffer.call_off(CONTENT.hash);
        assert_eq!((asked.is_called_off(), ahead.is_called_off()), (false, true));
    }
}
