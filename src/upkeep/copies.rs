//! Whether what was recorded, or what was said in it, is kept elsewhere: only then may a copy go.

use crate::model::{Object, Recording};
use crate::publishing::page_store::PageStore;
use crate::publishing::stores::{self, Stores, StoresError, Tiered};
use crate::publishing::verify;
use crate::store::StoreError;

/// Whether a recording with these bytes is in its place, outside the trash.
pub(crate) fn is_audio_kept(stores: Stores<'_>, blake3: &str) -> Result<bool, StoresError> {
    Ok(kept_recording(stores, blake3)?.is_some())
}

/// The same, and what was said in it can be read too.
pub(crate) fn are_words_kept(stores: Stores<'_>, blake3: &str) -> Result<bool, StoresError> {
    let Some(recording) = kept_recording(stores, blake3)? else { return Ok(false) };
    let store = Tiered(stores);
    let page_store = PageStore { store: &store, index: stores.index };
    Ok(page_store.read_talk(&recording)?.is_some())
}

fn kept_recording(stores: Stores<'_>, blake3: &str) -> Result<Option<Recording>, StoresError> {
    for recording in stores.index.recordings_with_audio(blake3)? {
        // What is in the trash goes by itself one day.
        let is_trashed = recording.overlay.trashed_at.is_some()
            || stores.index.conversation(recording.id.conversation)?.is_none();
        if !is_trashed && is_there(stores, &recording.audio)? {
            return Ok(Some(recording));
        }
    }
    Ok(None)
}

/// Whether it is in its place, by its bytes: all of them are read, on local disk or in the bucket.
pub(crate) fn is_there(stores: Stores<'_>, audio: &Object) -> Result<bool, StoresError> {
    match stores::hash_local(stores.local, audio) {
        Ok(hash) if hash == audio.blake3 => return Ok(true),
        Ok(_) | Err(StoresError::Store(StoreError::Missing { .. })) => {}
        Err(err) => return Err(err),
    }
    let Some(remote) = stores.remote else { return Ok(false) };
    Ok(verify::is_whole(remote, audio)?)
}
