//! When something was last published in a conversation or on some of its days: the times of their folders.

use jiff::Timestamp;
use redb::{ReadableTable, WriteTransaction};

use crate::index::failure::damaged;
use crate::index::tables::{DayKey, NEWEST, WHOLE};
use crate::index::{Index, IndexError};
use crate::model::{ConversationSeq, Day};

impl Index {
    /// The latest publication in a conversation, also in the trash; `None`: an older version has not noted it.
    pub fn newest_in(&self, seq: ConversationSeq) -> Result<Option<Timestamp>, IndexError> {
        self.ask(|now| {
            let newest = now.table(NEWEST)?.get((seq.0, WHOLE))?.map(|at| at.value());
            newest.map(timestamp).transpose()
        })
    }

    /// The same on the days from `first` to `last`.
    pub fn newest_on(
        &self,
        seq: ConversationSeq,
        first: Day,
        last: Day,
    ) -> Result<Option<Timestamp>, IndexError> {
        self.ask(|now| {
            let table = now.table(NEWEST)?;
            let mut newest = None;
            for row in table.range((seq.0, first.number())..=(seq.0, last.number()))? {
                newest = newest.max(Some(row?.1.value()));
            }
            newest.map(timestamp).transpose()
        })
    }
}

fn timestamp(microseconds: i64) -> Result<Timestamp, IndexError> {
    Timestamp::from_microsecond(microseconds).map_err(damaged)
}

pub(crate) fn note(
    tables: &WriteTransaction,
    (seq, day): DayKey,
    published_at: Timestamp,
) -> Result<(), IndexError> {
    let mut table = tables.open_table(NEWEST)?;
    let at = published_at.as_microsecond();
    for key in [(seq, day), (seq, WHOLE)] {
        let before = table.get(key)?.map(|before| before.value());
        if before < Some(at) {
            table.insert(key, at)?;
        }
    }
    Ok(())
}

/// The day has no recording any more.
pub(crate) fn forget(tables: &WriteTransaction, day: DayKey) -> Result<(), IndexError> {
    tables.open_table(NEWEST)?.remove(day)?;
    Ok(())
}

pub(crate) fn forget_conversation(
    tables: &WriteTransaction,
    seq: ConversationSeq,
) -> Result<(), IndexError> {
    Ok(tables.open_table(NEWEST)?.retain_in((seq.0, 0)..=(seq.0, WHOLE), |_, _| false)?)
}
