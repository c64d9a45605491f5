//! Local disk first, and a bucket behind it.
//!
//! What is published goes to local disk; the bucket gets it from there, by others' hands. So what is here
//! was either never moved or is kept, and is read from here; the rest is read from the bucket.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{Key, Object};
use crate::store::far::Far;
use crate::store::{
    BlockCache, Bucket, Bytes, CacheUse, Found, LocalStore, ReadOptions, Store, StoreError,
};

/// Pages up to this size are fetched whole and stay. Larger ones are read as recordings are.
const PAGE_BYTES: u64 = 4 << 20;

/// The store that the rest of the house sees.
pub struct PlacedStore {
    near: Arc<LocalStore>,
    far: Option<Far>,
}

impl PlacedStore {
    /// Without a bucket: local disk alone.
    pub fn new(near: impl Into<Arc<LocalStore>>) -> Self {
        Self { near: near.into(), far: None }
    }

    /// Starts no thread; the first read from the bucket does.
    pub fn with_bucket(
        near: impl Into<Arc<LocalStore>>,
        bucket: Arc<dyn Bucket>,
        cache: BlockCache,
        options: ReadOptions,
    ) -> Self {
        Self { near: near.into(), far: Some(Far::new(bucket, cache, options)) }
    }

    pub fn near(&self) -> &Arc<LocalStore> {
        &self.near
    }

    pub fn bucket(&self) -> Option<&Arc<dyn Bucket>> {
        self.far.as_ref().map(Far::bucket)
    }

    /// Whether it is on local disk. No network is asked.
    pub fn has_near(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(absent(self.near.head(key))?.is_some())
    }

    /// Removes the local copy. Whoever has it open goes on reading it; others read from the bucket.
    ///
    /// That the bucket has it is the caller's to know.
    pub fn drop_near(&self, key: &Key) -> Result<(), StoreError> {
        self.near.delete(key)
    }

    /// How the cache of blocks does; `None` without a bucket.
    pub fn cache_use(&self) -> Option<CacheUse> {
        self.far.as_ref().map(Far::usage)
    }

    /// Hashes of the objects that have blocks in the cache, as the index spells them.
    pub fn cached(&self) -> Vec<String> {
        let hashes = self.far.iter().flat_map(|far| far.cache().contents());
        hashes.map(|hash| blake3::Hash::from_bytes(hash).to_hex().to_string()).collect()
    }

    /// Throws away what is cached of an object.
    pub fn forget(&self, object: &Object) {
        if let Some(far) = &self.far {
            far.forget(object);
        }
    }

    /// Fetches all of it, so that it can be read without the network: pages to local disk, recordings into
    /// the cache, as far as its limit goes. Takes as long as it takes; each block has the deadline of a read.
    pub fn warm(&self, object: &Object) -> Result<(), StoreError> {
        match &self.far {
            Some(far) if !self.has_near(&object.key)? => {
                if is_kept(object) {
                    self.bring(far, object).map(drop)
                } else {
                    far.warm(object)
                }
            }
            Some(_) | None => Ok(()),
        }
    }

    fn read_far(&self, far: &Far, object: &Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        if !is_kept(object) {
            return far.read(object, range);
        }
        let page = self.bring(far, object)?;
        let place = |byte| usize::try_from(byte).unwrap_or(usize::MAX).min(page.len());
        Ok(page.slice(place(range.start)..place(range.end.max(range.start))))
    }

    /// Fetches a page and keeps it, unless a newer one has come meanwhile.
    fn bring(&self, far: &Far, object: &Object) -> Result<Bytes, StoreError> {
        let page = far.read(object, 0..object.bytes)?;
        match self.near.put_new(&object.key, &page) {
            Ok(_) => far.forget(object),
            // It can be read all the same, from the cache.
            Err(err) => log::warn!("store: {} cannot be kept here: {err}", object.key),
        }
        Ok(page)
    }

    /// What is near; what is not, from the bucket; and if it is gone there too, near once more: the one
    /// place it can have come from meanwhile.
    fn nearest<T>(
        &self,
        near: impl Fn() -> Result<T, StoreError>,
        far: impl FnOnce(&Far) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match (near(), &self.far) {
            (Err(StoreError::Missing { .. }), Some(bucket)) => match far(bucket) {
                Err(StoreError::Missing { .. }) => near(),
                found => found,
            },
            (found, _) => found,
        }
    }
}

impl Store for PlacedStore {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.near.put(key, bytes)
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.near.put_file(key, file)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        if key.is_staged() {
            return self.near.get_range(key, range);
        }
        self.nearest(
            || self.near.get_range(key, range.clone()),
            |far| far.ask(key, |bucket| bucket.get_range(key, range.clone())),
        )
    }

    fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.nearest(
            || self.near.read(object, range.clone()),
            |far| self.read_far(far, object, range.clone()),
        )
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.nearest(|| self.near.head(key), |far| far.ask(key, |bucket| bucket.head(key)))
    }

    fn written_at(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        self.nearest(
            || self.near.written_at(key),
            |far| far.ask(key, |bucket| bucket.written_at(key)),
        )
    }

    /// Both places' objects. What is in both counts as it is here.
    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        let mut found = self.near.list(prefix)?;
        if prefix == Key::STAGED {
            return Ok(found);
        }
        if let Some(far) = &self.far {
            let here: std::collections::HashSet<Key> =
                found.iter().map(|found| found.key.clone()).collect();
            let there = far.bucket().list(prefix)?;
            found.extend(there.into_iter().filter(|found| !here.contains(&found.key)));
        }
        Ok(found)
    }

    /// The local copy alone: what is in the bucket is removed by who has put it there.
    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.near.delete(key)
    }

    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        match self.near.open_local(key) {
            Err(StoreError::Missing { .. }) if self.far.is_some() => Ok(None),
            opened => opened,
        }
    }
}

fn is_kept(object: &Object) -> bool {
    object.key.is_page() && object.bytes <= PAGE_BYTES
}

fn absent<T>(found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(StoreError::Missing { .. }) => Ok(None),
        found => found.map(Some),
    }
}
