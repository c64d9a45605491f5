//! What a bucket turns out to have beside the writer's own recordings.
//!
//! The writer decides what becomes of his conversations: they keep their names here, and stay in the trash or out of
//! it, whatever metadata in the bucket says of them.

use std::sync::Arc;

use redb::ReadableTable;

use crate::index::conversations::next_seq;
use crate::index::following::filed_as;
use crate::index::purge_log::fingerprint;
use crate::index::tables::{
    CONDEMNED, DAYS, DayRow, KEY_STEMS, REMOVALS_DUE, STEMS, day_key, readable, row_at,
};
use crate::index::writer::WriteTxn;
use crate::index::{
    Index, IndexError, PageWork, PagesDue, RemovalDue, filing, pages_due, removals_due,
};
use crate::model::{
    Conversation, ConversationSeq, DayTranscript, Key, PageKind, Recording, RecordingId,
};

/// What became of recordings that were found in a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    pub filed: Vec<RecordingId>,
    /// Metadata of those that cannot be filed now: their conversation is in the trash here, or on its way out of it for
    /// good, their day is full, or their place is not free yet.
    pub left_out: Vec<Key>,
}

impl Index {
    /// Files recordings that the bucket's metadata describes and this index does not know, in one step. What it knows
    /// is left as it is. Where a conversation is in the trash by its metadata and not here, only the recordings go
    /// there.
    pub fn discover(
        &self,
        told: Vec<(Conversation, Recording, DayTranscript)>,
    ) -> Result<Discovered, IndexError> {
        let purged = Arc::new(self.inner.purge_log.read()?);
        self.inner.writer.change(move |writing| {
            let mut discovered = Discovered::default();
            for (conversation, recording, transcript) in told {
                let metadata = recording.audio.key.page_beside(PageKind::Metadata);
                if purged.contains(&fingerprint(&recording)) {
                    remove_from_bucket(writing, &conversation, recording)?;
                    continue;
                }
                match file_found(writing, &conversation, recording, transcript)? {
                    Found::Filed(id) => discovered.filed.push(id),
                    Found::Barred => discovered.left_out.push(metadata),
                    Found::Known => {}
                }
            }
            Ok(discovered)
        })
    }
}

/// A recording that was purged here, and that the bucket still has.
fn remove_from_bucket(
    writing: &mut WriteTxn<'_>,
    told: &Conversation,
    recording: Recording,
) -> Result<(), IndexError> {
    // Another one may have its keys by now.
    if has_keys_of(writing, told, &recording)? || removal_due(writing, &recording)?.is_some() {
        return Ok(());
    }
    let due = RemovalDue { recording, is_here: false, is_in_bucket: true };
    removals_due::owe(writing.begin(), &due)
}

/// Whether a recording here has the keys of that one.
fn has_keys_of(
    writing: &WriteTxn<'_>,
    told: &Conversation,
    recording: &Recording,
) -> Result<bool, IndexError> {
    let Some(here) = filed_as(writing.tables(), &told.filed_as)? else { return Ok(false) };
    let day = day_key(here.seq, recording.id.day);
    let has = |table, stem| -> Result<bool, IndexError> {
        Ok(writing.tables().open_table(table)?.get((day.0, day.1, stem))?.is_some())
    };
    Ok(has(STEMS, recording.stem.as_bytes())?
        || has(KEY_STEMS, recording.audio.key.stem().as_bytes())?)
}

enum Found {
    Filed(RecordingId),
    /// Something of that name is here.
    Known,
    Barred,
}

fn file_found(
    writing: &mut WriteTxn<'_>,
    told: &Conversation,
    mut recording: Recording,
    mut transcript: DayTranscript,
) -> Result<Found, IndexError> {
    if let Some(due) = removal_due(writing, &recording)? {
        // What a recording of ours has left there under its former name.
        if due.recording.audio.blake3 == recording.audio.blake3 {
            return Ok(Found::Known);
        }
        // Files of ours lie under its keys on local disk.
        if due.is_here {
            return Ok(Found::Barred);
        }
    }
    let standing = filed_as(writing.tables(), &told.filed_as)?;
    // Numbers that were given out here are never used again, whatever has become of what had them: inode numbers are
    // made of them. 0 is replaced by the next one.
    let seq =
        Some(told.seq).filter(|seq| next_seq(writing.tables()).is_ok_and(|next| next <= *seq));
    let told = &Conversation { seq: seq.unwrap_or(ConversationSeq(0)), ..told.clone() };
    let is_as_told = standing
        .as_ref()
        .is_none_or(|here| (&here.id, here.trashed_at) == (&told.id, told.trashed_at));
    if let Some(here) = standing {
        let day = day_key(here.seq, recording.id.day);
        let stem = (day.0, day.1, recording.stem.as_bytes());
        if writing.tables().open_table(CONDEMNED)?.get(here.seq.0)?.is_some() {
            return Ok(Found::Barred);
        }
        // Of a recording that is being removed for good, too.
        if writing.tables().open_table(STEMS)?.get(stem)?.is_some() {
            return Ok(Found::Known);
        }
        match (here.trashed_at, told.trashed_at.or(recording.overlay.trashed_at)) {
            // Nobody has thrown it away, and with the conversation it would be removed for good.
            (Some(_), None) => return Ok(Found::Barred),
            (None, at @ Some(_)) => recording.overlay.trashed_at = at,
            (Some(_), Some(_)) | (None, None) => {}
        }
        // The day's text here stands until it is rendered again with what was found.
        let row: Option<DayRow> = row_at(&writing.tables().open_table(DAYS)?, day)?;
        let row = row.unwrap_or_default();
        if recording.id.number <= row.last_number {
            recording.id.number = 0;
        }
        transcript = row.transcript.unwrap_or(transcript);
    }
    let id = match filing::adopt_recording(writing, told, recording, transcript) {
        // A day may be full. What cannot be filed must not keep the rest from it.
        Err(IndexError::NoConversation | IndexError::NumbersExhausted) => return Ok(Found::Barred),
        adopted => adopted?,
    };
    if !is_as_told {
        pages_due::owe(writing, PagesDue::Recording(id), PageWork::Render)?;
    }
    Ok(Found::Filed(id))
}

/// What is to be removed under the keys of that recording.
fn removal_due(
    writing: &WriteTxn<'_>,
    recording: &Recording,
) -> Result<Option<RemovalDue>, IndexError> {
    let key = recording.audio.key.page_beside(PageKind::Metadata);
    let table = writing.tables().open_table(REMOVALS_DUE)?;
    let row = table.get(key.as_str())?;
    Ok(row.and_then(|row| readable(key.as_str(), row.value())))
}
