//! The bucket as a store.

use std::fs::File;
use std::future::Future;
use std::ops::{ControlFlow, Range};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use object_store::Attribute;
use object_store::path::Path;

use crate::model::{Key, ObjectVersion, UploadedPart};
use crate::store::blocking::Network;
use crate::store::bucket::connection::Connection;
use crate::store::bucket::failure::{failed, is_certificate, refused, unavailable};
use crate::store::paths::Root;
use crate::store::{
    Bucket, BucketFacts, BucketOptions, Bytes, Foreign, Found, Label, ObjectFacts, Store,
    StoreError, Version, Walk, Written,
};

/// A bucket at the other end of a network. Each call has a deadline (see [`BucketOptions`]) and none of them
/// waits for another. For threads that may block, as everywhere else.
#[derive(Debug)]
pub struct S3Bucket {
    pub(crate) options: BucketOptions,
    pub(crate) connection: Connection,
    pub(crate) root: Root,
    network: Network,
    /// Whether conditions are kept, once that was tried out.
    pub(crate) conditions: OnceLock<bool>,
    /// Something was answered as a bucket answers: it is there, and the endpoint is the right one.
    has_answered: AtomicBool,
    /// It does not remove many objects with one request.
    pub(crate) lacks_bulk_delete: AtomicBool,
}

impl S3Bucket {
    /// Makes ready and asks nobody: whether the bucket is there and lets us in is seen at the first call.
    /// Starts two threads, so not before a daemon has detached.
    ///
    /// # Errors
    /// `Refused`: options that cannot work.
    pub fn open(options: &BucketOptions) -> Result<Self, StoreError> {
        let connection = Connection::new(options)?;
        let root =
            Root::new(&options.prefix).map_err(|err| refused(&options.bucket, Box::new(err)))?;
        let network = Network::start().map_err(|err| refused(&options.bucket, Box::new(err)))?;
        Ok(Self {
            options: options.clone(),
            connection,
            root,
            network,
            conditions: OnceLock::new(),
            has_answered: AtomicBool::new(false),
            lacks_bulk_delete: AtomicBool::new(false),
        })
    }

    /// What may be told of it.
    pub fn describe(&self) -> &BucketFacts {
        &self.connection.facts
    }

    /// Waits for a call about `at`. The inner error is the bucket's, the outer says that time was up.
    pub(crate) fn wait<T>(
        &self,
        at: &str,
        longest: Duration,
        call: impl Future<Output = T>,
    ) -> Result<T, StoreError> {
        self.network.wait(longest, call).map_err(|late| unavailable(at, Box::new(late)))
    }

    /// Waits for a call about one object.
    pub(crate) fn ask<T>(
        &self,
        key: &Key,
        longest: Duration,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        let answer = self.wait(key.as_str(), longest, call)?;
        answer.inspect(|_| self.note_answer()).map_err(|err| self.failed(key, &err))
    }

    /// The bucket has done what it was asked to.
    pub(crate) fn note_answer(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    /// Whether the bucket has answered before: then it is there.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// What a failure means here. A wrong certificate at an endpoint that has worked before is a captive portal
    /// or a proxy that comes and goes, and nobody has to mend anything.
    pub(crate) fn failed(&self, key: &Key, err: &object_store::Error) -> StoreError {
        match failed(key, err) {
            StoreError::Refused { at, source } if self.has_answered() && is_certificate(err) => {
                StoreError::Unavailable { at, source }
            }
            failure => failure,
        }
    }

    pub(crate) fn path(&self, key: &Key) -> Path {
        self.root.path_of(key)
    }
}

impl Store for S3Bucket {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_labelled(key, Bytes::copy_from_slice(bytes), &Label::default())
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.send_file(key, file)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.stream(key, range, &mut |piece| {
            bytes.extend_from_slice(&piece);
            ControlFlow::Continue(())
        })?;
        Ok(bytes)
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        Ok(Found { key: key.clone(), bytes: self.look(key)?.meta.size })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.pages(prefix, "", usize::MAX)
    }

