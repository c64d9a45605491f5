//! Changes to recordings and days, and to the sums over them.

use redb::{ReadableTable, WriteTransaction};

use crate::index::conversations::{present, remove, save_sums, sums_of};
use crate::index::following::{adopt, forget_followed};
use crate::index::same_audio::{add_audio, remove_audio};
use crate::index::tables::{
    ARCHIVED, AUDIO, CLAIMS, CONDEMNED, CONVERSATIONS, COPIED, COPIES, DAYS, DayKey, DayRow, EMPTY,
    EVERYTHING, KEY_STEMS, NAMES, NEWEST, NOTES, PAGES_DUE, PREFIXES, PURGING, RECORDINGS,
    REMOVALS_DUE, RESERVED_KEYS, RecordingKey, SAME_AUDIO, SHOWN, STEMS, SUMS, Sums, TRASH,
    TRASH_NAMES, TRASHED, TRASHED_SEEN, UNPLACED, UPLOADS, VERIFIED, WISHES, day_key, encoded,
    recording_key, row_at,
};
use crate::index::trash_rows::{follow_row, forget_row, is_shown};
use crate::index::writer::WriteTxn;
use crate::index::{
    Change, DayText, IndexError, PageWork, PagesDue, RemovalDue, newest, pages_due, placing,
    removals_due,
};
use crate::model::{Conversation, DayTranscript, Destination, Placement, Recording, RecordingId};

pub(crate) fn publish(
    writing: &mut WriteTxn<'_>,
    recording: Recording,
    text: DayText,
) -> Result<(), IndexError> {
    let conversation = present(writing.tables(), recording.id.conversation)?;
    let work = text.work();
    let filed = file(writing, &conversation, &recording, text.into_transcript())?;
    let (conversation, day) = (recording.id.conversation, recording.id.day);
    pages_due::owe(writing, PagesDue::Day(conversation, day), work)?;
    show_again(writing.begin(), day_key(conversation, day))?;
    tell_filed(writing, recording, &filed);
    writing.tell(Change::DayTranscript { conversation, day });
    Ok(())
}

/// A transcript that its reader has removed is written again with the next recording of the day.
fn show_again(tables: &WriteTransaction, day: DayKey) -> Result<(), IndexError> {
    let mut days = tables.open_table(DAYS)?;
    let row: Option<DayRow> = row_at(&days, day)?;
    if let Some(mut row) = row.filter(|row| row.hides_transcript) {
        row.hides_transcript = false;
        days.insert(day, encoded(&row)?.as_slice())?;
    }
    Ok(())
}

fn tell_filed(writing: &mut WriteTxn<'_>, recording: Recording, filed: &Filed) {
    let recording = Box::new(recording);
    let Filed { is_new, new_conversation, new_day } = *filed;
    writing.tell(if is_new {
        Change::Published { recording, new_conversation, new_day }
    } else {
        Change::Replaced { recording }
    });
}

/// The row as the store's metadata tells it, in a conversation like the one told. What is known already is
/// neither written nor told of. The number that it has here.
pub(crate) fn adopt_recording(
    writing: &mut WriteTxn<'_>,
    told: &Conversation,
    mut recording: Recording,
    mut transcript: DayTranscript,
) -> Result<RecordingId, IndexError> {
    let conversation = adopt(writing, told)?;
    let (seq, day) = (conversation.seq, recording.id.day);
    let stem = (seq.0, day.number(), recording.stem.as_bytes());
    let known = writing.tables().open_table(STEMS)?.get(stem)?.map(|number| number.value());
    let row: DayRow =
        row_at(&writing.tables().open_table(DAYS)?, day_key(seq, day))?.unwrap_or_default();
    let told_id = RecordingId { conversation: seq, ..recording.id };
    let is_used = writing.tables().open_table(RECORDINGS)?.get(recording_key(told_id))?.is_some();
    let number = match known {
        Some(number) => number,
        None if is_used || told_id.number == 0 => row.last_number + 1,
        None => told_id.number,
    };
    if RecordingId::MAX_NUMBER < number {
        return Err(IndexError::NumbersExhausted);
    }
    recording.id = RecordingId { number, ..told_id };
    transcript.conversation = seq;
    // Each recording's metadata names the transcript of its own time: the newest one stands.
    let is_news = row.transcript.is_none_or(|standing| {
        standing != transcript && standing.modified_at <= transcript.modified_at
    });
    let known = row_at(&writing.tables().open_table(RECORDINGS)?, recording_key(recording.id))?;
    let id = recording.id;
    if known.as_ref() == Some(&recording) && !is_news {
        return Ok(id);
    }
    let filed = file(writing, &conversation, &recording, is_news.then_some(transcript))?;
    tell_filed(writing, recording, &filed);
    if is_news {
        writing.tell(Change::DayTranscript { conversation: seq, day });
    }
    Ok(id)
}

