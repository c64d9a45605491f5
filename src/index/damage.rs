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
use std::time::Duration;

use crate::index::{Index, IndexError};

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
    /// In this run.
    is_found: AtomicBool,
    alarm: OnceLock<Alarm>,
    has_rung: AtomicBool,
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
        Self { mark: Some(mark_of(path)), is_known, ..Self::default() }
    }

    /// Called once, when damage is found; at once, where some was found since the index was opened. Only the first one
    /// counts.
    pub(crate) fn set_alarm(&self, alarm: Alarm) {
        // A daemon sets it once.
        let _ = self.alarm.set(alarm);
        self.ring_if_found();
    }

    fn ring_if_found(&self) {
        if let Some(alarm) = self.alarm.get()
            && self.is_found.load(Ordering::SeqCst)
            && !self.has_rung.swap(true, Ordering::SeqCst)
        {
            alarm();
        }
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
        self.is_found.store(true, Ordering::SeqCst);
        self.ring_if_found();
    }
}

impl Index {
    /// `alarm` is called once, when a page or a row turns out to be damaged: the index is to be opened again, and is
    /// built anew then.
    pub fn when_damaged(&self, alarm: impl Fn() + Send + Sync + 'static) {
        self.inner.damage.set_alarm(Box::new(alarm));
    }
}

/// So many times in a row the index is rebuilt. What is found damaged after that as well is none of the disk's doing.
const MOST_REBUILDS: u32 = 2;

/// Rebuilds are in a row that follow within this time.
const ROW: Duration = Duration::from_hours(24);

/// How often the index at `path` was rebuilt for damage in a row.
fn rebuilds(path: &Path) -> u32 {
    let path = count_of(path);
    let is_old = |stat: &fs::Metadata| {
        stat.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| ROW <= age))
    };
    match fs::metadata(&path) {
        Ok(stat) if is_old(&stat) => 0,
        _ => fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0),
    }
}

/// Whether rebuilding the index at `path` once more may help. Where damage is found in every new one, it is not in the
/// file: it is opened as it is.
pub fn may_rebuild_help(path: &Path) -> bool {
    rebuilds(path) < MOST_REBUILDS
}

/// Somebody has asked for the rebuild: those that were done before count no more.
pub fn forget_rebuilds(path: &Path) -> io::Result<()> {
    remove(&count_of(path))
}

/// Whether the index at `path` was found to be damaged, and must be built anew.
pub fn is_rebuild_due(path: &Path) -> bool {
    mark_of(path).exists()
}

/// The index at `path` was built anew, or was put aside.
pub fn rebuild_is_done(path: &Path) -> io::Result<()> {
    let mark = mark_of(path);
    if mark.exists() {
        fs::write(count_of(path), rebuilds(path).saturating_add(1).to_string())?;
    }
    remove(&mark)
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

fn count_of(path: &Path) -> PathBuf {
    path.with_extension("redb.rebuilt")
}

fn mark_of(path: &Path) -> PathBuf {
    path.with_extension("redb.rebuild")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use super::*;

    fn damaged() -> Result<(), IndexError> {
        Err(IndexError::Damaged("a page".into()))
    }

    #[test]
    fn damage_that_was_met_before_anybody_listened_rings_the_alarm_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        let rung = Arc::<AtomicU32>::default();
        let alarm = || {
            let rung = rung.clone();
            Box::new(move || {
                rung.fetch_add(1, Ordering::Relaxed);
            })
        };
        let damage = Damage::of(&path);
        assert!(damage.watch(damaged).is_err());
        damage.set_alarm(alarm());
        assert!(damage.watch(damaged).is_err());
        assert_eq!(rung.load(Ordering::Relaxed), 1);
        // Found by an earlier run, which could not be rebuilt: it is served as it is.
        let damage = Damage::of(&path);
        damage.set_alarm(alarm());
        assert!(damage.watch(damaged).is_err());
        assert_eq!(rung.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn rebuilds_in_a_row_are_counted_until_somebody_asks_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        for _ in 0..MOST_REBUILDS {
            assert!(may_rebuild_help(&path));
            drop(Damage::of(&path).watch(damaged));
            rebuild_is_done(&path).unwrap();
        }
        assert!(!may_rebuild_help(&path));
        // What was long ago does not count.
        let long_ago = std::time::SystemTime::now() - ROW;
        File::options().write(true).open(count_of(&path)).unwrap().set_modified(long_ago).unwrap();
        assert!(may_rebuild_help(&path));
        fs::write(count_of(&path), "9").unwrap();
        assert!(!may_rebuild_help(&path));
        forget_rebuilds(&path).unwrap();
        assert!(may_rebuild_help(&path));
    }
}
