//! Jobs: questions and changes.

use std::sync::atomic::Ordering;

use crate::index::tables::{JOBS, UNFINISHED, encoded, row_at};
use crate::index::writer::Writing;
use crate::index::{Change, Index, IndexError};
use crate::model::{Job, JobId};

impl Index {
    /// A new job's number. One that was never saved may be given again after a restart.
    pub fn next_job_id(&self) -> Result<JobId, IndexError> {
        Ok(JobId(self.inner.last_job.fetch_add(1, Ordering::Relaxed) + 1))
    }

    /// Writes a job's row, unless nothing but `updated_at` is different from the one that is there: progress is
    /// not kept here.
    pub fn save_job(&self, job: Job) -> Result<(), IndexError> {
        self.inner.last_job.fetch_max(job.id.0, Ordering::Relaxed);
        self.inner.writer.change(move |writing| save(writing, job))
    }

    pub fn job(&self, id: JobId) -> Result<Option<Job>, IndexError> {
        self.now()?.job(id)
    }

    /// Jobs that have not come to an end, oldest first.
    pub fn unfinished_jobs(&self) -> Result<Vec<Job>, IndexError> {
        self.now()?.unfinished_jobs()
    }

    /// The newest jobs, newest first.
    pub fn recent_jobs(&self, limit: usize) -> Result<Vec<Job>, IndexError> {
        self.now()?.recent_jobs(limit)
    }
}

/// Writes the row, unless nothing is different but the time it was touched.
pub(crate) fn save(writing: &mut Writing<'_>, job: Job) -> Result<(), IndexError> {
    let old: Option<Job> = row_at(&writing.tables().open_table(JOBS)?, job.id.0)?;
    if old.is_some_and(|old| Job { updated_at: job.updated_at, ..old } == job) {
        return Ok(());
    }
    let tables = writing.begin();
    tables.open_table(JOBS)?.insert(job.id.0, encoded(&job)?.as_slice())?;
    let mut unfinished = tables.open_table(UNFINISHED)?;
    if job.state.is_final() {
        unfinished.remove(job.id.0)?;
    } else {
        unfinished.insert(job.id.0, ())?;
    }
    writing.tell(Change::Job(Box::new(job)));
    Ok(())
}
