//! Which recordings have the same bytes: the first of them, and all others.

use redb::{ReadableTable, WriteTransaction};

use crate::index::tables::{AUDIO, RecordingKey, SAME_AUDIO, recording_key};
use crate::index::{Index, IndexError};
use crate::model::Recording;

impl Index {
    /// All recordings that have these bytes, also those in the trash, the first one first.
    pub fn recordings_with_audio(&self, blake3: &str) -> Result<Vec<Recording>, IndexError> {
        self.ask(|now| now.recordings_with_audio(blake3))
    }
}

/// Notes a recording's bytes as its own, beside all others that have them.
pub(crate) fn add_audio(
    tables: &WriteTransaction,
    recording: &Recording,
) -> Result<(), IndexError> {
    let (hash, key) = (recording.audio.blake3.as_str(), recording_key(recording.id));
    let mut audio = tables.open_table(AUDIO)?;
    let first = audio.get(hash)?.map(|first| first.value());
    match first {
        None => audio.insert(hash, key).map(drop)?,
        Some(first) if first == key => {}
        Some(_) => tables.open_table(SAME_AUDIO)?.insert((hash, key), ()).map(drop)?,
    }
    Ok(())
}

/// Takes the note back. If it was the first one, the next one is.
pub(crate) fn remove_audio(
    tables: &WriteTransaction,
    recording: &Recording,
) -> Result<(), IndexError> {
    let (hash, key) = (recording.audio.blake3.as_str(), recording_key(recording.id));
    let mut others = tables.open_table(SAME_AUDIO)?;
    others.remove((hash, key))?;
    let mut audio = tables.open_table(AUDIO)?;
    let is_first = audio.get(hash)?.is_some_and(|first| first.value() == key);
    if is_first {
        audio.remove(hash)?;
        let next = with_audio(&others, hash)?.into_iter().next();
        if let Some(next) = next {
            others.remove((hash, next))?;
            audio.insert(hash, next)?;
        }
    }
    Ok(())
}

/// All but the first, in the order of their numbers.
pub(crate) fn with_audio(
    others: &impl ReadableTable<(&'static str, RecordingKey), ()>,
    hash: &str,
) -> Result<Vec<RecordingKey>, IndexError> {
    let rows = others.range((hash, (0, 0, 0))..=(hash, (u32::MAX, u32::MAX, u16::MAX)))?;
    rows.map(|row| Ok(row?.0.value().1)).collect()
}
