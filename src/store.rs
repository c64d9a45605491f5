//! Where what is published is kept: local disk or a bucket, behind one trait.

mod blocking;
mod flaky;
mod local;
mod memory;

pub mod outbox;
mod paths;

use std::error::Error;
use std::fs::File;
use std::ops::Range;

pub use crate::store::flaky::FlakyStore;
pub use crate::store::local::LocalStore;
pub use crate::store::memory::MemoryStore;

use crate::model::Key;

/// What went wrong in the store, by what the caller can do about it. `at` is a key, or a listing's prefix.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("nothing at {key}")]
    Missing { key: Key },
    /// Trying again later may help: a timeout, a throttle, a lost connection.
    #[error("store did not answer for {at}")]
    Unavailable { at: String, source: Box<dyn Error + Send + Sync> },
    /// Trying again will not help: bad credentials, a full disk, a corrupt object.
    #[error("store refused {at}")]
    Refused { at: String, source: Box<dyn Error + Send + Sync> },
}

/// An object as a listing or a head request shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub key: Key,
    pub bytes: u64,
}

/// Keeps objects by key. Every implementor passes `tests/store_contract.rs`.
pub trait Store: Send + Sync {
    /// Puts `bytes` under `key`, in place of what was there: all of them or none.
    ///
    /// After `Ok` the object survives a power cut.
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError>;

    /// The same from an open file, read from its start, without holding it in memory.
    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError>;

    /// The bytes of `range`, cut short at the object's end.
    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError>;

    /// Key and size.
    fn head(&self, key: &Key) -> Result<Found, StoreError>;

    /// Everything below `prefix` (whole parts, ending in `/`; empty: everything), in no order.
    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError>;

    /// Removes it. `Ok` if there was nothing.
    fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// The object as an open local file, where it is one.
    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError>;
}
