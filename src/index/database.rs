//! `Opened`: the way to the database, which can be opened again in place.
//!
//! redb takes no more writes, and no reads of what is not in its cache, after the first error of the disk. A full disk is
//! none that ends the daemon: the writer closes the database and opens it again, and what was refused can be asked for
//! again.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase};

use crate::index::IndexError;
use crate::index::damage::contain;
use crate::index::failure::{Refusal, opening};

/// Opens the database, each time anew.
pub(crate) type Opener = Box<dyn Fn() -> Result<Database, IndexError> + Send + Sync>;

/// Longest time that a question waits for a database that is being opened again. Threads that answer the kernel ask.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the tables.
pub(crate) struct Opened {
    open: Opener,
    /// Held for a moment only: nobody opens or closes a file meanwhile.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
enum State {
    Open(Arc<Database>),
    /// Somebody closes it, or opens it again.
    Opening,
    /// The disk was too full to open it again: the writer tries later.
    Waiting,
    Closed,
}

impl State {
    fn is_open_with(&self, database: &Arc<Database>) -> bool {
        matches!(self, Self::Open(open) if Arc::ptr_eq(open, database))
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Opened {
    pub(crate) fn new(open: Opener) -> Result<Self, IndexError> {
        let database = Arc::new(open()?);
        Ok(Self { open, state: Mutex::new(State::Open(database)), changed: Condvar::new() })
    }

    /// For one question. Reading from it fails with [`IndexError::Full`] once the database under it is closed.
    ///
    /// # Errors
    /// `Full` where it is being opened again and that takes long, and where the disk has no room for that.
    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, IndexError> {
        let is_opening = |state: &mut State| matches!(state, State::Opening);
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, is_opening);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let database = match &*state {
            State::Open(database) => database.clone(),
            State::Closed => return Err(Refusal::Closed.into()),
            // Opening takes long: it is not for threads that answer the kernel.
            State::Opening | State::Waiting => return Err(Refusal::Full.into()),
        };
        drop(state);
        Ok(database.begin_read()?)
    }

    /// For the writer alone, and to be let go of before it opens it again. Opens it where the disk had no room before.
    pub(crate) fn for_writing(&self) -> Result<Arc<Database>, IndexError> {
        match &mut *self.lock() {
            State::Open(database) => return Ok(database.clone()),
            State::Closed => return Err(Refusal::Closed.into()),
            // Nobody else opens it.
            state @ (State::Opening | State::Waiting) => *state = State::Opening,
        }
        self.open_again()
    }

    /// Whether the writer is to try to open it: others only read, and would wait for ever.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(&*self.lock(), State::Waiting)
    }

    /// After a write to `failed` that the disk had no room for.
    pub(crate) fn reopen(&self, failed: Arc<Database>) -> Result<(), IndexError> {
        match &mut *self.lock() {
            state if state.is_open_with(&failed) => *state = State::Opening,
            _ => return Ok(()),
        }
        // Who begins to read has it for a moment, and the last one to let go of it closes it.
        while 1 < Arc::strong_count(&failed) {
            thread::sleep(Duration::from_millis(1));
        }
        // Its own error is why we are here.
        let closed = contain(|| {
            drop(failed);
            Ok(())
        });
        match closed.and(self.open_again().map(drop)) {
            Ok(()) => log::warn!("index: the disk was full; trying again to save changes"),
            Err(IndexError::Full(why)) => {
                log::error!("index: waiting for space on its disk: {why}")
            }
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// The state is `Opening`, and the caller has made it so.
    fn open_again(&self) -> Result<Arc<Database>, IndexError> {
        // Nobody may wait for ever for what a damaged page has ended.
        let opened = contain(|| (self.open)().map(Arc::new));
        let mut state = self.lock();
        if let State::Closed = &*state {
            return Err(Refusal::Closed.into());
        }
        *state = opened.as_ref().map_or(State::Waiting, |database| State::Open(database.clone()));
        self.changed.notify_all();
        opened
    }

    pub(crate) fn close(&self) -> Result<(), IndexError> {
        let state = std::mem::replace(&mut *self.lock(), State::Closed);
        self.changed.notify_all();
        let State::Open(database) = state else { return Ok(()) };
        // A question that is being answered keeps the database open until it has its answer.
        match Arc::into_inner(database) {
            Some(database) => database.close().map_err(|err| opening("", err)),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Opened {
    /// What is closed is written to: a damaged page must not end the process here either.
    fn drop(&mut self) {
        if let Err(err) = contain(|| self.close()) {
            log::warn!("index: could not be closed: {err}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::sync::mpsc::channel;

    use redb::Builder;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn nobody_hangs_while_the_database_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        let (begins, begun) = channel();
        let (release, held) = channel::<()>();
        let held = Mutex::new(held);
        let open = move || {
            begins.send(()).unwrap();
            held.lock().unwrap().recv().unwrap();
            Ok(Database::create(&path).unwrap())
        };
        release.send(()).unwrap();
        let opened = Opened::new(Box::new(open)).unwrap();
        begun.recv().unwrap();
        thread::scope(|scope| {
            let opening = scope.spawn(|| opened.reopen(opened.for_writing().unwrap()).unwrap());
            begun.recv().unwrap();
            assert!(matches!(opened.begin_read(), Err(IndexError::Full(_))));
            assert!(!opening.is_finished());
            release.send(()).unwrap();
            opened.begin_read().unwrap();
        });
        opened.close().unwrap();
        assert!(matches!(opened.begin_read(), Err(IndexError::Disk(_))));
    }

    /// An index whose file is opened as often as the counter says, and not while the disk is full.
    fn counted(is_full: &Arc<AtomicBool>) -> (Opened, Arc<AtomicU32>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        let (is_full, calls) = (is_full.clone(), Arc::<AtomicU32>::default());
        let counted = calls.clone();
        let open = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            match is_full.load(Ordering::Relaxed) {
                true => Err(Refusal::Full.into()),
                false => Ok(Database::create(&path).unwrap()),
            }
        };
        (Opened::new(Box::new(open)).unwrap(), calls, dir)
    }

    #[test]
    fn only_the_writer_opens_the_database_again() {
        let is_full = Arc::new(AtomicBool::new(false));
        let (opened, calls, _dir) = counted(&is_full);
        is_full.store(true, Ordering::Relaxed);
        opened.reopen(opened.for_writing().unwrap()).unwrap();
        assert_eq!((calls.load(Ordering::Relaxed), opened.is_waiting()), (2, true));
        is_full.store(false, Ordering::Relaxed);
        for _ in 0..3 {
            assert!(matches!(opened.begin_read(), Err(IndexError::Full(_))));
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        opened.for_writing().unwrap();
        assert_eq!((calls.load(Ordering::Relaxed), opened.is_waiting()), (3, false));
        opened.begin_read().unwrap();
    }

    #[test]
    fn a_database_that_was_opened_since_is_not_closed_for_the_one_before() {
        let (opened, calls, _dir) = counted(&Arc::default());
        opened.reopen(opened.for_writing().unwrap()).unwrap();
        let healthy = opened.for_writing().unwrap();
        let other = Builder::new().create_with_backend(InMemoryBackend::new()).unwrap();
        opened.reopen(Arc::new(other)).unwrap();
        assert!(Arc::ptr_eq(&healthy, &opened.for_writing().unwrap()));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
