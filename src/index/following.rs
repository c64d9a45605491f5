//! What another machine, or an index that was lost, has known: taken over from the store's metadata.
//!
//! Changes are heard one by one and names are unique, so a name may still be taken when it is told. The
//! conversation gets a number then, and its name as soon as that is free.

use jiff::Timestamp;
use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::index::conversations::{add, known, next_seq, present, rename, restore_as, save, trash};
use crate::index::failure::damaged;
use crate::index::queries::Snapshot;
use crate::index::tables::{CONVERSATIONS, NAMES, NOTES, PREFIXES, RECORDINGS, WISHES, decoded};
use crate::index::trash_rows::{enter_conversation, leave_conversation};
use crate::index::writer::WriteTxn;
use crate::index::{Change, Index, IndexError, filing, placing};
use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, Key, Object, PageKind,
    Recording, RecordingId,
};

/// The note that says how far this index follows a bucket.
pub(crate) const FOLLOWED: &str = "followed";

/// The note of a listing that is under way, and the one of when the last came to its end.
const SURVEYING: &str = "surveying";
const SURVEYED: &str = "surveyed_at";

/// How far a follower of a bucket has heard of its changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The last change heard of; `None`: there was none yet.
    pub place: Option<Key>,
    /// When the bucket was last asked, within the hour.
    pub asked_at: Timestamp,
}

/// A listing of the whole bucket that is under way, kept so that a restart need not begin it anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveying {
    /// Where to listen from when it is done.
    pub from: Followed,
    /// The last key that was listed and compared.
    pub after: String,
}

/// FollowerConfig a bucket that another machine writes to.
impl Index {
    /// How far this index follows a bucket; `None`: it has never been filled from one.
    pub fn followed(&self) -> Result<Option<Followed>, IndexError> {
        let note = self.note(FOLLOWED)?;
        note.map(|note| decoded(note.as_bytes())).transpose()
    }

    pub fn set_followed(&self, followed: &Followed) -> Result<(), IndexError> {
        self.set_note(FOLLOWED, &serde_json::to_string(followed).map_err(damaged)?)
    }

    /// Everything is to be looked at again.
    pub fn forget_followed(&self) -> Result<(), IndexError> {
        self.inner.writer.change(|writing| {
            placing::remove_note(writing, FOLLOWED)?;
            placing::remove_note(writing, SURVEYING)?;
            placing::remove_note(writing, SURVEYED)
        })
    }

    /// The listing that is under way.
    pub fn surveying(&self) -> Result<Option<Surveying>, IndexError> {
        let note = self.note(SURVEYING)?;
        note.map(|note| decoded(note.as_bytes())).transpose()
    }

    pub fn set_surveying(&self, surveying: &Surveying) -> Result<(), IndexError> {
        self.set_note(SURVEYING, &serde_json::to_string(surveying).map_err(damaged)?)
    }

    /// When the bucket was last listed to its end; `None`: never, as far as is known.
    pub fn surveyed_at(&self) -> Result<Option<Timestamp>, IndexError> {
        Ok(self.note(SURVEYED)?.and_then(|note| note.parse().ok()))
    }

    /// A listing has come to its end.
    pub fn end_survey(&self, at: Timestamp) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            placing::remove_note(writing, SURVEYING)?;
            placing::set_note(writing, SURVEYED, &at.to_string())
        })
    }

    /// Metadata pages that the index names behind `after` and up to `last`, in the order of their keys;
    /// `last` `None`: to the end.
    pub fn metadata_between(
        &self,
        after: &str,
        last: Option<&str>,
    ) -> Result<Vec<Object>, IndexError> {
        self.ask(|now| now.metadata_between(after, last))
    }

    /// The conversation and the day that a key is filed under, whether or not they are in the trash.
    pub fn day_at(&self, key: &Key) -> Result<Option<(ConversationSeq, Day)>, IndexError> {
        self.ask(|now| now.day_at(key))
    }

    /// The recording that has its audio or a page at that key, whether or not it is in the trash.
    pub fn filed_recording_at(&self, key: &Key) -> Result<Option<Recording>, IndexError> {
        self.ask(|now| now.filed_recording_at(key))
    }

    /// Recordings as another machine's metadata tells them, in one step: like [`Index::adopt`], and what is told
    /// of a conversation counts as well. A name that another still has is given as soon as it is free.
    pub fn follow(
        &self,
        told: Vec<(Conversation, Recording, DayTranscript)>,
    ) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            for (conversation, recording, transcript) in told {
                take_over(writing, &conversation)?;
                filing::adopt_recording(writing, &conversation, recording, transcript)?;
            }
            apply_requested_names(writing)
        })
    }

    /// Forgets a recording that is gone for good, and its day and its conversation if they have no other.
    /// Numbers of such a day begin anew; the conversation's is never used again.
    pub fn forget_recording(&self, id: RecordingId) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| filing::forget_recording(writing, id))
    }
}

/// A cleared index follows nothing yet.
pub(crate) fn forget_followed(tables: &WriteTransaction) -> Result<(), IndexError> {
    let mut notes = tables.open_table(NOTES)?;
    for note in [FOLLOWED, SURVEYING, SURVEYED] {
        notes.remove(note)?;
    }
    Ok(())
}

