//! Numbers and stems that are promised to a recording that is not published yet. Kept in memory only:
//! nobody has seen them, so a crash may forget them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use redb::ReadableTable;

use crate::index::conversations::{ensure_lazily, filing_id, present};
use crate::index::numbering::first_free;
use crate::index::tables::{
    DAYS, DayRow, KEY_STEMS, REMOVALS_DUE, RESERVED_KEYS, STEMS, day_key, row_at,
};
use crate::index::writer::WriteTxn;
use crate::index::{Index, IndexError};
use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, FileName, Key, PageKind, RecordingId,
};

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

/// Places for what is about to be published.
impl Index {
    /// What the keys of a conversation would be made of if it were made now: none of `taken`. `None`: it is there.
    pub fn filing_id(
        &self,
        id: &ConversationId,
        at: Timestamp,
        taken: &[ConversationId],
    ) -> Result<Option<ConversationId>, IndexError> {
        let (id, taken) = (id.clone(), taken.to_vec());
        self.inner.writer.change(move |writing| filing_id(writing.tables(), &id, at, &taken))
    }

    /// [`Index::ensure_conversation`], and a new one is filed under none of `taken`: there the store has something
    /// that the index does not know. A new one is durable with the [claim](Index::claim) that follows.
    pub fn ensure_conversation_beside(
        &self,
        id: &ConversationId,
        at: Timestamp,
        taken: &[ConversationId],
    ) -> Result<Conversation, IndexError> {
        let (id, taken) = (id.clone(), taken.to_vec());
        self.inner.writer.change(move |writing| ensure_lazily(writing, &id, at, &taken))
    }

    /// Whether a day has as many recordings as it can have.
    pub fn is_day_full(&self, seq: ConversationSeq, day: Day) -> Result<bool, IndexError> {
        self.ask(|now| Ok(RecordingId::MAX_NUMBER <= now.last_number(seq, day)?))
    }

    /// A free number and a free stem on that day: `meeting`, else `meeting-2`, ... Nobody else gets them
    /// until the reservation is dropped: keep it until its recording is published.
    pub fn reserve(
        &self,
        seq: ConversationSeq,
        day: Day,
        wanted: &FileName,
    ) -> Result<Reservation, IndexError> {
        self.reserve_beside(seq, day, wanted, &[])
    }

    /// The same, with a stem that is none of `rejected`.
    pub fn reserve_beside(
        &self,
        seq: ConversationSeq,
        day: Day,
        wanted: &FileName,
        rejected: &[FileName],
    ) -> Result<Reservation, IndexError> {
        let (all, wanted) = (self.inner.reservations.clone(), wanted.clone());
        let rejected = rejected.to_vec();
        self.inner.writer.change(move |writing| all.reserve(writing, seq, day, &wanted, &rejected))
    }
}

/// All of them. Only the writer thread adds, so that what it has looked up stays true.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    /// Guards what is promised.
    held: Mutex<BTreeMap<RecordingId, FileName>>,
}

impl Reservations {
    /// The next number of that day, and a stem that is free on it and none of `rejected`: the wanted one, else
    /// the first number behind it that is free, as far as numbers are given out in order.
    pub(crate) fn reserve(
        self: Arc<Self>,
        writing: &WriteTxn<'_>,
        seq: ConversationSeq,
        day: Day,
        wanted: &FileName,
        rejected: &[FileName],
    ) -> Result<Reservation, IndexError> {
        let filed_as = present(writing.tables(), seq)?.filed_as;
        let row: Option<DayRow> = row_at(&writing.tables().open_table(DAYS)?, day_key(seq, day))?;
        let held = self.held_on(seq, day);
        let last = held.last().map_or(0, |(id, _)| id.number);
        let number = last.max(row.map_or(0, |row| row.last_number)) + 1;
        if RecordingId::MAX_NUMBER < number {
            return Err(IndexError::DayFull);
        }
        let (stems, key_stems) =
            (writing.tables().open_table(STEMS)?, writing.tables().open_table(KEY_STEMS)?);
        let reserved = writing.tables().open_table(RESERVED_KEYS)?;
        let removed = writing.tables().open_table(REMOVALS_DUE)?;
        let stem = free_stem(wanted, &|candidate| {
            let key_stem = Key::stem_for(candidate.as_bytes());
            let meets = |held: &FileName| Key::stem_for(held.as_bytes()) == key_stem;
            let metadata = Key::page(&filed_as, day, candidate.as_bytes(), PageKind::Metadata);
            let at = |stem| (seq.0, day.number(), stem);
            // A stem may be spelled like the keys of another one.
            Ok(held.iter().map(|(_, held)| held).chain(rejected).any(meets)
                || stems.get(at(candidate.as_bytes()))?.is_some()
                || stems.get(at(key_stem.as_bytes()))?.is_some()
                || key_stems.get(at(key_stem.as_bytes()))?.is_some()
                || reserved.get(metadata.as_str())?.is_some()
                || removed.get(metadata.as_str())?.is_some())
        })?;
        Ok(self.hold(RecordingId { conversation: seq, day, number }, stem))
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

/// A stem that is not taken: `wanted`, else one with a number, as far as numbers are given out in order.
fn free_stem(
    wanted: &FileName,
    is_taken: &dyn Fn(&FileName) -> Result<bool, IndexError>,
) -> Result<FileName, IndexError> {
    let stem = first_free(&|number| match wanted.numbered_stem(number) {
        Some(stem) => Ok((!is_taken(&stem)?).then_some(stem)),
        None => Ok(None),
    })?;
    stem.ok_or(IndexError::DayFull)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_stem_is_found_with_few_looks_however_many_are_taken() {
        let wanted = FileName::new("recording").unwrap();
        for count in [0, 1, 2, 3, 7, 10_000, 16_382] {
            let looks = Cell::new(0);
            let taken: std::collections::BTreeSet<FileName> =
                (1..=count).filter_map(|number| wanted.numbered_stem(number)).collect();
            let stem = free_stem(&wanted, &|stem| {
                looks.set(looks.get() + 1);
                Ok(taken.contains(stem))
            });
            assert_eq!(stem.unwrap(), wanted.numbered_stem(count + 1).unwrap());
            assert!(looks.get() <= 32, "{} looks for {count}", looks.get());
        }
    }

    #[test]
    fn a_gap_in_the_numbers_leads_to_a_stem_that_is_free() {
        let wanted = FileName::new("recording").unwrap();
        let is_taken = |stem: &FileName| {
            Ok([1, 2, 4, 5, 6].map(|it| wanted.numbered_stem(it)).contains(&Some(stem.clone())))
        };
        let stem = free_stem(&wanted, &is_taken).unwrap();
        assert!(!is_taken(&stem).unwrap());
    }
}
