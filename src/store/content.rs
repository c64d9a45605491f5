//! An object as blocks of 1 MiB, each with a sum of which the hash of the whole is made.
//!
//! BLAKE3 is a tree, and a block is a whole branch of it. So every byte is hashed once, blocks may come in
//! any order and from anywhere, and when the last one is there a few merges tell whether the object is right.

use std::ops::Range;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::model::Object;

/// Bytes of every block but the last. A power of two, or a block would be no branch.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;

/// BLAKE3 of a whole object.
pub(crate) type ContentHash = [u8; 32];

/// What a block adds to the object's hash: the chaining value of its branch, or the hash itself where the
/// block is the whole object.
pub(crate) type Sum = [u8; 32];

/// What is in an object, wherever it is kept: the same content is never fetched twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) hash: ContentHash,
    pub(crate) bytes: u64,
}

/// Names one block of one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BlockId {
    pub(crate) hash: ContentHash,
    pub(crate) number: u64,
}

impl Content {
    /// `None` if the row's hash is none.
    pub(crate) fn of(object: &Object) -> Option<Self> {
        let hash = blake3::Hash::from_hex(&object.blake3).ok()?;
        Some(Self { hash: *hash.as_bytes(), bytes: object.bytes })
    }

    pub(crate) fn block(self, number: u64) -> BlockId {
        BlockId { hash: self.hash, number }
    }

    /// How many blocks there are.
    pub(crate) fn blocks(self) -> u64 {
        self.bytes.div_ceil(BLOCK_BYTES)
    }

    /// The blocks that hold these bytes.
    pub(crate) fn blocks_of(self, bytes: &Range<u64>) -> Range<u64> {
        let end = bytes.end.min(self.bytes);
        (bytes.start / BLOCK_BYTES).min(self.blocks())..end.div_ceil(BLOCK_BYTES)
    }

    /// The bytes that a block holds.
    pub(crate) fn bytes_of(self, number: u64) -> Range<u64> {
        let start = number * BLOCK_BYTES;
        start..(start + BLOCK_BYTES).min(self.bytes)
    }

    /// The sum of a block that holds `bytes`, which are not empty.
    pub(crate) fn sum(self, number: u64, bytes: &[u8]) -> Sum {
        if self.blocks() == 1 {
            return *blake3::hash(bytes).as_bytes();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(number * BLOCK_BYTES);
        hasher.update(bytes).finalize_non_root()
    }

    /// Whether blocks with these sums, all of them and in order, are the content.
    pub(crate) fn is_made_of(self, sums: &[Sum]) -> bool {
        match sums {
            [] => *blake3::hash(b"").as_bytes() == self.hash,
            [only] => *only == self.hash,
            sums => {
                let (left, right) = halves(sums);
                let root = merge_subtrees_root(&branch(left), &branch(right), Mode::Hash);
                *root.as_bytes() == self.hash
            }
        }
    }
}

fn branch(sums: &[Sum]) -> Sum {
    match sums {
        [only] => *only,
        sums => {
            let (left, right) = halves(sums);
            merge_subtrees_non_root(&branch(left), &branch(right), Mode::Hash)
        }
    }
}

/// The left branch is the largest full one that leaves something for the right. There are at least two.
fn halves(sums: &[Sum]) -> (&[Sum], &[Sum]) {
    sums.split_at(sums.len().next_power_of_two() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: &[u8]) -> Content {
        Content { hash: *blake3::hash(bytes).as_bytes(), bytes: bytes.len() as u64 }
    }

    fn sums(content: Content, bytes: &[u8]) -> Vec<Sum> {
        let blocks = bytes.chunks(BLOCK_BYTES as usize).enumerate();
        blocks.map(|(number, bytes)| content.sum(number as u64, bytes)).collect()
    }

    #[test]
    fn the_sums_of_all_blocks_make_the_hash_of_the_whole() {
        for length in [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20, (7 << 20) + 12_345] {
            let bytes: Vec<u8> = (0..length).map(|place: u32| (place % 251) as u8).collect();
            let content = content(&bytes);
            assert_eq!(content.blocks(), sums(content, &bytes).len() as u64);
            assert!(content.is_made_of(&sums(content, &bytes)), "{length}");
        }
    }

    #[test]
    fn one_wrong_byte_makes_another_hash() {
        let mut bytes = vec![7; (2 << 20) + 5];
        let content = content(&bytes);
        bytes[(2 << 20) + 4] = 8;
        assert!(!content.is_made_of(&sums(content, &bytes)));
    }

    #[test]
    fn the_last_block_is_shorter() {
        let content = Content { hash: [0; 32], bytes: (2 << 20) + 5 };
        assert_eq!(content.bytes_of(1), 1 << 20..2 << 20);
        assert_eq!(content.bytes_of(2), 2 << 20..(2 << 20) + 5);
        assert_eq!(content.blocks_of(&(0..1)), 0..1);
        assert_eq!(content.blocks_of(&((1 << 20) - 1..u64::MAX)), 0..3);
    }
}
