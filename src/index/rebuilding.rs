//! What an index that is made anew takes over from the one that it replaces, and what it knows of its making.

use std::ops::Bound;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use redb::{ReadableTable, TableDefinition};

use crate::index::conversations::NEXT;
use crate::index::following::FOLLOWED;
use crate::index::placing::DISCOVERY;
use crate::index::tables::{COUNTERS, JOBS, NOTES, RESERVED_KEYS, UNFINISHED, UPLOADS, readable};
use crate::index::{Index, IndexError, filing, placing, removals_due};
use crate::model::{Conversation, DayTranscript, Job, Key, Recording};

/// Rows that share one commit.
const BATCH: usize = 1_000;

/// The note that says when this index was made from what the store holds.
const REBUILT: &str = "rebuilt_at";

/// Notes that are about the recordings, which are read anew.
const OF_RECORDINGS: [&str; 3] = [FOLLOWED, DISCOVERY, REBUILT];

impl Index {
    /// Takes over what the store does not hold: jobs, open uploads, claims, removals that are due, notes, and numbers that are
    /// never used again.
    pub fn take_over(&self, old: &Index) -> Result<(), IndexError> {
        self.copy_jobs(old)?;
        old.claims()?.into_iter().try_for_each(|claim| self.claim(claim))?;
        let (uploads, removals) = (old.uploads()?, old.removals_due()?);
        let (notes, next) = old.ask(|now| {
            let mut notes = Vec::new();
            for row in now.table(NOTES)?.iter()? {
                let (name, text) = row?;
                notes.push((name.value().to_owned(), text.value().to_owned()));
            }
            Ok((notes, now.table(COUNTERS)?.get(NEXT)?.map(|next| next.value())))
        })?;
        self.inner.writer.change(move |writing| {
            let tables = writing.begin();
            for (id, key) in &uploads {
                tables.open_table(UPLOADS)?.insert(id.as_str(), key.as_str())?;
            }
            for due in &removals {
                removals_due::owe(tables, due)?;
            }
            for (name, text) in &notes {
                if !OF_RECORDINGS.contains(&name.as_str()) {
                    tables.open_table(NOTES)?.insert(name.as_str(), text.as_str())?;
                }
            }
            if let Some(next) = next {
                tables.open_table(COUNTERS)?.insert(NEXT, next)?;
            }
            Ok(())
        })
    }

    fn copy_jobs(&self, old: &Index) -> Result<(), IndexError> {
        let last = old.inner.last_job.load(Ordering::Relaxed);
        self.inner.last_job.fetch_max(last, Ordering::Relaxed);
        let mut after = None;
        loop {
            let rows = rows_after(old, JOBS, after)?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            // A row that cannot be read here cannot be read there either.
            let rows: Vec<_> =
                rows.into_iter().filter(|(id, row)| readable::<Job>(id, row).is_some()).collect();
            let unfinished = old.ask(|now| {
                let table = now.table(UNFINISHED)?;
                let mut open = Vec::new();
                for (id, _) in &rows {
                    if table.get(*id)?.is_some() {
                        open.push(*id);
                    }
                }
                Ok(open)
            })?;
            self.inner.writer.change(move |writing| {
                let tables = writing.begin();
                let (mut jobs, mut open) =
                    (tables.open_table(JOBS)?, tables.open_table(UNFINISHED)?);
                for (id, row) in &rows {
                    jobs.insert(*id, row.as_slice())?;
                }
                for id in unfinished {
                    open.insert(id, ())?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// [`Index::adopt`], with whether there is a local copy of the audio of what is in the bucket, noted as of `since`.
    pub fn adopt_with_copies(
        &self,
        told: Vec<((Conversation, Recording, DayTranscript), bool)>,
        since: Timestamp,
    ) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            for ((conversation, recording, transcript), has_copy) in told {
                let id = filing::adopt_recording(writing, &conversation, recording, transcript)?;
                if has_copy {
                    placing::note_copy(writing, id, since)?;
                }
            }
            Ok(())
        })
    }

    /// Keeps the stems of recordings that could not be read from being given to others. `keys`: of their metadata.
    pub fn reserve_keys(&self, keys: Vec<Key>) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            let mut table = writing.begin().open_table(RESERVED_KEYS)?;
            for key in keys {
                table.insert(key.as_str(), ())?;
            }
            Ok(())
        })
    }

    /// Notes that what the index says is what the store held at that time. See [`Index::rebuilt_at`].
    pub fn set_rebuilt_at(&self, at: Timestamp) -> Result<(), IndexError> {
        self.set_note(REBUILT, &at.to_string())
    }

    /// When the index was last made from the store; `None`: never.
    pub fn rebuilt_at(&self) -> Result<Option<Timestamp>, IndexError> {
        Ok(self.note(REBUILT)?.and_then(|text| text.parse().ok()))
    }
}

fn rows_after(
    index: &Index,
    definition: TableDefinition<'static, u64, &'static [u8]>,
    after: Option<u64>,
) -> Result<Vec<(u64, Vec<u8>)>, IndexError> {
    index.ask(|now| {
        let table = now.table(definition)?;
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = table.range::<u64>((first, Bound::Unbounded))?.take(BATCH);
        rows.map(|row| row.map(|(id, row)| (id.value(), row.value().to_vec())).map_err(Into::into))
            .collect()
    })
}
