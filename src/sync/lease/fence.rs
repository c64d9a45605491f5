//! Fencing: no change reaches the bucket when the lease on it may be somebody else's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::store::{Bucket, Call, Intercepted, Interceptor, StoreError, boot_time};

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
pub(crate) type FencedBucket = Intercepted<dyn Bucket, Arc<Fence>>;

impl Interceptor for Arc<Fence> {
    type Passed = ();

    fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if self.is_open() || !call.is_change {
            return Ok(());
        }
        Err(StoreError::Unavailable { at: call.at.to_owned(), source: Box::new(NoLease) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Key;
    use crate::store::{Bytes, Label, MemoryStore, Store};

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

    /// A bucket whose lease ends with the first request.
    #[derive(Debug)]
    struct Ending(Arc<Fence>);

    impl Interceptor for Ending {
        type Passed = ();

        fn before(&self, _: Call<'_>) -> Result<(), StoreError> {
            Ok(())
        }

        fn after(&self, _: Call<'_>, (): ()) -> Result<(), StoreError> {
            self.0.close();
            Ok(())
        }
    }

    #[test]
    fn a_lease_that_ends_while_many_objects_are_removed_saves_the_rest() {
        let memory = Arc::new(MemoryStore::default());
        let keys: Vec<Key> =
            (0..5).map(|number| Key::new(&format!("many/{number}")).unwrap()).collect();
        for key in &keys {
            memory.put(key, b"one of many").unwrap();
        }
        let fence = Arc::new(Fence::default());
        fence.open_until(boot_time() + Duration::from_hours(1));
        let ending = Intercepted::new(memory.clone(), Ending(fence.clone()));
        let bucket = FencedBucket::new(Arc::new(ending), fence);
        assert!(bucket.delete_many(&keys).is_err());
        assert_eq!(memory.list("").unwrap().len(), 4);
    }
}
