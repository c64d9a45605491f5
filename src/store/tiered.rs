//! Local disk first, and a bucket behind it.
//!
//! What is published goes to local disk; the bucket gets it from there, by others' hands. So what is here
//! was either never moved or is kept, and is read from here; the rest is read from the bucket, through a cache
//! of blocks that has a limit and makes room by itself.

use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use jiff::Timestamp;

use crate::model::{Key, Object};
use crate::store::remote::RemoteReader;
use crate::store::{
    BlockCache, Bucket, BucketHealth, Bytes, CacheUse, Found, LocalStore, ObjectFacts, ReadOptions,
    StagedFile, Store, StoreError,
};

/// The store that the rest of the house sees.
pub struct TieredStore {
    local: Arc<LocalStore>,
    remote: Option<RemoteReader>,
    on_replaced: OnceLock<OnReplaced>,
}

/// Receives a page in the bucket that is not the one that the reader knows of, and returns before the reader's deadline.
type OnReplaced = Box<dyn Fn(&Object, Instant) + Send + Sync>;

impl TieredStore {
    /// Without a bucket: local disk alone.
    pub fn new(local: impl Into<Arc<LocalStore>>) -> Self {
        Self { local: local.into(), remote: None, on_replaced: OnceLock::new() }
    }

    /// Starts no thread; the first read from the bucket does.
    pub fn with_bucket(
        local: impl Into<Arc<LocalStore>>,
        bucket: Arc<dyn Bucket>,
        cache: BlockCache,
        options: ReadOptions,
    ) -> Self {
        let remote = Some(RemoteReader::new(bucket, cache, options));
        Self { local: local.into(), remote, on_replaced: OnceLock::new() }
    }

    pub fn local(&self) -> &Arc<LocalStore> {
        &self.local
    }

    pub fn bucket(&self) -> Option<&Arc<dyn Bucket>> {
        self.remote.as_ref().map(RemoteReader::bucket)
    }

    /// What readers know of the bucket, and whoever uploads to it; `None` without a bucket.
    pub fn health(&self) -> Option<Arc<BucketHealth>> {
        self.remote.as_ref().map(|remote| remote.health().clone())
    }

    /// Whether it is on local disk. No network is asked.
    pub fn has_local(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(absent(self.local.head(key))?.is_some())
    }

    /// Removes the local copy. Whoever has it open goes on reading it; others read from the bucket.
    ///
    /// That the bucket has it is the caller's to know.
    pub fn drop_local(&self, key: &Key) -> Result<(), StoreError> {
        self.local.delete(key)
    }

    /// How the cache of blocks does; `None` without a bucket.
    pub fn cache_use(&self) -> Option<CacheUse> {
        self.remote.as_ref().map(RemoteReader::usage)
    }

    /// Local copies of what is in the bucket take so many bytes of what the cache may take.
    pub fn share_cache_with(&self, copied_bytes: u64) {
        if let Some(remote) = &self.remote {
            remote.cache().share_with(copied_bytes);
        }
    }

    /// Hashes of the objects that have blocks in the cache, as the index spells them.
    pub fn cached(&self) -> Vec<String> {
        let hashes = self.remote.iter().flat_map(|remote| remote.cache().contents());
        hashes.map(|hash| blake3::Hash::from_bytes(hash).to_hex().to_string()).collect()
    }

    /// Whoever follows a bucket looks what has become of a page, before the read fails: whoever reads again finds
    /// the new one. Counts once.
    pub fn when_replaced(&self, look: OnReplaced) {
        // A second one has nothing to add.
        let _ = self.on_replaced.set(look);
    }

    fn read_remote(
        &self,
        remote: &RemoteReader,
        object: &Object,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let deadline = Instant::now() + remote.deadline();
        let read = remote.read(object, range);
        if let (Err(StoreError::Refused { .. }), Some(look)) = (&read, self.on_replaced.get())
            && object.key.is_page()
        {
            look(object, deadline);
        }
        read
    }

    /// What is near; what is not, from the bucket; and if it is gone there too, near once more: the one
    /// place it can have come from meanwhile.
    fn nearest<T>(
        &self,
        local: impl Fn() -> Result<T, StoreError>,
        remote: impl FnOnce(&RemoteReader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match (local(), &self.remote) {
            (Err(StoreError::Missing { .. }), Some(bucket)) => match remote(bucket) {
                Err(StoreError::Missing { .. }) => local(),
                found => found,
            },
            (found, _) => found,
        }
    }
}

impl Store for TieredStore {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.local.put(key, bytes)
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.local.put_file(key, file)
    }

    fn put_file_new(&self, key: &Key, file: &File) -> Result<bool, StoreError> {
        self.local.put_file_new(key, file)
    }

    fn stage_file(
        &self,
        file: &File,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<StagedFile>, StoreError> {
        self.local.stage_file(file, may_go_on)
    }

    fn stage_new(&self) -> Result<StagedFile, StoreError> {
        self.local.stage_new()
    }

    fn put_staged(&self, key: &Key, staged: StagedFile) -> Result<(), StoreError> {
        self.local.put_staged(key, staged)
    }

    fn put_staged_new(&self, key: &Key, staged: &mut StagedFile) -> Result<bool, StoreError> {
        self.local.put_staged_new(key, staged)
    }

    /// On local disk.
    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.local.rename(from, to)
    }

    /// On local disk, where a put goes.
    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.local.is_taken(place)
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        self.nearest(|| self.local.facts(key), |remote| remote.ask(key, |bucket| bucket.facts(key)))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        if key.is_staged() {
            return self.local.get_range(key, range);
        }
        self.nearest(
            || self.local.get_range(key, range.clone()),
            |remote| remote.ask(key, |bucket| bucket.get_range(key, range.clone())),
        )
    }

    fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.nearest(
            || self.local.read(object, range.clone()),
            |remote| self.read_remote(remote, object, range.clone()),
        )
    }

    fn url(&self, key: &Key) -> Option<String> {
        self.local.url(key)
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.nearest(|| self.local.head(key), |remote| remote.ask(key, |bucket| bucket.head(key)))
    }

    fn written_at(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        self.nearest(
            || self.local.written_at(key),
            |remote| remote.ask(key, |bucket| bucket.written_at(key)),
        )
    }

    /// Both places' objects. What is in both counts as it is here.
    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        let mut found = self.local.list(prefix)?;
        if prefix == Key::STAGED {
            return Ok(found);
        }
        if let Some(remote) = &self.remote {
            let here: std::collections::HashSet<Key> =
                found.iter().map(|found| found.key.clone()).collect();
            let there = remote.bucket().list(prefix)?;
            found.extend(there.into_iter().filter(|found| !here.contains(&found.key)));
        }
        Ok(found)
    }

    /// The local copy alone: what is in the bucket is removed by who has put it there.
    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.local.delete(key)
    }

    fn forget(&self, object: &Object) {
        if let Some(remote) = &self.remote {
            remote.forget(object);
        }
    }

    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        match self.local.open_local(key) {
            Err(StoreError::Missing { .. }) if self.remote.is_some() => Ok(None),
            opened => opened,
        }
    }
}

fn absent<T>(found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(StoreError::Missing { .. }) => Ok(None),
        found => found.map(Some),
    }
}
