//! [`RemovalDue`]: what a recording has left under its former keys, and is still to be removed.
//!
//! An entry is written in the transaction that gives the recording other keys, so that no crash forgets it, and goes
//! when everything is removed. Until then nothing else is filed under those keys.

use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::index::tables::{REMOVALS_DUE, encoded, readable, row_at};
use crate::index::writer::WriteTxn;
use crate::index::{Index, IndexError};
use crate::model::{Key, PageKind, Recording};

/// A recording as it was, of which objects are left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovalDue {
    pub recording: Recording,
    /// They are still on local disk.
    pub is_here: bool,
    /// They may still be in the bucket.
    pub is_in_bucket: bool,
}

impl RemovalDue {
    /// Names the entry: the key of its metadata.
    pub fn key(&self) -> Key {
        self.recording.audio.key.page_beside(PageKind::Metadata)
    }
}

impl Index {
    /// All of them: they are few.
    pub fn removals_due(&self) -> Result<Vec<RemovalDue>, IndexError> {
        self.ask(|now| {
            let table = now.table(REMOVALS_DUE)?;
            let mut found = Vec::new();
            for row in table.iter()? {
                let (key, row) = row?;
                found.extend(readable::<RemovalDue>(key.value(), row.value()));
            }
            Ok(found)
        })
    }

    /// Notes what is to be removed, of recordings that are filed under other keys, beside what is due already.
    pub fn owe_removals(&self, dues: Vec<RemovalDue>) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            for mut due in dues {
                let table = writing.tables().open_table(REMOVALS_DUE)?;
                let standing: Option<RemovalDue> = row_at(&table, due.key().as_str())?;
                drop(table);
                if let Some(standing) = standing {
                    due.is_here |= standing.is_here;
                    due.is_in_bucket |= standing.is_in_bucket;
                }
                owe(writing.begin(), &due)?;
            }
            Ok(())
        })
    }

    /// Nothing is left of it on local disk.
    pub fn set_removed_here(&self, key: &Key) -> Result<(), IndexError> {
        let key = key.clone();
        self.inner.writer.change(move |writing| change(writing, &key, |due| due.is_here = false))
    }

    /// Nothing is left of it in the bucket.
    pub fn set_removed_from_bucket(&self, key: &Key) -> Result<(), IndexError> {
        let key = key.clone();
        let removed = |due: &mut RemovalDue| due.is_in_bucket = false;
        self.inner.writer.change(move |writing| change(writing, &key, removed))
    }
}

pub(crate) fn owe(tables: &WriteTransaction, due: &RemovalDue) -> Result<(), IndexError> {
    let mut table = tables.open_table(REMOVALS_DUE)?;
    table.insert(due.key().as_str(), encoded(due)?.as_slice())?;
    Ok(())
}

fn change(
    writing: &mut WriteTxn<'_>,
    key: &Key,
    change: impl FnOnce(&mut RemovalDue),
) -> Result<(), IndexError> {
    let row = row_at(&writing.tables().open_table(REMOVALS_DUE)?, key.as_str())?;
    let Some(mut due): Option<RemovalDue> = row else { return Ok(()) };
    change(&mut due);
    if due.is_here || due.is_in_bucket {
        return owe(writing.begin(), &due);
    }
    writing.begin().open_table(REMOVALS_DUE)?.remove(key.as_str())?;
    Ok(())
}
