//! `KernelNotifier`: tells the kernel what it must forget, and `.scribefs/events` what has happened.
//!
//! Threads of their own: the kernel may take a lock for an invalidation that it also holds while it waits for one
//! of our answers, so no handler may do this, and no lock of ours may be held meanwhile. The kernel is told first:
//! who reads of an event sees what it speaks of. One thing is not waited for: bytes of a file that somebody is
//! reading from a slow bucket cannot be forgotten before that read ends.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

use fuser::{INodeNo, Notifier};
use jiff::Timestamp;
use serde_json::json;

use crate::fs::control::shown;
use crate::fs::errno::FsError;
use crate::fs::event_lines;
use crate::fs::invalidation::Invalidation;
use crate::fs::page_drops::PageDrops;
use crate::fs::replies::log_repetitions;
use crate::fs::tree::Tree;
use crate::index::{Change, ChangeQueue};
use crate::model::{Conversation, ConversationSeq, FileName, JobState, Node, Waiting};
use crate::spool::SpoolEvent;

/// How often what has no event of its own is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Rest after news of the inbox: what comes in a burst is then told in one go, and those whose calls make the news
/// do not pay for waking us each time. What is published is told at once: it is looked for when it has left
/// the inbox.
const REST: Duration = Duration::from_millis(10);

/// News that are told in one go.
const BATCH: usize = 1024;

pub(crate) struct KernelNotifier {
    is_stopping: Arc<AtomicBool>,
    notifications: Notifications,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Notifications {
    kernel: Notifier,
    tree: Arc<Tree>,
    pages: Arc<PageDrops>,
    /// Folders that were told to the kernel since the last tick.
    told: Arc<Mutex<BTreeSet<Node>>>,
}

impl KernelNotifier {
    pub(crate) fn start(
        kernel: Notifier,
        tree: &Arc<Tree>,
        changes: ChangeQueue,
        drops: Receiver<SpoolEvent>,
    ) -> io::Result<Self> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (pages, told) = (Arc::default(), Arc::default());
        let notifications = Notifications { kernel, tree: tree.clone(), pages, told };
        let mut notifier =
            Self { is_stopping, notifications: notifications.clone(), threads: Vec::new() };
        let (of_index, of_spool, of_clock) =
            (notifications.clone(), notifications.clone(), notifications.clone());
        let published = move || {
            let first = changes.recv_timeout(TICK)?;
            fail_point!("fs-changes-received");
            Ok(std::iter::once(first).chain(changes.try_iter().take(BATCH - 1)).collect())
        };
        let dropped = move || {
            let first = drops.recv_timeout(TICK)?;
            Ok(std::iter::once(first).chain(drops.try_iter().take(BATCH - 1)).collect())
        };
        notifier.listen("fs-published", published, Duration::ZERO, move |news| {
            of_index.tell_changes(&news);
        })?;
        notifier.listen("fs-dropped", dropped, REST, move |news| of_spool.tell_drops(&news))?;
        notifier.spawn("fs-pages", move || {
            notifications.pages.work(|node| {
                notifications.note(notifications.kernel.inval_inode(INodeNo(node.inode().0), 0, 0));
            });
        })?;
        let is_stopping = notifier.is_stopping.clone();
        notifier.spawn("fs-tick", move || of_clock.tick_until(&is_stopping))?;
        Ok(notifier)
    }

    /// `tell` hears news in order, several at a time where they came faster than they were told. After news it
    /// has a rest.
    fn listen<News: Send + 'static>(
        &mut self,
        name: &str,
        receive: impl Fn() -> Result<Vec<News>, RecvTimeoutError> + Send + 'static,
        rest: Duration,
        tell: impl Fn(Vec<News>) + Send + 'static,
    ) -> io::Result<()> {
        let is_stopping = self.is_stopping.clone();
        self.spawn(name, move || {
            while !is_stopping.load(Ordering::Relaxed) {
                match receive() {
                    Ok(news) => {
                        tell(news);
                        thread::sleep(rest);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    // The call that ends us may have come together with the end of the channel, whose wait
                    // has swallowed it.
                    Err(RecvTimeoutError::Disconnected) if is_stopping.load(Ordering::Relaxed) => {}
                    Err(RecvTimeoutError::Disconnected) => thread::park_timeout(TICK),
                }
            }
        })
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(Builder::new().name(name.into()).spawn(work)?);
        Ok(())
    }

    pub(crate) fn stop(self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.notifications.pages.stop();
        for thread in self.threads {
            thread.thread().unpark();
            if thread.join().is_err() {
                log::error!("mount: a thread that tells the kernel of changes has panicked");
            }
        }
    }
}

