//! A bucket that asks before and after each call whether to go on.

use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Key, UploadedPart};
use crate::store::{
    Bucket, Bytes, Found, Label, MemoryStore, ObjectFacts, Store, StoreError, Version,
};

/// The name of the call, and whether it is over.
pub(super) type Hook<'a> = dyn Fn(&str, bool) -> Result<(), StoreError> + Send + Sync + 'a;

pub(super) struct Hooked<'a> {
    pub(super) bucket: Arc<MemoryStore>,
    pub(super) hook: Box<Hook<'a>>,
}

impl Hooked<'_> {
    fn call<T>(
        &self,
        name: &str,
        pass: impl FnOnce(&MemoryStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        (self.hook)(name, false)?;
        let answer = pass(&self.bucket);
        (self.hook)(name, true)?;
        answer
    }
}

impl Store for Hooked<'_> {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.call("put", |bucket| bucket.put(key, bytes))
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.call("put_file", |bucket| bucket.put_file(key, file))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.call("get_range", |bucket| bucket.get_range(key, range))
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.call("head", |bucket| bucket.head(key))
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        self.call("facts", |bucket| bucket.facts(key))
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.call("is_taken", |bucket| bucket.is_taken(place))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.call("list", |bucket| bucket.list(prefix))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.call("delete", |bucket| bucket.delete(key))
    }

    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        self.call("open_local", |bucket| bucket.open_local(key))
    }
}

impl Bucket for Hooked<'_> {
    fn put_labelled(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<(), StoreError> {
        self.call("put_labelled", |bucket| bucket.put_labelled(key, bytes, label))
    }

    fn put_new(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<bool, StoreError> {
        self.call("put_new", |bucket| bucket.put_new(key, bytes, label))
    }

    fn begin_upload(&self, key: &Key, label: &Label) -> Result<String, StoreError> {
        self.call("begin_upload", |bucket| bucket.begin_upload(key, label))
    }

    fn put_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        self.call("put_part", |bucket| bucket.put_part(key, upload_id, number, bytes))
    }

    fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<(), StoreError> {
        self.call("complete_upload", |bucket| bucket.complete_upload(key, upload_id, parts))
    }

    fn abort_upload(&self, key: &Key, upload_id: &str) -> Result<(), StoreError> {
        self.call("abort_upload", |bucket| bucket.abort_upload(key, upload_id))
    }

    fn stream_range(
        &self,
        key: &Key,
        range: Range<u64>,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.call("stream_range", |bucket| bucket.stream_range(key, range, sink))
    }

    fn put_if(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError> {
        self.call("put_if", |bucket| bucket.put_if(key, bytes, expected))
    }

    fn get_versioned(&self, key: &Key) -> Result<(Bytes, Version), StoreError> {
        self.call("get_versioned", |bucket| bucket.get_versioned(key))
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
        self.call("list_after", |bucket| bucket.list_after(prefix, after, limit))
    }

    fn link(&self, key: &Key, valid: Duration) -> Result<String, StoreError> {
        self.call("link", |bucket| bucket.link(key, valid))
    }
}
