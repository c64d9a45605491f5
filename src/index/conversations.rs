//! Changes to conversations: made, renamed, put into the trash and taken out of it.

use jiff::Timestamp;
use redb::{ReadableTable, WriteTransaction};

use crate::index::placing::needs_remote_scan;
use crate::index::tables::{
    CONDEMNED, CONVERSATIONS, COUNTERS, EMPTY, EVERYTHING, NAMES, PREFIXES, SUMS, Sums, TRASH,
    WISHES, encoded, row_at,
};
use crate::index::trash_rows::{enter_conversation, forget_conversation, leave_conversation};
use crate::index::writer::WriteTxn;
use crate::index::{Change, IndexError, PageWork, PagesDue, pages_due};
use crate::model::{Conversation, ConversationId, ConversationSeq, Key};

/// The counter of conversations: the next number to give out.
pub(crate) const NEXT: &str = "next_conversation";

pub(crate) fn ensure(
    writing: &mut WriteTxn<'_>,
    id: &ConversationId,
    at: Timestamp,
    taken: &[ConversationId],
) -> Result<Conversation, IndexError> {
    let (conversation, is_new) = named_or_new(writing.tables(), id, at, taken)?;
    if is_new {
        add(writing.begin(), &conversation)?;
    }
    Ok(conversation)
}

/// The same, durable with the next change that is.
pub(crate) fn ensure_lazily(
    writing: &mut WriteTxn<'_>,
    id: &ConversationId,
    at: Timestamp,
    taken: &[ConversationId],
) -> Result<Conversation, IndexError> {
    let (conversation, is_new) = named_or_new(writing.tables(), id, at, taken)?;
    if is_new {
        add(writing.begin_lazily(), &conversation)?;
    }
    Ok(conversation)
}

/// The conversation of that name, or what it would be, and whether it is to be made.
fn named_or_new(
    tables: &WriteTransaction,
    id: &ConversationId,
    at: Timestamp,
    taken: &[ConversationId],
) -> Result<(Conversation, bool), IndexError> {
    let named = tables.open_table(NAMES)?.get(id.as_str())?.map(|seq| seq.value());
    if let Some(seq) = named {
        return Ok((present(tables, ConversationSeq(seq))?, false));
    }
    let conversation = Conversation {
        seq: next_seq(tables)?,
        id: id.clone(),
        filed_as: free_prefix(tables, id, at, taken)?,
        created_at: at,
        trashed_at: None,
    };
    Ok((conversation, true))
}

/// What [`ensure`] would file it under, and whether it could; `None` where it is there.
pub(crate) fn filing_id(
    tables: &WriteTransaction,
    id: &ConversationId,
    at: Timestamp,
    taken: &[ConversationId],
) -> Result<Option<ConversationId>, IndexError> {
    if tables.open_table(NAMES)?.get(id.as_str())?.is_some() {
        return Ok(None);
    }
    next_seq(tables)?;
    free_prefix(tables, id, at, taken).map(Some)
}

pub(crate) fn rename(
    writing: &mut WriteTxn<'_>,
    seq: ConversationSeq,
    to: &ConversationId,
) -> Result<(), IndexError> {
    let mut conversation = present(writing.tables(), seq)?;
    if conversation.id == *to {
        return Ok(());
    }
    refuse_taken(writing.tables(), to)?;
    let tables = writing.begin();
    let from = std::mem::replace(&mut conversation.id, to.clone());
    let mut names = tables.open_table(NAMES)?;
    names.remove(from.as_str())?;
    names.insert(to.as_str(), seq.0)?;
    tables.open_table(WISHES)?.remove(seq.0)?;
    save(tables, &conversation)?;
    pages_due::owe(writing, PagesDue::Conversation(seq), PageWork::Render)?;
    writing.tell(Change::Renamed { seq, from, to: to.clone() });
    Ok(())
}

