//! A store that forgets, for tests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::Key;
use crate::store::{Found, Store, StoreError};

/// Keeps objects in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    /// Guards the objects.
    objects: Mutex<BTreeMap<Key, Vec<u8>>>,
}

impl MemoryStore {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, key: &Key, at: impl FnOnce(&[u8]) -> T) -> Result<T, StoreError> {
        let objects = self.objects();
        let object = objects.get(key).ok_or_else(|| StoreError::Missing { key: key.clone() })?;
        Ok(at(object))
    }
}

impl Store for MemoryStore {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.objects().insert(key.clone(), bytes.to_vec());
        Ok(())
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let mut buffer = vec![0; 1 << 16];
            loop {
                match file.read_at(&mut buffer, bytes.len() as u64)? {
                    0 => return Ok(bytes),
                    count => bytes.extend_from_slice(&buffer[..count]),
                }
            }
        };
        let bytes = read()
            .map_err(|err| StoreError::Refused { at: key.to_string(), source: Box::new(err) })?;
        self.put(key, &bytes)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.look(key, |object| {
            let clip = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(object.len());
            object.get(clip(range.start)..clip(range.end)).unwrap_or_default().to_vec()
        })
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.look(key, |object| Found { key: key.clone(), bytes: object.len() as u64 })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        let objects = self.objects();
        let below = objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        Ok(below
            .map(|(key, object)| Found { key: key.clone(), bytes: object.len() as u64 })
            .collect())
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.objects().remove(key);
        Ok(())
    }

    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        self.look(key, |_| None)
    }
}
