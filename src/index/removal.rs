//! Removing a conversation of the trash for good: first nobody sees it any more, then its objects go (that is
//! not done here), and its rows go last.

use jiff::Timestamp;
use redb::ReadableTable;

use crate::index::filing::forget;
use crate::index::placing::remove_copy;
use crate::index::tables::{
    CONDEMNED, CONVERSATIONS, DAYS, EMPTY, PREFIXES, RECORDINGS, SUMS, TRASH, TRASHED, decoded,
    recording_key, row_at,
};
use crate::index::trash_rows::forget_conversation;
use crate::index::writer::WriteTxn;
use crate::index::{Change, IndexError, newest, pages_due};
use crate::model::{Conversation, ConversationSeq, FileName, Key, Recording};

/// Takes a conversation that was trashed before `limit` out of everybody's sight. `false`: it is none.
pub(crate) fn mark_purging(
    writing: &mut WriteTxn<'_>,
    seq: ConversationSeq,
    limit: Timestamp,
) -> Result<bool, IndexError> {
    let row: Option<Conversation> = row_at(&writing.tables().open_table(CONVERSATIONS)?, seq.0)?;
    let trashed_at = row.and_then(|conversation| conversation.trashed_at);
    if trashed_at.is_none_or(|at| limit < at) {
        return Ok(false);
    }
    let entry: Option<Vec<u8>> = {
        let trashed = writing.tables().open_table(TRASHED)?;
        trashed.get((seq.0, 0, 0))?.map(|name| name.value().to_vec())
    };
    rows_of(writing, seq)?.iter().for_each(|recording| writing.note_purge(recording));
    writing.begin().open_table(CONDEMNED)?.insert(seq.0, ())?;
    if let Some(name) = entry.and_then(FileName::new) {
        writing.tell(Change::Purging { name });
    }
    Ok(true)
}

fn rows_of(writing: &WriteTxn<'_>, seq: ConversationSeq) -> Result<Vec<Recording>, IndexError> {
    let recordings = writing.tables().open_table(RECORDINGS)?;
    let rows = recordings.range((seq.0, 0, 0)..=(seq.0, u32::MAX, u16::MAX))?;
    rows.map(|row| decoded(row?.1.value())).collect()
}

/// Removes the rows of a condemned conversation. Its number is never used again.
pub(crate) fn remove(writing: &mut WriteTxn<'_>, seq: ConversationSeq) -> Result<(), IndexError> {
    let tables = writing.tables();
    let row = row_at(&tables.open_table(CONVERSATIONS)?, seq.0)?;
    let is_condemned = tables.open_table(CONDEMNED)?.get(seq.0)?.is_some();
    let conversation: Conversation =
        row.filter(|_| is_condemned).ok_or(IndexError::NoConversation)?;
    let rows = rows_of(writing, seq)?;

    let tables = writing.begin();
    for recording in &rows {
        forget(tables, recording)?;
        remove_copy(tables, recording_key(recording.id))?;
        tables.open_table(RECORDINGS)?.remove(recording_key(recording.id))?;
    }
    pages_due::forget_conversation(tables, seq)?;
    forget_conversation(tables, seq)?;
    newest::forget_conversation(tables, seq)?;
    tables.open_table(DAYS)?.retain_in((seq.0, 0)..=(seq.0, u32::MAX), |_, _| false)?;
    let prefix = Key::conversation_prefix(&conversation.filed_as);
    tables.open_table(PREFIXES)?.remove(prefix.as_str())?;
    tables.open_table(SUMS)?.remove(seq.0)?;
    tables.open_table(EMPTY)?.remove(seq.0)?;
    tables.open_table(TRASH)?.remove(seq.0)?;
    tables.open_table(CONDEMNED)?.remove(seq.0)?;
    tables.open_table(CONVERSATIONS)?.remove(seq.0)?;
    Ok(())
}
