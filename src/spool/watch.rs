//! Folders elsewhere whose recordings are copied into the inbox, and left where they are.
//!
//! A recording there is taken for complete when its size and modification time have not changed for the settle
//! time: programs that write there do not go through us, and network folders say nothing about closes. What
//! `notify` reports is only a hint to look sooner.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::model::FileName;
use crate::spool::names;
use crate::spool::signs::{Candidate, Stamp};
use crate::spool::watch_ledger::Ledger;
use crate::spool::{Inner, SpoolError, disk};

/// Looked at again without a hint: some network folders never give one.
const POLL: Duration = Duration::from_secs(60);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
    /// Gives hints as long as it lives. `None` where the system cannot: then only the clock does.
    _watcher: Option<RecommendedWatcher>,
}

/// Wakes the watching thread. Many hints are one.
#[derive(Debug, Default)]
struct Bell {
    /// Guards what was rung for.
    rung: Mutex<Rung>,
    ringing: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct Rung {
    has_changes: bool,
    is_over: bool,
}

impl Bell {
    fn ring(&self, what: impl FnOnce(&mut Rung)) {
        what(&mut self.lock());
        self.ringing.notify_all();
    }

    /// Waits for a hint, but not longer than this. `false`: it is over.
    fn wait(&self, most: Duration) -> bool {
        let waited = self
            .ringing
            .wait_timeout_while(self.lock(), most, |rung| !rung.has_changes && !rung.is_over);
        let mut rung = waited.map_or_else(|poison| poison.into_inner().0, |(rung, _)| rung);
        rung.has_changes = false;
        !rung.is_over
    }

    /// Waits this long whatever changes. `false`: it is over.
    fn pause(&self, span: Duration) -> bool {
        let waited = self.ringing.wait_timeout_while(self.lock(), span, |rung| !rung.is_over);
        let rung = waited.map_or_else(|poison| poison.into_inner().0, |(rung, _)| rung);
        !rung.is_over
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Watch {
    pub(crate) fn start(inner: Arc<Inner>, folders: Vec<PathBuf>) -> Result<Self, SpoolError> {
        for folder in &folders {
            let is_ours = fs::canonicalize(folder)?.starts_with(fs::canonicalize(&inner.dir)?);
            if is_ours {
                // It would copy what it has copied.
                return Err(disk::errno(libc::ELOOP).into());
            }
        }
        let bell = Arc::new(Bell::default());
        let watcher = hints_for(&folders, bell.clone());
        let ledger = Ledger::open(&inner.dir.join("watched"))?;
        let mut rounds =
            Rounds { inner, folders, ledger, pending: HashMap::new(), refused: HashMap::new() };
        let called = bell.clone();
        let thread = thread::Builder::new().name("spool-watch".to_owned());
        let thread = thread.spawn(move || rounds.go(&called))?;
        Ok(Self { bell, thread: Some(thread), _watcher: watcher })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bell.ring(|rung| rung.is_over = true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("watched folders: the thread has panicked");
        }
    }
}

fn hints_for(folders: &[PathBuf], bell: Arc<Bell>) -> Option<RecommendedWatcher> {
    let heard = move |event: notify::Result<notify::Event>| {
        // Our own looking opens and closes files too.
        let is_reading = event.is_ok_and(|event| {
            matches!(event.kind, EventKind::Access(kind)
                if kind != AccessKind::Close(AccessMode::Write))
        });
        if !is_reading {
            bell.ring(|rung| rung.has_changes = true);
        }
    };
    let mut watcher = notify::recommended_watcher(heard)
        .inspect_err(|err| log::warn!("watched folders: looked at once a minute only: {err}"))
        .ok()?;
    for folder in folders {
        if let Err(err) = watcher.watch(folder, RecursiveMode::Recursive) {
            log::warn!("watched folders: one is looked at once a minute only: {err}");
        }
    }
    Some(watcher)
}

/// One look after the other at all folders.
struct Rounds {
    inner: Arc<Inner>,
    folders: Vec<PathBuf>,
    ledger: Ledger,
    /// What may still be changing: how it was seen, and since when.
    pending: HashMap<PathBuf, (Stamp, Instant)>,
    /// What cannot be taken as it is; said once.
    refused: HashMap<PathBuf, Stamp>,
}

impl Rounds {
    fn go(&mut self, bell: &Bell) {
        let settle = self.inner.options.settle;
        // Often enough to be no later than a quarter of the settle time.
        let pause = (settle / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            self.look();
            let rest = if self.pending.is_empty() { POLL } else { pause };
            if !bell.wait(rest) || !bell.pause(pause) {
                return;
            }
        }
    }

    fn look(&mut self) {
        let mut seen = HashMap::new();
        for folder in self.folders.clone() {
            let mut unseen = vec![(folder.clone(), Vec::new())];
            while let Some((dir, below)) = unseen.pop() {
                let Ok(entries) = fs::read_dir(&dir) else { continue };
                for entry in entries.flatten() {
                    let Some(name) = FileName::new(entry.file_name().into_encoded_bytes()) else {
                        continue;
                    };
                    let path = [below.as_slice(), &[name]].concat();
                    // Links are not followed: they may lead in circles, or here.
                    match entry.file_type() {
                        Ok(kind) if kind.is_dir() => unseen.push((entry.path(), path)),
                        Ok(kind) if kind.is_file() => {
                            self.look_at(&entry.path(), &path, &mut seen);
                        }
                        Ok(_) | Err(_) => {}
                    }
                }
            }
        }
        self.pending = seen;
    }

    fn look_at(
        &mut self,
        path: &Path,
        below: &[FileName],
        seen: &mut HashMap<PathBuf, (Stamp, Instant)>,
    ) {
        if names::candidate(below) == Candidate::Never {
            return;
        }
        let Some(stamp) = stamp_of(path) else { return };
        let is_done = self.ledger.has(path, stamp) || self.refused.get(path) == Some(&stamp);
        if stamp.bytes == 0 || is_done {
            return;
        }
        let since = match self.pending.get(path) {
            Some((before, since)) if *before == stamp => *since,
            _ => Instant::now(),
        };
        if since.elapsed() < self.inner.options.settle {
            seen.insert(path.to_owned(), (stamp, since));
            return;
        }
        match self.inner.bring_in(path, below, stamp) {
            Ok(true) => {
                if let Err(err) = self.ledger.add(path, stamp) {
                    log::warn!("watched folders: a copy may be made twice: {err}");
                }
            }
            // No recording, or changed while it was copied: seen as another file then.
            Ok(false) => {
                self.refused.insert(path.to_owned(), stamp);
            }
            Err(err @ (SpoolError::Full { .. } | SpoolError::Disk(_))) => {
                log::warn!("watched folders: a recording could not be copied yet: {err}");
                // The settle time begins again, so that it is not tried without rest.
                seen.insert(path.to_owned(), (stamp, Instant::now()));
            }
            Err(SpoolError::Missing | SpoolError::Changed) => {}
        }
    }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let parent = fs::File::open(path.parent()?).ok()?;
    let name: &OsStr = path.file_name()?;
    Some(disk::stat_at(std::os::fd::AsFd::as_fd(&parent), name).ok()?.stamp())
}
