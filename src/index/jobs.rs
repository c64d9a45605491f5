//! Jobs: questions and changes.

use std::sync::atomic::Ordering;

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use crate::index::tables::{JOBS, UNFINISHED, encoded, row_at};
use crate::index::writer::WriteTxn;
use crate::index::{Change, Index, IndexError};
use crate::model::{Job, JobId};

/// Rows of jobs that have come to an end, for questions about what happened; older ones are removed.
const KEPT_JOBS: u64 = 1_000;
/// Rows that one change looks at to find old ones: an index of many is thinned out little by little.
const LOOKED_AT: usize = 64;

impl Index {
    /// A new job's number. One that was never saved may be given again after a restart.
    pub fn next_job_id(&self) -> Result<JobId, IndexError> {
        Ok(JobId(self.inner.last_job.fetch_add(1, Ordering::Relaxed) + 1))
    }

    /// Writes a job's row; see [`Self::save_jobs`].
    pub fn save_job(&self, job: Job) -> Result<(), IndexError> {
        self.save_jobs(vec![job])
    }

    /// Writes rows in one commit, later ones over earlier ones; not one of which nothing but `updated_at` is
    /// different from what is there: progress is not kept here.
    pub fn save_jobs(&self, jobs: Vec<Job>) -> Result<(), IndexError> {
        let last = jobs.iter().map(|job| job.id.0).max();
        let Some(last) = last else { return Ok(()) };
        self.inner.last_job.fetch_max(last, Ordering::Relaxed);
        self.inner
            .writer
            .change(move |writing| jobs.into_iter().try_for_each(|job| save(writing, job)))
    }

    pub fn job(&self, id: JobId) -> Result<Option<Job>, IndexError> {
        self.ask(|now| now.job(id))
    }

    /// Jobs that have not come to an end, oldest first.
    pub fn unfinished_jobs(&self) -> Result<Vec<Job>, IndexError> {
        self.ask(|now| now.unfinished_jobs())
    }

    /// The newest jobs, newest first.
    pub fn recent_jobs(&self, limit: usize) -> Result<Vec<Job>, IndexError> {
        self.ask(|now| now.recent_jobs(limit))
    }
}

/// Writes the row, unless nothing is different but the time it was touched.
pub(crate) fn save(writing: &mut WriteTxn<'_>, job: Job) -> Result<(), IndexError> {
    let old: Option<Job> = row_at(&writing.tables().open_table(JOBS)?, job.id.0)?;
    if old.is_some_and(|old| Job { updated_at: job.updated_at, ..old } == job) {
        return Ok(());
    }
    let tables = writing.begin();
    tables.open_table(JOBS)?.insert(job.id.0, encoded(&job)?.as_slice())?;
    let mut unfinished = tables.open_table(UNFINISHED)?;
    if job.state.is_final() {
        unfinished.remove(job.id.0)?;
        drop(unfinished);
        prune(tables)?;
    } else {
        unfinished.insert(job.id.0, ())?;
    }
    writing.tell(Change::Job(Box::new(job)));
    Ok(())
}

/// Removes the oldest jobs that are done with, where there are more than are kept.
fn prune(tables: &WriteTransaction) -> Result<(), IndexError> {
    let (mut jobs, unfinished) = (tables.open_table(JOBS)?, tables.open_table(UNFINISHED)?);
    let surplus = jobs.len()?.saturating_sub(unfinished.len()?).saturating_sub(KEPT_JOBS);
    if surplus == 0 {
        return Ok(());
    }
    let mut old = Vec::new();
    for row in jobs.iter()?.take(LOOKED_AT) {
        let id = row?.0.value();
        if unfinished.get(id)?.is_none() {
            old.push(id);
        }
    }
    for id in old.into_iter().take(usize::try_from(surplus).unwrap_or(LOOKED_AT)) {
        jobs.remove(id)?;
    }
    Ok(())
}
