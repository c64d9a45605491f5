//! [`TrashThread`]: empties the trash where there is no bucket, and removes what is purged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;

use crate::index::Index;
use crate::model::causes;
use crate::store::LocalStore;
use crate::sync::error::SyncError;
use crate::sync::lease::Now;
use crate::sync::purge::{TrashClock, empty_trash, remove_purged};
use crate::sync::refusals::Refusals;

/// How often the trash is looked at.
const TRASH_EVERY: Duration = Duration::from_hours(1);

/// How often the thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(500);

/// Empties the trash where there is no bucket, and removes what is purged.
pub(crate) struct TrashThread {
    is_stopping: Arc<AtomicBool>,
    /// Guards the thread until it is joined.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl TrashThread {
    pub(crate) fn start(
        local: Arc<LocalStore>,
        index: &Index,
        kept: Option<Duration>,
    ) -> Result<Self, SyncError> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (stop, index) = (is_stopping.clone(), index.clone());
        let keep = move || {
            let mut rest = TRASH_EVERY;
            let mut clock = TrashClock::new(Now::read());
            let refusals = Refusals::default();
            let mut answers = true;
            while !stop.load(Ordering::Relaxed) {
                answers = answers && purge_requested(local.as_ref(), &index, &refusals);
                if rest.is_zero() {
                    if let Some(kept) = kept {
                        look_into_trash(local.as_ref(), &index, kept, &mut clock);
                    }
                    (rest, answers) = (TRASH_EVERY, true);
                }
                std::thread::park_timeout(TICK);
                rest = rest.saturating_sub(TICK);
            }
        };
        let thread = Builder::new().name("trash".to_owned()).spawn(keep);
        let thread = thread.map_err(SyncError::Threads)?;
        Ok(Self { is_stopping, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        thread.thread().unpark();
        if thread.join().is_err() {
            log::error!("the trash's thread has panicked");
        }
    }
}

/// Removes what users have purged. Whether the index answers.
fn purge_requested(local: &LocalStore, index: &Index, refusals: &Refusals) -> bool {
    let removed = remove_purged(local, index, refusals, Timestamp::now());
    if let Err(err) = &removed {
        log::warn!("the trash: {}", causes(err));
    }
    removed.is_ok()
}

fn look_into_trash(local: &LocalStore, index: &Index, kept: Duration, clock: &mut TrashClock) {
    let now = Now::read();
    let Some(observed) = clock.observe(now) else { return };
    if let Err(err) = empty_trash(local, index, kept, now.wall, observed) {
        log::warn!("the trash: {}", causes(&err));
    }
}
