//! A store that forgets, for tests.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Key, ObjectVersion, UploadedPart};
use crate::store::{Bucket, Bytes, Found, Label, ObjectFacts, Store, StoreError, Version, Written};

/// Keeps objects in memory, as a folder or as a bucket.
#[derive(Debug, Default)]
pub struct MemoryStore {
    /// Guards the objects whose bytes are made when somebody reads them.
    made: Mutex<BTreeMap<Key, MadeObject>>,
    /// Guards the objects.
    objects: Mutex<BTreeMap<Key, Vec<u8>>>,
    /// Guards the times at which objects were put.
    times: Mutex<BTreeMap<Key, Timestamp>>,
    /// Guards the labels of objects that were put with one.
    labels: Mutex<BTreeMap<Key, Label>>,
    /// Guards what was sent of uploads that are not completed, by id.
    uploads: Mutex<BTreeMap<String, Upload>>,
    last_upload: AtomicU64,
    hides_versions: AtomicBool,
}

/// Gives the bytes of a range, which ends where the object does at the latest.
type MakeBytes = dyn Fn(Range<u64>) -> Vec<u8> + Send + Sync;

#[derive(Clone)]
struct MadeObject {
    bytes: u64,
    make: Arc<MakeBytes>,
}

impl fmt::Debug for MadeObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

#[derive(Debug)]
struct Upload {
    key: Key,
    label: Label,
    parts: BTreeMap<u32, Bytes>,
}

impl MemoryStore {
    /// The label that the object at `key` was put with.
    pub fn label(&self, key: &Key) -> Option<Label> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Ids of uploads that are neither completed nor given up.
    pub fn open_uploads(&self) -> Vec<String> {
        self.uploads().keys().cloned().collect()
    }

    /// From now on nobody learns which version of an object this is.
    pub fn hide_versions(&self) {
        self.hides_versions.store(true, Ordering::Relaxed);
    }

    /// An object of any size that needs no room: its bytes are made when somebody reads them.
    pub fn put_made(
        &self,
        key: &Key,
        bytes: u64,
        make: impl Fn(Range<u64>) -> Vec<u8> + Send + Sync + 'static,
    ) {
        let made = MadeObject { bytes, make: Arc::new(make) };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), made);
    }

    fn made(&self, key: &Key) -> Option<MadeObject> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn version(&self, bytes: &[u8]) -> Option<ObjectVersion> {
        let hides = self.hides_versions.load(Ordering::Relaxed);
        ObjectVersion::new(&etag(bytes).0, None).filter(|_| !hides)
    }

    fn uploads(&self) -> MutexGuard<'_, BTreeMap<String, Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, key: &Key, bytes: Vec<u8>, label: &Label) {
        self.note_label(key, label);
        self.note_time(key);
        self.objects().insert(key.clone(), bytes);
    }

    fn note_label(&self, key: &Key, label: &Label) {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        labels.insert(key.clone(), label.clone());
    }

    fn note_time(&self, key: &Key) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.insert(key.clone(), Timestamp::now());
    }

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
        self.note_time(key);
        self.labels.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
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
        if let Some(MadeObject { bytes, make }) = self.made(key) {
            return Ok(make(range.start.min(bytes)..range.end.min(bytes)));
        }
        self.look(key, |object| {
            let clip = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(object.len());
            object.get(clip(range.start)..clip(range.end)).unwrap_or_default().to_vec()
        })
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        let found = |bytes| Found { key: key.clone(), bytes };
        match self.made(key) {
            Some(made) => Ok(found(made.bytes)),
            None => self.look(key, |object| found(object.len() as u64)),
        }
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        let is_it = |key: &Key| match place.ends_with('/') {
            true => key.as_str().starts_with(place),
            false => key.as_str() == place,
        };
        Ok(self.objects().keys().any(is_it))
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        if let Some(made) = self.made(key) {
            return Ok(ObjectFacts { bytes: made.bytes, ..ObjectFacts::default() });
        }
        let (bytes, version) =
            self.look(key, |object| (object.len() as u64, self.version(object)))?;
        let label = self.label(key).unwrap_or_default();
        let facts = ObjectFacts::of_label(bytes, |field| label.fields.get(field).cloned());
        Ok(ObjectFacts { written_at: self.written_at(key)?, version, ..facts })
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

    fn written_at(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        self.look(key, |_| times.get(key).copied())
    }
}

