//! Where readers leave word of what they want, and fetching threads of what they have brought.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use crate::concurrency::{Condvar, Mutex, MutexGuard};
use crate::model::Object;
use crate::store::bucket_health::BucketHealth;
use crate::store::circuit::Permit;
use crate::store::content::{BlockId, Content, ContentHash};
use crate::store::remote::block_buffer::BlockBuffer;
use crate::store::remote::in_flight::{Failure, InFlight, Purpose};

/// Flights ahead that may wait for a thread. More are not even asked for: whoever reads on asks again.
const AHEAD: usize = 32;

/// Flights ahead that are under way at once: they must not take all threads from who waits.
const AHEAD_UNDER_WAY: usize = 8;

/// What a reader needs of an object.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) object: &'a Object,
    pub(crate) content: Content,
    /// Blocks that the reader waits for.
    pub(crate) asked: Range<u64>,
}

#[derive(Debug)]
pub(crate) struct FetchQueue {
    /// Guards plain memory.
    state: Mutex<State>,
    /// A block has arrived, or will not.
    arrived: Condvar,
    /// There is a fetch for a thread, or no more.
    queued: Condvar,
}

#[derive(Debug)]
struct State {
    buffer: BlockBuffer,
    health: Arc<BucketHealth>,
    /// Flights that readers wait for, first come first served.
    asked: VecDeque<Arc<InFlight>>,
    /// Flights that nobody waits for yet: their turn comes when there are no others.
    ahead: VecDeque<Arc<InFlight>>,
    ahead_under_way: usize,
    idle_threads: usize,
    is_closed: bool,
}

/// What has been sent out.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) flights: Vec<Arc<InFlight>>,
    /// All threads are busy.
    pub(crate) needs_thread: bool,
}

/// How waiting for a block has ended.
#[derive(Debug)]
pub(crate) enum Waited {
    Here(Bytes),
    /// It is neither here nor on its way.
    Nowhere,
    /// It was on its way, and will not come.
    Failed(Failure),
    TooLong,
}

/// For readers.
impl FetchQueue {
    pub(crate) fn new(budget_bytes: u64, health: Arc<BucketHealth>) -> Self {
        let state = State {
            buffer: BlockBuffer::new(budget_bytes),
            health,
            asked: VecDeque::new(),
            ahead: VecDeque::new(),
            ahead_under_way: 0,
            idle_threads: 0,
            is_closed: false,
        };
        Self { state: Mutex::new(state), arrived: Condvar::new(), queued: Condvar::new() }
    }

    /// Sends for those of `numbers` that are neither here nor on their way.
    ///
    /// # Errors
    /// The bucket is left alone at present, and something would have to be sent for.
    pub(crate) fn send(&self, wanted: &Wanted<'_>, numbers: &[u64]) -> Result<Sent, Failure> {
        let mut state = self.lock();
        let runs = state.buffer.missing(wanted.content, numbers);
        let flights = runs.into_iter().filter_map(|run| state.send(wanted, run).transpose());
        let flights = flights.collect::<Result<Vec<_>, _>>();
        let needs_thread = state.idle_threads < state.asked.len() + state.ahead.len();
        drop(state);
        self.queued.notify_all();
        flights.map(|flights| Sent { flights, needs_thread })
    }

    pub(crate) fn call_off(&self, hash: ContentHash) {
        self.lock().buffer.call_off(hash);
    }

    /// Waits for a block that is on its way.
    pub(crate) fn wait(&self, id: &BlockId, deadline: Instant) -> Waited {
        let mut state = self.lock();
        let mut in_flight = None;
        loop {
            if let Some(bytes) = state.buffer.take(id) {
                return Waited::Here(bytes);
            }
            let Some(flying) = state.buffer.in_flight(id) else {
                let failure = in_flight.and_then(|in_flight: Arc<InFlight>| in_flight.failure());
                return failure.map_or(Waited::Nowhere, Waited::Failed);
            };
            // Whoever comes now need not wait as long as those who have found out.
            let is_hopeless = flying.permit == Permit::Ordinary && !state.health.is_well();
            if in_flight.is_none() && is_hopeless {
                return Waited::Failed(left_alone());
            }
            let flying = flying.clone();
            state.put_forward(&flying);
            in_flight = Some(flying);
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                state.health.ran_out();
                return Waited::TooLong;
            }
            let waited = self.arrived.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether nothing is under way or waits for it.
    #[cfg(all(test, feature = "shuttle"))]
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        let is_queue_empty = state.asked.is_empty() && state.ahead.is_empty();
        is_queue_empty && state.ahead_under_way == 0 && state.buffer.is_idle()
    }

