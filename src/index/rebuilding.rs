//! What an index that is made anew takes over from the one that it replaces, and what it knows of its making.

use std::ops::Bound;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use redb::{ReadableTable, TableDefinition};

use crate::index::conversations::NEXT;
use crate::index::following::FOLLOWED;
use crate::index::placing::DISCOVERY;
use crate::index::tables::{COUNTERS, JOBS, NOTES, RESERVED_KEYS, UNFINISHED, UPLOADS, readable};
use crate::index::{Index, IndexError, filing, placing};
use crate::model::{Conversation, DayTranscript, Job, Key, Recording};

/// Rows that share one commit.
const BATCH: usize = 1_000;

/// The note that says when this index was made from what the store holds.
const REBUILT: &str = "rebuilt_at";

/// Notes that are about the recordings, which are read anew.
const OF_RECORDINGS: [&str; 3] = [FOLLOWED, DISCOVERY, REBUILT];

impl Index {
    /// Takes over what the store does not hold, each table by itself: numbers that are never used again, notes, what is
    /// being removed for good, claims, removals that are due, open uploads and jobs.
    pub fn take_over(&self, old: &Index) -> Result<(), IndexError> {
        if_readable("numbers of conversations", self.copy_next(old))?;
        if_readable("notes", self.copy_notes(old))?;
        if_readable("purges", self.take_over_purges(old))?;
        if_readable("claims", self.copy_claims(old))?;
        if_readable("removals", self.copy_removals(old))?;
        if_readable("uploads", self.copy_uploads(old))?;
        if_readable("jobs", self.copy_jobs(old))
    }

    fn copy_next(&self, old: &Index) -> Result<(), IndexError> {
        let next = old.ask(|now| Ok(now.table(COUNTERS)?.get(NEXT)?.map(|next| next.value())))?;
        let Some(next) = next else { return Ok(()) };
        self.inner.writer.change(move |writing| {
            writing.begin().open_table(COUNTERS)?.insert(NEXT, next)?;
            Ok(())
        })
    }

    fn copy_notes(&self, old: &Index) -> Result<(), IndexError> {
        let notes = old.ask(|now| {
            let mut notes = Vec::new();
            for row in now.table(NOTES)?.iter()? {
                let (name, text) = row?;
                notes.push((name.value().to_owned(), text.value().to_owned()));
            }
            Ok(notes)
        })?;
        self.inner.writer.change(move |writing| {
            let mut table = writing.begin().open_table(NOTES)?;
            for (name, text) in &notes {
                if !OF_RECORDINGS.contains(&name.as_str()) {
                    table.insert(name.as_str(), text.as_str())?;
                }
            }
            Ok(())
        })
    }

    fn copy_claims(&self, old: &Index) -> Result<(), IndexError> {
        old.claims()?.into_iter().try_for_each(|claim| self.claim(claim))
    }

    fn copy_removals(&self, old: &Index) -> Result<(), IndexError> {
        self.owe_removals(old.removals_due()?)
    }

    fn copy_uploads(&self, old: &Index) -> Result<(), IndexError> {
        let uploads = old.uploads()?;
        self.inner.writer.change(move |writing| {
            let mut table = writing.begin().open_table(UPLOADS)?;
            for (id, key) in &uploads {
                table.insert(id.as_str(), key.as_str())?;
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

/// Of an old index that is damaged, one table that cannot be read costs nothing but what is in it.
fn if_readable(what: &str, taken_over: Result<(), IndexError>) -> Result<(), IndexError> {
    match taken_over {
        Err(IndexError::Damaged(why)) => {
            log::warn!("{what} of the old index cannot be read, and some are lost: {why}");
            Ok(())
        }
        taken_over => taken_over,
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
