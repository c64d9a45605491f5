//! What is in the trash: conversations as a whole and single recordings, each under a name of its own there.
//!
//! A recording in the trash keeps its row, its number and its keys; its overlay says since when. A conversation whose
//! last recording is removed goes to the trash as a whole.

use std::ops::Bound;

use jiff::Timestamp;
use redb::ReadableTable;

use crate::index::conversations::known;
use crate::index::queries::Snapshot;
use crate::index::tables::{
    CONDEMNED, CONVERSATIONS, DAYS, DayRow, PURGING, RECORDINGS, RecordingKey, SHOWN, TRASH_NAMES,
    TRASHED, day_key, decoded, row_at,
};
use crate::index::trash_rows::is_shown;
use crate::index::trashing::{overlay, purge, restore_recording, show_transcript, trash_recording};
use crate::index::{Index, IndexError};
use crate::model::{
    Conversation, ConversationSeq, Day, DayTranscript, FileName, PageKind, Recording, RecordingId,
};

/// Something in the trash.
#[derive(Debug, Clone, PartialEq)]
pub enum Trashed {
    Conversation(Conversation),
    Recording(Box<Recording>),
}

/// Where a listing of the trash goes on from: grows from entry to entry, and is never 0.
pub type TrashPlace = u64;

/// One entry of the trash.
#[derive(Debug, Clone, PartialEq)]
pub struct TrashEntry {
    pub name: FileName,
    pub place: TrashPlace,
    pub what: Trashed,
}

/// Questions about the trash. What is being removed for good is in none of the answers.
impl Index {
    /// In order of place, from the one after `after`.
    pub fn trash_entries(
        &self,
        after: TrashPlace,
        limit: usize,
    ) -> Result<Vec<TrashEntry>, IndexError> {
        self.ask(|moment| {
            let table = moment.table(TRASHED)?;
            let mut found = Vec::new();
            let begin = Bound::Excluded(key_at(after));
            let mut rows = table.range::<RecordingKey>((begin, Bound::Unbounded))?;
            while found.len() < limit
                && let Some(row) = rows.next().transpose()?
            {
                found.extend(moment.trash_entry(row.0.value(), row.1.value())?);
            }
            Ok(found)
        })
    }

    pub fn trash_entry_named(&self, name: &FileName) -> Result<Option<TrashEntry>, IndexError> {
        self.ask(|moment| {
            let key = moment.table(TRASH_NAMES)?.get(name.as_bytes())?.map(|key| key.value());
            key.map_or(Ok(None), |key| moment.trash_entry(key, name.as_bytes()))
        })
    }

    /// Recordings that are being removed for good, but for those that go with their whole conversation.
    pub fn purging_recordings(&self) -> Result<Vec<Recording>, IndexError> {
        self.ask(|moment| {
            let (recordings, purging_conversations) =
                (moment.table(RECORDINGS)?, moment.table(CONDEMNED)?);
            let mut found = Vec::new();
            for row in moment.table(PURGING)?.iter()? {
                let key = row?.0.value();
                if purging_conversations.get(key.0)?.is_none() {
                    found.extend(row_at::<RecordingKey, Recording>(&recordings, key)?);
                }
            }
            Ok(found)
        })
    }

    /// The first day from `day` on that has a recording outside the trash.
    pub fn shown_day_from(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Option<Day>, IndexError> {
        self.ask(|moment| {
            let (days, shown) = (moment.table(DAYS)?, moment.table(SHOWN)?);
            for row in days.range(day_key(seq, day)..=(seq.0, u32::MAX))? {
                let key = row?.0.value();
                if shown.get(key)?.is_none_or(|count| count.value() != 0) {
                    return Ok(Day::from_number(key.1));
                }
            }
            Ok(None)
        })
    }

    /// Whether that day ever had a recording.
    pub fn has_day(&self, seq: ConversationSeq, days: (Day, Day)) -> Result<bool, IndexError> {
        self.ask(|now| {
            let range = day_key(seq, days.0)..=day_key(seq, days.1);
            Ok(now.table(DAYS)?.range(range)?.next().is_some())
        })
    }

    /// Recordings of a day that are not in the trash by themselves, in order of number from `first` on.
    pub fn shown_recordings(
        &self,
        seq: ConversationSeq,
        day: Day,
        first: u16,
        limit: usize,
    ) -> Result<Vec<Recording>, IndexError> {
        self.ask(|now| {
            let (seq, day) = day_key(seq, day);
            let table = now.table(RECORDINGS)?;
            let mut found = Vec::new();
            let mut rows = table.range((seq, day, first)..=(seq, day, u16::MAX))?;
            while found.len() < limit
                && let Some(row) = rows.next().transpose()?
            {
                let recording: Recording = decoded(row.1.value())?;
                found.extend(Some(recording).filter(|it| it.overlay.trashed_at.is_none()));
            }
            Ok(found)
        })
    }

    /// A day's transcript, unless it was removed or has nothing to tell of.
    pub fn shown_transcript(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Option<DayTranscript>, IndexError> {
        self.ask(|moment| {
            let key = day_key(seq, day);
            let row: Option<DayRow> = row_at(&moment.table(DAYS)?, key)?;
            let is_empty = moment.table(SHOWN)?.get(key)?.is_some_and(|count| count.value() == 0);
            Ok(row.filter(|row| !row.hides_transcript && !is_empty).and_then(|row| row.transcript))
        })
    }
}

/// Changes. Each returns when it is durable.
impl Index {
    /// Moves a recording with all its pages to the trash; the conversation as a whole, if it was its last one. Twice
    /// is as good as once.
    pub fn trash_recording(&self, id: RecordingId, now: Timestamp) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| trash_recording(writing, id, now))
    }

