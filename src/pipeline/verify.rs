//! Whether the bucket's object is the one that the index knows: by its label, or by reading it. Never by key and
//! size, which another system's file may share.

use std::ops::ControlFlow;

use crate::model::{Conversation, Object, Recording};
use crate::store::{Bucket, ObjectFacts, StoreError};

/// What lies in the bucket under an object's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InBucket {
    Nothing,
    /// The object.
    Same,
    /// Something else. It stays: whoever put it there may want it.
    Other,
}

/// Looks. An object without a label is read; nobody else can know what is in it.
pub(crate) fn look(bucket: &dyn Bucket, object: &Object) -> Result<InBucket, StoreError> {
    let facts = match bucket.facts(&object.key) {
        Err(StoreError::Missing { .. }) => return Ok(InBucket::Nothing),
        facts => facts?,
    };
    if facts.bytes != object.bytes {
        return Ok(InBucket::Other);
    }
    let hash = match facts.blake3 {
        Some(hash) => hash,
        None => hash(bucket, object)?,
    };
    Ok(if hash == object.blake3 { InBucket::Same } else { InBucket::Other })
}

/// Whether the bucket gives its bytes at once. What was moved to an archive is there by all that a look shows, and
/// cannot be read for hours.
pub(crate) fn is_readable(bucket: &dyn Bucket, object: &Object) -> Result<bool, StoreError> {
    match bucket.get_range(&object.key, 0..1) {
        Ok(_) => Ok(true),
        Err(StoreError::Refused { .. }) => Ok(false),
        Err(err) => Err(err),
    }
}

/// Whether the bucket gives the object's very bytes, all of which are read. A label outlives bit rot, and programs that
/// rewrite an object keep it: before the last other copy goes, this is asked.
pub(crate) fn is_whole(bucket: &dyn Bucket, object: &Object) -> Result<bool, StoreError> {
    match hash(bucket, object) {
        Ok(hash) => Ok(hash == object.blake3),
        Err(StoreError::Missing { .. } | StoreError::Refused { .. }) => Ok(false),
        Err(err) => Err(err),
    }
}

/// Removes an object of a recording from the bucket: the one that the index knows, or a page about that recording (of
/// which the bucket may still have an older one). What else lies there stays.
pub(crate) fn remove(
    bucket: &dyn Bucket,
    recording: &Recording,
    object: &Object,
) -> Result<(), StoreError> {
    remove_if(bucket, object, |facts| {
        // Labels of older versions do not say what a page is about.
        facts.recording.as_ref().is_none_or(|about| *about == recording.audio.blake3)
    })
}

/// The same of a day's transcript.
pub(crate) fn remove_transcript(
    bucket: &dyn Bucket,
    conversation: &Conversation,
    transcript: &Object,
) -> Result<(), StoreError> {
    let created = conversation.created_at.to_string();
    remove_if(bucket, transcript, |facts| {
        facts.conversation_created.as_ref().is_none_or(|told| *told == created)
    })
}

fn remove_if(
    bucket: &dyn Bucket,
    object: &Object,
    is_about_ours: impl Fn(&ObjectFacts) -> bool,
) -> Result<(), StoreError> {
    let facts = match bucket.facts(&object.key) {
        Err(StoreError::Missing { .. }) => return Ok(()),
        facts => facts?,
    };
    let is_ours = (facts.is_ours && object.key.is_page() && is_about_ours(&facts))
        || match &facts.blake3 {
            Some(hash) => *hash == object.blake3,
            None => facts.bytes == object.bytes && hash(bucket, object)? == object.blake3,
        };
    if is_ours {
        return bucket.delete(&object.key);
    }
    log::warn!("{}: what lies there in the bucket is another's, and stays", object.key);
    Ok(())
}

fn hash(bucket: &dyn Bucket, object: &Object) -> Result<String, StoreError> {
    let mut hasher = blake3::Hasher::new();
    bucket.stream_range(&object.key, 0..u64::MAX, &mut |bytes| {
        hasher.update(&bytes);
        ControlFlow::Continue(())
    })?;
    Ok(hasher.finalize().to_hex().to_string())
}
