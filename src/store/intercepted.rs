//! [`Intercepted`]: passes every call on to another store or bucket, through an [`Interceptor`] that may refuse it, count
//! it, or see how it went. The one place that spells all calls out for that.

use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Key, Object, UploadedPart};
use crate::store::{
    Bucket, Bytes, Foreign, Found, Label, ObjectFacts, StagedFile, Store, StoreError, Version,
    Walk, Written,
};

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// The method's name.
    pub name: &'static str,
    /// A key, or a listing's prefix.
    pub at: &'a str,
    /// Whether it changes the store.
    pub is_change: bool,
}

/// Stands before every call.
pub trait Interceptor: Send + Sync {
    /// What it remembers of a call while that is made.
    type Passed;

    /// Lets the call pass, or fails it instead.
    fn before(&self, call: Call<'_>) -> Result<Self::Passed, StoreError>;

    /// Lets the outcome pass, or puts a failure in its place.
    fn after(&self, _call: Call<'_>, _passed: Self::Passed) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A store behind an interceptor.
#[derive(Debug, Default)]
pub struct Intercepted<S: ?Sized, I> {
    store: Arc<S>,
    interceptor: I,
}

impl<S: ?Sized, I: Interceptor> Intercepted<S, I> {
    pub fn new(store: Arc<S>, interceptor: I) -> Self {
        Self { store, interceptor }
    }

    pub fn interceptor(&self) -> &I {
        &self.interceptor
    }

    fn read<T>(
        &self,
        name: &'static str,
        at: &str,
        pass: impl FnOnce(&S) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.make(Call { name, at, is_change: false }, pass)
    }

    fn change<T>(
        &self,
        name: &'static str,
        key: &Key,
        pass: impl FnOnce(&S) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.make(Call { name, at: key.as_str(), is_change: true }, pass)
    }

    fn make<T>(
        &self,
        call: Call<'_>,
        pass: impl FnOnce(&S) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let passed = self.interceptor.before(call)?;
        let outcome = pass(&self.store)?;
        self.interceptor.after(call, passed)?;
        Ok(outcome)
    }
}

impl<S: Store + ?Sized, I: Interceptor> Store for Intercepted<S, I> {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.change("put", key, |store| store.put(key, bytes))
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.change("put_file", key, |store| store.put_file(key, file))
    }

    fn put_file_new(&self, key: &Key, file: &File) -> Result<bool, StoreError> {
        self.change("put_file_new", key, |store| store.put_file_new(key, file))
    }

    fn stage_file(
        &self,
        file: &File,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<StagedFile>, StoreError> {
        self.read("stage_file", "staging", |store| store.stage_file(file, may_go_on))
    }

    fn stage_new(&self) -> Result<StagedFile, StoreError> {
        self.read("stage_new", "staging", |store| store.stage_new())
    }

    fn put_staged(&self, key: &Key, staged: StagedFile) -> Result<(), StoreError> {
        self.change("put_staged", key, |store| store.put_staged(key, staged))
    }

    fn put_staged_new(&self, key: &Key, staged: &mut StagedFile) -> Result<bool, StoreError> {
        self.change("put_staged_new", key, |store| store.put_staged_new(key, staged))
    }

    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.change("rename", to, |store| store.rename(from, to))
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.read("is_taken", place, |store| store.is_taken(place))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.read("get_range", key.as_str(), |store| store.get_range(key, range))
    }

    fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.read("read", object.key.as_str(), |store| store.read(object, range))
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.read("head", key.as_str(), |store| store.head(key))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.read("list", prefix, |store| store.list(prefix))
    }

    fn walk(&self) -> Walk<'_> {
        match self.interceptor.before(Call { name: "walk", at: "", is_change: false }) {
            Ok(_) => self.store.walk(),
            Err(err) => Box::new(std::iter::once(Err(err))),
        }
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.change("delete", key, |store| store.delete(key))
    }

    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        self.read("open_local", key.as_str(), |store| store.open_local(key))
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        self.read("facts", key.as_str(), |store| store.facts(key))
    }

    /// Asks nobody.
    fn url(&self, key: &Key) -> Option<String> {
        self.store.url(key)
    }

    fn written_at(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        self.read("written_at", key.as_str(), |store| store.written_at(key))
    }
}

impl<S: Bucket + ?Sized, I: Interceptor> Bucket for Intercepted<S, I> {
    fn put_labelled(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<(), StoreError> {
        self.change("put_labelled", key, |bucket| bucket.put_labelled(key, bytes, label))
    }

    fn put_new(
        &self,
        key: &Key,
        bytes: Bytes,
        label: &Label,
    ) -> Result<Option<Written>, StoreError> {
        self.change("put_new", key, |bucket| bucket.put_new(key, bytes, label))
    }

    fn begin_upload(&self, key: &Key, label: &Label) -> Result<String, StoreError> {
        self.change("begin_upload", key, |bucket| bucket.begin_upload(key, label))
    }

    fn put_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        self.change("put_part", key, |bucket| bucket.put_part(key, upload_id, number, bytes))
    }

    fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<Written, StoreError> {
        self.change("complete_upload", key, |bucket| bucket.complete_upload(key, upload_id, parts))
    }

    fn abort_upload(&self, key: &Key, upload_id: &str) -> Result<(), StoreError> {
        self.change("abort_upload", key, |bucket| bucket.abort_upload(key, upload_id))
    }

    fn stream_range(
        &self,
        key: &Key,
        range: Range<u64>,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read("stream_range", key.as_str(), |bucket| bucket.stream_range(key, range, sink))
    }

    fn put_if(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError> {
        self.change("put_if", key, |bucket| bucket.put_if(key, bytes, expected))
    }

    fn get_versioned(&self, key: &Key) -> Result<(Bytes, Version), StoreError> {
        self.read("get_versioned", key.as_str(), |bucket| bucket.get_versioned(key))
    }

    fn knows_conditions(&self) -> bool {
        self.store.knows_conditions()
    }

    fn try_conditions(&self) -> Result<bool, StoreError> {
        self.store.try_conditions()
    }

    fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        self.read("list_after", prefix, |bucket| bucket.list_after(prefix, after, limit))
    }

    fn take_foreign(&self) -> Foreign {
        self.store.take_foreign()
    }

    fn delete_first(&self, keys: &[Key]) -> Result<usize, StoreError> {
        let Some(first) = keys.first() else { return Ok(0) };
        self.change("delete_first", first, |bucket| bucket.delete_first(keys))
    }

    fn link(&self, key: &Key, valid: Duration) -> Result<String, StoreError> {
        self.read("link", key.as_str(), |bucket| bucket.link(key, valid))
    }
}
