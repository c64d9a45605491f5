//! Whether what was recorded, or what was said in it, is kept elsewhere: only then may a copy go.

use crate::model::{Object, Recording};
use crate::publishing::page_store::Shelves;
use crate::publishing::stores::{self, Stock, StockError, Tiered};
use crate::publishing::verify;
use crate::store::StoreError;

/// Whether a recording with these bytes is in its place, outside the trash.
pub(crate) fn is_audio_kept(stock: Stock<'_>, blake3: &str) -> Result<bool, StockError> {
    Ok(kept_recording(stock, blake3)?.is_some())
}

/// The same, and what was said in it can be read too.
pub(crate) fn are_words_kept(stock: Stock<'_>, blake3: &str) -> Result<bool, StockError> {
    let Some(recording) = kept_recording(stock, blake3)? else { return Ok(false) };
    let store = Tiered(stock);
    let shelves = Shelves { store: &store, index: stock.index };
    Ok(shelves.read_talk(&recording)?.is_some())
}

fn kept_recording(stock: Stock<'_>, blake3: &str) -> Result<Option<Recording>, StockError> {
    for recording in stock.index.recordings_with_audio(blake3)? {
        // What is in the trash goes by itself one day.
        let is_trashed = recording.overlay.trashed_at.is_some()
            || stock.index.conversation(recording.id.conversation)?.is_none();
        if !is_trashed && is_there(stock, &recording.audio)? {
            return Ok(Some(recording));
        }
    }
    Ok(None)
}

/// Whether it is in its place, by its bytes: all of them are read, on local disk or in the bucket.
pub(crate) fn is_there(stock: Stock<'_>, audio: &Object) -> Result<bool, StockError> {
    match stores::hash_near(stock.near, audio) {
        Ok(hash) if hash == audio.blake3 => return Ok(true),
        Ok(_) | Err(StockError::Store(StoreError::Missing { .. })) => {}
        Err(err) => return Err(err),
    }
    let Some(far) = stock.far else { return Ok(false) };
    Ok(verify::is_whole(far, audio)?)
}
