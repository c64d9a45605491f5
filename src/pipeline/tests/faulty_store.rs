//! A store whose puts, reads or deletes fail when they are told to.

use std::fs::File;
use std::ops::Range;
use std::sync::Mutex;

use crate::model::Key;
use crate::store::{Found, MemoryStore, ObjectFacts, Store, StoreError};

/// Which calls of the store fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Puts,
    Reads,
    Deletes,
    All,
    /// Nothing more can be put; the rest goes on.
    Full,
}

/// A store in memory that fails as it is told.
#[derive(Default)]
pub(super) struct FaultyStore {
    store: MemoryStore,
    plan: Mutex<Option<(Fault, u32, u32)>>,
}

impl FaultyStore {
    /// From the call after `after` others on, `times` fail.
    pub(super) fn fail(&self, fault: Fault, after: u32, times: u32) {
        *self.plan.lock().unwrap() = Some((fault, after, times));
    }

    pub(super) fn heal(&self) {
        *self.plan.lock().unwrap() = None;
    }

    /// What a call of that kind comes to.
    fn call(&self, kind: Fault, at: &str) -> Result<(), StoreError> {
        let mut plan = self.plan.lock().unwrap();
        let Some((fault, after, times)) = plan.as_mut() else { return Ok(()) };
        if *fault == Fault::Full && kind == Fault::Puts {
            let source = Box::new(std::io::Error::from_raw_os_error(libc::ENOSPC));
            return Err(StoreError::Refused { at: at.to_owned(), source });
        }
        if *fault != kind && *fault != Fault::All {
            return Ok(());
        }
        if 0 < *after {
            *after -= 1;
            return Ok(());
        }
        *times -= 1;
        if *times == 0 {
            *plan = None;
        }
        Err(StoreError::Unavailable { at: at.to_owned(), source: "on cue".into() })
    }
}

impl Store for FaultyStore {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.call(Fault::Puts, key.as_str())?;
        self.store.put(key, bytes)
    }
    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.call(Fault::Puts, key.as_str())?;
        self.store.put_file(key, file)
    }
    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.call(Fault::Reads, key.as_str())?;
        self.store.get_range(key, range)
    }
    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.call(Fault::Reads, key.as_str())?;
        self.store.head(key)
    }
    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.call(Fault::Reads, place)?;
        self.store.is_taken(place)
    }
    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        self.call(Fault::Reads, key.as_str())?;
        self.store.facts(key)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.call(Fault::Reads, prefix)?;
        self.store.list(prefix)
    }
    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.call(Fault::Deletes, key.as_str())?;
        self.store.delete(key)
    }
    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        self.call(Fault::Reads, key.as_str())?;
        self.store.open_local(key)
    }
}
