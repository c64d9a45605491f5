//! [`SyncContext`]: what everything that moves recordings between local disk and bucket works with.

use std::sync::Arc;

use crate::index::Index;
use crate::store::{Bucket, BucketHealth, Store};

/// The rooms between which things are carried.
#[derive(Clone)]
pub struct SyncContext {
    /// Local disk alone: what is not there is `Missing`, whatever the bucket has.
    pub local: Arc<dyn Store>,
    /// What the rest of the house sees: local disk, and the bucket behind it.
    pub store: Arc<dyn Store>,
    pub bucket: Arc<dyn Bucket>,
    /// What readers of the bucket know of it.
    pub health: Arc<BucketHealth>,
    pub index: Index,
    /// Bytes that are free on the disk of `local`; `None` where that is not known.
    pub free_bytes: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
    /// Told now and then how many bytes local copies take: the cache of blocks has the rest of the room for both.
    pub copied: Arc<dyn Fn(u64) + Send + Sync>,
    /// Rung when the index can no longer be written: the daemon must end and be started anew.
    pub alarm: Arc<dyn Fn() + Send + Sync>,
}
