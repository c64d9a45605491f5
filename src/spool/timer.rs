//! The threads that look at files whose settle time is over, and bring them to the disk before they are offered.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::concurrency::thread;
use crate::model::{Failure, InboxId};
use crate::spool::state_inputs::{
    Candidate, End, Ending, FileStamp, Look, Reaction, Schedule, Verdict,
};
use crate::spool::{Inner, SpoolError, disk, magic, notes, unfinished};

/// A few, so that a file that the disk is slow about holds up no other.
const THREADS: usize = 4;

/// Looks at a file that may fail before it is said to be unreadable. With the rests between them: half a minute at
/// the usual settle time.
const MOST_FAILURES: u32 = 6;

/// Longest rest between two of them.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// How much longer than the settle time a file is given that says by itself that more is to come, such as a transfer that
/// broke off. Five minutes at the usual settle time: then it is taken as far as it got.
pub(crate) const PATIENCE: u32 = 60;

/// The same for a file that is empty: a program may have made it to write to it later. One minute at the usual settle time.
const EMPTY: u32 = 11;

/// The spool and its timer; the last one to hold it stops the threads and waits for them.
#[derive(Debug)]
pub(crate) struct Timers {
    pub(crate) inner: Arc<Inner>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Timers {
    pub(crate) fn start(inner: Inner) -> Result<Self, SpoolError> {
        let mut keeper = Self { inner: Arc::new(inner), threads: Vec::new() };
        for number in 0..THREADS {
            let timed = keeper.inner.clone();
            let thread = thread::Builder::new().name(format!("spool-timer-{number}"));
            keeper.threads.push(thread.spawn(move || timed.keep_time())?);
        }
        Ok(keeper)
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.inner.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("inbox: a timer thread has panicked");
            }
        }
        self.inner.secure_all();
    }
}

impl Inner {
    pub(crate) fn close(&self) {
        // Under the lock, so that the timer cannot begin to wait in between and sleep through it.
        let _table = self.table();
        self.is_closed.store(true, Ordering::Release);
        self.alarm.notify_all();
    }

    fn keep_time(&self) {
        while let Some(id) = self.wait_for_alarm() {
            self.look(id);
        }
    }

    /// The next file that is due; `None` when the spool is closed.
    fn wait_for_alarm(&self) -> Option<InboxId> {
        let mut table = self.table();
        loop {
            if self.is_closed.load(Ordering::Acquire) {
                return None;
            }
            let rest = match table.notifications.next_alarm() {
                Some((due, id)) if due <= self.now() => {
                    table.drop_alarm(id);
                    // This thread will be busy: another one waits for the next.
                    self.ring();
                    return Some(id);
                }
                // It may have fallen due since the line above.
                Some((due, _)) => due.saturating_sub(self.now()),
                None => Duration::MAX,
            };
            // Long enough for nothing to happen, short enough for the system's clock.
            let rest = rest.min(Duration::from_secs(3600));
            table = match self.alarm.wait_timeout(table, rest) {
                Ok((table, _)) => table,
                Err(poison) => poison.into_inner().0,
            };
        }
    }

    fn look(&self, id: InboxId) {
        let (generation, candidate) = {
            let table = self.table();
            let Some(file) = table.file(id) else {
                drop(table);
                return self.remove_emptied(id);
            };
            if file.is_fading() {
                drop(table);
                return self.end_fading(id);
            }
            if file.has_note() {
                drop(table);
                return self.put_note(id);
            }
            (file.generation(), table.candidate(id))
        };
        let look = match self.look_at(id, candidate) {
            Ok(look) => look,
            Err(err) => return self.postpone(id, generation, &err),
        };
        let mut verdict = Verdict::NotYet;
        let schedule = self.schedule();
        let looked = self.table().update(id, |file, _| {
            if file.generation() == generation {
                verdict = file.looked(look, schedule);
            }
            Some(Reaction::default())
        });
        self.follow_up(id, looked.unwrap_or_default());
        match verdict {
            Verdict::NotYet | Verdict::LeftAlone => {}
            Verdict::Complete => self.bring_to_disk(id, generation),
            Verdict::Empty => self.refuse(id, &notes::empty()),
            Verdict::TooLarge => {
                let most_bytes = self.options.max_upload_bytes.unwrap_or(u64::MAX);
                self.refuse(id, &notes::too_large(look.stamp.bytes, most_bytes));
            }
        }
    }

    fn schedule(&self) -> Schedule {
        let now = self.now();
        let settle = self.options.settle;
        let (patience, empty) = (now + settle * PATIENCE, now + settle * EMPTY);
        Schedule { now, next: now + settle, patience, empty }
    }

    fn look_at(&self, id: InboxId, candidate: Candidate) -> Result<Look, SpoolError> {
        let stamp = self.stat(id)?.stamp();
        let most_bytes = self.options.max_upload_bytes;
        let is_too_large = most_bytes.is_some_and(|most_bytes| most_bytes < stamp.bytes);
        let mut look = Look { stamp, is_recording: false, is_too_large, is_unfinished: false };
        if candidate == Candidate::Never || stamp.bytes == 0 {
            look.is_recording = candidate == Candidate::ByName;
            return Ok(look);
        }
        let file = self.open_entry(id, libc::O_RDONLY)?;
        look.is_recording =
            candidate == Candidate::ByName || magic::is_recording(&magic::head_of(&file)?);
        look.is_unfinished =
            look.is_recording && unfinished::is_unfinished(&file, stamp.bytes, stamp.modified_ns)?;
        Ok(look)
    }

