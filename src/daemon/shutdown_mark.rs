//! A file in the state folder that says "I am about to end": whoever comes next waits for that instead of failing.
//! Commands that follow an `umount` at once, as in scripts and restarts, come while its daemon still writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::DaemonError;
use crate::index::IndexError;

const NAME: &str = "ending";

/// Longest wait for a daemon that is ending: the limit it has set itself, and a little.
const PATIENCE: Duration = Duration::from_secs(30);

/// The daemon hears a moment after everybody else that its mount is gone.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct ShutdownMark(PathBuf);

impl ShutdownMark {
    /// Removes what a daemon has left behind that was killed while it ended. Only its successor, who has the
    /// index, may do so.
    pub(crate) fn clear(state: &Path) -> Result<Self, DaemonError> {
        let path = state.join(NAME);
        match fs::remove_file(&path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                Err(DaemonError::Folder { path, source: err })
            }
            _ => Ok(Self(path)),
        }
    }

    pub(crate) fn set(&self) {
        if let Err(err) = fs::write(&self.0, "") {
            log::warn!("commands will not see that this daemon is exiting: {err}");
        }
    }

    /// The index is free.
    pub(crate) fn remove(&self) {
        // What stays is removed by the next daemon.
        let _ = fs::remove_file(&self.0);
    }
}

/// Opens the index at `path`; where another process has it that is about to end, that is waited for.
pub(crate) fn patiently<T>(
    path: &Path,
    open: impl Fn() -> Result<T, IndexError>,
) -> Result<T, IndexError> {
    let mark = path.with_file_name(NAME);
    let begun = Instant::now();
    loop {
        let opened = open();
        let waited = begun.elapsed();
        let is_worth_waiting = waited < FIRST_PATIENCE || (waited < PATIENCE && mark.exists());
        if !matches!(opened, Err(IndexError::InUse { .. })) || !is_worth_waiting {
            return opened;
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_ending_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        let held = crate::index::Index::open(&path).unwrap();
        ShutdownMark::clear(dir.path()).unwrap().set();
        thread::scope(|scope| {
            let opening = scope.spawn(|| patiently(&path, || crate::index::Index::open(&path)));
            thread::sleep(FIRST_PATIENCE + LOOK);
            assert!(!opening.is_finished());
            held.close().unwrap();
            drop(held);
            opening.join().unwrap().unwrap();
        });
    }
}
