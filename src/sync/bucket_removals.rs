//! Removes what recordings have left under former keys: from local disk at once, from the bucket when they have
//! arrived there under their new ones. What is left to be done stands in the index.

use jiff::Timestamp;

use crate::index::{Index, IndexError, RemovalDue};
use crate::model::Placement;
use crate::publishing::change_log::{BucketChange, ChangeLog};
use crate::publishing::{StorageError, verify};
use crate::store::{Bucket, StoreError};
use crate::sync::follower::discover_at;
use crate::sync::refusals::Refusals;

/// Removes from the bucket whatever is due there and tells those who follow it. What is refused rests.
pub(crate) fn remove_from_bucket(
    bucket: &dyn Bucket,
    changes: &ChangeLog,
    index: &Index,
    refusals: &Refusals,
    now: Timestamp,
) -> Result<(), StorageError> {
    for due in index.removals_due()?.iter().filter(|due| due.is_in_bucket) {
        let item = due.key().to_string();
        if refusals.rests(&item, now) {
            continue;
        }
        match remove_former(bucket, changes, index, due) {
            Err(StorageError::Store(err)) => refusals.pass_over(Some(bucket), item, err, now)?,
            removed => removed?,
        }
    }
    Ok(())
}

fn remove_former(
    bucket: &dyn Bucket,
    changes: &ChangeLog,
    index: &Index,
    due: &RemovalDue,
) -> Result<(), StorageError> {
    let metadata = due.key();
    let audio = &due.recording.audio;
    let at_its_key = index.filed_recording_at(&audio.key)?;
    if at_its_key.is_some_and(|it| it.audio.blake3 == audio.blake3) {
        return Ok(index.set_removed_from_bucket(&metadata)?);
    }
    // Before ours has arrived: with the other's on the same day, it cannot arrive until that is known.
    let found = discover_at(bucket, index, &metadata).map_err(|err| match err {
        StorageError::Store(err) => StorageError::Store(err),
        StorageError::Index(err) => StorageError::Index(err),
    })?;
    if due.is_here || !has_arrived(index, due)? {
        return Ok(());
    }
    for object in due.recording.removal_order() {
        // Recordings are given other keys because something else lies there, and its label may say that it does not.
        if object.key != audio.key || verify::is_whole(bucket, object)? {
            verify::remove(bucket, &due.recording, object)?;
        }
    }
    // Another's may lie there: nobody is told that it is gone.
    match bucket.facts(&metadata) {
        Err(StoreError::Missing { .. }) => {
            changes.tell(bucket, &BucketChange::Removed(metadata.clone()), &Timestamp::now)?;
        }
        facts => drop(facts?),
    }
    if !found.left_out.is_empty() {
        index.set_needs_remote_scan(true)?;
    }
    Ok(index.set_removed_from_bucket(&metadata)?)
}

/// Until it has, the bucket may have nothing else of the recording.
fn has_arrived(index: &Index, due: &RemovalDue) -> Result<bool, IndexError> {
    let standing = index.filed_recording(due.recording.id)?;
    Ok(standing.is_none_or(|it| matches!(it.placement, Placement::Stored)))
}
