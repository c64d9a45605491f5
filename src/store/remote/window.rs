//! Reading ahead: how much more than was asked for is fetched, by how an object has been read so far.
//!
//! Whoever reads on gets ever larger windows, each asked for when half of the one before is read. Whoever
//! jumps begins anew with a small one, so that the first sound after a seek comes with the first request.

use std::collections::HashMap;
use std::ops::Range;

use crate::store::content::{BLOCK_BYTES, Content, ContentHash};

/// What is fetched beyond the bytes asked for when a stream begins, and the largest window.
const FIRST_BYTES: u64 = 1 << 20;
const LARGEST_BYTES: u64 = 16 << 20;

/// The kernel asks for pages of one reader on several threads: so far behind counts as the same place.
const BACKWARD_BYTES: u64 = 4 << 20;

/// Places of one object that are read from at once: a player's picture of the sound, its playing head, and
/// another reader or two.
const STREAMS: usize = 4;

/// Objects that are remembered. Who comes back to a forgotten one begins with a small window.
const OBJECTS: usize = 256;

/// What to have under way for a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// From the first block that was asked for to the last that has been or should be requested.
    pub(crate) blocks: Range<u64>,
    /// The reader has left another place of the object.
    pub(crate) is_seek: bool,
}

/// All readers' places.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    objects: HashMap<ContentHash, Object>,
    last_turn: u64,
}

#[derive(Debug, Default)]
struct Object {
    /// The one that was read last is last.
    streams: Vec<Stream>,
    turn: u64,
}

/// A reader who reads on. `requested` is the end of the last window.
#[derive(Debug, Clone, Copy)]
struct Stream {
    position: u64,
    requested: u64,
    window: u64,
}

impl ReadAhead {
    /// Takes note of a read of `bytes`, which are not empty and lie within the object.
    pub(crate) fn note(&mut self, content: Content, bytes: &Range<u64>) -> Window {
        self.last_turn += 1;
        if OBJECTS <= self.objects.len() && !self.objects.contains_key(&content.hash) {
            self.forget_oldest();
        }
        let object = self.objects.entry(content.hash).or_default();
        object.turn = self.last_turn;
        let is_first = object.streams.is_empty();
        let (stream, is_new) = object.stream(bytes);
        let blocks = content.blocks_of(&(bytes.start..bytes.end.max(stream.requested)));
        Window { blocks, is_seek: is_new && !is_first }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.objects.iter().min_by_key(|(_, object)| object.turn);
        if let Some(hash) = oldest.map(|(hash, _)| *hash) {
            self.objects.remove(&hash);
        }
    }
}

impl Object {
    /// The stream that these bytes belong to, moved on over them; and whether it is a new one.
    fn stream(&mut self, bytes: &Range<u64>) -> (Stream, bool) {
        let known = self.streams.iter().rposition(|stream| stream.is_met_by(bytes));
        let mut stream = match known {
            Some(place) => self.streams.remove(place),
            None => Stream::new(bytes),
        };
        if known.is_some() {
            stream.read_on(bytes);
        } else if STREAMS <= self.streams.len() {
            self.streams.remove(0);
        }
        self.streams.push(stream);
        (stream, known.is_none())
    }
}

impl Stream {
    fn new(bytes: &Range<u64>) -> Self {
        let requested = (bytes.end + FIRST_BYTES).next_multiple_of(BLOCK_BYTES);
        Self { position: bytes.end, requested, window: requested - bytes.start }
    }

    fn is_met_by(&self, bytes: &Range<u64>) -> bool {
        self.position.saturating_sub(BACKWARD_BYTES) <= bytes.start && bytes.start <= self.requested
    }

    /// Asks for the next window when half of the last one, or more, is read.
    fn read_on(&mut self, bytes: &Range<u64>) {
        self.position = self.position.max(bytes.end);
        if self.requested < self.position + self.window / 2 {
            self.window = LARGEST_BYTES.min((self.window * 2).next_multiple_of(BLOCK_BYTES));
            self.requested =
                self.requested.max(self.position).next_multiple_of(BLOCK_BYTES) + self.window;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: Content = Content { hash: [1; 32], bytes: 1 << 30 };
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    fn read(ahead: &mut ReadAhead, start: u64, bytes: u64) -> Window {
        ahead.note(GIB, &(start..start + bytes))
    }

    /// Ends of the windows that a reader of 128 KiB at a time asks for, in blocks.
    fn ends(ahead: &mut ReadAhead, from: u64, until: u64) -> Vec<u64> {
        let starts = (from..until).step_by(128 << 10);
        let mut ends: Vec<u64> =
            starts.map(|start| read(ahead, start, 128 * KIB).blocks.end).collect();
        ends.dedup();
        ends
    }

    #[test]
    fn a_first_read_fetches_a_little_more_than_was_asked_for() {
        let window = read(&mut ReadAhead::default(), 700 * MIB + 5, 4 * KIB);
        assert_eq!(window, Window { blocks: 700..702, is_seek: false });
    }

    #[test]
    fn whoever_reads_on_gets_ever_larger_windows() {
        let ends = ends(&mut ReadAhead::default(), 0, 64 * MIB);
        assert_eq!(ends, [2, 6, 14, 30, 46, 62, 78]);
    }

    #[test]
    fn little_more_is_fetched_than_is_read() {
        let mut ahead = ReadAhead::default();
        for start in (0..40 * MIB).step_by(128 << 10) {
            let end = read(&mut ahead, start, 128 * KIB).blocks.end * MIB;
            assert!(end <= 4 * (start + 128 * KIB) + 2 * MIB, "{end} at {start}");
        }
    }

    #[test]
    fn a_seek_begins_with_a_small_window_again() {
        let mut ahead = ReadAhead::default();
        ends(&mut ahead, 0, 20 * MIB);
        let window = read(&mut ahead, 500 * MIB, 128 * KIB);
        assert_eq!(window, Window { blocks: 500..502, is_seek: true });
    }

    #[test]
    fn requests_that_overtake_each_other_are_one_reader() {
        let mut ahead = ReadAhead::default();
        for start in [0, 256, 128, 512, 384, 640, 896, 768] {
            assert!(!read(&mut ahead, start * KIB, 128 * KIB).is_seek, "{start}");
        }
    }

    #[test]
    fn several_readers_of_one_object_do_not_disturb_each_other() {
        let mut ahead = ReadAhead::default();
        for step in 0..160 {
            for place in [0, 300, 600] {
                read(&mut ahead, place * MIB + step * 128 * KIB, 128 * KIB);
            }
        }
        for place in [0, 300, 600] {
            let window = read(&mut ahead, (place + 20) * MIB, 128 * KIB);
            assert_eq!(window, Window { blocks: place + 20..place + 30, is_seek: false });
        }
    }

    #[test]
    fn nothing_is_asked_for_beyond_the_end() {
        let window = read(&mut ReadAhead::default(), GIB.bytes - 10, 10);
        assert_eq!(window.blocks, 1023..1024);
    }
}