pub(crate) fn trash(
    writing: &mut WriteTxn<'_>,
    seq: ConversationSeq,
    at: Timestamp,
) -> Result<(), IndexError> {
    let mut conversation = present(writing.tables(), seq)?;
    let sums = sums_of(writing.tables(), seq.0)?;
    let everything = sums_of(writing.tables(), EVERYTHING)?;
    let tables = writing.begin();
    conversation.trashed_at = Some(at);
    save(tables, &conversation)?;
    tables.open_table(NAMES)?.remove(conversation.id.as_str())?;
    tables.open_table(TRASH)?.insert(seq.0, ())?;
    enter_conversation(tables, &conversation)?;
    save_sums(tables, EVERYTHING, everything.minus(sums))?;
    pages_due::owe(writing, PagesDue::Conversation(seq), PageWork::Render)?;
    writing.tell(Change::Trashed { seq, id: conversation.id });
    Ok(())
}

pub(crate) fn restore(writing: &mut WriteTxn<'_>, seq: ConversationSeq) -> Result<(), IndexError> {
    let conversation = known(writing.tables(), seq)?;
    restore_as(writing, seq, &conversation.id)
}

/// Takes it out of the trash, under another name if it comes to that.
pub(crate) fn restore_as(
    writing: &mut WriteTxn<'_>,
    seq: ConversationSeq,
    id: &ConversationId,
) -> Result<(), IndexError> {
    let mut conversation = known(writing.tables(), seq)?;
    if conversation.trashed_at.is_none() {
        return Ok(());
    }
    // Some of its files may be gone already.
    if writing.tables().open_table(CONDEMNED)?.get(seq.0)?.is_some() {
        return Err(IndexError::NoConversation);
    }
    refuse_taken(writing.tables(), id)?;
    let sums = sums_of(writing.tables(), seq.0)?;
    let everything = sums_of(writing.tables(), EVERYTHING)?;
    let tables = writing.begin();
    conversation.trashed_at = None;
    let from = std::mem::replace(&mut conversation.id, id.clone());
    save(tables, &conversation)?;
    tables.open_table(NAMES)?.insert(id.as_str(), seq.0)?;
    tables.open_table(TRASH)?.remove(seq.0)?;
    leave_conversation(tables, seq)?;
    save_sums(tables, EVERYTHING, everything.plus(sums))?;
    pages_due::owe(writing, PagesDue::Conversation(seq), PageWork::Render)?;
    if from != *id {
        writing.tell(Change::Renamed { seq, from, to: id.clone() });
    }
    writing.tell(Change::Restored { seq, id: id.clone() });
    Ok(())
}

/// Removes all that leads to a conversation. Its number is never given to another.
pub(crate) fn remove(
    tables: &WriteTransaction,
    conversation: &Conversation,
) -> Result<(), IndexError> {
    let seq = conversation.seq.0;
    tables.open_table(CONVERSATIONS)?.remove(seq)?;
    let prefix = Key::conversation_prefix(&conversation.filed_as);
    tables.open_table(PREFIXES)?.remove(prefix.as_str())?;
    // In the trash it has no name, and another may have the one it had.
    match conversation.trashed_at {
        None => tables.open_table(NAMES)?.remove(conversation.id.as_str()).map(drop)?,
        Some(_) => tables.open_table(TRASH)?.remove(seq).map(drop)?,
    }
    forget_conversation(tables, conversation.seq)?;
    tables.open_table(EMPTY)?.remove(seq)?;
    tables.open_table(SUMS)?.remove(seq)?;
    tables.open_table(WISHES)?.remove(seq)?;
    Ok(())
}

/// The row, also in the trash.
pub(crate) fn known(
    tables: &WriteTransaction,
    seq: ConversationSeq,
) -> Result<Conversation, IndexError> {
    let row = row_at(&tables.open_table(CONVERSATIONS)?, seq.0)?;
    row.ok_or(IndexError::NoConversation)
}

