//! A bucket in memory that counts what it is asked, and that can be away.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use scribefs::model::{Key, UploadedPart};
use scribefs::store::{
    Bucket, Bytes, Found, Label, MemoryStore, ObjectFacts, Store, StoreError, Version,
};

#[derive(Default)]
pub(crate) struct CountingBucket {
    objects: MemoryStore,
    is_away: AtomicBool,
    requests: Mutex<BTreeMap<String, u64>>,
}

impl CountingBucket {
    pub(crate) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Requests since they were last taken, by what they were.
    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        self.requests.lock().unwrap().clone()
    }

    /// The same, to count from nothing again.
    pub(crate) fn take_requests(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    fn asked(&self, what: &str, at: &str) -> Result<&MemoryStore, StoreError> {
        *self.requests.lock().unwrap().entry(format!("{what} {at}")).or_default() += 1;
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable { at: at.to_owned(), source: "away".into() });
        }
        Ok(&self.objects)
    }
}

impl Store for CountingBucket {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.asked("put", key.as_str())?.put(key, bytes)
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.asked("put", key.as_str())?.put_file(key, file)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.asked("get", key.as_str())?.get_range(key, range)
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.asked("head", key.as_str())?.head(key)
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        self.asked("head", key.as_str())?.facts(key)
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.asked("head", place)?.is_taken(place)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.asked("list", prefix)?.list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.asked("delete", key.as_str())?.delete(key)
    }

    /// Asks nobody: nothing is local.
    fn open_local(&self, _: &Key) -> Result<Option<File>, StoreError> {
        Ok(None)
    }
}

impl Bucket for CountingBucket {
    fn put_labelled(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<(), StoreError> {
        self.asked("put", key.as_str())?.put_labelled(key, bytes, label)
    }

    fn put_new(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<bool, StoreError> {
        self.asked("put", key.as_str())?.put_new(key, bytes, label)
    }

    fn begin_upload(&self, key: &Key, label: &Label) -> Result<String, StoreError> {
        self.asked("begin", key.as_str())?.begin_upload(key, label)
    }

    fn put_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        self.asked("part", key.as_str())?.put_part(key, upload_id, number, bytes)
    }

    fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<(), StoreError> {
        self.asked("complete", key.as_str())?.complete_upload(key, upload_id, parts)
    }

    fn abort_upload(&self, key: &Key, upload_id: &str) -> Result<(), StoreError> {
        self.asked("abort", key.as_str())?.abort_upload(key, upload_id)
    }

    fn stream_range(
        &self,
        key: &Key,
        range: Range<u64>,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.asked("get", key.as_str())?.stream_range(key, range, sink)
    }

    fn put_if(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError> {
        self.asked("put", key.as_str())?.put_if(key, bytes, expected)
    }

    fn get_versioned(&self, key: &Key) -> Result<(Bytes, Version), StoreError> {
        self.asked("get", key.as_str())?.get_versioned(key)
    }

    fn knows_conditions(&self) -> bool {
        true
    }

    fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        self.asked("list", prefix)?.list_after(prefix, after, limit)
    }

    fn link(&self, key: &Key, valid: Duration) -> Result<String, StoreError> {
        self.objects.link(key, valid)
    }
}