/// Removes the row, and its day's and its conversation's with it if they have no other.
pub(crate) fn forget_recording(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
) -> Result<(), IndexError> {
    let (conversation, recording) = at_even_purging(writing.tables(), id)?;
    let (day, key) = (day_key(id.conversation, id.day), recording_key(id));
    let tables = writing.begin();
    forget(tables, &recording)?;
    tables.open_table(RECORDINGS)?.remove(key)?;
    forget_row(tables, &recording)?;
    let recordings = tables.open_table(RECORDINGS)?;
    let last_of_day =
        recordings.range((day.0, day.1, 0)..=(day.0, day.1, u16::MAX))?.next().is_none();
    pages_due::forget_recording(tables, id, last_of_day)?;
    // Others may be in the trash by themselves.
    let is_day_gone = last_of_day || !is_shown(tables, day)?;
    let mut days = tables.open_table(DAYS)?;
    if last_of_day {
        days.remove(day)?;
        newest::forget(tables, day)?;
    }
    let last_of_conversation = days.range((day.0, 0)..=(day.0, u32::MAX))?.next().is_none();
    let gone = Sums { conversations: u64::from(last_of_conversation), ..sums(&recording) };
    let everything = conversation.trashed_at.is_none().then_some(EVERYTHING);
    for row in std::iter::once(day.0).chain(everything) {
        save_sums(tables, row, sums_of(tables, row)?.minus(gone))?;
    }
    if last_of_conversation {
        remove(tables, &conversation)?;
    }
    let (recording, conversation) = (Box::new(recording), Box::new(conversation));
    writing.tell(Change::Removed {
        recording,
        conversation,
        last_of_day: is_day_gone,
        last_of_conversation,
    });
    Ok(())
}

/// The row with new pages. Where its audio is and how far it is on its way is told by the row that is there:
/// whoever wrote the pages may have read an older one.
pub(crate) fn replace(
    writing: &mut WriteTxn<'_>,
    mut recording: Recording,
    text: DayText,
) -> Result<(), IndexError> {
    let (conversation, standing) = at(writing.tables(), recording.id)?;
    let belongs_here = placing::destination(writing.tables())? == Destination::Here;
    recording.placement =
        if belongs_here { standing.placement } else { standing.placement.rewritten() };
    let work = text.work();
    file(writing, &conversation, &recording, text.into_transcript())?;
    let (conversation, day) = (recording.id.conversation, recording.id.day);
    pages_due::owe(writing, PagesDue::Recording(recording.id), PageWork::Install)?;
    pages_due::owe(writing, PagesDue::Day(conversation, day), work)?;
    writing.tell(Change::Replaced { recording: Box::new(recording) });
    writing.tell(Change::DayTranscript { conversation, day });
    Ok(())
}

/// The row under another stem, with other keys. Whoever shows names takes the old ones for gone and the new ones
/// for new. All of it is yet to be brought to where it belongs, and what is left under the old keys to be removed.
pub(crate) fn rename_recording(
    writing: &mut WriteTxn<'_>,
    mut recording: Recording,
    text: DayText,
) -> Result<(), IndexError> {
    let (conversation, old) = at(writing.tables(), recording.id)?;
    recording.placement = placing::destination(writing.tables())?.first_placement();
    let work = text.work();
    file(writing, &conversation, &recording, text.into_transcript())?;
    let tables = writing.begin();
    // It was counted with its old keys; the new ones have not been in the bucket yet.
    placing::remove_copy(tables, recording_key(recording.id))?;
    let is_in_bucket = recording.placement != Placement::Stored;
    removals_due::owe(tables, &RemovalDue { recording: old.clone(), is_here: true, is_in_bucket })?;
    let (seq, day) = (recording.id.conversation, recording.id.day);
    pages_due::owe(writing, PagesDue::Day(seq, day), work)?;
    writing.tell(Change::Removed {
        recording: Box::new(old),
        conversation: Box::new(conversation),
        last_of_day: false,
        last_of_conversation: false,
    });
    let recording = Box::new(recording);
    writing.tell(Change::Published { recording, new_conversation: false, new_day: false });
    writing.tell(Change::DayTranscript { conversation: seq, day });
    Ok(())
}

