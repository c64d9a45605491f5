//! A bucket that counts what it is asked, holds objects of any size without keeping them, and fails on cue.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use scribefs::model::{Key, Object};
use scribefs::store::{Call, Intercepted, Interceptor, MemoryStore, StoreError};

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

pub(crate) type FarBucket = Intercepted<MemoryStore, Moody>;

pub(crate) struct Moody(Arc<Shared>);

struct Shared {
    memory: Arc<MemoryStore>,
    /// For bytes.
    requests: AtomicUsize,
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

pub(crate) fn far_bucket() -> FarBucket {
    let memory = Arc::new(MemoryStore::default());
    let moody = Moody(Arc::new(Shared {
        memory: memory.clone(),
        requests: AtomicUsize::new(0),
        mood: Mutex::new(Mood::Well),
        changed: Condvar::new(),
    }));
    FarBucket::new(memory, moody)
}

impl Moody {
    /// An object with a hash that is right.
    pub(crate) fn make(&self, key: &str, bytes: u64) -> Object {
        let hash = blake3::hash(&made_bytes(0..bytes)).to_hex().to_string();
        Object { blake3: hash, ..self.make_unhashed(key, bytes) }
    }

    /// An object that is too large to be hashed in a test.
    pub(crate) fn make_unhashed(&self, key: &str, bytes: u64) -> Object {
        let key = Key::new(key).unwrap();
        let shared = self.0.clone();
        self.0.memory.put_made(&key, bytes, move |range| shared.bytes(range));
        Object { blake3: blake3::hash(key.as_str().as_bytes()).to_hex().to_string(), key, bytes }
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.0.mood.lock().unwrap() = mood;
        self.0.changed.notify_all();
    }

    pub(crate) fn requests(&self) -> usize {
        self.0.requests.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Of a made object, in the present mood.
    fn bytes(&self, range: Range<u64>) -> Vec<u8> {
        let mut bytes = made_bytes(range.clone());
        let mut mood = self.mood.lock().unwrap();
        match *mood {
            Mood::CutOff(length) => {
                bytes.truncate(usize::try_from(length).unwrap());
                *mood = Mood::Well;
            }
            Mood::Lying(place) => {
                let place = place.checked_sub(range.start).map(usize::try_from);
                let place = place.and_then(|place| bytes.get_mut(place.unwrap()));
                if let Some(byte) = place {
                    *byte ^= 1;
                }
            }
            Mood::Well | Mood::Dead | Mood::Silent | Mood::Refusing => {}
        }
        bytes
    }
}

impl Interceptor for Moody {
    type Passed = ();

    fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        let is_read = matches!(call.name, "get_range" | "stream_range");
        self.0.requests.fetch_add(usize::from(is_read), Ordering::Relaxed);
        if !is_read && !matches!(call.name, "head" | "facts") {
            return Ok(());
        }
        let mood = self.0.mood.lock().unwrap();
        let mood = self.0.changed.wait_while(mood, |mood| *mood == Mood::Silent).unwrap();
        let at = call.at.to_owned();
        match *mood {
            Mood::Dead => Err(StoreError::Unavailable { at, source: "no route to host".into() }),
            Mood::Refusing => Err(StoreError::Refused { at, source: "no permission".into() }),
            Mood::Well | Mood::Silent | Mood::CutOff(_) | Mood::Lying(_) => Ok(()),
        }
    }
}
