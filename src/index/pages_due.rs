//! [`PagesDue`]: pages in the store that do not say yet what the index says, or do not lie at their keys yet.
//!
//! Each entry is written in the transaction that makes it necessary, so that no crash forgets it, and is removed
//! by whoever has brought the pages up to date.

use std::ops::Bound;

use redb::{ReadableTable, WriteTransaction};

use crate::index::tables::{COUNTERS, PAGES_DUE, RecordingKey, recording_key};
use crate::index::writer::WriteTxn;
use crate::index::{Change, Index, IndexError};
use crate::model::{ConversationSeq, Day, DayTranscript, RecordingId};

/// What has pages to be brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PagesDue {
    /// Pages of all its recordings, and all its transcripts: it was renamed, trashed or restored.
    Conversation(ConversationSeq),
    Recording(RecordingId),
    /// The day's transcript.
    Day(ConversationSeq, Day),
}

/// What has to be done about pages that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageWork {
    /// They are rendered, and the index knows them. They may have to be moved from where they are staged.
    Install,
    Render,
}

/// An entry of the table. It is removed only if nobody has written it again meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueEntry {
    pub due: PagesDue,
    pub work: PageWork,
    ticket: u64,
}

/// A day's transcript in the commit of a recording that belongs into it.
#[derive(Debug, Clone, PartialEq)]
pub enum DayText {
    /// With everything that was said on the day.
    Written(DayTranscript),
    /// Without recordings whose words could not be read just now.
    Incomplete(DayTranscript),
    /// It is rendered later; the one that is there stands until then.
    Later,
}

impl From<DayTranscript> for DayText {
    fn from(transcript: DayTranscript) -> Self {
        Self::Written(transcript)
    }
}

impl DayText {
    pub(crate) fn work(&self) -> PageWork {
        match self {
            Self::Written(_) => PageWork::Install,
            Self::Incomplete(_) | Self::Later => PageWork::Render,
        }
    }

    pub fn transcript(&self) -> Option<&DayTranscript> {
        match self {
            Self::Written(transcript) | Self::Incomplete(transcript) => Some(transcript),
            Self::Later => None,
        }
    }

    pub(crate) fn into_transcript(self) -> Option<DayTranscript> {
        match self {
            Self::Written(transcript) | Self::Incomplete(transcript) => Some(transcript),
            Self::Later => None,
        }
    }
}

impl Index {
    /// Entries in order, from the one after `after`.
    pub fn pages_due(
        &self,
        after: Option<&DueEntry>,
        limit: usize,
    ) -> Result<Vec<DueEntry>, IndexError> {
        self.ask(|now| {
            let first = after.map(|entry| key_of(entry.due));
            let first = first.map_or(Bound::Unbounded, Bound::Excluded);
            let table = now.table(PAGES_DUE)?;
            let mut found = Vec::new();
            for row in table.range::<RecordingKey>((first, Bound::Unbounded))?.take(limit) {
                let (key, value) = row?;
                let (ticket, work) = value.value();
                let work = if work == INSTALL { PageWork::Install } else { PageWork::Render };
                found.extend(due_at(key.value()).map(|due| DueEntry { due, work, ticket }));
            }
            Ok(found)
        })
    }

    /// Notes pages that are to be rendered again.
    pub fn owe_pages(&self, dues: Vec<PagesDue>) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            for due in &dues {
                owe(writing, *due, PageWork::Render)?;
                if let PagesDue::Day(conversation, day) = *due {
                    writing.tell(Change::DayTranscript { conversation, day });
                }
            }
            Ok(())
        })
    }

    /// Removes entries whose pages are up to date, as far as nobody has written them again meanwhile. A crash may bring
    /// them back: then their pages are found to be up to date.
    pub fn clear_pages_due(&self, entries: Vec<DueEntry>) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            let mut table = writing.begin_lazily().open_table(PAGES_DUE)?;
            for entry in entries {
                let key = key_of(entry.due);
                let is_same = table.get(key)?.is_some_and(|row| row.value().0 == entry.ticket);
                if is_same {
                    table.remove(key)?;
                }
            }
            Ok(())
        })
    }
}

/// Days count from 0 and are far fewer.
const WHOLE_CONVERSATION: u32 = u32::MAX;
const INSTALL: u8 = 0;
const RENDER: u8 = 1;
/// The last ticket given to an entry.
const TICKETS: &str = "pages_due";

fn key_of(due: PagesDue) -> RecordingKey {
    match due {
        PagesDue::Conversation(seq) => (seq.0, WHOLE_CONVERSATION, 0),
        PagesDue::Recording(id) => recording_key(id),
        // Numbers of recordings count from 1.
        PagesDue::Day(seq, day) => (seq.0, day.number(), 0),
    }
}

fn due_at((seq, day, number): RecordingKey) -> Option<PagesDue> {
    let conversation = ConversationSeq(seq);
    if day == WHOLE_CONVERSATION {
        return Some(PagesDue::Conversation(conversation));
    }
    let day = Day::from_number(day)?;
    Some(match number {
        0 => PagesDue::Day(conversation, day),
        number => PagesDue::Recording(RecordingId { conversation, day, number }),
    })
}

/// Writes the entry, in place of the one that is there.
pub(crate) fn owe(
    writing: &mut WriteTxn<'_>,
    due: PagesDue,
    work: PageWork,
) -> Result<(), IndexError> {
    let tables = writing.begin();
    let mut counters = tables.open_table(COUNTERS)?;
    let ticket = counters.get(TICKETS)?.map_or(0, |ticket| ticket.value()) + 1;
    counters.insert(TICKETS, ticket)?;
    let work = match work {
        PageWork::Install => INSTALL,
        PageWork::Render => RENDER,
    };
    tables.open_table(PAGES_DUE)?.insert(key_of(due), (ticket, work))?;
    Ok(())
}

/// Nothing is owed for a recording that is gone.
pub(crate) fn forget_recording(
    tables: &WriteTransaction,
    id: RecordingId,
    is_last_of_day: bool,
) -> Result<(), IndexError> {
    let mut table = tables.open_table(PAGES_DUE)?;
    table.remove(key_of(PagesDue::Recording(id)))?;
    if is_last_of_day {
        table.remove(key_of(PagesDue::Day(id.conversation, id.day)))?;
    }
    Ok(())
}

pub(crate) fn forget_conversation(
    tables: &WriteTransaction,
    seq: ConversationSeq,
) -> Result<(), IndexError> {
    let all = (seq.0, 0, 0)..=(seq.0, u32::MAX, u16::MAX);
    Ok(tables.open_table(PAGES_DUE)?.retain_in(all, |_, _| false)?)
}