    pub(crate) fn put(&self, id: BlockId, bytes: Bytes) {
        self.lock().buffer.put(id, bytes);
    }

    pub(crate) fn forget(&self, hash: ContentHash) {
        self.lock().buffer.forget(hash);
    }

    /// Leave to ask the bucket something beside the flights. To be followed by [`Self::answered`].
    pub(crate) fn permit(&self) -> Result<Permit, Failure> {
        self.lock().health.permit().ok_or_else(left_alone)
    }

    /// How the bucket has answered. Only silence is held against it: that one object is missing, wrong, archived
    /// or not for us is an answer, and it comes at once.
    pub(crate) fn answered(&self, permit: Permit, failure: Option<&Failure>) {
        self.lock().note(permit, failure);
    }
}

impl State {
    fn send(
        &mut self,
        wanted: &Wanted<'_>,
        mut run: Range<u64>,
    ) -> Result<Option<Arc<InFlight>>, Failure> {
        let is_asked = run.start < wanted.asked.end && wanted.asked.start < run.end;
        // What a reader waits for is always sent for; the rest only within the budget.
        let least = if is_asked { wanted.asked.end.min(run.end) } else { run.start };
        run.end = run.end.min(least.max(run.start + self.buffer.room()));
        let is_too_much = !is_asked && AHEAD <= self.ahead.len();
        if run.is_empty() || is_too_much || self.is_closed {
            return Ok(None);
        }
        let permit = self.health.permit().ok_or_else(left_alone)?;
        let purpose = if is_asked { Purpose::Asked } else { Purpose::Ahead };
        let in_flight = InFlight::new(wanted.object, wanted.content, run, purpose, permit);
        let in_flight = Arc::new(in_flight);
        self.buffer.take_off(&in_flight);
        match purpose {
            Purpose::Asked => self.asked.push_back(in_flight.clone()),
            Purpose::Ahead => self.ahead.push_back(in_flight.clone()),
        }
        Ok(Some(in_flight))
    }

    /// Somebody waits for a fetch now that was for nobody: it comes after those who wait already.
    fn put_forward(&mut self, in_flight: &Arc<InFlight>) {
        if let Some(place) = self.ahead.iter().position(|other| Arc::ptr_eq(other, in_flight)) {
            self.asked.extend(self.ahead.remove(place));
        }
    }

    fn take(&mut self) -> Option<Arc<InFlight>> {
        let has_room = self.ahead_under_way < AHEAD_UNDER_WAY;
        let ahead = || if has_room { self.ahead.pop_front() } else { None };
        let in_flight = self.asked.pop_front().or_else(ahead)?;
        self.ahead_under_way += usize::from(in_flight.purpose == Purpose::Ahead);
        Some(in_flight)
    }

    fn note(&mut self, permit: Permit, failure: Option<&Failure>) {
        match failure {
            None | Some(Failure::Missing | Failure::Wrong(_) | Failure::Refused(_)) => {
                self.health.answered();
            }
            Some(Failure::Unavailable(_)) => self.health.failed(permit),
        }
    }
}

/// For the threads that fetch.
impl FetchQueue {
    /// The next fetch; waits for one. `None`: there will be no more.
    pub(crate) fn next(&self) -> Option<Arc<InFlight>> {
        let mut state = self.lock();
        loop {
            if let Some(in_flight) = state.take() {
                return Some(in_flight);
            }
            if state.is_closed {
                return None;
            }
            state.idle_threads += 1;
            state = self.queued.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle_threads -= 1;
        }
    }

    /// Whether a fetch should still set out, or go on. The failure, if that is what its readers hear.
    pub(crate) fn is_wanted(&self, in_flight: &InFlight) -> Result<bool, Failure> {
        let state = self.lock();
        if in_flight.permit == Permit::Ordinary && !state.health.is_well() {
            return Err(left_alone());
        }
        Ok(!in_flight.is_called_off() && !state.is_closed)
    }

    /// A block of a fetch is there.
    pub(crate) fn bring(&self, id: BlockId, bytes: Bytes) {
        let mut state = self.lock();
        state.buffer.put(id, bytes);
        state.health.answered();
        drop(state);
        self.arrived.notify_all();
    }

