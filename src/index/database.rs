//! `Opened`: the way to the database, which can be opened again in place.
//!
//! redb takes no more writes and no reads after the first error of the disk. A full disk is none that ends the daemon: the
//! database is closed and opened again, and what was refused can be asked for again.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use redb::Database;

use crate::index::IndexError;
use crate::index::failure::{Refusal, opening};

/// Opens the database, each time anew.
pub(crate) type Opener = Box<dyn Fn() -> Result<Database, IndexError> + Send + Sync>;

/// Time that readers get to finish before the database is closed under them. They take milliseconds.
const READERS: Duration = Duration::from_secs(5);

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
    /// The disk was too full to open it again.
    Waiting,
    Closed,
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

    /// To be let go of soon.
    ///
    /// # Errors
    /// `Full` where it is being opened again and that takes long.
    pub(crate) fn database(&self) -> Result<Arc<Database>, IndexError> {
        let is_opening = |state: &mut State| matches!(state, State::Opening);
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, is_opening);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match &*state {
            State::Open(database) => return Ok(database.clone()),
            State::Closed => return Err(Refusal::Closed.into()),
            State::Opening => return Err(Refusal::Full.into()),
            State::Waiting => *state = State::Opening,
        }
        drop(state);
        self.open_again()
    }

    /// After a write that the disk had no room for. Where it has none for opening either, whoever asks next tries again.
    pub(crate) fn reopen(&self) {
        let old = {
            let mut state = self.lock();
            let State::Open(old) = &*state else { return };
            let old = old.clone();
            *state = State::Opening;
            old
        };
        let since = Instant::now();
        while 1 < Arc::strong_count(&old) && since.elapsed() < READERS {
            thread::sleep(Duration::from_millis(1));
        }
        // Its own error is why we are here.
        drop(old);
        match self.open_again() {
            Ok(_) => log::warn!("index: the disk was full; what could not be saved is tried again"),
            Err(err) => log::error!("index: waits for room on its disk: {err}"),
        }
    }

    /// The state is `Opening`, and the caller has made it so.
    fn open_again(&self) -> Result<Arc<Database>, IndexError> {
        let opened = (self.open)().map(Arc::new);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

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
            let opening = scope.spawn(|| opened.reopen());
            begun.recv().unwrap();
            assert!(matches!(opened.database(), Err(IndexError::Full(_))));
            assert!(!opening.is_finished());
            release.send(()).unwrap();
            opened.database().unwrap();
        });
        opened.close().unwrap();
        assert!(opened.database().is_err());
    }
}
