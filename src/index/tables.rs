//! The tables, their keys and the form of their rows. Every question is a point or a range of one.
//!
//! Rows are JSON, so that a field added later reads as absent in old rows. What old rows cannot express
//! raises [`FORMAT`], and `open` upgrades; so does a new variant of an enum, which old versions cannot read.

use std::any::type_name;
use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{LazyLock, Mutex, PoisonError};

use redb::{ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::index::failure::damaged;
use crate::index::{IndexError, damage};
use crate::model::{ConversationSeq, Day, DayTranscript, RecordingId};

/// The newest format that this scribefs reads and the one that it writes.
pub(crate) const FORMAT: u32 = 1;

type Rows<K> = TableDefinition<'static, K, &'static [u8]>;

/// Conversation, day.
pub(crate) type DayKey = (u32, u32);
/// Conversation, day, number.
pub(crate) type RecordingKey = (u32, u32, u16);

/// `format`, `next_conversation` and `copied_bytes`.
pub(crate) const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("counters");
pub(crate) const CONVERSATIONS: Rows<u32> = Rows::new("conversations");
/// Present ids of conversations that are not in the trash.
pub(crate) const NAMES: TableDefinition<&str, u32> = TableDefinition::new("names");
/// Store prefixes of all conversations, whatever they are called now and also in the trash.
pub(crate) const PREFIXES: TableDefinition<&str, u32> = TableDefinition::new("prefixes");
pub(crate) const TRASH: TableDefinition<u32, ()> = TableDefinition::new("trash");
/// Conversations that have no recording yet: nobody sees them.
pub(crate) const EMPTY: TableDefinition<u32, ()> = TableDefinition::new("empty");
/// Sums of one conversation; those of the whole (trash left out) stand at [`EVERYTHING`].
pub(crate) const SUMS: Rows<u32> = Rows::new("sums");
/// Conversations count from 1.
pub(crate) const EVERYTHING: u32 = 0;
/// [`DayRow`]s.
pub(crate) const DAYS: Rows<DayKey> = Rows::new("days");
pub(crate) const RECORDINGS: Rows<RecordingKey> = Rows::new("recordings");
/// Conversation, day and stem to the recording's number.
pub(crate) const STEMS: TableDefinition<(u32, u32, &[u8]), u16> = TableDefinition::new("stems");
/// Conversation, day and what a recording's keys begin with to its number, where that is not its stem. Only the
/// writer looks at it, and makes the table where it is missing.
pub(crate) const KEY_STEMS: TableDefinition<(u32, u32, &[u8]), u16> =
    TableDefinition::new("key_stems");
/// BLAKE3 in hexadecimal to the first recording that has these bytes.
pub(crate) const AUDIO: TableDefinition<&str, RecordingKey> = TableDefinition::new("audio");
/// The same with all others that have them. An index of an earlier version lacks the table until it is written
/// to.
pub(crate) const SAME_AUDIO: TableDefinition<(&str, RecordingKey), ()> =
    TableDefinition::new("same_audio");
/// What is not yet where it belongs, by time of publication in microseconds.
pub(crate) const UNPLACED: TableDefinition<(i64, RecordingKey), ()> =
    TableDefinition::new("unplaced");
/// Local copies of audio that is in the bucket too, by the microsecond since when, to their bytes. What is in
/// the bucket and not here has no local copy.
pub(crate) const COPIES: TableDefinition<(i64, RecordingKey), u64> = TableDefinition::new("copies");
/// Since when a recording stands in [`COPIES`].
pub(crate) const COPIED: TableDefinition<RecordingKey, i64> = TableDefinition::new("copied");
/// Local copies whose object cannot be read in the bucket as it is, because it was moved to an archive, to the microsecond
/// at which that was seen last. Only the writer makes the table.
pub(crate) const ARCHIVED: TableDefinition<RecordingKey, i64> = TableDefinition::new("archived");
/// [`Verification`](crate::index::Verification)s of recordings. Only the writer makes the table.
pub(crate) const VERIFIED: Rows<RecordingKey> = Rows::new("verified");
/// Multipart uploads that may still be open, by id, to the key of their object.
pub(crate) const UPLOADS: TableDefinition<&str, &str> = TableDefinition::new("uploads");
/// Conversations of the trash that are being removed for good: nobody sees them any more.
pub(crate) const CONDEMNED: TableDefinition<u32, ()> = TableDefinition::new("condemned");
/// Conversations in the trash, to the second of observed time at which they were first seen there. Only the
/// writer looks at it, and makes the table where it is missing.
pub(crate) const TRASH_SEEN: TableDefinition<u32, u64> = TableDefinition::new("trash_seen");
/// Names that conversations were told to have and that another had at the time. Only the writer looks at them,
/// and makes the table where it is missing.
pub(crate) const WISHES: TableDefinition<u32, &str> = TableDefinition::new("wishes");
/// Pages that are not what the index says, by conversation, day and recording: a ticket, and what is to be done.
/// Keys and values are those of `pages_due.rs`.
pub(crate) const PAGES_DUE: TableDefinition<RecordingKey, (u64, u8)> =
    TableDefinition::new("pages_due");
/// The latest publication on a day, in microseconds, and in the whole conversation (at [`WHOLE`]).
pub(crate) const NEWEST: TableDefinition<DayKey, i64> = TableDefinition::new("newest");
/// Days count from 0 and are far fewer.
pub(crate) const WHOLE: u32 = u32::MAX;
/// Metadata keys of recordings that a rebuild could not take over: nothing else is filed under their stems.
pub(crate) const RESERVED_KEYS: TableDefinition<&str, ()> = TableDefinition::new("reserved_keys");
/// What is in the trash, a conversation with 0 for day and number, to its name there.
pub(crate) const TRASHED: TableDefinition<RecordingKey, &[u8]> = TableDefinition::new("trashed");
pub(crate) const TRASH_NAMES: TableDefinition<&[u8], RecordingKey> =
    TableDefinition::new("trash_names");
/// Recordings of the trash, and how much time had been observed when they were first seen there.
pub(crate) const TRASHED_SEEN: TableDefinition<RecordingKey, u64> =
    TableDefinition::new("trashed_seen");
/// Recordings of the trash that are being removed for good: nobody sees them any more.
pub(crate) const PURGING: TableDefinition<RecordingKey, ()> = TableDefinition::new("purging");
/// Recordings of a day that are not in the trash, where some are or were. Of 0 nobody sees the day.
pub(crate) const SHOWN: TableDefinition<DayKey, u32> = TableDefinition::new("shown");
/// What recordings have left under former keys, by the key of the metadata there.
pub(crate) const REMOVALS_DUE: TableDefinition<&str, &[u8]> = TableDefinition::new("removals_due");
/// [`Claim`](crate::index::Claim)s by the key of their audio. Only the writer makes the table.
pub(crate) const CLAIMS: TableDefinition<&str, &[u8]> = TableDefinition::new("claims");
/// Small facts that are kept by name, such as where recordings belong.
pub(crate) const NOTES: TableDefinition<&str, &str> = TableDefinition::new("notes");
pub(crate) const JOBS: Rows<u64> = Rows::new("jobs");
pub(crate) const UNFINISHED: TableDefinition<u64, ()> = TableDefinition::new("unfinished");

/// What is known of a day beside its recordings. A day that has a row had a recording once, and its
/// numbers go on from there.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct DayRow {
    /// Highest number ever given out on this day.
    pub(crate) last_number: u16,
    pub(crate) transcript: Option<DayTranscript>,
    /// It was removed by its reader.
    #[serde(default)]
    pub(crate) hides_transcript: bool,
}

