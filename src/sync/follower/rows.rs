//! What a follower does to its index: rows come and go, and nothing else. Bytes on this machine are copies in the
//! cache, which makes room by itself.

use crate::model::Key;
use crate::sync::follower::reading;
use crate::sync::follower::state::{FollowError, FollowerConfig};

/// Recordings that share one commit.
const BATCH: usize = 200;

/// Files what the metadata pages at `keys` describe.
pub(crate) fn take(
    with: &FollowerConfig,
    keys: &[Key],
    is_stopping: &dyn Fn() -> bool,
) -> Result<(), FollowError> {
    for batch in keys.chunks(BATCH) {
        if is_stopping() {
            return Err(FollowError::Stopped);
        }
        with.index.follow(reading::recordings(with.bucket.as_ref(), batch)?)?;
    }
    Ok(())
}

/// Forgets the recordings that had these metadata pages.
pub(crate) fn forget(with: &FollowerConfig, keys: &[Key]) -> Result<(), FollowError> {
    for key in keys {
        if let Some(recording) = with.index.filed_recording_at(key)? {
            with.index.forget_recording(recording.id)?;
        }
    }
    Ok(())
}