/// To the kernel.
impl Notifications {
    fn tell(&self, invalidation: &Invalidation) {
        for (folder, name) in &invalidation.entries {
            self.forget_entry(*folder, name);
        }
        for folder in &invalidation.folders {
            self.forget_folder(*folder);
        }
        self.pages.drop_all(&invalidation.files);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.extend(&invalidation.folders);
    }

    fn forget_entry(&self, folder: Node, name: &OsStr) {
        self.note(self.kernel.inval_entry(INodeNo(folder.inode().0), name));
    }

    fn forget_folder(&self, folder: Node) {
        self.note(self.kernel.inval_inode(INodeNo(folder.inode().0), 0, 0));
    }

    /// What cannot be told ends by itself, in the second or the day that the kernel was promised.
    fn note(&self, told: io::Result<()>) {
        if let Err(err) = told {
            log::debug!("mount: the kernel did not take an invalidation: {err}");
        }
    }

    fn tick_until(&self, is_stopping: &AtomicBool) {
        let mut next = Instant::now() + TICK;
        let mut again = BTreeSet::new();
        while !is_stopping.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now < next {
                thread::park_timeout(next - now);
                continue;
            }
            next = now + TICK;
            // A listing that was answered before a change may have reached the kernel's cache after it was told.
            for folder in &again {
                self.forget_folder(*folder);
            }
            again = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
            log_repetitions();
        }
    }
}

/// What has happened.
impl Notifications {
    fn tell_changes(&self, changes: &[Change]) {
        let mut invalidation = Invalidation::default();
        for change in changes {
            invalidation.of_change(&self.tree.archive, change).unwrap_or_else(|err| {
                log::warn!("mount: listings may be old for a day, the index failed: {err}");
            });
        }
        self.tell(&invalidation);
        if changes.contains(&Change::Missed) {
            log::warn!("mount: too many changes to report one by one; dropping all kernel caches");
            self.forget_everything().unwrap_or_else(|err| {
                log::warn!("mount: listings may be old for a day, the index failed: {err}");
            });
        }
        for change in changes {
            self.tree.events.append(&event_lines::line(&self.tree.archive, change));
        }
    }

    /// More than is needed, where it is not known what is.
    fn forget_everything(&self) -> Result<(), FsError> {
        let archive = &self.tree.archive;
        let forget = |conversation: &Conversation| {
            let mut invalidation = Invalidation::default();
            invalidation.of_all_in(archive, conversation)?;
            self.tell(&invalidation);
            Ok::<_, FsError>(())
        };
        archive.index.trashed_conversations()?.iter().try_for_each(forget)?;
        let mut after = ConversationSeq(0);
        loop {
            let conversations = archive.index.conversations(after, BATCH)?;
            let Some(last) = conversations.last() else { return Ok(()) };
            after = last.seq;
            conversations.iter().try_for_each(forget)?;
        }
    }

    fn tell_drops(&self, events: &[SpoolEvent]) {
        let mut invalidation = Invalidation::default();
        for event in events {
            match event {
                SpoolEvent::Name { folder, name } => invalidation.in_inbox(*folder, name),
                SpoolEvent::Stage { id, state, .. } if state.is_final() => {
                    invalidation.changed(Node::Inbox(*id));
                }
                _ => {}
            }
        }
        if !invalidation.is_empty() {
            self.tell(&invalidation);
        }
        for event in events {
            match event {
                SpoolEvent::Stage { path, state, .. } => self.append_stage(path, *state),
                SpoolEvent::Waits { path, what, .. } => self.append_waiting(path, *what),
                _ => {}
            }
        }
    }

    fn append_stage(&self, path: &[FileName], state: JobState) {
        let at = Timestamp::now().to_string();
        let line =
            json!({ "event": "inbox", "path": shown(path), "state": state.as_str(), "at": at });
        self.tree.events.append(&line);
    }

    fn append_waiting(&self, path: &[FileName], what: Waiting) {
        let (path, state) = (shown(path), JobState::Queued.as_str());
        let at = Timestamp::now().to_string();
        let what = what.as_str();
        self.tree.events.append(
            &json!({ "event": "inbox", "path": path, "state": state, "waits_for": what, "at": at }),
        );
    }
}
