//! Whether the bucket's object is the one that the index knows: by its label, or by reading it. Never by key and
//! size, which another system's file may share.

use std::ops::ControlFlow;

use crate::model::Object;
use crate::store::{Bucket, StoreError};

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

/// Removes an object from the bucket, if it is the one that the index knows or bears our label and is a page (of
/// which the bucket may still have an older one). What else lies there stays.
pub(crate) fn remove(bucket: &dyn Bucket, object: &Object) -> Result<(), StoreError> {
    let facts = match bucket.facts(&object.key) {
        Err(StoreError::Missing { .. }) => return Ok(()),
        facts => facts?,
    };
    let is_ours = (facts.is_ours && object.key.is_page())
        || match facts.blake3 {
            Some(hash) => hash == object.blake3,
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
