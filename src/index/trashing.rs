//! Changes that move recordings into the trash and out of it, and that hide pages.

use jiff::{SignedDuration, Timestamp};
use redb::ReadableTable;

use crate::index::conversations::{known, trash};
use crate::index::filing::{at, at_even_purging, file, forget};
use crate::index::placing::remove_copy;
use crate::index::tables::{
    DAYS, DayRow, PURGING, RECORDINGS, RecordingKey, TRASHED, day_key, encoded, recording_key,
    row_at,
};
use crate::index::trash_rows::{forget_row, is_all_trashed, is_shown, leave};
use crate::index::writer::WriteTxn;
use crate::index::{Change, IndexError, PageWork, PagesDue, pages_due};
use crate::model::{ConversationSeq, Day, FileName, Recording, RecordingId};

/// `rm -r` removes one recording after the other: what was removed so shortly before the last one comes back with
/// the conversation. What was removed earlier was another decision, and stays by itself in the trash.
const TOGETHER: SignedDuration = SignedDuration::from_hours(1);

pub(crate) fn trash_recording(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
    now: Timestamp,
) -> Result<(), IndexError> {
    let (conversation, mut recording) = at(writing.tables(), id)?;
    if conversation.trashed_at.is_some() || recording.overlay.trashed_at.is_some() {
        return Ok(());
    }
    recording.overlay.trashed_at = Some(now);
    recording.overlay.hidden.clear();
    file(writing, &conversation, &recording, None)?;
    if is_all_trashed(writing.tables(), id.conversation)? {
        return trash_together(writing, id.conversation, now);
    }
    let last_of_day = !is_shown(writing.tables(), day_key(id.conversation, id.day))?;
    pages_due::owe(writing, PagesDue::Recording(id), PageWork::Render)?;
    if last_of_day {
        // It comes back with the recording.
        show_transcript(writing, id.conversation, id.day, true)?;
    } else {
        pages_due::owe(writing, PagesDue::Day(id.conversation, id.day), PageWork::Render)?;
    }
    writing.tell(Change::RecordingMoved { recording: Box::new(recording), with_day: last_of_day });
    Ok(())
}

/// The conversation, and as parts of it the recordings that were removed just before.
pub(crate) fn trash_together(
    writing: &mut WriteTxn<'_>,
    seq: ConversationSeq,
    now: Timestamp,
) -> Result<(), IndexError> {
    let conversation = known(writing.tables(), seq)?;
    let keys: Vec<RecordingKey> = {
        let table = writing.tables().open_table(TRASHED)?;
        let all = (seq.0, 0, 1)..=(seq.0, u32::MAX, u16::MAX);
        table.range(all)?.map(|row| Ok(row?.0.value())).collect::<Result<_, IndexError>>()?
    };
    for key in keys.into_iter().filter(|key| key.2 != 0) {
        let row: Option<Recording> = row_at(&writing.tables().open_table(RECORDINGS)?, key)?;
        let Some(mut recording) = row else { continue };
        let is_recent = |at: Timestamp| now.duration_since(at).abs() <= TOGETHER;
        if recording.overlay.trashed_at.is_some_and(is_recent) {
            recording.overlay.trashed_at = None;
            file(writing, &conversation, &recording, None)?;
            show_transcript(writing, seq, recording.id.day, true)?;
            // Listings of its day may have been without it.
            let recording = Box::new(recording);
            writing.tell(Change::RecordingMoved { recording, with_day: true });
        }
    }
    trash(writing, seq, now)
}

pub(crate) fn restore_recording(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
) -> Result<(), IndexError> {
    let (conversation, mut recording) = at(writing.tables(), id)?;
    if conversation.trashed_at.is_some() {
        return Err(IndexError::NoConversation);
    }
    if recording.overlay.trashed_at.take().is_none() {
        return Ok(());
    }
    let with_day = !is_shown(writing.tables(), day_key(id.conversation, id.day))?;
    file(writing, &conversation, &recording, None)?;
    pages_due::owe(writing, PagesDue::Recording(id), PageWork::Render)?;
    pages_due::owe(writing, PagesDue::Day(id.conversation, id.day), PageWork::Render)?;
    writing.tell(Change::RecordingMoved { recording: Box::new(recording), with_day });
    Ok(())
}

/// Changes what the user said about a recording. `change` reports whether there is a difference.
pub(crate) fn overlay(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
    change: impl FnOnce(&mut Recording) -> bool,
) -> Result<(), IndexError> {
    let (conversation, mut recording) = at(writing.tables(), id)?;
    if !change(&mut recording) {
        return Ok(());
    }
    file(writing, &conversation, &recording, None)?;
    pages_due::owe(writing, PagesDue::Recording(id), PageWork::Render)?;
    writing.tell(Change::Replaced { recording: Box::new(recording) });
    Ok(())
}

pub(crate) fn show_transcript(
    writing: &mut WriteTxn<'_>,
    seq: ConversationSeq,
    day: Day,
    is_shown: bool,
) -> Result<(), IndexError> {
    let key = day_key(seq, day);
    let row: Option<DayRow> = row_at(&writing.tables().open_table(DAYS)?, key)?;
    let Some(mut row) = row.filter(|row| row.hides_transcript == is_shown) else { return Ok(()) };
    row.hides_transcript = !is_shown;
    writing.begin().open_table(DAYS)?.insert(key, encoded(&row)?.as_slice())?;
    writing.tell(Change::DayTranscript { conversation: seq, day });
    Ok(())
}

/// Takes a recording of the trash that has been there since before `limit` out of everybody's sight.
pub(crate) fn begin_purge(
    writing: &mut WriteTxn<'_>,
    key: RecordingKey,
    limit: Timestamp,
) -> Result<(), IndexError> {
    let row: Option<Recording> = row_at(&writing.tables().open_table(RECORDINGS)?, key)?;
    let is_old = |it: &Recording| it.overlay.trashed_at.is_some_and(|at| at <= limit);
    let Some(recording) = row.filter(is_old) else { return Ok(()) };
    writing.note_purge(&recording);
    let tables = writing.begin();
    tables.open_table(PURGING)?.insert(key, ())?;
    if let Some(name) = leave(tables, key)?.and_then(FileName::new) {
        writing.tell(Change::Purging { name });
    }
    Ok(())
}

/// Removes the row of a recording that is being removed for good; whether its day has no other.
pub(crate) fn purge(writing: &mut WriteTxn<'_>, id: RecordingId) -> Result<bool, IndexError> {
    let (_, recording) = at_even_purging(writing.tables(), id)?;
    let (key, day) = (recording_key(id), day_key(id.conversation, id.day));
    let tables = writing.begin();
    forget(tables, &recording)?;
    remove_copy(tables, key)?;
    let mut recordings = tables.open_table(RECORDINGS)?;
    recordings.remove(key)?;
    let is_last = recordings.range((key.0, key.1, 0)..=(key.0, key.1, u16::MAX))?.next().is_none();
    drop(recordings);
    forget_row(tables, &recording)?;
    pages_due::forget_recording(tables, id, is_last)?;
    let mut days = tables.open_table(DAYS)?;
    let row: Option<DayRow> = row_at(&days, day)?;
    if let Some(row) = row.filter(|_| is_last) {
        // The row stays: it knows the numbers that were given out.
        days.insert(day, encoded(&DayRow { transcript: None, ..row })?.as_slice())?;
    }
    Ok(is_last)
}
