//! A store that fails on cue, for tests of whoever uses one.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Key;
use crate::store::{Found, Store, StoreError};

/// Passes calls on to another store, and says [`StoreError::Unavailable`] to some.
pub struct FlakyStore {
    store: Arc<dyn Store>,
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

impl FlakyStore {
    /// The first `calls` calls pass, and none after them: the power is cut.
    pub fn failing_after(calls: u64, store: Arc<dyn Store>) -> Self {
        Self::new(Cue::After(calls), store)
    }

    /// Every `nth` call fails, from the `nth` on, and does nothing.
    pub fn failing_every(nth: u64, store: Arc<dyn Store>) -> Self {
        Self::new(Cue::Every(nth), store)
    }

    /// Every `nth` call does what it should, and the answer is lost.
    pub fn losing_every(nth: u64, store: Arc<dyn Store>) -> Self {
        Self::new(Cue::LosingEvery(nth), store)
    }

    /// Calls made so far, failed ones too.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn new(cue: Cue, store: Arc<dyn Store>) -> Self {
        Self { store, cue, calls: AtomicU64::new(0) }
    }

    fn call<T>(
        &self,
        at: &str,
        pass: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let failure = StoreError::Unavailable { at: at.to_owned(), source: Box::new(OnCue(call)) };
        match self.cue {
            Cue::After(calls) if calls < call => Err(failure),
            Cue::Every(nth) if call.is_multiple_of(nth) => Err(failure),
            Cue::LosingEvery(nth) if call.is_multiple_of(nth) => {
                pass(&*self.store).and(Err(failure))
            }
            Cue::After(_) | Cue::Every(_) | Cue::LosingEvery(_) => pass(&*self.store),
        }
    }
}

impl Store for FlakyStore {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.call(key.as_str(), |store| store.put(key, bytes))
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.call(key.as_str(), |store| store.put_file(key, file))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.call(key.as_str(), |store| store.get_range(key, range))
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.call(key.as_str(), |store| store.head(key))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.call(prefix, |store| store.list(prefix))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.call(key.as_str(), |store| store.delete(key))
    }

    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        self.call(key.as_str(), |store| store.open_local(key))
    }
}
