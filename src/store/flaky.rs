//! A store that fails on cue, for tests of whoever uses one.

use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Key, Object, UploadedPart};
use crate::store::{
    Bucket, Bytes, Found, Label, ObjectFacts, StagedFile, Store, StoreError, Version,
};

/// Passes calls on to another store or bucket, and says [`StoreError::Unavailable`] to some.
pub struct FlakyStore<S: ?Sized> {
    store: Arc<S>,
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

impl<S: Store + ?Sized> FlakyStore<S> {
    /// The first `calls` calls pass, and none after them: the power is cut.
    pub fn failing_after(calls: u64, store: Arc<S>) -> Self {
        Self::new(Cue::After(calls), store)
    }

    /// Every `nth` call fails, from the `nth` on, and does nothing.
    pub fn failing_every(nth: u64, store: Arc<S>) -> Self {
        Self::new(Cue::Every(nth), store)
    }

    /// Every `nth` call does what it should, and the answer is lost.
    pub fn losing_every(nth: u64, store: Arc<S>) -> Self {
        Self::new(Cue::LosingEvery(nth), store)
    }

    /// Calls made so far, failed ones too.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn new(cue: Cue, store: Arc<S>) -> Self {
        Self { store, cue, calls: AtomicU64::new(0) }
    }

    fn call<T>(
        &self,
        at: &str,
        pass: impl FnOnce(&S) -> Result<T, StoreError>,
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

impl<S: Store + ?Sized> Store for FlakyStore<S> {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.call(key.as_str(), |store| store.put(key, bytes))
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.call(key.as_str(), |store| store.put_file(key, file))
    }

    fn put_file_new(&self, key: &Key, file: &File) -> Result<bool, StoreError> {
        self.call(key.as_str(), |store| store.put_file_new(key, file))
    }

    fn stage_file(
        &self,
        file: &File,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<StagedFile>, StoreError> {
        self.call("staging", |store| store.stage_file(file, may_go_on))
    }

    fn stage_new(&self) -> Result<StagedFile, StoreError> {
        self.call("staging", |store| store.stage_new())
    }

    fn put_staged(&self, key: &Key, staged: StagedFile) -> Result<(), StoreError> {
        self.call(key.as_str(), |store| store.put_staged(key, staged))
    }

    fn put_staged_new(&self, key: &Key, staged: &mut StagedFile) -> Result<bool, StoreError> {
        self.call(key.as_str(), |store| store.put_staged_new(key, staged))
    }

    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.call(to.as_str(), |store| store.rename(from, to))
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.call(place, |store| store.is_taken(place))
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        self.call(key.as_str(), |store| store.facts(key))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.call(key.as_str(), |store| store.get_range(key, range))
    }

    fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.call(object.key.as_str(), |store| store.read(object, range))
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

    fn url(&self, key: &Key) -> Option<String> {
        self.store.url(key)
    }

    fn written_at(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        self.call(key.as_str(), |store| store.written_at(key))
    }
}

impl<S: Bucket + ?Sized> Bucket for FlakyStore<S> {
    fn put_labelled(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<(), StoreError> {
        self.call(key.as_str(), |store| store.put_labelled(key, bytes, label))
    }

    fn put_new(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<bool, StoreError> {
        self.call(key.as_str(), |store| store.put_new(key, bytes, label))
    }

    fn begin_upload(&self, key: &Key, label: &Label) -> Result<String, StoreError> {
        self.call(key.as_str(), |store| store.begin_upload(key, label))
    }

    fn put_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        self.call(key.as_str(), |store| store.put_part(key, upload_id, number, bytes))
    }

    fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<(), StoreError> {
        self.call(key.as_str(), |store| store.complete_upload(key, upload_id, parts))
    }

    fn abort_upload(&self, key: &Key, upload_id: &str) -> Result<(), StoreError> {
        self.call(key.as_str(), |store| store.abort_upload(key, upload_id))
    }

    fn stream_range(
        &self,
        key: &Key,
        range: Range<u64>,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.call(key.as_str(), |store| store.stream_range(key, range, sink))
    }

    fn put_if(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError> {
        self.call(key.as_str(), |store| store.put_if(key, bytes, expected))
    }

    fn get_versioned(&self, key: &Key) -> Result<(Bytes, Version), StoreError> {
        self.call(key.as_str(), |store| store.get_versioned(key))
    }

    fn knows_conditions(&self) -> bool {
        self.store.knows_conditions()
    }

    fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        self.call(prefix, |store| store.list_after(prefix, after, limit))
    }

    fn link(&self, key: &Key, valid: Duration) -> Result<String, StoreError> {
        self.call(key.as_str(), |store| store.link(key, valid))
    }
}
