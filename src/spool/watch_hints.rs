//! [`Hints`]: where something may have changed.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::concurrency::{Condvar, Mutex, MutexGuard};

/// Wakes the watching thread. Many hints are one.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// Guards what was hinted at.
    hinted: Mutex<Hinted>,
    ringing: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct Hinted {
    pub(crate) paths: HashSet<PathBuf>,
    /// Somewhere, which is not known.
    pub(crate) is_anywhere: bool,
    pub(crate) is_over: bool,
}

/// Where something may have changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    Nowhere,
    At(Vec<PathBuf>),
    Anywhere,
}

impl Hints {
    pub(crate) fn ring(&self, what: impl FnOnce(&mut Hinted)) {
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
