//! `PageDrops`: files whose cached bytes the kernel is to drop, told to it by one thread.
//!
//! The kernel waits for a page that is being read: with a slow bucket for as long as that read takes. Nothing else
//! that is to be told may wait for it.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::Node;

/// How long whoever tells of a change waits, so that its event is told after the bytes were dropped. It takes
/// microseconds, or as long as a slow read.
const PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(crate) struct PageDrops {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeSet<Node>,
    is_busy: bool,
    is_stopping: bool,
}

impl State {
    fn is_behind(&self) -> bool {
        self.is_busy || !self.waiting.is_empty()
    }
}

impl PageDrops {
    /// Returns when it is done, or is going to take long.
    pub(crate) fn drop_all(&self, files: &BTreeSet<Node>) {
        if files.is_empty() {
            return;
        }
        let mut state = self.lock();
        let is_stuck = state.is_behind();
        state.waiting.extend(files);
        self.changed.notify_all();
        if !is_stuck {
            let is_behind = |state: &mut State| state.is_behind() && !state.is_stopping;
            let waited = self.changed.wait_timeout_while(state, PATIENCE, is_behind);
            drop(waited);
        }
    }

    /// Takes one file after the other, until [`Self::stop`].
    pub(crate) fn work(&self, drop_pages: impl Fn(Node)) {
        let mut state = self.lock();
        while !state.is_stopping {
            let Some(node) = state.waiting.pop_first() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.is_busy = true;
            drop(state);
            drop_pages(node);
            state = self.lock();
            state.is_busy = false;
            self.changed.notify_all();
        }
    }

    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};
    use std::thread;

    use super::*;
    use crate::model::{ConversationSeq, Day};

    fn file(seq: u32) -> BTreeSet<Node> {
        BTreeSet::from([Node::Transcript(ConversationSeq(seq), Day::UNKNOWN)])
    }

    #[test]
    fn nobody_waits_for_a_page_that_is_being_read() {
        let drops = PageDrops::default();
        let (begun, has_begun) = channel();
        let (release, held) = sync_channel::<()>(0);
        thread::scope(|scope| {
            let held = std::sync::Mutex::new(held);
            scope.spawn({
                let drops = &drops;
                move || {
                    drops.work(|node| {
                        begun.send(node).unwrap();
                        // Until the page is let go, or for good.
                        let _ = held.lock().unwrap().recv();
                    });
                }
            });
            // All of these return although not one page is dropped.
            (1..100).for_each(|seq| drops.drop_all(&file(seq)));
            (1..100).for_each(|seq| {
                assert_eq!(BTreeSet::from([has_begun.recv().unwrap()]), file(seq));
                release.send(()).unwrap();
            });
            drop(release);
            drops.stop();
        });
    }
}
