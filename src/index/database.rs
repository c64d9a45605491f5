//! `Opened`: the way to the database, which can be opened again in place.
//!
//! redb takes no more writes and no reads after the first error of the disk. A full disk is none that ends the daemon: the
//! database is closed and opened again, and what was refused can be asked for again.

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use redb::Database;

use crate::index::IndexError;
use crate::index::failure::{Refusal, opening};

/// Opens the database, each time anew.
pub(crate) type Opener = Box<dyn Fn() -> Result<Database, IndexError> + Send + Sync>;

/// Time that readers get to finish before the database is closed under them. They take milliseconds.
const READERS: Duration = Duration::from_secs(5);

/// Guards the way to the tables.
pub(crate) struct Opened {
    open: Opener,
    state: RwLock<State>,
}

#[derive(Debug)]
enum State {
    Open(Arc<Database>),
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
        Ok(Self { open, state: RwLock::new(State::Open(database)) })
    }

    /// To be let go of soon.
    pub(crate) fn database(&self) -> Result<Arc<Database>, IndexError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database) => return Ok(database.clone()),
            State::Closed => return Err(Refusal::Closed.into()),
            State::Waiting => {}
        }
        self.open_again(self.write())
    }

    /// After a write that the disk had no room for. Where it has none for opening either, whoever asks next tries again.
    pub(crate) fn reopen(&self) {
        let mut state = self.write();
        let State::Open(old) = std::mem::replace(&mut *state, State::Waiting) else { return };
        let since = Instant::now();
        while 1 < Arc::strong_count(&old) && since.elapsed() < READERS {
            thread::sleep(Duration::from_millis(1));
        }
        // Its own error is why we are here.
        drop(old);
        match self.open_again(state) {
            Ok(_) => log::warn!("index: the disk was full; what could not be saved is tried again"),
            Err(err) => log::error!("index: waits for room on its disk: {err}"),
        }
    }

    fn open_again(
        &self,
        mut state: RwLockWriteGuard<'_, State>,
    ) -> Result<Arc<Database>, IndexError> {
        match &*state {
            State::Open(database) => Ok(database.clone()),
            State::Closed => Err(Refusal::Closed.into()),
            State::Waiting => {
                let database = Arc::new((self.open)()?);
                *state = State::Open(database.clone());
                Ok(database)
            }
        }
    }

    pub(crate) fn close(&self) -> Result<(), IndexError> {
        let state = std::mem::replace(&mut *self.write(), State::Closed);
        let State::Open(database) = state else { return Ok(()) };
        // A question that is being answered keeps the database open until it has its answer.
        match Arc::into_inner(database) {
            Some(database) => database.close().map_err(|err| opening("", err)),
            None => Ok(()),
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
