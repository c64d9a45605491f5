//! Rows of the trash: which name leads to what, and how many recordings of a day are not in it.

use redb::{ReadableTable, WriteTransaction};

use crate::index::IndexError;
use crate::index::numbering::first_free;
use crate::index::tables::{
    CONVERSATIONS, DAYS, DayKey, PURGING, RECORDINGS, RecordingKey, SHOWN, TRASH, TRASH_NAMES,
    TRASHED, recording_key, row_at,
};
use crate::model::{Conversation, ConversationSeq, Recording};

/// Longest part of a name in the trash that is taken from the name of a recording.
const NAME_BYTES: usize = 160;

/// Keeps the trash true to a row that has just been written in place of `old`.
pub(crate) fn follow_row(
    tables: &WriteTransaction,
    conversation: &Conversation,
    old: Option<&Recording>,
    new: &Recording,
) -> Result<(), IndexError> {
    let key = recording_key(new.id);
    let was_shown = old.is_some_and(|old| old.overlay.trashed_at.is_none());
    let is_shown = new.overlay.trashed_at.is_none();
    // What is being removed for good has left already, and nobody sees it again.
    let is_purging = tables.open_table(PURGING)?.get(key)?.is_some();
    if is_shown {
        leave(tables, key)?;
    } else if !is_purging {
        let name = name_in_trash(conversation, new);
        enter(tables, key, &name)?;
    }
    let more = i32::from(is_shown) - i32::from(was_shown);
    if more != 0 || !is_shown {
        count(tables, (key.0, key.1), !is_shown, more)?;
    }
    Ok(())
}

/// Keeps the trash true to a row that has just been removed.
pub(crate) fn forget_row(tables: &WriteTransaction, old: &Recording) -> Result<(), IndexError> {
    let key = recording_key(old.id);
    leave(tables, key)?;
    tables.open_table(PURGING)?.remove(key)?;
    if old.overlay.trashed_at.is_none() {
        count(tables, (key.0, key.1), false, -1)?;
    }
    Ok(())
}

/// A conversation and all that was in the trash of it are gone for good.
pub(crate) fn forget_conversation(
    tables: &WriteTransaction,
    seq: ConversationSeq,
) -> Result<(), IndexError> {
    let all = (seq.0, 0, 0)..=(seq.0, u32::MAX, u16::MAX);
    let mut names = tables.open_table(TRASH_NAMES)?;
    for row in tables.open_table(TRASHED)?.extract_from_if(all.clone(), |_, _| true)? {
        names.remove(row?.1.value())?;
    }
    tables.open_table(PURGING)?.retain_in(all, |_, ()| false)?;
    Ok(tables.open_table(SHOWN)?.retain_in((seq.0, 0)..=(seq.0, u32::MAX), |_, _| false)?)
}

/// Gives a conversation that goes into the trash a name there.
pub(crate) fn enter_conversation(
    tables: &WriteTransaction,
    conversation: &Conversation,
) -> Result<(), IndexError> {
    enter(tables, (conversation.seq.0, 0, 0), &conversation.id.name())
}

pub(crate) fn leave_conversation(
    tables: &WriteTransaction,
    seq: ConversationSeq,
) -> Result<(), IndexError> {
    leave(tables, (seq.0, 0, 0)).map(drop)
}

/// Names for what an index of an earlier version has in its trash.
pub(crate) fn name_all(tables: &WriteTransaction) -> Result<(), IndexError> {
    let mut found: Vec<Conversation> = Vec::new();
    for row in tables.open_table(TRASH)?.iter()? {
        found.extend(row_at(&tables.open_table(CONVERSATIONS)?, row?.0.value())?);
    }
    found.iter().try_for_each(|conversation| enter_conversation(tables, conversation))
}

/// `wanted`, or with a number where something else in the trash is called so. It stays until it leaves.
fn enter(tables: &WriteTransaction, key: RecordingKey, wanted: &[u8]) -> Result<(), IndexError> {
    let (mut names, mut trashed) = (tables.open_table(TRASH_NAMES)?, tables.open_table(TRASHED)?);
    if trashed.get(key)?.is_some() {
        return Ok(());
    }
    let name = first_free(&|number| {
        let name = match number {
            1 => wanted.to_vec(),
            number => [wanted, format!("-{number}").as_bytes()].concat(),
        };
        Ok(names.get(name.as_slice())?.is_none().then_some(name))
    })?;
    let name = name.ok_or(IndexError::NumbersExhausted)?;
    names.insert(name.as_slice(), key)?;
    trashed.insert(key, name.as_slice())?;
    Ok(())
}

/// Takes it out; the name that it had.
pub(crate) fn leave(
    tables: &WriteTransaction,
    key: RecordingKey,
) -> Result<Option<Vec<u8>>, IndexError> {
    let name = tables.open_table(TRASHED)?.remove(key)?.map(|name| name.value().to_vec());
    if let Some(name) = &name {
        tables.open_table(TRASH_NAMES)?.remove(name.as_slice())?;
    }
    Ok(name)
}

/// `standup 2024-01-15 monday.wav`: says where it comes from.
fn name_in_trash(conversation: &Conversation, recording: &Recording) -> Vec<u8> {
    let name = recording.audio_name.as_bytes();
    let name = &name[name.len().saturating_sub(NAME_BYTES)..];
    let day = format!(" {} ", recording.id.day);
    [&conversation.id.name()[..], day.as_bytes(), name].concat()
}

/// Counts recordings of a day outside the trash. A day that never had one in it has no row.
fn count(
    tables: &WriteTransaction,
    day: DayKey,
    may_begin: bool,
    more: i32,
) -> Result<(), IndexError> {
    let all = (day.0, day.1, 1)..=(day.0, day.1, u16::MAX);
    let mut shown = tables.open_table(SHOWN)?;
    let standing = shown.get(day)?.map(|count| count.value());
    let count = match standing {
        Some(standing) => standing.saturating_add_signed(more),
        None if may_begin => {
            let recordings = tables.open_table(RECORDINGS)?.range(all.clone())?.count();
            let trashed = tables.open_table(TRASHED)?.range(all)?.count();
            u32::try_from(recordings.saturating_sub(trashed)).unwrap_or(u32::MAX)
        }
        None => return Ok(()),
    };
    shown.insert(day, count)?;
    Ok(())
}

pub(crate) fn is_shown(tables: &WriteTransaction, day: DayKey) -> Result<bool, IndexError> {
    let has_row = tables.open_table(DAYS)?.get(day)?.is_some();
    Ok(has_row && tables.open_table(SHOWN)?.get(day)?.is_none_or(|count| count.value() != 0))
}

pub(crate) fn is_all_trashed(
    tables: &WriteTransaction,
    seq: ConversationSeq,
) -> Result<bool, IndexError> {
    let shown = tables.open_table(SHOWN)?;
    for row in tables.open_table(DAYS)?.range((seq.0, 0)..=(seq.0, u32::MAX))? {
        let day = row?.0.value();
        if shown.get(day)?.is_none_or(|count| count.value() != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}