    /// What could not be done now is done later. In the end a file that cannot be read gets a note that says so;
    /// what we are short of ourselves is waited for as long as it takes.
    fn postpone(&self, id: InboxId, generation: u64, err: &SpoolError) {
        let counts = match err {
            SpoolError::Missing => return,
            SpoolError::Disk(err) => !disk::is_shortage(err),
            SpoolError::Full { .. } | SpoolError::Changed | SpoolError::Overlap { .. } => true,
        };
        let mut table = self.table();
        let before = table.file(id).map_or(0, |file| file.failures());
        let rest = (self.options.settle / 5).saturating_mul(1 << before.min(10)).min(LONGEST_REST);
        let due = self.now() + rest.max(Duration::from_millis(1));
        let mut failures = None;
        let postponed = table.update(id, |file, _| {
            failures = file.postponed(generation, due, counts);
            Some(Reaction::default())
        });
        drop(table);
        self.ring();
        self.follow_up(id, postponed.unwrap_or_default());
        match failures {
            Some(MOST_FAILURES..) if counts => self.refuse(id, &notes::unreadable(err)),
            Some(0 | 1) => log::warn!("inbox: file {} cannot be checked yet: {err}", id.0),
            Some(_) | None => log::debug!("inbox: file {} cannot be checked yet: {err}", id.0),
        }
    }

    fn refuse(&self, id: InboxId, failure: &Failure) {
        let ending = Ending { end: End::Failed, reason: notes::reason(failure) };
        self.change(id, |file, _| file.refused(ending));
    }
}

/// Why a file could not be brought to the disk.
#[derive(Debug, thiserror::Error)]
enum Unsecured {
    #[error(transparent)]
    NotTried(#[from] SpoolError),
    /// What the system held for the disk may be gone by now, and a second sync would not tell.
    #[error(transparent)]
    Lost(io::Error),
}

/// From complete to offered.
impl Inner {
    /// First the bytes and every name on the way to them, then the mark that says they may be missing, then the offer:
    /// whatever is offered outlives the system.
    fn bring_to_disk(&self, id: InboxId, generation: u64) {
        match self.secure(id, generation) {
            Ok(Some(stamp)) => self.offer(id, generation, stamp),
            Ok(None) => {}
            Err(Unsecured::NotTried(err)) => self.postpone(id, generation, &err),
            Err(Unsecured::Lost(err)) => {
                log::error!("inbox: file {} could not be synced to disk: {err}", id.0);
                self.refuse(id, &notes::lost(&err));
            }
        }
    }

    /// `None` where it is no longer what it was.
    fn secure(&self, id: InboxId, generation: u64) -> Result<Option<FileStamp>, Unsecured> {
        let stamp_of = |file: &_| Ok(disk::stat_of(file).map_err(SpoolError::from)?.stamp());
        let file = self.open_entry(id, libc::O_RDONLY)?;
        disk::sync(file.as_fd(), true).map_err(Unsecured::Lost)?;
        self.sync_names_of(id)?;
        let (stamp, next): (FileStamp, _) = (stamp_of(&file)?, self.due());
        let mut is_secure = false;
        let secured = self.table().update(id, |file, _| {
            is_secure = file.synced(generation, stamp, next);
            Some(Reaction::default())
        });
        let secured = secured.unwrap_or_default();
        self.ring();
        self.follow_up(id, secured);
        if is_secure && secured.mark {
            fail_point!("spool-mark-removed");
            // Else it would come back with a power cut, and the recording would wait for somebody.
            disk::sync(file.as_fd(), false).map_err(Unsecured::Lost)?;
        }
        let stamp: Result<FileStamp, Unsecured> = stamp_of(&file);
        Ok(is_secure.then_some(stamp?))
    }

    fn offer(&self, id: InboxId, generation: u64, stamp: FileStamp) {
        let next = self.due();
        let mut is_offered = false;
        let mut table = self.table();
        let offered = table.update(id, |file, _| {
            is_offered = file.offer(generation, stamp, next);
            Some(Reaction::default())
        });
        if is_offered {
            table.offer(id);
        }
        drop(table);
        self.ring();
        self.follow_up(id, offered.unwrap_or_default());
    }

    /// When the daemon ends, what has been closed is brought to the disk: the system may be going down too, and then it
    /// need not wait for somebody at the next start.
    fn secure_all(&self) {
        let closed: Vec<InboxId> = {
            let table = self.table();
            let due = table.notifications.with_alarms();
            due.filter(|id| table.file(*id).is_some_and(|file| file.is_closed())).collect()
        };
        for id in closed {
            let mut generation = 0;
            let _ = self.table().update(id, |file, _| {
                generation = file.generation();
                file.hurry_to_disk();
                Some(Reaction::default())
            });
            if let Err(err) = self.secure(id, generation) {
                log::warn!("inbox: file {} may not survive a power cut: {err}", id.0);
            }
        }
    }
}