pub(crate) fn clear(writing: &mut WriteTxn<'_>) -> Result<(), IndexError> {
    let tables = writing.begin();
    tables.delete_table(CONVERSATIONS)?;
    tables.delete_table(NAMES)?;
    tables.delete_table(PREFIXES)?;
    tables.delete_table(TRASH)?;
    tables.delete_table(EMPTY)?;
    tables.delete_table(SUMS)?;
    tables.delete_table(DAYS)?;
    tables.delete_table(RECORDINGS)?;
    tables.delete_table(STEMS)?;
    tables.delete_table(KEY_STEMS)?;
    tables.delete_table(AUDIO)?;
    tables.delete_table(SAME_AUDIO)?;
    tables.delete_table(UNPLACED)?;
    tables.delete_table(COPIES)?;
    tables.delete_table(COPIED)?;
    tables.delete_table(ARCHIVED)?;
    tables.delete_table(VERIFIED)?;
    tables.delete_table(CONDEMNED)?;
    tables.delete_table(WISHES)?;
    tables.delete_table(PAGES_DUE)?;
    tables.delete_table(RESERVED_KEYS)?;
    tables.delete_table(TRASHED)?;
    tables.delete_table(TRASH_NAMES)?;
    tables.delete_table(PURGING)?;
    tables.delete_table(SHOWN)?;
    tables.delete_table(TRASHED_SEEN)?;
    tables.delete_table(NEWEST)?;
    make_tables(tables)?;
    forget_followed(tables)?;
    placing::forget_copied_bytes(tables)
}

/// Questions expect every table to be there. Uploads and notes outlive what is cleared.
pub(crate) fn make_tables(tables: &WriteTransaction) -> Result<(), IndexError> {
    tables.open_table(CONVERSATIONS)?;
    tables.open_table(NAMES)?;
    tables.open_table(PREFIXES)?;
    tables.open_table(TRASH)?;
    tables.open_table(EMPTY)?;
    tables.open_table(SUMS)?;
    tables.open_table(DAYS)?;
    tables.open_table(RECORDINGS)?;
    tables.open_table(STEMS)?;
    tables.open_table(AUDIO)?;
    tables.open_table(SAME_AUDIO)?;
    tables.open_table(UNPLACED)?;
    tables.open_table(COPIES)?;
    tables.open_table(COPIED)?;
    tables.open_table(UPLOADS)?;
    tables.open_table(CONDEMNED)?;
    tables.open_table(NOTES)?;
    tables.open_table(PAGES_DUE)?;
    tables.open_table(RESERVED_KEYS)?;
    tables.open_table(TRASHED)?;
    tables.open_table(TRASH_NAMES)?;
    tables.open_table(PURGING)?;
    tables.open_table(SHOWN)?;
    tables.open_table(TRASHED_SEEN)?;
    tables.open_table(NEWEST)?;
    tables.open_table(REMOVALS_DUE)?;
    Ok(())
}

/// The row, also in the trash, but not of what is being removed for good.
pub(crate) fn at(
    tables: &WriteTransaction,
    id: RecordingId,
) -> Result<(Conversation, Recording), IndexError> {
    if tables.open_table(PURGING)?.get(recording_key(id))?.is_some() {
        return Err(IndexError::NoConversation);
    }
    at_even_purging(tables, id)
}

/// The same of a recording that is being removed for good, too.
pub(crate) fn at_even_purging(
    tables: &WriteTransaction,
    id: RecordingId,
) -> Result<(Conversation, Recording), IndexError> {
    if tables.open_table(CONDEMNED)?.get(id.conversation.0)?.is_some() {
        return Err(IndexError::NoConversation);
    }
    let recording = row_at(&tables.open_table(RECORDINGS)?, recording_key(id))?;
    let conversation = row_at(&tables.open_table(CONVERSATIONS)?, id.conversation.0)?;
    conversation.zip(recording).ok_or(IndexError::NoConversation)
}

/// What was new about a recording.
pub(crate) struct Filed {
    is_new: bool,
    new_conversation: bool,
    new_day: bool,
}

