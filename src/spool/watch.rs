//! `Watch`: folders elsewhere whose recordings are copied into the inbox, and left where they are.
//!
//! A recording there is taken for complete when its size and modification time have not changed for the settle
//! time: programs that write there do not go through us, and network folders say nothing about closes. What
//! `notify` reports is only a hint where to look sooner.

use std::path::PathBuf;
use std::sync::Arc;

use notify::RecommendedWatcher;
use notify::event::{AccessKind, AccessMode, EventKind};

use crate::concurrency::thread;
use crate::spool::watch_hints::Hints;
use crate::spool::watch_log::WatchLog;
use crate::spool::watch_poll::{WatchPoll, check_apart};
use crate::spool::{Inner, SpoolError};

/// Changed paths that are kept apart. Beyond it everything is looked at.
const MOST_PATHS: usize = 1000;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    hints: Arc<Hints>,
    thread: Option<thread::JoinHandle<()>>,
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
        let ledger = WatchLog::open(&inner.dir.join("watched"))?;
        let mut rounds = WatchPoll::new(inner, folders, ours, ledger);
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
