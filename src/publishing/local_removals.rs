//! Removes from local disk what recordings have left under former keys. What is left to be done stands in the index.

use crate::index::{Index, RemovalDue};
use crate::publishing::error::StorageError;
use crate::publishing::page_lock;
use crate::store::Store;

/// Removes one recording's former objects from local disk.
pub(crate) fn remove_here(
    store: &dyn Store,
    index: &Index,
    due: &RemovalDue,
) -> Result<(), StorageError> {
    {
        let _alone = page_lock::lock();
        // A recording that was read back from there has them now.
        if index.filed_recording_at(&due.recording.audio.key)?.is_some() {
            return Ok(index.set_removed_here(&due.key())?);
        }
        for object in due.recording.removal_order() {
            store.delete(&object.key)?;
            store.delete(&object.key.staged(&object.blake3))?;
        }
    }
    Ok(index.set_removed_here(&due.key())?)
}
