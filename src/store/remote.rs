//! Reading what is in the bucket: ranges of objects, through the cache.
//!
//! A reader asks for bytes. What is neither in memory nor in the cache is sent for, with more ahead of who
//! reads on ([`window`]), by threads ([`fetching`]) that hand blocks out as they arrive. Many readers of one
//! block wait for one request ([`fetch_queue`]), nobody for longer than the deadline, and for a bucket that does not
//! answer nobody at all ([`BucketHealth`]). Blocks are added up to the hash of their object ([`integrity`]).

mod block_buffer;
mod fetch_queue;
mod fetching;
mod in_flight;
mod integrity;
#[cfg(all(test, feature = "shuttle"))]
mod orders;
mod window;

use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::concurrency::Mutex;
use crate::model::{Key, Object};
use crate::store::bucket_health::BucketHealth;
use crate::store::cache::BlockCache;
use crate::store::content::{BLOCK_BYTES, Content};
use crate::store::remote::fetch_queue::{Waited, Wanted};
use crate::store::remote::fetching::{FetchContext, Fetchers};
use crate::store::remote::in_flight::{Failure, InFlight};
use crate::store::remote::window::ReadAhead;
use crate::store::{Bucket, CacheUse, StoreError};

/// Times that a block is sent for in the name of one read: what another reader had sent for may fail, or be
/// called off, and that says little.
const TRIES: u32 = 3;

/// How patient reading from a bucket is, and how much memory it takes.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// From the call of a read to its end, whatever happens. Default 20 s: longer looks like a hanging disk.
    pub deadline: Duration,
    /// Of blocks in memory, here and on their way, at least 16 MiB. Default 128 MiB: four readers who read on.
    pub memory_bytes: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(20), memory_bytes: 128 << 20 }
    }
}

/// Objects of a bucket, to be read.
pub(crate) struct RemoteReader {
    context: Arc<FetchContext>,
    fetchers: Fetchers,
    /// Guards where readers are.
    ahead: Mutex<ReadAhead>,
    deadline: Duration,
    health: Arc<BucketHealth>,
}

/// One read.
struct Reading<'a> {
    wanted: Wanted<'a>,
    deadline: Instant,
    /// Flights that were sent out for it.
    sent: Vec<Arc<InFlight>>,
}

impl Reading<'_> {
    /// Why a block that has been sent for is not there.
    fn failure_of(&self, number: u64) -> Failure {
        let in_flight = self.sent.iter().rfind(|in_flight| in_flight.blocks.contains(&number));
        let failure = in_flight.and_then(|in_flight| in_flight.failure());
        failure.unwrap_or_else(|| {
            Failure::unavailable("the block was evicted each time it was fetched")
        })
    }
}

impl RemoteReader {
    pub(crate) fn new(bucket: Arc<dyn Bucket>, cache: BlockCache, options: ReadOptions) -> Self {
        let health = Arc::<BucketHealth>::default();
        let context =
            Arc::new(FetchContext::new(bucket, cache, options.memory_bytes, health.clone()));
        let fetchers = Fetchers::new(context.clone());
        let (ahead, deadline) = (Mutex::default(), options.deadline);
        Self { context, fetchers, ahead, deadline, health }
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn health(&self) -> &Arc<BucketHealth> {
        &self.health
    }

    pub(crate) fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.context.bucket
    }

