//! Changes to jobs.

use crate::index::tables::{JOBS, UNFINISHED, encoded, row_at};
use crate::index::writer::Writing;
use crate::index::{Change, IndexError};
use crate::model::Job;

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
