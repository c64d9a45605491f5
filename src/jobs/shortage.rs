//! What there is too little of, so that a job waits instead of failing: room on a disk, descriptors or memory of our own.
//! No attempt is counted, and the recording is not transcribed before its result can be kept.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::index::{Index, IndexError};
use crate::jobs::JobConfig;
use crate::model::{Job, JobId, Waiting};
use crate::spool::SpoolError;

/// For pages, index and folders of one recording, and to spare.
const PAGES_BYTES: u64 = 4 << 20;

/// What an error says there is too little of; `None` where waiting does not help.
pub(crate) fn shortage(err: &(dyn Error + 'static)) -> Option<Waiting> {
    let mut next = Some(err);
    while let Some(err) = next {
        if let Some(waiting) = err.downcast_ref::<io::Error>().and_then(of_disk) {
            return Some(waiting);
        }
        let is_full = matches!(err.downcast_ref(), Some(SpoolError::Full { .. }))
            || matches!(err.downcast_ref(), Some(IndexError::Full(_)));
        if is_full {
            return Some(Waiting::Room);
        }
        next = err.source();
    }
    None
}

fn of_disk(err: &io::Error) -> Option<Waiting> {
    match err.raw_os_error()? {
        libc::ENOSPC | libc::EDQUOT => Some(Waiting::Room),
        libc::EMFILE | libc::ENFILE | libc::ENOMEM => Some(Waiting::Resources),
        _ => None,
    }
}

/// States of jobs that the index had no room for, the last of each.
#[derive(Debug, Default)]
pub(crate) struct Unsaved {
    /// Guards them.
    jobs: Mutex<HashMap<JobId, Job>>,
}

impl Unsaved {
    pub(crate) fn keep(&self, job: Job) {
        log::warn!("job {}: its state waits for space in the index", job.id);
        self.lock().insert(job.id, job);
    }

    /// A later state of the job has been saved.
    pub(crate) fn forget(&self, id: JobId) {
        self.lock().remove(&id);
    }

    /// Tries again; what there is still no room for is kept.
    pub(crate) fn save(&self, index: &Index) {
        let jobs = std::mem::take(&mut *self.lock());
        for (id, job) in jobs {
            if index.save_jobs(vec![job.clone()]).is_err() {
                // A later state of it comes first.
                self.lock().entry(id).or_insert(job);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the recording could be published as things are: its audio is copied. What is kept free is kept for this.
pub(crate) fn has_room(setup: &JobConfig, job: &Job) -> bool {
    let wanted = job.bytes.saturating_add(PAGES_BYTES);
    [(&setup.uploads, wanted), (&setup.scratch, PAGES_BYTES)]
        .into_iter()
        // Where the disk does not say, it is found out.
        .all(|(folder, wanted)| free_bytes(folder).is_none_or(|free| wanted <= free))
}

/// What the disk of the scratch folder has beside what is kept free. All there is where it does not tell.
pub(crate) fn spare_bytes(setup: &JobConfig) -> u64 {
    free_bytes(&setup.scratch).map_or(u64::MAX, |free| free.saturating_sub(setup.keep_free_bytes))
}

/// What users other than root may still write on the disk of a folder; `None` where it does not say.
fn free_bytes(folder: &Path) -> Option<u64> {
    let folder = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut space = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `folder` ends in NUL, and `space` has room for one `statvfs`.
    if unsafe { libc::statvfs(folder.as_ptr(), space.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: statvfs succeeded, so it has filled `space`.
    let space = unsafe { space.assume_init() };
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn what_is_short_is_found_however_deep_it_is_told() {
        let disk = |code| io::Error::from_raw_os_error(code);
        let refused = |code| StoreError::Refused { at: "a".into(), source: Box::new(disk(code)) };
        assert_eq!(shortage(&refused(libc::ENOSPC)), Some(Waiting::Room));
        assert_eq!(shortage(&refused(libc::EDQUOT)), Some(Waiting::Room));
        assert_eq!(shortage(&SpoolError::Disk(disk(libc::EMFILE))), Some(Waiting::Resources));
        assert_eq!(shortage(&disk(libc::ENOMEM)), Some(Waiting::Resources));
        let full = SpoolError::Full { free_bytes: 1, keep_free_bytes: 2 };
        assert_eq!(shortage(&full), Some(Waiting::Room));
        assert_eq!(shortage(&IndexError::Full("full".into())), Some(Waiting::Room));
        for code in [libc::EIO, libc::EACCES, libc::EROFS] {
            assert_eq!(shortage(&refused(code)), None);
        }
        assert_eq!(shortage(&IndexError::Disk("broken".into())), None);
    }
}
