//! Where readers leave word of what they want, and fetching threads of what they have brought.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use crate::model::Object;
use crate::store::content::{BlockId, Content, ContentHash};
use crate::store::far::breaker::{Breaker, Permit};
use crate::store::far::flight::{Failure, Flight, Purpose};
use crate::store::far::shelf::Shelf;

/// Flights ahead that may wait for a thread. More are not even asked for: whoever reads on asks again.
const AHEAD: usize = 32;

/// What a reader needs of an object.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) object: &'a Object,
    pub(crate) content: Content,
    /// Blocks that the reader waits for.
    pub(crate) asked: Range<u64>,
}

#[derive(Debug)]
pub(crate) struct Desk {
    /// Guards plain memory.
    state: Mutex<State>,
    /// A block has arrived, or will not.
    arrived: Condvar,
    /// There is a flight for a thread, or no more.
    queued: Condvar,
}

#[derive(Debug)]
struct State {
    shelf: Shelf,
    breaker: Breaker,
    queue: VecDeque<Arc<Flight>>,
    idle_threads: usize,
    is_closed: bool,
}

/// What has been sent out.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) flights: Vec<Arc<Flight>>,
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
impl Desk {
    pub(crate) fn new(budget_bytes: u64) -> Self {
        let state = State {
            shelf: Shelf::new(budget_bytes),
            breaker: Breaker::default(),
            queue: VecDeque::new(),
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
        let runs = state.shelf.missing(wanted.content, numbers);
        let flights = runs.into_iter().filter_map(|run| state.send(wanted, run).transpose());
        let flights = flights.collect::<Result<Vec<_>, _>>();
        let needs_thread = state.idle_threads < state.queue.len();
        drop(state);
        self.queued.notify_all();
        flights.map(|flights| Sent { flights, needs_thread })
    }

    pub(crate) fn call_off(&self, hash: ContentHash) {
        self.lock().shelf.call_off(hash);
    }

    /// Waits for a block that is on its way.
    pub(crate) fn wait(&self, id: &BlockId, deadline: Instant) -> Waited {
        let mut state = self.lock();
        let mut flight = None;
        loop {
            if let Some(bytes) = state.shelf.take(id) {
                return Waited::Here(bytes);
            }
            let Some(flying) = state.shelf.flight(id) else {
                let failure = flight.and_then(|flight: Arc<Flight>| flight.failure());
                return failure.map_or(Waited::Nowhere, Waited::Failed);
            };
            // Whoever comes now need not wait as long as those who have found out.
            let is_hopeless = flying.permit == Permit::Ordinary && !state.breaker.is_closed();
            if flight.is_none() && is_hopeless {
                return Waited::Failed(left_alone());
            }
            flight = Some(flying.clone());
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                state.breaker.ran_out(now);
                return Waited::TooLong;
            }
            let waited = self.arrived.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn put(&self, id: BlockId, bytes: Bytes) {
        self.lock().shelf.put(id, bytes);
    }

    pub(crate) fn forget(&self, hash: ContentHash) {
        self.lock().shelf.forget(hash);
    }

    /// Leave to ask the bucket something beside the flights. To be followed by [`Self::answered`].
    pub(crate) fn permit(&self) -> Result<Permit, Failure> {
        self.lock().breaker.permit(Instant::now()).ok_or_else(left_alone)
    }

    /// How the bucket has answered. Only silence is held against it: that one object is missing, wrong, archived
    /// or not for us is an answer, and it comes at once.
    pub(crate) fn answered(&self, failure: Option<&Failure>) {
        self.lock().note(failure);
    }
}

impl State {
    fn send(
        &mut self,
        wanted: &Wanted<'_>,
        mut run: Range<u64>,
    ) -> Result<Option<Arc<Flight>>, Failure> {
        let is_asked = run.start < wanted.asked.end && wanted.asked.start < run.end;
        // What a reader waits for is always sent for; the rest only within the budget.
        let least = if is_asked { wanted.asked.end.min(run.end) } else { run.start };
        run.end = run.end.min(least.max(run.start + self.shelf.room()));
        let is_too_much = !is_asked && AHEAD <= self.queue.len();
        if run.is_empty() || is_too_much || self.is_closed {
            return Ok(None);
        }
        let permit = self.breaker.permit(Instant::now()).ok_or_else(left_alone)?;
        let purpose = if is_asked { Purpose::Asked } else { Purpose::Ahead };
        let flight = Flight::new(wanted.object, wanted.content, run, purpose, permit);
        let flight = Arc::new(flight);
        self.shelf.take_off(&flight);
        match purpose {
            Purpose::Asked => self.queue.push_front(flight.clone()),
            Purpose::Ahead => self.queue.push_back(flight.clone()),
        }
        Ok(Some(flight))
    }

    fn note(&mut self, failure: Option<&Failure>) {
        match failure {
            None | Some(Failure::Missing | Failure::Wrong(_) | Failure::Refused(_)) => {
                self.breaker.succeeded(Instant::now());
            }
            Some(Failure::Unavailable(_)) => self.breaker.failed(Instant::now()),
        }
    }
}

/// For the threads that fetch.
impl Desk {
    /// The next flight; waits for one. `None`: there will be no more.
    pub(crate) fn next(&self) -> Option<Arc<Flight>> {
        let mut state = self.lock();
        loop {
            if let Some(flight) = state.queue.pop_front() {
                return Some(flight);
            }
            if state.is_closed {
                return None;
            }
            state.idle_threads += 1;
            state = self.queued.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle_threads -= 1;
        }
    }

    /// Whether a flight should still set out, or go on. The failure, if that is what its readers hear.
    pub(crate) fn is_wanted(&self, flight: &Flight) -> Result<bool, Failure> {
        let state = self.lock();
        if flight.permit == Permit::Ordinary && !state.breaker.is_closed() {
            return Err(left_alone());
        }
        Ok(!flight.is_called_off() && !state.is_closed)
    }

    /// A block of a flight is there.
    pub(crate) fn bring(&self, id: BlockId, bytes: Bytes) {
        let mut state = self.lock();
        state.shelf.put(id, bytes);
        state.breaker.succeeded(Instant::now());
        drop(state);
        self.arrived.notify_all();
    }

    /// A flight is over: has been asked for and `Err`: has failed, or `None`: has never set out.
    pub(crate) fn land(&self, flight: &Arc<Flight>, asked: Option<Result<(), Failure>>) {
        let mut state = self.lock();
        match asked {
            None => state.breaker.withdrawn(flight.permit, Instant::now()),
            Some(outcome) => {
                state.note(outcome.as_ref().err());
                if let Err(failure) = outcome {
                    flight.fail(failure);
                }
            }
        }
        state.shelf.land(flight);
        drop(state);
        self.arrived.notify_all();
    }

    /// Lets the threads go, and tells readers that nothing will come any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        for flight in std::mem::take(&mut state.queue) {
            flight.fail(Failure::unavailable("the store is being closed"));
            state.shelf.land(&flight);
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
    Failure::unavailable("the bucket has not answered lately and is left alone for a moment")
}
