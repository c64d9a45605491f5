//! The thread that looks at files whose settle time is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::model::InboxId;
use crate::spool::magic;
use crate::spool::notes;
use crate::spool::signs::{Candidate, End, Ending, Look, Verdict};
use crate::spool::{Inner, SpoolError};

/// The spool and its timer; the last one to hold it stops the thread and waits for it.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(inner: Inner) -> Result<Self, SpoolError> {
        let inner = Arc::new(inner);
        let timed = inner.clone();
        let thread = thread::Builder::new().name("spool-timer".to_owned());
        let thread = thread.spawn(move || timed.keep_time())?;
        Ok(Self { inner, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.inner.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("inbox: the timer thread has panicked");
        }
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
            let rest = match table.desk.next_alarm() {
                Some((due, id)) if due <= self.now() => {
                    table.drop_alarm(id);
                    return Some(id);
                }
                Some((due, _)) => due - self.now(),
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
            let Some(file) = table.file(id) else { return };
            (file.generation(), table.candidate(id))
        };
        let look = match self.look_at(id, candidate) {
            Ok(look) => look,
            Err(SpoolError::Missing) => return,
            Err(err) => {
                log::warn!("inbox: file {} cannot be looked at: {err}", id.0);
                return;
            }
        };
        let (now, next) = (self.now(), self.due());
        let mut table = self.table();
        let Some(file) = table.file_mut(id) else { return };
        if file.generation() != generation {
            table.set_alarm(id);
            return;
        }
        let verdict = file.looked(look, now, next);
        table.set_alarm(id);
        match verdict {
            Verdict::NotYet | Verdict::LeftAlone => {}
            Verdict::Offered => table.offer(id),
            Verdict::TooLarge => {
                drop(table);
                self.refuse_too_large(id, look.stamp.bytes);
            }
        }
    }

    fn look_at(&self, id: InboxId, candidate: Candidate) -> Result<Look, SpoolError> {
        let stamp = self.stat(id)?.stamp();
        let is_recording = match candidate {
            Candidate::Never => false,
            Candidate::ByName => true,
            Candidate::ByContent => stamp.bytes > 0 && self.sounds_like_one(id)?,
        };
        let most_bytes = self.options.max_upload_bytes;
        let is_too_large = most_bytes.is_some_and(|most_bytes| most_bytes < stamp.bytes);
        Ok(Look { stamp, is_recording, is_too_large })
    }

    fn sounds_like_one(&self, id: InboxId) -> Result<bool, SpoolError> {
        let file = self.open_entry(id, libc::O_RDONLY)?;
        Ok(magic::is_recording(&magic::head_of(&file)?))
    }

    fn refuse_too_large(&self, id: InboxId, bytes: u64) {
        let most_bytes = self.options.max_upload_bytes.unwrap_or(u64::MAX);
        let failure = notes::too_large(bytes, most_bytes);
        let ending = Ending { end: End::Failed, reason: notes::reason(&failure) };
        self.change(id, |file, _| file.too_large(ending));
        let is_refused = self.table().file(id).is_some_and(|file| file.ending().is_some());
        if is_refused && let Err(err) = self.write_note(id, &failure) {
            log::warn!("inbox: the note for file {} could not be written: {err}", id.0);
        }
    }
}
