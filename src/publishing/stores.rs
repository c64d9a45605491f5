//! What tools work on while nothing is mounted: the two places that objects can be in, and the index that
//! names them.

use std::fs::File;
use std::io::{self, Write};
use std::ops::{ControlFlow, Range};

use crate::index::{Index, IndexError};
use crate::model::{ConversationSeq, Day, DayTranscript, Key, Object, Recording, RecordingId};
use crate::publishing::error::StorageError;
use crate::publishing::verify;
use crate::store::{Bucket, Found, ObjectFacts, StagedFile, Store, StoreError};

/// Rows that are asked for at once.
const PAGE: usize = 500;

/// Bytes that are read at once.
const CHUNK: u64 = 4 << 20;

/// Where recordings are to be in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageTarget {
    /// On local disk. A bucket is only read from.
    Disk,
    /// In the bucket; local copies of audio may go.
    Bucket,
    /// In the bucket and on local disk.
    Both,
}

/// Local disk, the bucket behind it, and the index over both.
#[derive(Clone, Copy)]
pub struct Stores<'a> {
    pub local: &'a dyn Store,
    pub remote: Option<&'a dyn Bucket>,
    pub index: &'a Index,
    pub home: StorageTarget,
}

/// Why a tool could not go on.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    #[error("a store refused or did not answer")]
    Store(#[from] StoreError),
    #[error("the index refused")]
    Index(#[from] IndexError),
    #[error("the disk refused")]
    Disk(#[from] io::Error),
    /// The bytes that arrived are not the ones that the index knows.
    #[error("{key} in the bucket is not what was published under that name")]
    Damaged { key: Key },
}

impl From<StorageError> for StoresError {
    fn from(err: StorageError) -> Self {
        match err {
            StorageError::Store(err) => Self::Store(err),
            StorageError::Index(err) => Self::Index(err),
        }
    }
}

impl Stores<'_> {
    /// Shows `look` every recording, also of what is in the trash.
    pub(crate) fn each_recording(
        self,
        look: &mut dyn FnMut(Recording) -> Result<(), StoresError>,
    ) -> Result<(), StoresError> {
        let mut last = None;
        loop {
            let page = self.index.every_recording(last, PAGE)?;
            let Some(id) = page.last().map(|recording| recording.id) else { return Ok(()) };
            last = Some(id);
            page.into_iter().try_for_each(&mut *look)?;
        }
    }

    /// The same with the recordings of one day.
    pub(crate) fn each_recording_of(
        self,
        conversation: ConversationSeq,
        day: Day,
        look: &mut dyn FnMut(Recording) -> Result<(), StoresError>,
    ) -> Result<(), StoresError> {
        let mut last = RecordingId { conversation, day, number: 0 };
        loop {
            let page = self.index.filed_recordings_after(last, PAGE)?;
            match page.last() {
                Some(recording) => last = recording.id,
                None => return Ok(()),
            }
            page.into_iter().try_for_each(&mut *look)?;
        }
    }

    /// The same with every day's transcript.
    pub(crate) fn each_transcript(
        self,
        look: &mut dyn FnMut(DayTranscript) -> Result<(), StoresError>,
    ) -> Result<(), StoresError> {
        let mut last = None;
        loop {
            let page = self.index.every_transcript(last, PAGE)?;
            let Some(it) = page.last() else { return Ok(()) };
            last = Some((it.conversation, it.day));
            page.into_iter().try_for_each(&mut *look)?;
        }
    }

    /// Copies an object from the bucket to local disk, and believes it only if it is the one that the index
    /// knows. Nothing is there before all of it is: until then it lies where the store stages files.
    pub(crate) fn fetch(self, remote: &dyn Bucket, object: &Object) -> Result<(), StoresError> {
        let staged = self.local.stage_new()?;
        let mut file = staged.file().try_clone()?;
        if hash_remote(remote, object, Some(&mut file))? != object.blake3 {
            return Err(StoresError::Damaged { key: object.key.clone() });
        }
        Ok(self.local.put_staged(&object.key, staged)?)
    }
}

/// What is near, and behind it what is in the bucket: for pages that are rendered from others.
pub(crate) struct Tiered<'a>(pub(crate) Stores<'a>);

impl Store for Tiered<'_> {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.local.put(key, bytes)
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.0.local.put_file(key, file)
    }

    fn put_file_new(&self, key: &Key, file: &File) -> Result<bool, StoreError> {
        self.0.local.put_file_new(key, file)
    }

    fn stage_file(
        &self,
        file: &File,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<StagedFile>, StoreError> {
        self.0.local.stage_file(file, may_go_on)
    }

    fn stage_new(&self) -> Result<StagedFile, StoreError> {
        self.0.local.stage_new()
    }

    fn put_staged(&self, key: &Key, staged: StagedFile) -> Result<(), StoreError> {
        self.0.local.put_staged(key, staged)
    }

    fn put_staged_new(&self, key: &Key, staged: &mut StagedFile) -> Result<bool, StoreError> {
        self.0.local.put_staged_new(key, staged)
    }

    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.0.local.rename(from, to)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        match (self.0.local.get_range(key, range.clone()), self.0.remote) {
            (Err(StoreError::Missing { .. }), Some(remote)) if !key.is_staged() => {
                remote.get_range(key, range)
            }
            (found, _) => found,
        }
    }

    fn url(&self, key: &Key) -> Option<String> {
        self.0.local.url(key)
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        match (self.0.local.head(key), self.0.remote) {
            (Err(StoreError::Missing { .. }), Some(remote)) => remote.head(key),
            (found, _) => found,
        }
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.0.local.is_taken(place)
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        match (self.0.local.facts(key), self.0.remote) {
            (Err(StoreError::Missing { .. }), Some(remote)) => remote.facts(key),
            (found, _) => found,
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.0.local.list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.0.local.delete(key)
    }

    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        self.0.local.open_local(key)
    }
}

/// All objects of a recording but its day's transcript, which it shares with others.
pub(crate) fn objects(recording: &Recording) -> impl Iterator<Item = &Object> {
    std::iter::once(&recording.audio).chain(recording.pages.iter().map(|page| &page.object))
}

/// The object that these bytes are.
pub(crate) fn object(key: Key, bytes: &[u8]) -> Object {
    Object { key, bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
}

/// BLAKE3 of an object on local disk.
pub(crate) fn hash_local(local: &dyn Store, object: &Object) -> Result<String, StoresError> {
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    loop {
        let bytes = local.get_range(&object.key, at..at + CHUNK)?;
        if bytes.is_empty() {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        at += bytes.len() as u64;
        hasher.update(&bytes);
    }
}

/// BLAKE3 of an object in the bucket, and its bytes into `copy`.
pub(crate) fn hash_remote(
    remote: &dyn Bucket,
    object: &Object,
    mut copy: Option<&mut File>,
) -> Result<String, StoresError> {
    let mut written = Ok(());
    let hash = verify::hash(remote, object, |bytes| {
        written = copy.as_mut().map_or(Ok(()), |file| file.write_all(bytes));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    Ok(hash.unwrap_or_default())
}
