//! Where what is published is kept: local disk or a bucket, behind one trait.

mod backoff;
mod blocking;
mod boot_clock;
mod bucket;
mod bucket_health;
mod cache;
mod circuit;
mod content;
mod disk;
mod flaky;
mod intercepted;
mod local;
mod memory;
mod remote;

pub mod outbox;
mod paths;
mod reach;
mod staged;
mod tiered;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

pub use bytes::Bytes;
use jiff::Timestamp;

pub use crate::store::backoff::{Backoff, chance};
pub(crate) use crate::store::boot_clock::{boot_id, boot_time};
#[cfg(feature = "s3")]
pub use crate::store::bucket::S3Bucket;
pub use crate::store::bucket::{
    Addressing, BucketFacts, BucketOptions, Encryption, Foreign, Keys, Profile, Provider, Secret,
    UnknownProvider, is_open_to_strangers,
};
pub use crate::store::bucket_health::BucketHealth;
pub use crate::store::cache::{BlockCache, CacheOptions, CacheUse};
pub(crate) use crate::store::circuit::{Admission, Permit};
pub use crate::store::flaky::FlakyStore;
pub use crate::store::intercepted::{Call, Intercepted, Interceptor};
pub use crate::store::local::{LocalStore, LockError};
pub use crate::store::memory::MemoryStore;
pub use crate::store::reach::Reach;
pub use crate::store::remote::ReadOptions;
pub use crate::store::staged::StagedFile;
pub use crate::store::tiered::TieredStore;

use crate::model::{Key, Object, ObjectVersion, UploadedPart};

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

/// Objects as [`Store::walk`] comes to them. Ends with the first error.
pub type Walk<'a> = Box<dyn Iterator<Item = Result<Found, StoreError>> + 'a>;

/// What a store tells of an object beside its bytes, without reading them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectFacts {
    pub bytes: u64,
    /// BLAKE3 of the content by its label, 64 hexadecimal digits; `None` where it has none.
    pub blake3: Option<String>,
    /// The same of the recording that a page is about.
    pub recording: Option<String>,
    /// When the conversation of a day's transcript was created, by its label: two that are filed under one name by two
    /// indexes differ in it.
    pub conversation_created: Option<String>,
    /// It bears a mark of scribefs: nobody else has put it there.
    pub is_ours: bool,
    /// By the store's clock.
    pub written_at: Option<Timestamp>,
    /// `None`: the store does not tell versions apart.
    pub version: Option<ObjectVersion>,
}

/// An object that was put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Which version of the object it is, as [`ObjectFacts::version`] shows it for as long as nobody puts another one.
    pub version: Option<ObjectVersion>,
}

/// No request that changes a bucket is under way for longer.
pub const LONGEST_CHANGE: Duration = Duration::from_secs(150);

/// Keeps objects by key. Every implementor passes `tests/store_contract.rs`.
pub trait Store: Send + Sync {
    /// Puts `bytes` under `key`, in place of what was there: all of them or none.
    ///
    /// After `Ok` the object survives a power cut.
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError>;

    /// The same from an open file, read from its start. Local disk does not hold it in memory; a bucket takes it in one
    /// request.
    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError>;

    /// The same, if there is nothing at `key`, not even something that the store takes for it (a name that is
    /// spelled with other capitals, say). Whether it was put.
    fn put_file_new(&self, key: &Key, file: &File) -> Result<bool, StoreError> {
        if self.is_taken(key.as_str())? {
            return Ok(false);
        }
        self.put_file(key, file).map(|()| true)
    }