impl Bucket for MemoryStore {
    fn put_labelled(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<(), StoreError> {
        self.set(key, bytes.to_vec(), label);
        Ok(())
    }

    fn put_new(
        &self,
        key: &Key,
        bytes: Bytes,
        label: &Label,
    ) -> Result<Option<Written>, StoreError> {
        // One look at the objects, so that of two at once one is told that it came second.
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Ok(None);
        }
        objects.insert(key.clone(), bytes.to_vec());
        self.note_time(key);
        self.note_label(key, label);
        Ok(Some(Written { version: self.version(&bytes) }))
    }

    fn begin_upload(&self, key: &Key, label: &Label) -> Result<String, StoreError> {
        let id = format!("upload-{}", self.last_upload.fetch_add(1, Ordering::Relaxed));
        let upload = Upload { key: key.clone(), label: label.clone(), parts: BTreeMap::new() };
        self.uploads().insert(id.clone(), upload);
        Ok(id)
    }

    fn put_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        let mut uploads = self.uploads();
        let missing = || StoreError::Missing { key: key.clone() };
        let upload = uploads.get_mut(upload_id).filter(|it| it.key == *key).ok_or_else(missing)?;
        let part = UploadedPart { number, etag: etag(&bytes).0, bytes: bytes.len() as u64 };
        upload.parts.insert(number, bytes);
        Ok(part)
    }

    fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<Written, StoreError> {
        let mut uploads = self.uploads();
        let missing = || StoreError::Missing { key: key.clone() };
        let upload = uploads.get(upload_id).filter(|it| it.key == *key).ok_or_else(missing)?;
        let mut whole = Vec::new();
        for part in parts {
            let sent = upload.parts.get(&part.number).filter(|sent| etag(sent).0 == part.etag);
            whole.extend_from_slice(sent.ok_or_else(missing)?);
        }
        let version = self.version(&whole);
        self.set(key, whole, &upload.label);
        uploads.remove(upload_id);
        Ok(Written { version })
    }

    fn abort_upload(&self, _key: &Key, upload_id: &str) -> Result<(), StoreError> {
        self.uploads().remove(upload_id);
        Ok(())
    }

    fn stream_range(
        &self,
        key: &Key,
        range: Range<u64>,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let bytes = Bytes::from(self.get_range(key, range)?);
        // In pieces, as from a network.
        for start in (0..bytes.len()).step_by(1 << 14) {
            if sink(bytes.slice(start..bytes.len().min(start + (1 << 14)))).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn put_if(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError> {
        let mut objects = self.objects();
        let found = objects.get(key).map(|object| etag(object));
        if found.as_ref() != expected {
            return Ok(None);
        }
        let version = etag(&bytes);
        objects.insert(key.clone(), bytes.to_vec());
        Ok(Some(version))
    }

    fn get_versioned(&self, key: &Key) -> Result<(Bytes, Version), StoreError> {
        self.look(key, |object| (Bytes::copy_from_slice(object), etag(object)))
    }

    fn knows_conditions(&self) -> bool {
        true
    }

    fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let mut found = self.list(prefix)?;
        found.retain(|found| after < found.key.as_str());
        found.truncate(limit);
        Ok(found)
    }

    fn link(&self, key: &Key, valid: Duration) -> Result<String, StoreError> {
        Ok(format!("memory:{key}?seconds={}", valid.as_secs()))
    }
}

fn etag(bytes: &[u8]) -> Version {
    Version(blake3::hash(bytes).to_hex().to_string())
}
