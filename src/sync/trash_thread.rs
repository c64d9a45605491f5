//! [`TrashThread`]: empties the trash where there is no bucket, and removes what is purged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::index::Index;
use crate::model::causes;
use crate::store::{Backoff, Store, TieredStore};
use crate::sync::error::SyncError;
use crate::sync::lease::Now;
use crate::sync::purge::{TrashClock, empty_trash, remove_purged};
use crate::sync::refusals::Refusals;

/// How often the trash is looked at.
const TRASH_EVERY: Duration = Duration::from_hours(1);

/// How often the thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(500);

/// The first and the longest time until an index that has refused is asked again: a full disk has room again soon, and
/// who has purged something waits for it.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_mins(1);

/// Empties the trash where there is no bucket, and removes what is purged.
pub(crate) struct TrashThread {
    is_stopping: Arc<AtomicBool>,
    /// Guards the thread until it is joined.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl TrashThread {
    pub(crate) fn start(
        store: Arc<TieredStore>,
        index: &Index,
        kept: Option<Duration>,
    ) -> Result<Self, SyncError> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (stop, index) = (is_stopping.clone(), index.clone());
        let keep = move || {
            let mut rest = TRASH_EVERY;
            let mut clock = TrashClock::new(Now::read());
            let mut purging = Purging::default();
            while !stop.load(Ordering::Relaxed) {
                purging.look(store.as_ref(), &index, Instant::now());
                if rest.is_zero() {
                    if let Some(kept) = kept {
                        look_into_trash(store.as_ref(), &index, kept, &mut clock);
                    }
                    rest = TRASH_EVERY;
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

/// Removes what users have purged.
struct Purging {
    refusals: Refusals,
    rests: Backoff,
    /// Nothing before then.
    rests_until: Option<Instant>,
    /// Says each trouble once.
    trouble: String,
}

impl Default for Purging {
    fn default() -> Self {
        let rests = Backoff::new(FIRST_REST, LONGEST_REST);
        Self { refusals: Refusals::default(), rests, rests_until: None, trouble: String::new() }
    }
}

impl Purging {
    fn look(&mut self, store: &dyn Store, index: &Index, now: Instant) {
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        match remove_purged(store, index, &self.refusals, Timestamp::now()) {
            Ok(_) => {
                self.rests.succeeded();
                (self.rests_until, self.trouble) = (None, String::new());
            }
            Err(err) => {
                self.rests_until = Some(now + self.rests.failed(1.0));
                let trouble = causes(&err);
                if self.trouble != trouble {
                    log::warn!("the trash: {trouble}");
                    self.trouble = trouble;
                }
            }
        }
    }
}

fn look_into_trash(store: &dyn Store, index: &Index, kept: Duration, clock: &mut TrashClock) {
    let now = Now::read();
    let Some(observed) = clock.observe(now) else { return };
    if let Err(err) = empty_trash(store, index, kept, now.wall, observed) {
        log::warn!("the trash: {}", causes(&err));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::archive::Archive;
    use crate::index::failing_disk::FailingDisk;

    #[test]
    fn what_is_purged_while_the_disk_is_full_goes_seconds_after_there_is_room() {
        let disk = FailingDisk::healthy();
        let mut archive = Archive::new();
        archive.services.index = disk.open().unwrap();
        let index = &archive.services.index;
        let recording = archive.publish("standup", "rec.wav", b"sound");
        index.purge_conversation(recording.id.conversation, Timestamp::now()).unwrap();
        let (mut purging, begun) = (Purging::default(), Instant::now());
        let mut look = |seconds: u64| {
            purging.look(archive.local.as_ref(), index, begun + Duration::from_secs(seconds));
            purging.rests_until.map(|until| (until - begun).as_secs())
        };
        disk.fill(true);
        assert_eq!(look(0), Some(1));
        // Not yet.
        assert_eq!(look(0), Some(1));
        disk.fill(false);
        let is_open = || index.purging_conversations().is_ok();
        while !is_open() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(look(1), None);
        assert_eq!(index.purging_conversations().unwrap(), []);
        assert!(archive.local.head(&recording.audio.key).is_err());
    }
}