    fn walk(&self) -> Walk<'_> {
        self.walk_pages()
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.remove(key)
    }

    fn open_local(&self, _key: &Key) -> Result<Option<File>, StoreError> {
        Ok(None)
    }

    fn written_at(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.facts(key)?.written_at)
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        let (folder, name) = place.split_at(place.rfind('/').map_or(0, |end| end + 1));
        if name.is_empty() {
            return Ok(!self.pages(folder, "", 1)?.is_empty());
        }
        match Key::new(place).map(|key| self.look(&key)) {
            Some(Ok(_)) => Ok(true),
            Some(Err(StoreError::Missing { .. })) | None => Ok(false),
            Some(Err(err)) => Err(err),
        }
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        let found = self.look(key)?;
        let field = |name: &str| {
            let field = Attribute::Metadata(name.to_owned().into());
            found.attributes.get(&field).map(|text| text.as_ref().to_owned())
        };
        let facts = ObjectFacts::of_label(found.meta.size, field);
        let written_at = Timestamp::from_second(found.meta.last_modified.timestamp()).ok();
        let object_store::ObjectMeta { e_tag, version, .. } = found.meta;
        let version = e_tag.and_then(|tag| ObjectVersion::new(&tag, version));
        Ok(ObjectFacts { written_at, version, ..facts })
    }
}

impl Bucket for S3Bucket {
    fn put_labelled(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<(), StoreError> {
        self.send(key, bytes, label).map(drop)
    }

    fn put_new(
        &self,
        key: &Key,
        bytes: Bytes,
        label: &Label,
    ) -> Result<Option<Written>, StoreError> {
        if self.knows_conditions() {
            return self.send_new(key, bytes, label);
        }
        let (begun, longest) = (Instant::now(), self.options.change_deadline(bytes.len() as u64));
        match self.look(key) {
            Ok(_) => Ok(None),
            Err(StoreError::Missing { .. }) => {
                let left = longest.saturating_sub(begun.elapsed());
                self.send_within(left, key, bytes, label).map(Some)
            }
            Err(err) => Err(err),
        }
    }

    fn begin_upload(&self, key: &Key, label: &Label) -> Result<String, StoreError> {
        self.begin(key, label)
    }

    fn put_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        self.send_part(key, upload_id, number, bytes)
    }

    fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<Written, StoreError> {
        self.complete(key, upload_id, parts)
    }

    fn abort_upload(&self, key: &Key, upload_id: &str) -> Result<(), StoreError> {
        self.abort(key, upload_id)
    }

    fn stream_range(
        &self,
        key: &Key,
        range: Range<u64>,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.stream(key, range, sink)
    }

    fn put_if(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError> {
        if self.knows_conditions() {
            self.send_if(key, bytes, expected)
        } else {
            self.look_and_send(key, bytes, expected)
        }
    }

    fn get_versioned(&self, key: &Key) -> Result<(Bytes, Version), StoreError> {
        self.whole(key)
    }

    fn knows_conditions(&self) -> bool {
        let tried = self.conditions.get().copied();
        tried.unwrap_or_else(|| self.options.provider.knows_conditions())
    }

    fn try_conditions(&self) -> Result<bool, StoreError> {
        match self.conditions.get() {
            Some(known) => Ok(*known),
            None => {
                let keeps = self.keeps_conditions()?;
                Ok(*self.conditions.get_or_init(|| keeps))
            }
        }
    }

    fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        self.pages(prefix, after, limit)
    }

    fn delete_first(&self, keys: &[Key]) -> Result<usize, StoreError> {
        self.remove_first(keys)
    }

    fn take_foreign(&self) -> Foreign {
        self.connection.foreign.take()
    }

    fn link(&self, key: &Key, valid: Duration) -> Result<String, StoreError> {
        self.signed_link(key, valid)
    }
}