    /// A durable copy of an open file, read from its start, that has no name yet: what is in it can be looked at before
    /// [`Store::put_staged`] or [`Store::put_staged_new`] names it. `None`: `may_go_on` said no. It is asked all
    /// the while.
    ///
    /// A store that cannot keep what has no name copies when it names.
    fn stage_file(
        &self,
        file: &File,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<StagedFile>, StoreError> {
        let file = file.try_clone().map_err(|err| StoreError::Refused {
            at: "the copy of a file".to_owned(),
            source: Box::new(err),
        })?;
        Ok(may_go_on().then(|| StagedFile::original(file)))
    }

    /// An empty file to be written and then named as above, on the disk where its name will be.
    fn stage_new(&self) -> Result<StagedFile, StoreError> {
        let file = tempfile::tempfile().map_err(|err| StoreError::Refused {
            at: "a new file".to_owned(),
            source: Box::new(err),
        })?;
        Ok(StagedFile::original(file))
    }

    /// Names a staged file, in place of what was there.
    fn put_staged(&self, key: &Key, staged: StagedFile) -> Result<(), StoreError> {
        self.put_file(key, staged.file())
    }

    /// The same, if there is nothing at `key` ([`Store::put_file_new`]). What was not put stays staged.
    fn put_staged_new(&self, key: &Key, staged: &mut StagedFile) -> Result<bool, StoreError> {
        self.put_file_new(key, staged.file())
    }

    /// Gives what is at `from` the name `to`, in place of what was there.
    ///
    /// After `Ok` the change survives a power cut.
    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let bytes = self.get_range(from, 0..u64::MAX)?;
        self.put(to, &bytes)?;
        self.delete(from)
    }

    /// Whether anything is where a put would go: at a key, or below a prefix that ends in `/`. No network is
    /// asked that a put would not ask.
    fn is_taken(&self, place: &str) -> Result<bool, StoreError>;

    /// The bytes of `range`, cut short at the object's end.
    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError>;

    /// The same of an object whose content is known. Who fetches objects from afar keeps what it has
    /// fetched under the name of the content, and checks it.
    fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        Ok(self.get_range(&object.key, range)?.into())
    }

    /// Key and size.
    fn head(&self, key: &Key) -> Result<Found, StoreError>;

    /// Everything below `prefix` (whole parts, ending in `/`; empty: everything), in no order.
    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError>;

    /// All that there is, in the order of keys. Stores of many objects read on as it is asked for.
    fn walk(&self) -> Walk<'_> {
        match self.list("") {
            Ok(mut found) => {
                found.sort_by(|one, other| one.key.cmp(&other.key));
                Box::new(found.into_iter().map(Ok))
            }
            Err(err) => Box::new(std::iter::once(Err(err))),
        }
    }

    /// Removes it. `Ok` if there was nothing.
    fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Throws away what is kept of an object beside the object itself, such as blocks that were fetched for readers.
    fn forget(&self, _object: &Object) {}

    /// The object as an open local file, where it is one.
    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError>;

    /// What the store knows of it.
    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError>;

    /// A name for its place that other programs understand; `None`: it has none.
    fn url(&self, _key: &Key) -> Option<String> {
        None
    }

    /// When it was put, by the store's clock; `None` where the store does not know.
    fn written_at(&self, _key: &Key) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }
}

/// A store at the other end of a network. Objects have labels there, large ones arrive in parts, and a small
/// one can be put on condition. Every implementor passes `tests/bucket_contract.rs`.
///
/// Each request that a call makes has a deadline by its size and ends in [`StoreError::Unavailable`] when it is over. One
/// that changes the bucket lasts [`LONGEST_CHANGE`] at most, however it goes: a lease is no protection otherwise.
pub trait Bucket: Store {
    /// [`Store::put`] with a label.
    fn put_labelled(&self, key: &Key, bytes: Bytes, label: &Label) -> Result<(), StoreError>;

    /// The same, if there is nothing at `key`. `None`: there is, and nothing was put.
    ///
    /// Where the bucket knows no conditions ([`Bucket::knows_conditions`]) this looks and then puts.
    fn put_new(
        &self,
        key: &Key,
        bytes: Bytes,
        label: &Label,
    ) -> Result<Option<Written>, StoreError>;

    /// Begins an upload in parts. Nothing is seen at `key` before it is completed. The upload's id.
    fn begin_upload(&self, key: &Key, label: &Label) -> Result<String, StoreError>;

    /// Sends part `number`, counted from 1. All parts but the last have the same size, at least 5 MiB.
    ///
    /// # Errors
    /// `Missing`: the bucket knows no such upload (any more).
    fn put_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError>;