    /// The bytes of `range`, cut short at the object's end. Blocks until they are there or the deadline has
    /// passed.
    ///
    /// # Errors
    /// `Refused`: the object is not the one that the index names. The read that finds it out fails, and all
    /// further ones for a minute; what was read before may have been wrong.
    pub(crate) fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        let content = content_of(object)?;
        let range = range.start..range.end.min(content.bytes);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = Wanted { object, content, asked: content.blocks_of(&range) };
        let deadline = Instant::now() + self.deadline;
        let mut reading = Reading { wanted, deadline, sent: Vec::new() };
        self.read_blocks(&mut reading, &range).map_err(|failure| failure.into_error(&object.key))
    }

    fn read_blocks(&self, reading: &mut Reading<'_>, range: &Range<u64>) -> Result<Bytes, Failure> {
        self.context.begin(reading.wanted.content)?;
        self.look_ahead(reading, range);
        let asked = reading.wanted.asked.clone();
        let mut piece = |number| -> Result<Bytes, Failure> {
            let block = self.block(reading, number)?;
            let start = number * BLOCK_BYTES;
            let place =
                |byte: u64| usize::try_from(byte.saturating_sub(start)).unwrap_or(usize::MAX);
            Ok(block.slice(place(range.start)..place(range.end).min(block.len())))
        };
        // What lies in one block is not copied.
        if asked.end - asked.start == 1 {
            return piece(asked.start);
        }
        let mut whole = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
        for number in asked {
            whole.extend_from_slice(&piece(number)?);
        }
        Ok(whole.into())
    }

    /// Sends for what is asked for, and for as much beyond it as the reader deserves.
    fn look_ahead(&self, reading: &mut Reading<'_>, range: &Range<u64>) {
        let content = reading.wanted.content;
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let window = ahead.note(content, range);
        drop(ahead);
        if window.is_seek {
            self.context.queue.call_off(content.hash);
        }
        // Whoever waits for one of these blocks hears of the failure.
        let _ = self.send(reading, window.blocks);
    }

    fn send(&self, reading: &mut Reading<'_>, blocks: Range<u64>) -> Result<(), Failure> {
        let lacking = self.context.cache.lacking(reading.wanted.content, blocks);
        if !lacking.is_empty() {
            let sent = self.context.queue.send(&reading.wanted, &lacking)?;
            reading.sent.extend(sent.flights);
            if sent.needs_thread {
                self.fetchers.add();
            }
        }
        Ok(())
    }

    fn block(&self, reading: &mut Reading<'_>, number: u64) -> Result<Bytes, Failure> {
        let content = reading.wanted.content;
        let mut tries = 0;
        loop {
            let failure = match self.context.queue.wait(&content.block(number), reading.deadline) {
                Waited::Here(bytes) => return Ok(bytes),
                Waited::TooLong => return Err(Failure::unavailable("the deadline has passed")),
                Waited::Failed(failure) => failure,
                Waited::Nowhere => match self.load(content, number)? {
                    Some(bytes) => return Ok(bytes),
                    None => reading.failure_of(number),
                },
            };
            tries += 1;
            if TRIES < tries || !matches!(failure, Failure::Unavailable(_)) {
                return Err(failure);
            }
            self.send(reading, number..number + 1)?;
        }
    }

    /// From the cache.
    fn load(&self, content: Content, number: u64) -> Result<Option<Bytes>, Failure> {
        let Some(block) = self.context.cache.get(content, number) else { return Ok(None) };
        self.context.prove(content, number, &block)?;
        self.context.queue.put(content.block(number), block.bytes.clone());
        Ok(Some(block.bytes))
    }

    /// Throws away what is kept of it, and what is known of it.
    pub(crate) fn forget(&self, object: &Object) {
        if let Some(content) = Content::of(object) {
            self.context.forget(content);
        }
    }

    pub(crate) fn cache(&self) -> &BlockCache {
        &self.context.cache
    }

    pub(crate) fn usage(&self) -> CacheUse {
        self.context.cache.usage()
    }

    /// Asks the bucket something else, unless it has not answered lately.
    pub(crate) fn ask<T>(
        &self,
        key: &Key,
        question: impl FnOnce(&dyn Bucket) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let permit = self.context.queue.permit().map_err(|failure| failure.into_error(key))?;
        let answer = question(&*self.context.bucket).map_err(Failure::from);
        self.context.queue.answered(permit, answer.as_ref().err());
        answer.map_err(|failure| failure.into_error(key))
    }
}

fn content_of(object: &Object) -> Result<Content, StoreError> {
    let refused = || StoreError::Refused {
        at: object.key.to_string(),
        source: "the index has no hash of it".into(),
    };
    Content::of(object).ok_or_else(refused)
}
