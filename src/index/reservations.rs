//! Numbers and stems that are promised to a recording that is not published yet. Kept in memory only:
//! nobody has seen them, so a crash may forget them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use redb::ReadableTable;

use crate::index::IndexError;
use crate::index::conversations::present;
use crate::index::tables::{DAYS, DayRow, RESERVED_KEYS, STEMS, day_key, row_at};
use crate::index::writer::Writing;
use crate::model::{ConversationSeq, Day, FileName, Key, PageKind, RecordingId};

/// A number and a stem that nobody else gets until this is dropped, which is to be after publishing.
#[derive(Debug)]
pub struct Reservation {
    pub id: RecordingId,
    pub stem: FileName,
    /// What is taken back; `id` and `stem` may have been moved from.
    key: RecordingId,
    all: Arc<Reservations>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.all.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// All of them. Only the writer thread adds, so that what it has looked up stays true.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    /// Guards what is promised.
    held: Mutex<BTreeMap<RecordingId, FileName>>,
}

impl Reservations {
    /// The next number of that day, and the first stem that is free on it.
    pub(crate) fn reserve(
        self: Arc<Self>,
        writing: &Writing<'_>,
        seq: ConversationSeq,
        day: Day,
        wanted: &FileName,
    ) -> Result<Reservation, IndexError> {
        let filed_as = present(writing.tables(), seq)?.filed_as;
        let row: Option<DayRow> = row_at(&writing.tables().open_table(DAYS)?, day_key(seq, day))?;
        let held = self.held_on(seq, day);
        let last = held.last().map_or(0, |(id, _)| id.number);
        let number = last.max(row.map_or(0, |row| row.last_number)) + 1;
        if RecordingId::MAX_NUMBER < number {
            return Err(IndexError::NumbersExhausted);
        }
        let stems = writing.tables().open_table(STEMS)?;
        let reserved = writing.tables().open_table(RESERVED_KEYS)?;
        for candidate in (1..).filter_map(|count| wanted.numbered_stem(count)) {
            let is_held = held.iter().any(|(_, stem)| *stem == candidate);
            let metadata = Key::page(&filed_as, day, candidate.as_bytes(), PageKind::Metadata);
            if reserved.get(metadata.as_str())?.is_some() {
                continue;
            }
            if !is_held && stems.get((seq.0, day.number(), candidate.as_bytes()))?.is_none() {
                return Ok(self.hold(RecordingId { conversation: seq, day, number }, candidate));
            }
        }
        Err(IndexError::NumbersExhausted)
    }

    fn held_on(&self, seq: ConversationSeq, day: Day) -> Vec<(RecordingId, FileName)> {
        let id = |number| RecordingId { conversation: seq, day, number };
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.range(id(0)..=id(u16::MAX)).map(|(id, stem)| (*id, stem.clone())).collect()
    }

    fn hold(self: Arc<Self>, id: RecordingId, stem: FileName) -> Reservation {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(id, stem.clone());
        Reservation { id, stem, key: id, all: self }
    }
}
