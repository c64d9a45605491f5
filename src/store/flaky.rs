//! A store that fails on cue, for tests of whoever uses one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::{Call, Intercepted, Interceptor, StoreError};

/// Passes calls on to another store or bucket, and says [`StoreError::Unavailable`] to some.
pub type FlakyStore<S> = Intercepted<S, Flaky>;

/// Which calls fail.
#[derive(Debug)]
pub struct Flaky {
    cue: Cue,
    calls: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
enum Cue {
    After(u64),
    Every(u64),
    LosingEvery(u64),
}

#[derive(Debug, thiserror::Error)]
#[error("failed on cue at call {0}")]
struct OnCue(u64);

impl<S: ?Sized> FlakyStore<S> {
    /// The first `calls` calls pass, and none after them: the power is cut.
    pub fn failing_after(calls: u64, store: Arc<S>) -> Self {
        Self::new(store, Flaky::new(Cue::After(calls)))
    }

    /// Every `nth` call fails, from the `nth` on, and does nothing.
    pub fn failing_every(nth: u64, store: Arc<S>) -> Self {
        Self::new(store, Flaky::new(Cue::Every(nth)))
    }

    /// Every `nth` call does what it should, and the answer is lost.
    pub fn losing_every(nth: u64, store: Arc<S>) -> Self {
        Self::new(store, Flaky::new(Cue::LosingEvery(nth)))
    }

    /// Calls made so far, failed ones too.
    pub fn calls(&self) -> u64 {
        self.interceptor().calls.load(Ordering::Relaxed)
    }
}

impl Flaky {
    fn new(cue: Cue) -> Self {
        Self { cue, calls: AtomicU64::new(0) }
    }
}

impl Interceptor for Flaky {
    type Passed = bool;

    fn before(&self, call: Call<'_>) -> Result<bool, StoreError> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        match self.cue {
            Cue::After(calls) if calls < number => Err(failure(call, number)),
            Cue::Every(nth) if number.is_multiple_of(nth) => Err(failure(call, number)),
            Cue::LosingEvery(nth) => Ok(number.is_multiple_of(nth)),
            Cue::After(_) | Cue::Every(_) => Ok(false),
        }
    }

    fn after(&self, call: Call<'_>, is_lost: bool) -> Result<(), StoreError> {
        let number = self.calls.load(Ordering::Relaxed);
        if is_lost { Err(failure(call, number)) } else { Ok(()) }
    }
}

fn failure(call: Call<'_>, number: u64) -> StoreError {
    StoreError::Unavailable { at: call.at.to_owned(), source: Box::new(OnCue(number)) }
}