/// Writes a recording's row and everything that leads to it; in place of the row that was there.
pub(crate) fn file(
    writing: &mut WriteTxn<'_>,
    conversation: &Conversation,
    recording: &Recording,
    transcript: Option<DayTranscript>,
) -> Result<Filed, IndexError> {
    let (id, key) = (recording.id, recording_key(recording.id));
    let (day, stem) = (day_key(id.conversation, id.day), recording.stem.as_bytes());
    let tables = writing.tables();
    let old: Option<Recording> = row_at(&tables.open_table(RECORDINGS)?, key)?;
    let day_row: Option<DayRow> = row_at(&tables.open_table(DAYS)?, day)?;
    let stem_owner = tables.open_table(STEMS)?.get((day.0, day.1, stem))?.map(|row| row.value());
    if stem_owner.is_some_and(|number| number != id.number) {
        return Err(IndexError::StemTaken(recording.stem.clone()));
    }
    let new_conversation = tables.open_table(EMPTY)?.get(day.0)?.is_some();
    let is_trashed = recording.overlay.trashed_at.is_some();
    let new_day = !is_shown(tables, day)? && !is_trashed;
    let filed = Filed { is_new: old.is_none(), new_conversation, new_day };

    let tables = writing.begin();
    if let Some(old) = &old {
        forget(tables, old)?;
    }
    tables.open_table(RECORDINGS)?.insert(key, encoded(recording)?.as_slice())?;
    tables.open_table(CLAIMS)?.remove(recording.audio.key.as_str())?;
    tables.open_table(STEMS)?.insert((day.0, day.1, stem), id.number)?;
    follow_row(tables, conversation, old.as_ref(), recording)?;
    let key_stem = recording.audio.key.stem().as_bytes();
    if key_stem != stem {
        tables.open_table(KEY_STEMS)?.insert((day.0, day.1, key_stem), id.number)?;
    }
    add_audio(tables, recording)?;
    if recording.placement != Placement::Stored {
        tables.open_table(UNPLACED)?.insert(pending_upload_key(recording), ())?;
    }
    if let Some(upload_id) = recording.placement.upload_id() {
        tables.open_table(UPLOADS)?.insert(upload_id, recording.audio.key.as_str())?;
    }
    let mut day_row = day_row.unwrap_or_default();
    day_row.last_number = day_row.last_number.max(id.number);
    day_row.transcript = transcript.or(day_row.transcript);
    tables.open_table(DAYS)?.insert(day, encoded(&day_row)?.as_slice())?;
    newest::note(tables, day, recording.published_at)?;
    if filed.new_conversation {
        tables.open_table(EMPTY)?.remove(day.0)?;
    }
    let first = Sums { conversations: u64::from(filed.new_conversation), ..Sums::default() };
    let (gone, come) = (old.as_ref().map(sums).unwrap_or_default(), sums(recording).plus(first));
    let everything = conversation.trashed_at.is_none().then_some(EVERYTHING);
    for row in std::iter::once(day.0).chain(everything) {
        save_sums(tables, row, sums_of(tables, row)?.plus(come).minus(gone))?;
    }
    Ok(filed)
}

/// Removes what leads to a row that is about to be replaced or removed.
pub(crate) fn forget(tables: &WriteTransaction, old: &Recording) -> Result<(), IndexError> {
    let key = recording_key(old.id);
    tables.open_table(UNPLACED)?.remove(pending_upload_key(old))?;
    tables.open_table(STEMS)?.remove((key.0, key.1, old.stem.as_bytes()))?;
    tables.open_table(KEY_STEMS)?.remove((key.0, key.1, old.audio.key.stem().as_bytes()))?;
    remove_audio(tables, old)
}

pub(crate) fn pending_upload_key(recording: &Recording) -> (i64, RecordingKey) {
    (recording.published_at.as_microsecond(), recording_key(recording.id))
}

fn sums(recording: &Recording) -> Sums {
    let (pending, paused) = match recording.placement {
        Placement::Local | Placement::Uploading { .. } | Placement::PagesChanged => (1, 0),
        Placement::Paused { .. } => (0, 1),
        Placement::Stored => (0, 0),
    };
    let audio_bytes = recording.audio.bytes;
    if recording.overlay.trashed_at.is_some() {
        return Sums::default();
    }
    Sums { conversations: 0, recordings: 1, audio_bytes, pending, paused }
}