/// The row, if it is there and not in the trash.
pub(crate) fn present(
    tables: &WriteTransaction,
    seq: ConversationSeq,
) -> Result<Conversation, IndexError> {
    let row: Option<Conversation> = row_at(&tables.open_table(CONVERSATIONS)?, seq.0)?;
    row.filter(|conversation| conversation.trashed_at.is_none()).ok_or(IndexError::NoConversation)
}

pub(crate) fn sums_of(tables: &WriteTransaction, seq: u32) -> Result<Sums, IndexError> {
    Ok(row_at(&tables.open_table(SUMS)?, seq)?.unwrap_or_default())
}

pub(crate) fn save_sums(tables: &WriteTransaction, seq: u32, sums: Sums) -> Result<(), IndexError> {
    tables.open_table(SUMS)?.insert(seq, encoded(&sums)?.as_slice())?;
    Ok(())
}

/// A new conversation, which nobody sees before it has a recording.
pub(crate) fn add(
    tables: &WriteTransaction,
    conversation: &Conversation,
) -> Result<(), IndexError> {
    let seq = conversation.seq.0;
    let prefix = Key::conversation_prefix(&conversation.filed_as);
    save(tables, conversation)?;
    tables.open_table(PREFIXES)?.insert(prefix.as_str(), seq)?;
    tables.open_table(EMPTY)?.insert(seq, ())?;
    match conversation.trashed_at {
        None => tables.open_table(NAMES)?.insert(conversation.id.as_str(), seq).map(drop)?,
        Some(_) => {
            tables.open_table(TRASH)?.insert(seq, ())?;
            enter_conversation(tables, conversation)?;
        }
    }
    let mut counters = tables.open_table(COUNTERS)?;
    let next = counters.get(NEXT)?.map_or(1, |next| next.value());
    counters.insert(NEXT, next.max(u64::from(seq) + 1))?;
    Ok(())
}

pub(crate) fn save(
    tables: &WriteTransaction,
    conversation: &Conversation,
) -> Result<(), IndexError> {
    let row = encoded(conversation)?;
    tables.open_table(CONVERSATIONS)?.insert(conversation.seq.0, row.as_slice())?;
    Ok(())
}

pub(crate) fn next_seq(tables: &WriteTransaction) -> Result<ConversationSeq, IndexError> {
    let next = tables.open_table(COUNTERS)?.get(NEXT)?.map_or(1, |next| next.value());
    let next = u32::try_from(next).map_err(|_| IndexError::NumbersExhausted)?;
    Some(ConversationSeq(next))
        .filter(|seq| *seq <= ConversationSeq::MAX)
        .ok_or(IndexError::NumbersExhausted)
}

fn refuse_taken(tables: &WriteTransaction, id: &ConversationId) -> Result<(), IndexError> {
    match tables.open_table(NAMES)?.get(id.as_str())? {
        Some(_) => Err(IndexError::NameTaken(id.clone())),
        None => Ok(()),
    }
}

/// An id for store keys that no other conversation has ever been filed under, also if that one has
/// been renamed since or is in the trash, and that is none of `taken`.
fn free_prefix(
    tables: &WriteTransaction,
    id: &ConversationId,
    at: Timestamp,
    taken: &[ConversationId],
) -> Result<ConversationId, IndexError> {
    let prefixes = tables.open_table(PREFIXES)?;
    let unique = needs_remote_scan(tables)?;
    let unique = unique.then(|| id.with_tail(&format!("-{}", at.as_microsecond())));
    for candidate in unique.as_ref().unwrap_or(id).numbered() {
        let candidate = Key::filing_id(&candidate);
        let is_known = prefixes.get(Key::conversation_prefix(&candidate).as_str())?.is_some();
        if !is_known && !taken.contains(&candidate) {
            return Ok(candidate);
        }
    }
    Err(IndexError::NumbersExhausted)
}