/// Sums over some recordings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Sums {
    pub(crate) conversations: u64,
    pub(crate) recordings: u64,
    pub(crate) audio_bytes: u64,
    pub(crate) pending: u64,
    pub(crate) paused: u64,
}

impl Sums {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            conversations: self.conversations + other.conversations,
            recordings: self.recordings + other.recordings,
            audio_bytes: self.audio_bytes + other.audio_bytes,
            pending: self.pending + other.pending,
            paused: self.paused + other.paused,
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            conversations: self.conversations.saturating_sub(other.conversations),
            recordings: self.recordings.saturating_sub(other.recordings),
            audio_bytes: self.audio_bytes.saturating_sub(other.audio_bytes),
            pending: self.pending.saturating_sub(other.pending),
            paused: self.paused.saturating_sub(other.paused),
        }
    }
}

pub(crate) fn day_key(seq: ConversationSeq, day: Day) -> DayKey {
    (seq.0, day.number())
}

pub(crate) fn recording_key(id: RecordingId) -> RecordingKey {
    (id.conversation.0, id.day.number(), id.number)
}

pub(crate) fn encoded<T: Serialize>(row: &T) -> Result<Vec<u8>, IndexError> {
    serde_json::to_vec(row).map_err(damaged)
}

pub(crate) fn decoded<T: DeserializeOwned>(row: &[u8]) -> Result<T, IndexError> {
    serde_json::from_slice(row).map_err(damaged)
}

/// The same for listings: a row that cannot be read is said once and left out, so that it keeps nobody from the
/// others, and the index is built anew at the next start. A later version may have written it: a new variant of an enum in a row raises [`FORMAT`], and where
/// that was forgotten this is what an older version does.
pub(crate) fn readable<T: DeserializeOwned>(key: impl Debug, row: &[u8]) -> Option<T> {
    match serde_json::from_slice(row) {
        Ok(row) => Some(row),
        Err(err) => {
            damage::note_unreadable_row();
            let name = format!("{} {key:?}", type_name::<T>());
            let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() < MOST_SAID && said.insert(name.clone()) {
                log::error!("index: the row {name} cannot be read and is skipped: {err}");
            }
            None
        }
    }
}

/// Guards the rows that were complained of already.
static SAID: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// A damaged file may have any number of them.
const MOST_SAID: usize = 1_000;

/// The row at `key`, decoded.
pub(crate) fn row_at<'k, K, T>(
    table: &impl ReadableTable<K, &'static [u8]>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
) -> Result<Option<T>, IndexError>
where
    K: redb::Key + 'static,
    T: DeserializeOwned,
{
    table.get(key)?.map(|row| decoded(row.value())).transpose()
}
