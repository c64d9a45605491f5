//! A bucket that counts what it is asked, holds objects of any size without keeping them, and fails on cue.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use scribefs::model::{Key, Object, UploadedPart};
use scribefs::store::{
    Bucket, Bytes, Found, Label, MemoryStore, ObjectFacts, Store, StoreError, Version, Written,
};

/// What the bucket does with requests for bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mood {
    Well,
    /// Every request fails at once.
    Dead,
    /// Requests wait until the mood changes.
    Silent,
    /// The next answer ends after so many bytes.
    CutOff(u64),
    /// The byte at this place of every object is another one.
    Lying(u64),
    /// The credentials are not good any more.
    Refusing,
}

pub(crate) struct FarBucket {
    inner: MemoryStore,
    /// Sizes of objects whose bytes are made when they are asked for.
    made: Mutex<BTreeMap<Key, u64>>,
    requests: Mutex<Vec<(Key, Range<u64>)>>,
    mood: Mutex<Mood>,
    changed: Condvar,
}

/// The bytes of made objects.
pub(crate) fn made_bytes(range: Range<u64>) -> Vec<u8> {
    let first = usize::try_from(range.start % 251).unwrap();
    let length = usize::try_from(range.end - range.start).unwrap();
    let mut bytes: Vec<u8> = (0..251).map(|place| ((first + place) % 251) as u8).collect();
    // Whole periods at a time: one byte at a time takes long.
    while bytes.len() < length {
        bytes.extend_from_within(..);
    }
    bytes.truncate(length);
    bytes
}

impl FarBucket {
    pub(crate) fn new() -> Self {
        Self {
            inner: MemoryStore::default(),
            made: Mutex::default(),
            requests: Mutex::default(),
            mood: Mutex::new(Mood::Well),
            changed: Condvar::new(),
        }
    }

    /// An object with a hash that is right.
    pub(crate) fn make(&self, key: &str, bytes: u64) -> Object {
        let hash = blake3::hash(&made_bytes(0..bytes)).to_hex().to_string();
        Object { blake3: hash, ..self.make_unhashed(key, bytes) }
    }

    /// An object that is too large to be hashed in a test.
    pub(crate) fn make_unhashed(&self, key: &str, bytes: u64) -> Object {
        let key = Key::new(key).unwrap();
        self.made.lock().unwrap().insert(key.clone(), bytes);
        Object { blake3: blake3::hash(key.as_str().as_bytes()).to_hex().to_string(), key, bytes }
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
        self.changed.notify_all();
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn note(&self, key: &Key, range: &Range<u64>) {
        self.requests.lock().unwrap().push((key.clone(), range.clone()));
    }

    /// The mood that an answer is given in.
    fn mood(&self, key: &Key) -> Result<Mood, StoreError> {
        let mood = self.mood.lock().unwrap();
        let mut mood = self.changed.wait_while(mood, |mood| *mood == Mood::Silent).unwrap();
        let at = key.to_string();
        match *mood {
            Mood::Dead => Err(StoreError::Unavailable { at, source: "no route to host".into() }),
            Mood::Refusing => Err(StoreError::Refused { at, source: "no permission".into() }),
            Mood::CutOff(_) => Ok(std::mem::replace(&mut *mood, Mood::Well)),
            Mood::Well | Mood::Silent | Mood::Lying(_) => Ok(mood.clone()),
        }
    }

    fn bytes(&self, key: &Key, range: &Range<u64>) -> Result<Vec<u8>, StoreError> {
        match self.made.lock().unwrap().get(key) {
            Some(bytes) => Ok(made_bytes(range.start.min(*bytes)..range.end.min(*bytes))),
            None => self.inner.get_range(key, range.clone()),
        }
    }
}

impl Store for FarBucket {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put(key, bytes)
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.inner.put_file(key, file)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.note(key, &range);
        self.mood(key)?;
        self.bytes(key, &range)
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.mood(key)?;
        match self.made.lock().unwrap().get(key) {
            Some(bytes) => Ok(Found { key: key.clone(), bytes: *bytes }),
            None => self.inner.head(key),
        }
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.inner.is_taken(place)
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        let bytes = self.head(key)?.bytes;
        let made = ObjectFacts { bytes, ..ObjectFacts::default() };
        self.inner.facts(key).or(Ok(made))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.inner.list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.delete(key)
    }

    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        self.inner.open_local(key)
    }
}

impl Bucket for FarBucket {
    fn stream_range(
        &self,
        key: &Key,
        range: Range<u64>,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.note(key, &range);
        let mood = self.mood(key)?;
        let mut bytes = self.bytes(key, &range)?;
        match mood {
            Mood::CutOff(length) => bytes.truncate(usize::try_from(length).unwrap()),
            Mood::Lying(place) => {
                let place = place.checked_sub(range.start).map(usize::try_from);
                let place = place.and_then(|place| bytes.get_mut(place.unwrap()));
                if let Some(byte) = place {
                    *byte ^= 1;
                }
            }
            _ => {}
        }
        let bytes = Bytes::from(bytes);
        for start in (0..bytes.len()).step_by(60_000) {
            let piece = bytes.slice(start..bytes.len().min(start + 60_000));
            if sink(piece).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn put_labelled(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<(), StoreError> {
        self.inner.put_labelled(key, bytes, label)
    }

    fn put_new(
        &self,
        key: &Key,
        bytes: Bytes,
        label: &Label,
    ) -> Result<Option<Written>, StoreError> {
        self.inner.put_new(key, bytes, label)
    }

    fn begin_upload(&self, key: &Key, label: &Label) -> Result<String, StoreError> {
        self.inner.begin_upload(key, label)
    }

    fn put_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        self.inner.put_part(key, upload_id, number, bytes)
    }

    fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<Written, StoreError> {
        self.inner.complete_upload(key, upload_id, parts)
    }

    fn abort_upload(&self, key: &Key, upload_id: &str) -> Result<(), StoreError> {
        self.inner.abort_upload(key, upload_id)
    }

    fn put_if(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError> {
        self.inner.put_if(key, bytes, expected)
    }

    fn get_versioned(&self, key: &Key) -> Result<(Bytes, Version), StoreError> {
        self.inner.get_versioned(key)
    }

    fn knows_conditions(&self) -> bool {
        self.inner.knows_conditions()
    }

    fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        self.inner.list_after(prefix, after, limit)
    }

    fn link(&self, key: &Key, valid: Duration) -> Result<String, StoreError> {
        self.inner.link(key, valid)
    }
}
