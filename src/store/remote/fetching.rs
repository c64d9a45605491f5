//! Threads that ask the bucket, and make blocks of what it sends while it comes.

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bytes::{Buf, Bytes};

use crate::concurrency::{Mutex, MutexGuard, thread};
use crate::store::Bucket;
use crate::store::bucket_health::BucketHealth;
use crate::store::cache::{Block, BlockCache};
use crate::store::content::Content;
use crate::store::remote::fetch_queue::FetchQueue;
use crate::store::remote::in_flight::{Failure, InFlight};
use crate::store::remote::integrity::{Integrity, Verdict};

/// Requests that are under way at once. They wait for the network and do little else, and an object that comes
/// slowly must not keep others from being asked for.
const THREADS: usize = 32;

/// What fetching threads and readers share.
pub(crate) struct FetchContext {
    pub(crate) bucket: Arc<dyn Bucket>,
    pub(crate) cache: BlockCache,
    pub(crate) queue: FetchQueue,
    /// Guards what is known of the objects' hashes.
    proofs: Mutex<Integrity>,
}

/// The threads. Each is started when all others are busy, the first one with the first read.
pub(crate) struct Fetchers {
    context: Arc<FetchContext>,
    /// Guards the handles.
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Fetchers {
    pub(crate) fn new(context: Arc<FetchContext>) -> Self {
        Self { context, threads: Mutex::default() }
    }

    /// One thread more, if there may be one.
    pub(crate) fn add(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if THREADS <= threads.len() {
            return;
        }
        let context = self.context.clone();
        let thread = thread::Builder::new().name(format!("store-fetch-{}", threads.len()));
        match thread.spawn(move || context.work()) {
            Ok(thread) => threads.push(thread),
            Err(err) if threads.is_empty() => {
                log::error!("store: cannot start a thread to read from the bucket: {err}");
            }
            // The others do it.
            Err(_) => {}
        }
    }
}

impl Drop for Fetchers {
    /// Waits for requests that are under way until their next bytes or the bucket's deadline.
    fn drop(&mut self) {
        self.context.queue.close();
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                log::error!("store: a thread that reads from the bucket has panicked");
            }
        }
    }
}

impl FetchContext {
    pub(crate) fn new(
        bucket: Arc<dyn Bucket>,
        cache: BlockCache,
        budget_bytes: u64,
        health: Arc<BucketHealth>,
    ) -> Self {
        Self {
            bucket,
            cache,
            queue: FetchQueue::new(budget_bytes, health),
            proofs: Mutex::default(),
        }
    }

    fn work(&self) {
        while let Some(in_flight) = self.queue.next() {
            let mut guard =
                InFlightGuard { queue: &self.queue, in_flight: &in_flight, asked: None };
            match self.queue.is_wanted(&in_flight) {
                Ok(true) => {
                    guard.asked = Some(Err(Failure::unavailable("a thread has panicked")));
                    guard.asked = Some(self.fly(&in_flight));
                }
                Ok(false) => {}
                Err(failure) => in_flight.fail(failure),
            }
        }
    }

