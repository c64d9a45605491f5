//! What goes from the bucket.

use std::sync::atomic::Ordering;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt};

use crate::model::Key;
use crate::store::{S3Bucket, StoreError};

/// Most objects that one request may remove.
const AT_ONCE: usize = 1_000;

impl S3Bucket {
    pub(crate) fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let path = self.path(key);
        let delete = self.connection.reads.delete(&path);
        match self.ask(key, self.options.change_deadline(0), delete) {
            Ok(()) | Err(StoreError::Missing { .. }) => Ok(()),
            Err(err) => Err(err),
        }
    }

    /// Many at once where the bucket can do that, else one: some servers know no such request.
    pub(crate) fn remove_first(&self, keys: &[Key]) -> Result<usize, StoreError> {
        let Some(first) = keys.first() else { return Ok(0) };
        if self.lacks_bulk_delete.load(Ordering::Relaxed) {
            return self.remove(first).map(|()| 1);
        }
        let keys = &keys[..keys.len().min(AT_ONCE)];
        match self.remove_at_once(keys) {
            Ok(()) => Ok(keys.len()),
            Err(err @ StoreError::Unavailable { .. }) => Err(err),
            Err(StoreError::Missing { .. } | StoreError::Refused { .. }) => {
                log::debug!("the bucket removes objects one by one only");
                self.lacks_bulk_delete.store(true, Ordering::Relaxed);
                Ok(0)
            }
        }
    }

    fn remove_at_once(&self, keys: &[Key]) -> Result<(), StoreError> {
        let Some(first) = keys.first() else { return Ok(()) };
        let paths: Vec<_> = keys.iter().map(|key| Ok(self.path(key))).collect();
        let removed = self.connection.bulk.delete_stream(stream::iter(paths).boxed());
        let removed = removed.try_for_each(|_| std::future::ready(Ok(())));
        self.ask(first, self.options.change_deadline(0), removed)
    }
}