    /// Takes a recording out of the trash. Its conversation must not be in it.
    pub fn restore_recording(&self, id: RecordingId) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| restore_recording(writing, id))
    }

    /// Hides a page until the recording is transcribed again, or comes out of the trash.
    ///
    /// One of the trash stays as it is: it comes back whole.
    pub fn hide_page(&self, id: RecordingId, kind: PageKind) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            if known(writing.tables(), id.conversation)?.trashed_at.is_some() {
                return Ok(());
            }
            overlay(writing, id, |recording| {
                let is_in_trash = recording.overlay.trashed_at.is_some();
                !is_in_trash && recording.overlay.hidden.insert(kind)
            })
        })
    }

    /// Shows all pages of a recording and its day's transcript again.
    pub fn show_pages(&self, id: RecordingId) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            overlay(writing, id, |recording| {
                !std::mem::take(&mut recording.overlay.hidden).is_empty()
            })?;
            show_transcript(writing, id.conversation, id.day, true)
        })
    }

    /// Hides a day's transcript until the next recording is published on that day.
    ///
    /// That of a day whose recordings are all in the trash stays as it is: it comes back with them.
    pub fn hide_transcript(&self, seq: ConversationSeq, day: Day) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            let is_trashed = known(writing.tables(), seq)?.trashed_at.is_some();
            if is_trashed || !is_shown(writing.tables(), day_key(seq, day))? {
                return Ok(());
            }
            show_transcript(writing, seq, day, false)
        })
    }

    /// Removes the row of a recording that is being removed for good. Its number is never used again. Whether its
    /// day has no recording left, also in the trash.
    pub fn finish_purge(&self, id: RecordingId) -> Result<bool, IndexError> {
        self.inner.writer.change(move |writing| purge(writing, id))
    }
}

impl Snapshot {
    fn trash_entry(
        &self,
        key: RecordingKey,
        name: &[u8],
    ) -> Result<Option<TrashEntry>, IndexError> {
        let Some(name) = FileName::new(name) else { return Ok(None) };
        if self.table(CONDEMNED)?.get(key.0)?.is_some() {
            return Ok(None);
        }
        let what = if key.2 == 0 {
            row_at(&self.table(CONVERSATIONS)?, key.0)?.map(Trashed::Conversation)
        } else {
            let row: Option<Recording> = row_at(&self.table(RECORDINGS)?, key)?;
            row.map(|recording| Trashed::Recording(Box::new(recording)))
        };
        Ok(what.map(|what| TrashEntry { name, place: place_of(key), what }))
    }
}

/// 22 bits of conversation, 22 of day and 14 of number.
fn place_of((seq, day, number): RecordingKey) -> TrashPlace {
    u64::from(seq) << 36 | u64::from(day) << 14 | u64::from(number)
}

fn key_at(place: TrashPlace) -> RecordingKey {
    let bits = |shift: u32, mask: u64| (place >> shift) & mask;
    let (seq, day) = (bits(36, u64::from(u32::MAX)), bits(14, (1 << 22) - 1));
    let number = u16::try_from(bits(0, (1 << 14) - 1)).unwrap_or(u16::MAX);
    (u32::try_from(seq).unwrap_or(u32::MAX), u32::try_from(day).unwrap_or(u32::MAX), number)
}