    /// A fetch is over: has been asked for and `Err`: has failed, or `None`: has never set out.
    pub(crate) fn land(&self, in_flight: &Arc<InFlight>, asked: Option<Result<(), Failure>>) {
        let mut state = self.lock();
        match asked {
            None => state.health.withdrawn(in_flight.permit),
            Some(outcome) => {
                state.note(in_flight.permit, outcome.as_ref().err());
                if let Err(failure) = outcome {
                    in_flight.fail(failure);
                }
            }
        }
        state.buffer.land(in_flight);
        let may_go_on = in_flight.purpose == Purpose::Ahead && !state.ahead.is_empty();
        state.ahead_under_way -= usize::from(in_flight.purpose == Purpose::Ahead);
        drop(state);
        self.arrived.notify_all();
        if may_go_on {
            self.queued.notify_one();
        }
    }

    /// Lets the threads go, and tells readers that nothing will come any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let (asked, ahead) = (std::mem::take(&mut state.asked), std::mem::take(&mut state.ahead));
        for in_flight in asked.into_iter().chain(ahead) {
            in_flight.fail(Failure::unavailable("the store is being closed"));
            state.buffer.land(&in_flight);
        }
        drop(state);
        self.queued.notify_all();
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn left_alone() -> Failure {
    Failure::unavailable("the bucket has not answered recently; trying again in a moment")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Key;

    fn object(name: &str) -> Object {
        let key = Key::new(name).unwrap();
        let blake3 = blake3::hash(name.as_bytes()).to_hex().to_string();
        Object { key, bytes: 4 << 20, blake3 }
    }

    fn send(queue: &FetchQueue, object: &Object, asked: Range<u64>, numbers: &[u64]) {
        let content = Content::of(object).unwrap();
        queue.send(&Wanted { object, content, asked }, numbers).unwrap();
    }

    fn next(queue: &FetchQueue) -> (String, u64) {
        let in_flight = queue.next().unwrap();
        let taken = (in_flight.object.key.to_string(), in_flight.blocks.start);
        queue.land(&in_flight, Some(Ok(())));
        taken
    }

    #[test]
    fn who_waits_longest_is_served_first_and_what_nobody_waits_for_last() {
        let queue = FetchQueue::new(64 << 20, Arc::default());
        let [a, b, c] = ["a/1.wav", "b/1.wav", "c/1.wav"].map(object);
        send(&queue, &a, 0..0, &[3]);
        for object in [&a, &b, &c] {
            send(&queue, object, 0..1, &[0]);
        }
        let order = [&a, &b, &c].map(|object| (object.key.to_string(), 0));
        assert_eq!([next(&queue), next(&queue), next(&queue)], order);
        assert_eq!(next(&queue), (a.key.to_string(), 3));
    }

    #[test]
    fn what_was_sent_for_ahead_is_put_forward_when_somebody_waits_for_it() {
        let queue = FetchQueue::new(64 << 20, Arc::default());
        let [a, b] = ["a/1.wav", "b/1.wav"].map(object);
        // The bucket has answered, so that one reader whose time is over says nothing of it.
        queue.answered(Permit::Ordinary, None);
        send(&queue, &a, 0..0, &[1]);
        send(&queue, &a, 0..0, &[3]);
        let block = Content::of(&a).unwrap().block(3);
        assert!(matches!(queue.wait(&block, Instant::now()), Waited::TooLong));
        send(&queue, &b, 0..1, &[0]);
        assert_eq!(next(&queue), (a.key.to_string(), 3));
        assert_eq!(next(&queue), (b.key.to_string(), 0));
        assert_eq!(next(&queue), (a.key.to_string(), 1));
    }

    #[test]
    fn reading_ahead_never_takes_all_threads() {
        let queue = FetchQueue::new(64 << 20, Arc::default());
        let objects: Vec<Object> = (0..20).map(|at| object(&format!("a/{at}.wav"))).collect();
        for object in &objects {
            send(&queue, object, 0..0, &[0]);
        }
        let under_way: Vec<_> = (0..AHEAD_UNDER_WAY).map(|_| queue.next().unwrap()).collect();
        assert!(queue.lock().take().is_none());
        send(&queue, &object("b/1.wav"), 0..1, &[0]);
        assert_eq!(next(&queue), ("b/1.wav".to_owned(), 0));
        queue.land(&under_way[0], Some(Ok(())));
        assert!(queue.lock().take().is_some());
    }
}
