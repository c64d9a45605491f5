//! Fencing: no change reaches the bucket when the lease on it may be somebody else's.

use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Key, Object, UploadedPart};
use crate::store::{
    Bucket, Bytes, Foreign, Found, Label, ObjectFacts, Store, StoreError, Version, Walk, boot_time,
};

/// Until when changes may be made. Shared by whoever renews the lease and whoever makes changes.
#[derive(Debug, Default)]
pub struct Fence {
    /// Milliseconds of [`boot_time`]; 0: no lease.
    deadline: AtomicU64,
}

impl Fence {
    /// Whether a change may be made now.
    pub fn is_open(&self) -> bool {
        boot_time() < Duration::from_millis(self.deadline.load(Ordering::Acquire))
    }

    pub(crate) fn open_until(&self, deadline: Duration) {
        let millis = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        self.deadline.store(millis, Ordering::Release);
    }

    pub(crate) fn close(&self) {
        self.deadline.store(0, Ordering::Release);
    }
}

/// Why a change was not made. Trying again helps once there is a lease again.
#[derive(Debug, thiserror::Error)]
#[error("this scribefs has no lease on the bucket at present")]
struct NoLease;

/// A bucket that is changed under a lease only. Reading needs none.
pub(crate) struct FencedBucket {
    bucket: Arc<dyn Bucket>,
    fence: Arc<Fence>,
}

impl FencedBucket {
    pub(crate) fn new(bucket: Arc<dyn Bucket>, fence: Arc<Fence>) -> Self {
        Self { bucket, fence }
    }

    /// The bucket, for one change.
    fn for_change(&self, key: &Key) -> Result<&dyn Bucket, StoreError> {
        if self.fence.is_open() {
            return Ok(self.bucket.as_ref());
        }
        Err(StoreError::Unavailable { at: key.to_string(), source: Box::new(NoLease) })
    }
}

impl Store for FencedBucket {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.for_change(key)?.put(key, bytes)
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.for_change(key)?.put_file(key, file)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.bucket.get_range(key, range)
    }

    fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.bucket.read(object, range)
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.bucket.head(key)
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.bucket.is_taken(place)
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        self.bucket.facts(key)
    }

    fn walk(&self) -> Walk<'_> {
        self.bucket.walk()
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.bucket.list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.for_change(key)?.delete(key)
    }

    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        self.bucket.open_local(key)
    }

    fn written_at(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        self.bucket.written_at(key)
    }
}

impl Bucket for FencedBucket {
    fn put_labelled(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<(), StoreError> {
        self.for_change(key)?.put_labelled(key, bytes, label)
    }

    fn put_new(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<bool, StoreError> {
        self.for_change(key)?.put_new(key, bytes, label)
    }

    fn begin_upload(&self, key: &Key, label: &Label) -> Result<String, StoreError> {
        self.for_change(key)?.begin_upload(key, label)
    }

    fn put_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        self.for_change(key)?.put_part(key, upload_id, number, bytes)
    }

    fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<(), StoreError> {
        self.for_change(key)?.complete_upload(key, upload_id, parts)
    }

    fn abort_upload(&self, key: &Key, upload_id: &str) -> Result<(), StoreError> {
        self.for_change(key)?.abort_upload(key, upload_id)
    }

    fn stream_range(
        &self,
        key: &Key,
        range: Range<u64>,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.bucket.stream_range(key, range, sink)
    }

    fn put_if(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError> {
        self.for_change(key)?.put_if(key, bytes, expected)
    }

    fn get_versioned(&self, key: &Key) -> Result<(Bytes, Version), StoreError> {
        self.bucket.get_versioned(key)
    }

    fn knows_conditions(&self) -> bool {
        self.bucket.knows_conditions()
    }

    fn try_conditions(&self) -> Result<bool, StoreError> {
        self.bucket.try_conditions()
    }

    fn take_foreign(&self) -> Foreign {
        self.bucket.take_foreign()
    }

    fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        self.bucket.list_after(prefix, after, limit)
    }

    fn link(&self, key: &Key, valid: Duration) -> Result<String, StoreError> {
        self.bucket.link(key, valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn nothing_in_the_bucket_changes_without_a_lease() {
        let memory = Arc::new(MemoryStore::default());
        let fence = Arc::new(Fence::default());
        let bucket = FencedBucket::new(memory.clone(), fence.clone());
        let key = Key::probe();
        let change_all = || {
            let label = Label::default();
            let upload = bucket.begin_upload(&key, &label).ok();
            let id = upload.as_deref().unwrap_or("none");
            let part = bucket.put_part(&key, id, 1, Bytes::from_static(b"a"));
            [
                part.is_ok(),
                bucket.complete_upload(&key, id, &Vec::from_iter(part.ok())).is_ok(),
                bucket.abort_upload(&key, id).is_ok(),
                bucket.put(&key, b"a").is_ok(),
                bucket.put_file(&key, &tempfile::tempfile().unwrap()).is_ok(),
                bucket.put_labelled(&key, Bytes::from_static(b"a"), &label).is_ok(),
                bucket.put_if(&Key::writer(), Bytes::from_static(b"a"), None).is_ok(),
                bucket.delete(&key).is_ok(),
            ]
        };
        assert_eq!(change_all(), [false; 8]);
        assert_eq!((memory.list("").unwrap(), memory.open_uploads().len()), (Vec::new(), 0));
        fence.open_until(boot_time() + Duration::from_hours(1));
        assert_eq!(change_all(), [true; 8]);
        // Time is over, without anybody noticing.
        fence.open_until(boot_time());
        assert_eq!(change_all(), [false; 8]);
        assert!(bucket.get_range(&Key::writer(), 0..1).is_ok(), "reading needs no lease");
    }
}
