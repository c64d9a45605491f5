//! Free space on the spool's disk, of which a part is kept.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::concurrency::{Mutex, MutexGuard};
use crate::spool::{Space, SpoolError, disk};

/// How long an answer of the disk is believed. Others write to the same disk too.
const BELIEVED: Duration = Duration::from_millis(500);

/// More than is kept: from here on writing goes through us, which counts it. What the kernel writes by itself into a
/// file that was opened while there was more room, nobody can stop.
const PLENTY_BYTES: u64 = 1 << 30;

/// As much again before it is said that there is room: at the very end it comes and goes with each small file.
const SOME_BYTES: u64 = 1 << 20;

/// Knows about how much may still be written without asking the disk every time.
#[derive(Debug)]
pub(crate) struct FreeSpace {
    keep_bytes: u64,
    /// Guards the last answer.
    answer: Mutex<Option<Answer>>,
    /// It has been said that the disk is full.
    is_said: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    at: Instant,
    free_bytes: u64,
    /// Promised to writers since.
    promised_bytes: u64,
}

impl FreeSpace {
    pub(crate) fn new(keep_bytes: u64) -> Self {
        Self { keep_bytes, answer: Mutex::new(None), is_said: AtomicBool::new(false) }
    }

    /// Promises `bytes` of the disk of `dir` to a writer.
    pub(crate) fn claim(&self, dir: BorrowedFd<'_>, bytes: u64) -> Result<(), SpoolError> {
        if self.claim_believed(bytes) { Ok(()) } else { self.claim_asked(dir, bytes).map(drop) }
    }

    /// The same for somebody who begins to write, whom the kernel may let write without asking us: what others
    /// have written that way only the disk knows. Says whether there is plenty.
    pub(crate) fn claim_asked(&self, dir: BorrowedFd<'_>, bytes: u64) -> Result<bool, SpoolError> {
        let space = disk::space(dir)?;
        let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
        let promised_bytes = bytes;
        *self.lock() = Some(Answer { at: Instant::now(), free_bytes, promised_bytes });
        let keep_free_bytes = self.keep_bytes;
        if free_bytes < bytes.saturating_add(keep_free_bytes) {
            if !self.is_said.swap(true, Ordering::Relaxed) {
                log::warn!(
                    "inbox: the disk is full: {free_bytes} bytes are free and {keep_free_bytes} are \
                     reserved; new data is refused until there is space"
                );
            }
            return Err(SpoolError::Full { free_bytes, keep_free_bytes });
        }
        let has_some = keep_free_bytes.saturating_add(SOME_BYTES) <= free_bytes;
        if has_some && self.is_said.swap(false, Ordering::Relaxed) {
            log::info!("inbox: there is space on the disk again");
        }
        Ok(keep_free_bytes.saturating_add(PLENTY_BYTES) <= free_bytes)
    }

    /// Whether the last answer, if it is young, leaves room. A promise may be counted that the disk has
    /// counted already; then the disk is asked once more, and nothing is refused wrongly.
    fn claim_believed(&self, bytes: u64) -> bool {
        let mut lock = self.lock();
        let Some(answer) = lock.as_mut() else { return false };
        let wanted = answer.promised_bytes.saturating_add(bytes);
        let fits = wanted.saturating_add(self.keep_bytes) <= answer.free_bytes;
        if !fits || answer.at.elapsed() > BELIEVED {
            return false;
        }
        answer.promised_bytes = wanted;
        true
    }

    /// What `statfs` reports: what is kept is never offered to writers.
    pub(crate) fn report(&self, dir: BorrowedFd<'_>) -> io::Result<Space> {
        let space = disk::space(dir)?;
        let block_bytes = space.f_frsize.max(1);
        let kept = self.keep_bytes.div_ceil(block_bytes);
        Ok(Space {
            block_bytes: u32::try_from(block_bytes).unwrap_or(4096),
            blocks: space.f_blocks,
            blocks_free: space.f_bfree,
            blocks_available: space.f_bavail.saturating_sub(kept),
            files: space.f_files,
            files_free: space.f_favail,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Answer>> {
        self.answer.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}
