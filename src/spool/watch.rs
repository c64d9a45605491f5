//! `Watch`: folders elsewhere whose recordings are copied into the inbox, and left where they are.
//!
//! A recording there is taken for complete when its size and modification time have not changed for the settle
//! time: programs that write there do not go through us, and network folders say nothing about closes. What
//! `notify` reports is only a hint where to look sooner.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::RecommendedWatcher;
use notify::event::{AccessKind, AccessMode, EventKind};

use crate::concurrency::{Condvar, Mutex, MutexGuard, thread};
use crate::spool::watch_ledger::Ledger;
use crate::spool::watch_rounds::Rounds;
use crate::spool::{Inner, SpoolError};

/// Changed paths that are kept apart. Beyond it everything is looked at.
const MOST_PATHS: usize = 1000;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    hints: Arc<Hints>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Wakes the watching thread. Many hints are one.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// Guards what was hinted at.
    hinted: Mutex<Hinted>,
    ringing: Condvar,
}

#[derive(Debug, Default)]
struct Hinted {
    paths: HashSet<PathBuf>,
    /// Somewhere, which is not known.
    is_anywhere: bool,
    is_over: bool,
}

/// Where something may have changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    Nowhere,
    At(Vec<PathBuf>),
    Anywhere,
}

impl Hints {
    fn ring(&self, what: impl FnOnce(&mut Hinted)) {
        what(&mut self.lock());
        self.ringing.notify_all();
    }

    /// Waits for a hint, but not longer than this. `None`: it is over.
    pub(crate) fn wait(&self, most: Duration) -> Option<Hint> {
        let is_quiet =
            |hinted: &mut Hinted| hinted.paths.is_empty() && !hinted.is_anywhere && !hinted.is_over;
        let waited = self.ringing.wait_timeout_while(self.lock(), most, is_quiet);
        drop(waited.map_or_else(|poison| poison.into_inner().0, |(hinted, _)| hinted));
        self.take()
    }

    /// Waits this long whatever changes. `false`: it is over.
    pub(crate) fn pause(&self, span: Duration) -> bool {
        let waited = self.ringing.wait_timeout_while(self.lock(), span, |hinted| !hinted.is_over);
        let hinted = waited.map_or_else(|poison| poison.into_inner().0, |(hinted, _)| hinted);
        !hinted.is_over
    }

    pub(crate) fn take(&self) -> Option<Hint> {
        let mut hinted = self.lock();
        let paths = std::mem::take(&mut hinted.paths);
        let is_anywhere = std::mem::take(&mut hinted.is_anywhere);
        if hinted.is_over {
            return None;
        }
        Some(match (is_anywhere, paths.is_empty()) {
            (true, _) => Hint::Anywhere,
            (false, true) => Hint::Nowhere,
            (false, false) => Hint::At(paths.into_iter().collect()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Hinted> {
        self.hinted.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Watch {
    /// `ours`: where scribefs itself keeps recordings, beside the spool.
    pub(crate) fn start(
        inner: Arc<Inner>,
        folders: Vec<PathBuf>,
        mut ours: Vec<PathBuf>,
    ) -> Result<Self, SpoolError> {
        ours.push(inner.dir.clone());
        for folder in &folders {
            check_apart(folder, &ours)?;
        }
        let hints = Arc::new(Hints::default());
        let ledger = Ledger::open(&inner.dir.join("watched"))?;
        let mut rounds = Rounds::new(inner, folders, ours, ledger);
        let called = hints.clone();
        let thread = thread::Builder::new().name("spool-watch".to_owned());
        let thread = thread.spawn(move || {
            // Gives hints as long as it lives. `None` where the system cannot: then only the clock does.
            let watcher = watcher_for(called.clone());
            rounds.go(watcher, &called);
        })?;
        Ok(Self { hints, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hints.ring(|hinted| hinted.is_over = true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("watched folders: the thread has panicked");
        }
    }
}

/// A folder that has to do with ours would be copied into itself.
pub(crate) fn check_apart(folder: &Path, ours: &[PathBuf]) -> Result<(), SpoolError> {
    let Ok(folder) = fs::canonicalize(folder) else {
        // It is not there. When it comes it is checked again.
        return Ok(());
    };
    for other in ours {
        let other = fs::canonicalize(other).or_else(|_| std::path::absolute(other))?;
        if folder.starts_with(&other) || other.starts_with(&folder) {
            return Err(SpoolError::Overlap { folder, ours: other });
        }
    }
    Ok(())
}

fn watcher_for(hints: Arc<Hints>) -> Option<RecommendedWatcher> {
    let heard = move |event: notify::Result<notify::Event>| match event {
        // Our own looking opens and closes files too.
        Ok(event) if is_reading(event.kind) => {}
        Ok(event) if !event.need_rescan() && !event.paths.is_empty() => hints.ring(|hinted| {
            hinted.paths.extend(event.paths);
            if MOST_PATHS < hinted.paths.len() {
                hinted.paths.clear();
                hinted.is_anywhere = true;
            }
        }),
        Ok(_) | Err(_) => hints.ring(|hinted| hinted.is_anywhere = true),
    };
    notify::recommended_watcher(heard)
        .inspect_err(|err| log::warn!("watched folders: scanned only once a minute: {err}"))
        .ok()
}

fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}