/// Makes a conversation that is here bear the name that was told, and be in the trash or not as told.
fn take_over(writing: &mut WriteTxn<'_>, told: &Conversation) -> Result<(), IndexError> {
    let Some(standing) = filed_as(writing.tables(), &told.filed_as)? else { return Ok(()) };
    let seq = standing.seq;
    match (standing.trashed_at, told.trashed_at) {
        (None, None) => {
            let name = free_name(writing.tables(), seq, &told.id)?;
            rename(writing, seq, &name)?;
        }
        (Some(_), None) => {
            let name = free_name(writing.tables(), seq, &told.id)?;
            restore_as(writing, seq, &name)?;
        }
        (None, Some(at)) => {
            trash(writing, seq, at)?;
            rename_in_trash(writing, told, seq)?;
        }
        (Some(_), Some(_)) => rename_in_trash(writing, told, seq)?,
    }
    let conversation = known(writing.tables(), seq)?;
    wish(writing, &conversation, &told.id)
}

/// Names in the trash may meet.
fn rename_in_trash(
    writing: &mut WriteTxn<'_>,
    told: &Conversation,
    seq: ConversationSeq,
) -> Result<(), IndexError> {
    let standing = known(writing.tables(), seq)?;
    if (&standing.id, standing.trashed_at) == (&told.id, told.trashed_at) {
        return Ok(());
    }
    let renamed =
        Conversation { id: told.id.clone(), trashed_at: told.trashed_at, ..standing.clone() };
    let tables = writing.begin();
    save(tables, &renamed)?;
    leave_conversation(tables, seq)?;
    enter_conversation(tables, &renamed)?;
    if standing.id != told.id {
        writing.tell(Change::Renamed { seq, from: standing.id, to: renamed.id });
    }
    Ok(())
}

/// Gives conversations the names that they were told to have, where those have become free. Changes are heard
/// one by one: of two that swap their names, the first one finds its new name taken.
fn apply_requested_names(writing: &mut WriteTxn<'_>) -> Result<(), IndexError> {
    let mut wishes = Vec::new();
    for row in writing.tables().open_table(WISHES)?.iter()? {
        let (seq, name) = row?;
        wishes.extend(ConversationId::new(name.value()).map(|name| (seq.value(), name)));
    }
    for (seq, name) in wishes {
        let is_free = writing.tables().open_table(NAMES)?.get(name.as_str())?.is_none();
        if is_free && present(writing.tables(), ConversationSeq(seq)).is_ok() {
            rename(writing, ConversationSeq(seq), &name)?;
        }
    }
    Ok(())
}

/// The conversation that has the store prefix of `told`, made just like it if there is none: its number
/// and its name are kept where they are free.
pub(crate) fn adopt(
    writing: &mut WriteTxn<'_>,
    told: &Conversation,
) -> Result<Conversation, IndexError> {
    let tables = writing.tables();
    if let Some(conversation) = filed_as(tables, &told.filed_as)? {
        return Ok(conversation);
    }
    let mut conversation = told.clone();
    let is_used = tables.open_table(CONVERSATIONS)?.get(told.seq.0)?.is_some();
    if is_used || told.seq.0 == 0 || ConversationSeq::MAX < told.seq {
        conversation.seq = next_seq(tables)?;
    }
    if told.trashed_at.is_none() {
        conversation.id = free_name(tables, conversation.seq, &told.id)?;
    }
    add(writing.begin(), &conversation)?;
    wish(writing, &conversation, &told.id)?;
    Ok(conversation)
}

/// The conversation whose keys are made of that id.
pub(crate) fn filed_as(
    tables: &WriteTransaction,
    id: &ConversationId,
) -> Result<Option<Conversation>, IndexError> {
    let prefix = Key::conversation_prefix(id);
    let seq = tables.open_table(PREFIXES)?.get(prefix.as_str())?.map(|seq| seq.value());
    seq.map(|seq| known(tables, ConversationSeq(seq))).transpose()
}

/// The name, numbered if another conversation than `seq` has it.
fn free_name(
    tables: &WriteTransaction,
    seq: ConversationSeq,
    wanted: &ConversationId,
) -> Result<ConversationId, IndexError> {
    let names = tables.open_table(NAMES)?;
    for name in wanted.numbered() {
        if names.get(name.as_str())?.is_none_or(|owner| owner.value() == seq.0) {
            return Ok(name);
        }
    }
    Err(IndexError::NumbersExhausted)
}

/// Remembers the name that a conversation should have, if it is not the one it has.
fn wish(
    writing: &mut WriteTxn<'_>,
    conversation: &Conversation,
    wanted: &ConversationId,
) -> Result<(), IndexError> {
    let seq = conversation.seq.0;
    let has_wish = writing.tables().open_table(WISHES)?.get(seq)?.is_some();
    if conversation.id != *wanted {
        writing.begin().open_table(WISHES)?.insert(seq, wanted.as_str())?;
    } else if has_wish {
        writing.begin().open_table(WISHES)?.remove(seq)?;
    }
    Ok(())
}

impl Snapshot {
    fn metadata_between(&self, after: &str, last: Option<&str>) -> Result<Vec<Object>, IndexError> {
        // Keys begin with their conversation's prefix, and are in the order of those.
        let first = after.find('/').map_or(after, |end| &after[..=end]);
        let (prefixes, recordings) = (self.table(PREFIXES)?, self.table(RECORDINGS)?);
        let mut found = Vec::new();
        for prefix in prefixes.range(first..)? {
            let (prefix, seq) = prefix?;
            if last.is_some_and(|last| last < prefix.value()) {
                break;
            }
            let seq = seq.value();
            for row in recordings.range((seq, 0, 0)..=(seq, u32::MAX, u16::MAX))? {
                let recording: Recording = decoded(row?.1.value())?;
                let page = recording.page(PageKind::Metadata).map(|page| page.object.clone());
                found.extend(page.filter(|it| {
                    let key = it.key.as_str();
                    after < key && last.is_none_or(|last| key <= last)
                }));
            }
        }
        found.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(found)
    }
}
