//! Threads that wait for the network, so that those that answer the kernel never do.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{Builder, JoinHandle};

use crate::fs::errno::FsError;
use crate::fs::events::Answer;
use crate::fs::files::Files;
use crate::model::{Key, Object};
use crate::store::StoreError;

/// Reads that are under way at once.
const THREADS: usize = 8;

/// Reads that may wait for a thread. When that many do, the store is too slow for all of them, and
/// further ones fail at once instead of piling up.
const QUEUE: usize = 64;

/// What one of the threads does.
type Task = Box<dyn FnOnce(&Files) -> Result<Vec<u8>, FsError> + Send>;

struct Fetch {
    /// The key that it is about.
    at: Key,
    task: Task,
    answer: Answer,
}

/// Started by the first read that needs them: with a local store there are none.
pub(crate) struct Fetchers {
    files: Weak<Files>,
    started: OnceLock<Option<Started>>,
}

struct Started {
    queue: Mutex<Option<SyncSender<Fetch>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Fetchers {
    pub(crate) fn new(files: &Arc<Files>) -> Self {
        Self { files: Arc::downgrade(files), started: OnceLock::new() }
    }

    pub(crate) fn fetch(&self, object: Object, offset: u64, size: u64, answer: Answer) {
        let at = object.key.clone();
        let task: Task = Box::new(move |files| files.fetch(&object, offset, size));
        self.queue(Fetch { at, task, answer });
    }

    /// A link to the object.
    pub(crate) fn link(&self, key: Key, answer: Answer) {
        let at = key.clone();
        let task: Task = Box::new(move |files| files.tree.link(&key));
        self.queue(Fetch { at, task, answer });
    }

    fn queue(&self, fetch: Fetch) {
        let started = self.started.get_or_init(|| start(&self.files)).as_ref();
        let queue = started.and_then(|started| {
            started.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
        });
        let Some(queue) = queue else { return (fetch.answer)(Err(FsError::Gone)) };
        match queue.try_send(fetch) {
            Ok(()) => {}
            Err(TrySendError::Full(fetch) | TrySendError::Disconnected(fetch)) => {
                let at = fetch.at.to_string();
                let source = "too many reads are waiting already".into();
                (fetch.answer)(Err(StoreError::Unavailable { at, source }.into()));
            }
        }
    }

    /// Answers what is queued, and joins the threads.
    pub(crate) fn stop(&self) {
        let Some(Some(started)) = self.started.get() else { return };
        started.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads =
            std::mem::take(&mut *started.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                log::error!("mount: a thread that reads from the store has panicked");
            }
        }
    }
}

fn start(files: &Weak<Files>) -> Option<Started> {
    let (queue, fetches) = sync_channel(QUEUE);
    let fetches = Arc::new(Mutex::new(fetches));
    let threads: Vec<_> = (0..THREADS)
        .filter_map(|number| {
            let (files, fetches) = (files.clone(), fetches.clone());
            let thread = Builder::new().name(format!("fs-fetch-{number}"));
            thread.spawn(move || work(&files, &fetches)).ok()
        })
        .collect();
    if threads.is_empty() {
        log::error!("mount: no thread could be started to read from the store");
        return None;
    }
    Some(Started { queue: Mutex::new(Some(queue)), threads: Mutex::new(threads) })
}

fn work(files: &Weak<Files>, fetches: &Mutex<Receiver<Fetch>>) {
    loop {
        // Whoever has the lock waits for all; the others wait for the lock.
        let next = fetches.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Fetch { task, answer, .. }) = next else { return };
        let Some(files) = files.upgrade() else { return answer(Err(FsError::Gone)) };
        answer(task(&files));
    }
}
