//! `WatchPoll`: one look after the other at all watched folders, and what is decided about each file there.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::model::FileName;
use crate::spool::state_inputs::{Candidate, FileStamp};
use crate::spool::timer::PATIENCE;
use crate::spool::watch_hints::{Hint, Hints};
use crate::spool::watch_log::WatchLog;
use crate::spool::watch_scan::{Found, Mounts, open_root, visit_below};
use crate::spool::{Inner, SpoolError, disk, names, unfinished};

/// Everything is looked at again without a hint: some network folders never give one.
const POLL: Duration = Duration::from_secs(60);

/// Rest between looks for a folder that is not there.
const ABSENT: Duration = Duration::from_secs(5);

pub(crate) struct WatchPoll {
    inner: Arc<Inner>,
    folders: Vec<Folder>,
    ours: Vec<PathBuf>,
    ledger: WatchLog,
    /// What may still be changing.
    pending: HashMap<PathBuf, Pending>,
    /// What cannot be taken as it is; said once.
    refused: HashMap<PathBuf, FileStamp>,
}

struct Folder {
    path: PathBuf,
    state: FolderState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FolderState {
    /// Not looked for yet, or there.
    Expected,
    Watched,
    /// Not there, which has been said.
    Absent,
    /// It has come and has to do with ours: never to be watched.
    Refused,
}

struct Pending {
    /// Place in the list of folders.
    folder: usize,
    below: Vec<FileName>,
    /// How it was seen, and since when.
    stamp: FileStamp,
    since: Instant,
    /// How long it must have been so.
    wait: Duration,
}

impl WatchPoll {
    pub(crate) fn new(
        inner: Arc<Inner>,
        folders: Vec<PathBuf>,
        ours: Vec<PathBuf>,
        ledger: WatchLog,
    ) -> Self {
        let folders = folders.into_iter();
        let folders = folders.map(|path| Folder { path, state: FolderState::Expected }).collect();
        Self { inner, folders, ours, ledger, pending: HashMap::new(), refused: HashMap::new() }
    }

