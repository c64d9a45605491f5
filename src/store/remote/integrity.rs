//! Whether what has arrived of an object is the object: told when its last block is there, whatever way the
//! blocks came.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::store::content::{Content, ContentHash, Sum};

/// Objects that are remembered, at 33 bytes for each of their blocks.
const OBJECTS: usize = 256;

/// How long an object that is not what the index says is left alone. Then it may have been mended.
const DISTRUSTED: Duration = Duration::from_mins(1);

/// What is known of the objects that are being read.
#[derive(Debug, Default)]
pub(crate) struct Integrity {
    proofs: HashMap<ContentHash, Proof>,
    last_turn: u64,
}

#[derive(Debug)]
struct Proof {
    sums: Vec<Option<Sum>>,
    lacking: usize,
    wrong_until: Option<Instant>,
    turn: u64,
}

/// What a block says of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing against it; with the last block: it is right.
    Fine,
    /// The blocks are not those of the object, at least one of them.
    Wrong,
    /// That was known before.
    KnownWrong,
}

impl Integrity {
    /// `None`: nothing is known, and sums of blocks from former times would help.
    pub(crate) fn verdict(&mut self, content: Content, now: Instant) -> Option<Verdict> {
        let proof = self.proofs.get(&content.hash)?;
        match proof.wrong_until {
            None => Some(Verdict::Fine),
            Some(until) if now < until => Some(Verdict::KnownWrong),
            Some(_) => {
                self.forget(content.hash);
                None
            }
        }
    }

    /// Takes note of a block's sum.
    pub(crate) fn note(
        &mut self,
        content: Content,
        number: u64,
        sum: Sum,
        now: Instant,
    ) -> Verdict {
        let proof = self.proof(content);
        if proof.wrong_until.is_some() {
            return Verdict::KnownWrong;
        }
        let place = usize::try_from(number).ok().and_then(|number| proof.sums.get_mut(number));
        let is_right = match place {
            // Beyond the end.
            None => false,
            Some(Some(known)) => *known == sum,
            Some(empty) => {
                *empty = Some(sum);
                proof.lacking -= 1;
                0 < proof.lacking || proof.is_of(content)
            }
        };
        if is_right {
            return Verdict::Fine;
        }
        *proof = Proof { wrong_until: Some(now + DISTRUSTED), sums: Vec::new(), ..*proof };
        Verdict::Wrong
    }

    pub(crate) fn forget(&mut self, hash: ContentHash) {
        self.proofs.remove(&hash);
    }

    fn proof(&mut self, content: Content) -> &mut Proof {
        self.last_turn += 1;
        if OBJECTS <= self.proofs.len() && !self.proofs.contains_key(&content.hash) {
            let oldest = self.proofs.iter().min_by_key(|(_, proof)| proof.turn);
            if let Some(hash) = oldest.map(|(hash, _)| *hash) {
                self.proofs.remove(&hash);
            }
        }
        let proof = self.proofs.entry(content.hash).or_insert_with(|| Proof::new(content));
        proof.turn = self.last_turn;
        proof
    }
}

impl Proof {
    fn new(content: Content) -> Self {
        let blocks = usize::try_from(content.blocks()).unwrap_or(usize::MAX);
        Self { sums: vec![None; blocks], lacking: blocks, wrong_until: None, turn: 0 }
    }

    fn is_of(&self, content: Content) -> bool {
        let sums: Option<Vec<Sum>> = self.sums.iter().copied().collect();
        sums.is_some_and(|sums| content.is_made_of(&sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::content::BLOCK_BYTES;

    fn object() -> (Content, Vec<Sum>) {
        let bytes: Vec<u8> = (0..(3_u32 << 20) + 7).map(|place| (place % 253) as u8).collect();
        let content = Content { hash: *blake3::hash(&bytes).as_bytes(), bytes: bytes.len() as u64 };
        let blocks = bytes.chunks(BLOCK_BYTES as usize).enumerate();
        (content, blocks.map(|(number, bytes)| content.sum(number as u64, bytes)).collect())
    }

    #[test]
    fn right_blocks_in_any_order_are_a_proof() {
        let (content, sums) = object();
        let mut proofs = Integrity::default();
        for number in [2, 0, 3, 0, 1] {
            let verdict = proofs.note(content, number, sums[number as usize], Instant::now());
            assert_eq!(verdict, Verdict::Fine);
        }
        assert_eq!(proofs.proofs[&content.hash].lacking, 0);
    }

    #[test]
    fn a_wrong_block_is_found_when_the_last_one_comes() {
        let (content, sums) = object();
        let mut proofs = Integrity::default();
        let now = Instant::now();
        assert_eq!(proofs.note(content, 1, [9; 32], now), Verdict::Fine);
        assert_eq!(proofs.note(content, 0, sums[0], now), Verdict::Fine);
        assert_eq!(proofs.note(content, 3, sums[3], now), Verdict::Fine);
        assert_eq!(proofs.note(content, 2, sums[2], now), Verdict::Wrong);
        assert_eq!(proofs.note(content, 2, sums[2], now), Verdict::KnownWrong);
        assert_eq!(proofs.verdict(content, now), Some(Verdict::KnownWrong));
        assert_eq!(proofs.verdict(content, now + DISTRUSTED), None);
    }

    #[test]
    fn two_blocks_at_one_place_must_be_the_same() {
        let (content, sums) = object();
        let mut proofs = Integrity::default();
        assert_eq!(proofs.note(content, 1, sums[1], Instant::now()), Verdict::Fine);
        assert_eq!(proofs.note(content, 1, [9; 32], Instant::now()), Verdict::Wrong);
    }
}