    fn fly(&self, in_flight: &InFlight) -> Result<(), Failure> {
        let mut unpacking = Unpacking::new(in_flight.content, in_flight.blocks.clone());
        let mut end = Ok(true);
        let key = &in_flight.object.key;
        self.bucket.stream_range(key, in_flight.bytes(), &mut |bytes| {
            end = unpacking.add(bytes, |number, bytes| {
                self.arrive(in_flight.content, number, bytes)?;
                Ok(!in_flight.is_called_off() && self.queue.is_wanted(in_flight)?)
            });
            if let Ok(true) = end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if end? && !unpacking.is_done() { Err(self.explain_end(in_flight)) } else { Ok(()) }
    }

    fn arrive(&self, content: Content, number: u64, bytes: Bytes) -> Result<(), Failure> {
        let block = Block { sum: content.sum(number, &bytes), bytes };
        self.prove(content, number, &block)?;
        self.queue.bring(content.block(number), block.bytes.clone());
        self.cache.insert(content, number, &block);
        // Another thread may have found the object wrong meanwhile, and thrown away all but this block.
        let verdict = self.proofs().verdict(content, Instant::now());
        if verdict == Some(Verdict::KnownWrong) {
            self.throw_away(content);
        }
        Ok(())
    }

    /// The bucket has sent less than it was asked for.
    fn explain_end(&self, in_flight: &InFlight) -> Failure {
        match self.bucket.head(&in_flight.object.key) {
            Ok(found) if found.bytes == in_flight.content.bytes => {
                Failure::unavailable("the answer was cut off")
            }
            Ok(found) => other_size(found.bytes, in_flight.content.bytes),
            Err(err) => err.into(),
        }
    }
}

/// Integrity.
impl FetchContext {
    /// To be called before an object is read. What the cache has of it counts for its hash too.
    pub(crate) fn begin(&self, content: Content) -> Result<(), Failure> {
        let now = Instant::now();
        let verdict = self.proofs().verdict(content, now);
        let verdict = verdict.unwrap_or_else(|| {
            let sums = self.cache.sums(content);
            let mut proofs = self.proofs();
            let noted =
                sums.into_iter().map(|(number, sum)| proofs.note(content, number, sum, now));
            noted.fold(Verdict::Fine, |all, one| if all == Verdict::Fine { one } else { all })
        });
        self.act_on(verdict, content)
    }

    /// Takes note of a block before any reader sees it.
    pub(crate) fn prove(
        &self,
        content: Content,
        number: u64,
        block: &Block,
    ) -> Result<(), Failure> {
        let verdict = self.proofs().note(content, number, block.sum, Instant::now());
        self.act_on(verdict, content)
    }

    fn act_on(&self, verdict: Verdict, content: Content) -> Result<(), Failure> {
        match verdict {
            Verdict::Fine => return Ok(()),
            Verdict::Wrong => {
                let hash = blake3::Hash::from_bytes(content.hash).to_hex();
                log::error!(
                    "store: the bucket has something else in place of {hash}; check with `scribefs fsck`"
                );
                self.throw_away(content);
            }
            Verdict::KnownWrong => {}
        }
        Err(Failure::wrong("the object in the bucket is not the one that was published"))
    }

    fn throw_away(&self, content: Content) {
        self.queue.forget(content.hash);
        self.cache.forget(content.hash);
    }

    /// As if it had never been read.
    pub(crate) fn forget(&self, content: Content) {
        self.throw_away(content);
        self.proofs().forget(content.hash);
    }

    fn proofs(&self) -> MutexGuard<'_, Integrity> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the fetch whatever happens, so that no reader waits in vain.
struct InFlightGuard<'a> {
    queue: &'a FetchQueue,
    in_flight: &'a Arc<InFlight>,
    asked: Option<Result<(), Failure>>,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.queue.land(self.in_flight, self.asked.take());
    }
}

/// Makes blocks of pieces.
struct Unpacking {
    content: Content,
    blocks: Range<u64>,
    /// The first bytes of the next block.
    begun: Vec<u8>,
}

impl Unpacking {
    fn new(content: Content, blocks: Range<u64>) -> Self {
        Self { content, blocks, begun: Vec::new() }
    }

    /// Hands on each block that is whole now, while `take` says `true`. The last thing it said.
    fn add(
        &mut self,
        mut piece: Bytes,
        mut take: impl FnMut(u64, Bytes) -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        while piece.has_remaining() {
            if self.blocks.is_empty() {
                return Err(other_size(self.content.bytes + 1, self.content.bytes));
            }
            let number = self.blocks.start;
            let range = self.content.bytes_of(number);
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            if self.begun.is_empty() {
                self.begun.reserve_exact(length);
            }
            let more = piece.split_to(piece.len().min(length - self.begun.len()));
            self.begun.extend_from_slice(&more);
            if self.begun.len() == length {
                self.blocks.start += 1;
                if !take(number, std::mem::take(&mut self.begun).into())? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn is_done(&self) -> bool {
        self.blocks.is_empty()
    }
}

fn other_size(found: u64, expected: u64) -> Failure {
    Failure::wrong(format!("the object has {found} bytes and should have {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(
        blocks: Range<u64>,
        bytes: u64,
        pieces: &[usize],
    ) -> Result<Vec<(u64, usize)>, Failure> {
        let mut unpacking = Unpacking::new(Content { hash: [0; 32], bytes }, blocks);
        let mut found = Vec::new();
        for piece in pieces {
            unpacking.add(vec![0; *piece].into(), |number, bytes| {
                found.push((number, bytes.len()));
                Ok(true)
            })?;
        }
        Ok(found)
    }

    #[test]
    fn blocks_come_whole_whatever_the_pieces() {
        let block = 1 << 20;
        for pieces in [vec![2 * block + 5], vec![block, block, 5], vec![1; 0], vec![700_000; 2]] {
            let found = unpack(1..4, (3 << 20) + 5, &pieces).unwrap();
            let bytes: usize = pieces.iter().sum();
            assert_eq!(found.len(), (bytes / block).min(2) + usize::from(bytes == 2 * block + 5));
            assert!(
                found
                    .iter()
                    .all(|(number, length)| *length == if *number == 3 { 5 } else { block })
            );
        }
    }

    #[test]
    fn an_object_that_goes_on_behind_its_end_is_another_one() {
        assert!(matches!(unpack(0..1, 10, &[11]), Err(Failure::Wrong(_))));
    }
}
