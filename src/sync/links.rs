//! Links with which anybody can get an object from the bucket, once it is there.

use std::time::Duration;

use crate::index::{Index, IndexError};
use crate::model::{Key, Placement};
use crate::store::{Bucket, StoreError};

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the bucket provides no link")]
    Store(#[from] StoreError),
    #[error("the index could not be read")]
    Index(#[from] IndexError),
}

/// A link that lasts so long; `None`: the object is still on its way to the bucket.
pub fn link(
    bucket: &dyn Bucket,
    index: &Index,
    key: &Key,
    lasts: Duration,
) -> Result<Option<String>, LinkError> {
    let is_there = match bucket.head(key) {
        Ok(_) => true,
        Err(StoreError::Missing { .. }) => false,
        // It cannot say now; whoever is given the link may reach it all the same.
        Err(_) => has_arrived(index, key)?,
    };
    Ok(if is_there { Some(bucket.link(key, lasts)?) } else { None })
}

/// As far as the index knows. Pages that were written anew have an older one there.
fn has_arrived(index: &Index, key: &Key) -> Result<bool, IndexError> {
    let is_stored =
        |placement: &Placement| matches!(placement, Placement::Stored | Placement::PagesChanged);
    if let Some(recording) = index.filed_recording_at(key)? {
        return Ok(is_stored(&recording.placement));
    }
    // A transcript is put with any of its recordings.
    let Some((seq, day)) = index.day_at(key)? else { return Ok(false) };
    Ok(index.filed_recordings(seq, day)?.iter().any(|it| is_stored(&it.placement)))
}