    pub(crate) fn go(&mut self, mut watcher: Option<RecommendedWatcher>, hints: &Hints) {
        let settle = self.inner.options.settle;
        // Often enough to be no later than a quarter of the settle time.
        let pause = (settle / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
        let mut whole_look_at = Instant::now();
        let mut hint = Hint::Anywhere;
        loop {
            let has_come = self.look_for_folders(&mut watcher);
            let now = Instant::now();
            if has_come || whole_look_at <= now || hint == Hint::Anywhere {
                self.look_at_all();
                whole_look_at = now + POLL;
            } else {
                self.look_at_some(hint);
            }
            let rest = match self.pending.values().map(Pending::rest).min() {
                Some(rest) => rest.max(pause),
                None if self.has_absent() => ABSENT,
                None => whole_look_at.saturating_duration_since(Instant::now()),
            };
            let Some(next) = hints.wait(rest) else { return };
            hint = next;
            if hint != Hint::Nowhere {
                // What changes now changes again in a moment.
                if !hints.pause(pause) {
                    return;
                }
                match (hints.take(), hint) {
                    (None, _) => return,
                    (Some(Hint::Anywhere), _) | (_, Hint::Anywhere) => hint = Hint::Anywhere,
                    (Some(Hint::At(more)), Hint::At(paths)) => {
                        hint = Hint::At([paths, more].concat());
                    }
                    (Some(_), before) => hint = before,
                }
            }
        }
    }

    fn has_absent(&self) -> bool {
        self.folders.iter().any(|folder| folder.state == FolderState::Absent)
    }

    /// Says what is not there, and watches it when it comes. `true`: one has come.
    fn look_for_folders(&mut self, watcher: &mut Option<RecommendedWatcher>) -> bool {
        let mut has_come = false;
        for folder in &mut self.folders {
            let is_there = folder.path.is_dir();
            match (folder.state, is_there) {
                (FolderState::Expected | FolderState::Absent, true) => {
                    folder.state = FolderState::Watched;
                    if let Err(err) = check_apart(&folder.path, &self.ours) {
                        log::error!("watched folders: one is not watched: {err}");
                        folder.state = FolderState::Refused;
                        continue;
                    }
                    has_come = true;
                    if let Some(watcher) = watcher
                        && let Err(err) = watcher.watch(&folder.path, RecursiveMode::Recursive)
                    {
                        log::warn!("watched folders: one is scanned only once a minute: {err}");
                    }
                }
                (FolderState::Expected | FolderState::Watched, false) => {
                    log::warn!(
                        "watched folders: {} does not exist; it will be watched once it does",
                        folder.path.display()
                    );
                    folder.state = FolderState::Absent;
                }
                _ => {}
            }
        }
        has_come
    }

    fn look_at_all(&mut self) {
        let mut seen = HashSet::new();
        for folder in 0..self.folders.len() {
            self.look_below(folder, &[], &Mounts::now(), &mut seen);
        }
        self.pending.retain(|path, _| seen.contains(path));
        self.refused.retain(|path, _| seen.contains(path));
    }

    /// At what was hinted at, and at what may still be changing.
    fn look_at_some(&mut self, hint: Hint) {
        let mounts = Mounts::now();
        let mut places: HashSet<(usize, Vec<FileName>)> = HashSet::new();
        if let Hint::At(paths) = hint {
            places.extend(paths.iter().filter_map(|path| self.place_of(path)));
        }
        let pending = self.pending.values().filter(|pending| pending.rest().is_zero());
        places.extend(pending.map(|pending| (pending.folder, pending.below.clone())));
        for (folder, below) in places {
            let mut seen = HashSet::new();
            self.look_below(folder, &below, &mounts, &mut seen);
            let path = self.path_of(folder, &below);
            if !seen.contains(&path) {
                self.pending.remove(&path);
            }
        }
    }

    fn place_of(&self, path: &Path) -> Option<(usize, Vec<FileName>)> {
        self.folders.iter().enumerate().find_map(|(at, folder)| {
            let below = path.strip_prefix(&folder.path).ok()?;
            let names = below.iter().map(|name| FileName::new(name.as_encoded_bytes()));
            Some((at, names.collect::<Option<Vec<FileName>>>()?))
        })
    }

    fn path_of(&self, folder: usize, below: &[FileName]) -> PathBuf {
        let names: PathBuf = below.iter().map(FileName::as_os_str).collect();
        self.folders[folder].path.join(names)
    }

    fn look_below(
        &mut self,
        folder: usize,
        below: &[FileName],
        mounts: &Mounts,
        seen: &mut HashSet<PathBuf>,
    ) {
        if self.folders[folder].state != FolderState::Watched {
            return;
        }
        let Ok(root): Result<Arc<OwnedFd>, _> = open_root(&self.folders[folder].path) else {
            return;
        };
        visit_below(&root, below, mounts, &mut |found| {
            seen.insert(self.path_of(folder, found.below));
            self.look_at(folder, &found);
        });
    }

    fn look_at(&mut self, folder: usize, found: &Found<'_>) {
        if names::candidate(found.below) == Candidate::Never {
            return;
        }
        let path = self.path_of(folder, found.below);
        let stamp = found.stat.stamp();
        let is_done = self.ledger.has(&path, stamp) || self.refused.get(&path) == Some(&stamp);
        if stamp.bytes == 0 || is_done {
            self.pending.remove(&path);
            return;
        }
        let settle = self.inner.options.settle;
        let pending = self.pending.entry(path.clone()).or_insert_with(|| Pending {
            folder,
            below: found.below.to_vec(),
            stamp,
            since: Instant::now(),
            wait: settle,
        });
        if pending.stamp != stamp {
            (pending.stamp, pending.since, pending.wait) = (stamp, Instant::now(), settle);
        }
        if !pending.rest().is_zero() {
            return;
        }
        if pending.wait == settle && is_unfinished(found) {
            pending.wait = settle * PATIENCE;
            return;
        }
        self.bring_in(&path, found, stamp);
    }

    fn bring_in(&mut self, path: &Path, found: &Found<'_>, stamp: FileStamp) {
        let err = match self.inner.bring_in(found, stamp) {
            Ok(true) => {
                self.pending.remove(path);
                if let Err(err) = self.ledger.add(path, stamp) {
                    log::warn!("watched folders: a copy may be made twice: {err}");
                }
                return;
            }
            // No recording, or changed while it was copied: seen as another file then.
            Ok(false) => {
                self.pending.remove(path);
                self.refused.insert(path.to_owned(), stamp);
                return;
            }
            Err(err) => err,
        };
        let Some(pending) = self.pending.get_mut(path) else { return };
        let has_failed_before = pending.wait != self.inner.options.settle;
        (pending.since, pending.wait) = (Instant::now(), (pending.wait * 2).min(10 * POLL));
        match err {
            SpoolError::Missing | SpoolError::Changed => {}
            err if has_failed_before => {
                log::debug!("watched folders: a recording could not be copied yet: {err}");
            }
            err => log::warn!("watched folders: a recording could not be copied yet: {err}"),
        }
    }
}

impl Pending {
    fn rest(&self) -> Duration {
        self.wait.saturating_sub(self.since.elapsed())
    }
}

/// What cannot be read is found out when it is copied.
fn is_unfinished(found: &Found<'_>) -> bool {
    let Some(name) = found.below.last() else { return false };
    let Ok(file) = disk::open_at(found.dir, name.as_os_str(), libc::O_RDONLY, 0) else {
        return false;
    };
    let stamp = found.stat.stamp();
    unfinished::is_unfinished(&File::from(file), stamp.bytes, stamp.modified_ns).unwrap_or(false)
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