    /// Makes the parts, in order, the object at `key`: all of them or none. `Missing` as for a part.
    fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<Written, StoreError>;

    /// Gives an upload up, with the parts that were sent. `Ok` if there is none.
    fn abort_upload(&self, key: &Key, upload_id: &str) -> Result<(), StoreError>;

    /// Hands the bytes of `range` to `sink` as they arrive, until it breaks. Cut short at the object's end.
    /// `Ok` means that all of them have arrived or that `sink` has broken off.
    fn stream_range(
        &self,
        key: &Key,
        range: Range<u64>,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Puts a small object if the one that is there is `expected` (`None`: if there is none). The new
    /// version; `None`: there is another one, and nothing was changed.
    ///
    /// Where the bucket knows no conditions ([`Bucket::knows_conditions`]) this looks and then puts:
    /// two at once may both succeed.
    fn put_if(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError>;

    /// A small object with its version, for [`Bucket::put_if`].
    fn get_versioned(&self, key: &Key) -> Result<(Bytes, Version), StoreError>;

    /// Whether conditions of [`Bucket::put_if`] are the bucket's own promise.
    fn knows_conditions(&self) -> bool;

    /// The same, tried out on `_scribefs/probe` where it is not certain: many servers ignore conditions
    /// without a word.
    fn try_conditions(&self) -> Result<bool, StoreError> {
        Ok(self.knows_conditions())
    }

    /// What lies below `prefix` and behind `after` in the order of keys, in that order, at most `limit`.
    fn list_after(&self, prefix: &str, after: &str, limit: usize)
    -> Result<Vec<Found>, StoreError>;

    /// Removes them all. Some may be gone after an error.
    fn delete_many(&self, keys: &[Key]) -> Result<(), StoreError> {
        let mut left = keys;
        while !left.is_empty() {
            left = left.get(self.delete_first(left)?..).unwrap_or_default();
        }
        Ok(())
    }

    /// Removes as many of the first ones as go with one request, and says how many. 0: the bucket has just turned out to
    /// need another request, which the next call makes.
    fn delete_first(&self, keys: &[Key]) -> Result<usize, StoreError> {
        match keys.first() {
            Some(first) => self.delete(first).map(|()| 1),
            None => Ok(0),
        }
    }

    /// Names that listings have shown since this was asked last and that cannot be keys: not ours, and left alone.
    fn take_foreign(&self) -> Foreign {
        Foreign::default()
    }

    /// A link with which anybody can get the object until `valid` has passed (at most seven days).
    fn link(&self, key: &Key, valid: Duration) -> Result<String, StoreError>;
}

/// What a bucket shows of an object beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    pub content_type: &'static str,
    /// `x-amz-meta-` fields: names of `a-z` and `-`, any text. Text that a header cannot hold is percent-encoded.
    pub fields: BTreeMap<&'static str, String>,
}

impl Label {
    /// BLAKE3 of the object's content.
    pub const BLAKE3: &str = "blake3";
    /// The conversation that the object is filed under. Whoever has both fields was put by scribefs.
    pub const CONVERSATION: &str = "conversation";
    /// BLAKE3 of the recording that a page is about.
    pub const RECORDING: &str = "recording";
    /// When the conversation of a day's transcript was created.
    pub const CONVERSATION_CREATED: &str = "conversation-created";
}

impl ObjectFacts {
    /// What an object's label says of it; `field` gives a field's text.
    pub(crate) fn of_label(bytes: u64, field: impl Fn(&str) -> Option<String>) -> Self {
        let (blake3, recording) = (field(Label::BLAKE3), field(Label::RECORDING));
        let conversation_created = field(Label::CONVERSATION_CREATED);
        let is_ours = blake3.is_some() && field(Label::CONVERSATION).is_some();
        let (written_at, version) = (None, None);
        Self { bytes, blake3, recording, conversation_created, is_ours, written_at, version }
    }
}

/// Tells two states of an object apart: its entity tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);
