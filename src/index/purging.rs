//! What users want removed for good at once: out of everybody's sight in the transaction that notes what is to be
//! removed. A crash is followed by the rest of it.

use jiff::Timestamp;
use redb::ReadableTable;

use crate::index::conversations::{known, trash};
use crate::index::filing::{at, file};
use crate::index::removal::mark_purging;
use crate::index::tables::{PURGING, RECORDINGS, day_key, recording_key};
use crate::index::trash_rows::{is_all_trashed, is_shown};
use crate::index::trashing::{begin_purge, show_transcript, trash_together};
use crate::index::writer::WriteTxn;
use crate::index::{Change, Index, IndexError, PageWork, PagesDue, pages_due};
use crate::model::{ConversationSeq, RecordingId};

/// Changes. Each returns when it is durable.
impl Index {
    /// Has a conversation with all its recordings removed for good, whether it is in the trash or not.
    pub fn purge_conversation(
        &self,
        seq: ConversationSeq,
        now: Timestamp,
    ) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            if known(writing.tables(), seq)?.trashed_at.is_none() {
                trash(writing, seq, now)?;
            }
            mark_purging(writing, seq, Timestamp::MAX).map(drop)
        })
    }

    /// Has a recording removed for good, whether it is in the trash or not. What else was removed of its conversation
    /// stays in the trash; a conversation that has nothing else goes with it.
    pub fn purge_recording(&self, id: RecordingId, now: Timestamp) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| purge_recording(writing, id, now))
    }
}

pub(crate) fn purge_recording(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
    now: Timestamp,
) -> Result<(), IndexError> {
    let (conversation, mut recording) = at(writing.tables(), id)?;
    let seq = id.conversation;
    if recording.overlay.trashed_at.is_none() {
        recording.overlay.trashed_at = Some(now);
        recording.overlay.hidden.clear();
        file(writing, &conversation, &recording, None)?;
        if conversation.trashed_at.is_none() {
            let with_day = !is_shown(writing.tables(), day_key(seq, id.day))?;
            if with_day {
                show_transcript(writing, seq, id.day, true)?;
            }
            writing.tell(Change::RecordingMoved { recording: Box::new(recording), with_day });
        }
    }
    // Its words are in the transcript of its day until that is written anew.
    pages_due::owe(writing, PagesDue::Day(seq, id.day), PageWork::Render)?;
    begin_purge(writing, recording_key(id), Timestamp::MAX)?;
    if !has_others(writing, seq)? {
        if conversation.trashed_at.is_none() {
            trash(writing, seq, now)?;
        }
        return mark_purging(writing, seq, Timestamp::MAX).map(drop);
    }
    if conversation.trashed_at.is_none() && is_all_trashed(writing.tables(), seq)? {
        return trash_together(writing, seq, now);
    }
    Ok(())
}

/// Whether a conversation has recordings that are not being removed for good.
fn has_others(writing: &WriteTxn<'_>, seq: ConversationSeq) -> Result<bool, IndexError> {
    let recordings = writing.tables().open_table(RECORDINGS)?;
    let purging = writing.tables().open_table(PURGING)?;
    for row in recordings.range((seq.0, 0, 0)..=(seq.0, u32::MAX, u16::MAX))? {
        if purging.get(row?.0.value())?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}
