//! `Damage`: what happens when a page or a row of the index turns out to be damaged.
//!
//! redb panics on some pages that it cannot make sense of. The call that met one fails instead of the process, and a
//! mark beside the file makes the next start build the index anew from what the stores hold. A row that cannot be read
//! leaves the same mark: passed over for good, it would hide a recording.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::index::IndexError;

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
    static HAS_UNREADABLE_ROW: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread comes from reading the index and ends nothing but that.
pub fn is_panic_contained() -> bool {
    IS_CONTAINED.get()
}

/// A page that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("one of its pages is damaged")]
struct DamagedPage;

/// Runs what reads or writes pages; [`IndexError::Damaged`] where redb panics on one.
pub(crate) fn contain<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    let was_contained = IS_CONTAINED.replace(true);
    // What is left half done is in the database only, which is not used any more after this.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_CONTAINED.set(was_contained);
    outcome.unwrap_or_else(|_| Err(IndexError::Damaged(Box::new(DamagedPage))))
}

/// On this thread a row was met that cannot be read.
pub(crate) fn note_unreadable_row() {
    HAS_UNREADABLE_ROW.set(true);
}

type Alarm = Box<dyn Fn() + Send + Sync>;

/// What is known of the damage of one index.
#[derive(Default)]
pub(crate) struct Damage {
    /// `None`: the index is no file.
    mark: Option<PathBuf>,
    is_known: AtomicBool,
    alarm: OnceLock<Alarm>,
}

impl std::fmt::Debug for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Damage").field("is_known", &self.is_known).finish_non_exhaustive()
    }
}

impl Damage {
    /// Of the index at `path`. Where it is to be rebuilt already, nothing more is said of it.
    pub(crate) fn of(path: &Path) -> Self {
        let is_known = AtomicBool::new(is_rebuild_due(path));
        Self { mark: Some(mark_of(path)), is_known, alarm: OnceLock::new() }
    }

    /// Called once, when damage is found. Only the first one counts.
    pub(crate) fn set_alarm(&self, alarm: Alarm) {
        // A daemon sets it once.
        let _ = self.alarm.set(alarm);
    }

    /// Runs what reads or writes, and notes what damage it met.
    pub(crate) fn watch<T>(
        &self,
        work: impl FnOnce() -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let outcome = contain(work);
        let has_unreadable_row = HAS_UNREADABLE_ROW.take();
        match &outcome {
            Err(IndexError::Damaged(why)) => self.found(why),
            _ if has_unreadable_row => self.found(&"a row cannot be read"),
            _ => {}
        }
        outcome
    }

    fn found(&self, why: &dyn std::fmt::Display) {
        if self.is_known.swap(true, Ordering::Relaxed) {
            return;
        }
        log::error!(
            "the index is damaged ({why}): the next mount or `scribefs reindex` rebuilds it from the recordings"
        );
        let marked = self.mark.as_ref().map_or(Ok(()), |mark| File::create(mark).map(drop));
        if let Err(err) = marked {
            log::error!(
                "only `scribefs reindex` does, because the next mount will not know of the damage: {err}"
            );
        }
        if let Some(alarm) = self.alarm.get() {
            alarm();
        }
    }
}

/// Whether the index at `path` was found to be damaged, and must be built anew.
pub fn is_rebuild_due(path: &Path) -> bool {
    mark_of(path).exists()
}

/// The index at `path` was built anew, or was put aside.
pub fn rebuild_is_done(path: &Path) -> io::Result<()> {
    match fs::remove_file(mark_of(path)) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

fn mark_of(path: &Path) -> PathBuf {
    path.with_extension("redb.rebuild")
}
