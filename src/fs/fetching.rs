//! Threads that wait for the network, so that those that answer the kernel never do.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::fs::errno::FsError;
use crate::fs::files::Files;
use crate::model::{Key, Node, Object};
use crate::store::{Bytes, StoreError};

/// Reads that are under way at once. They wait for the network and do little else.
const THREADS: usize = 16;

/// How long a read may wait for a thread. One that does for longer has little time left for the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads that may wait for a thread. When that many do, the store is too slow for all of them, and
/// further ones fail at once instead of piling up.
const QUEUE: usize = 64;

/// Called once with what a task comes to.
pub(crate) type Answer = Box<dyn FnOnce(Result<Bytes, FsError>) + Send>;

/// What one of the threads does.
type Task = Box<dyn FnOnce(&Files) -> Result<Bytes, FsError> + Send>;

/// A read of what is not on this disk. It is answered when the store's deadline is over at the latest, and
/// the time that it may wait for a thread.
pub(crate) struct Fetch {
    pub(crate) node: Node,
    pub(crate) object: Object,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) answer: Answer,
}

/// A task that waits for a thread.
struct Asked {
    at: Instant,
    /// The key that it is about.
    key: Key,
    task: Task,
    answer: Answer,
}

/// Started by the first read that needs them: with a local store there are none.
pub(crate) struct Fetchers {
    files: Weak<Files>,
    started: OnceLock<Option<Started>>,
}

struct Started {
    /// `None` once they are told to stop.
    queue: Mutex<Option<SyncSender<Asked>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Fetchers {
    pub(crate) fn new(files: &Arc<Files>) -> Self {
        Self { files: Arc::downgrade(files), started: OnceLock::new() }
    }

    pub(crate) fn fetch(&self, fetch: Fetch) {
        let Fetch { node, object, offset, size, answer } = fetch;
        let key = object.key.clone();
        self.queue(key, answer, move |files| files.fetch(node, &object, offset, size));
    }

    /// A link to the object, for that time.
    pub(crate) fn link(&self, key: Key, lasts: Duration, answer: Answer) {
        self.queue(key.clone(), answer, move |files| files.tree.link(&key, lasts).map(Bytes::from));
    }

    fn queue(
        &self,
        key: Key,
        answer: Answer,
        task: impl FnOnce(&Files) -> Result<Bytes, FsError> + Send + 'static,
    ) {
        let asked = Asked { at: Instant::now(), key, task: Box::new(task), answer };
        let started = self.started.get_or_init(|| start(&self.files)).as_ref();
        let queue = started.and_then(|started| {
            started.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
        });
        let Some(queue) = queue else { return (asked.answer)(Err(FsError::Gone)) };
        match queue.try_send(asked) {
            Ok(()) => {}
            Err(TrySendError::Full(asked) | TrySendError::Disconnected(asked)) => {
                asked.fail("too many reads are waiting already");
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

impl Asked {
    fn fail(self, why: &str) {
        let at = self.key.to_string();
        (self.answer)(Err(StoreError::Unavailable { at, source: why.into() }.into()));
    }
}

fn work(files: &Weak<Files>, fetches: &Mutex<Receiver<Asked>>) {
    loop {
        // Whoever has the lock waits for all; the others wait for the lock.
        let next = fetches.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(asked) = next else { return };
        if PATIENCE < asked.at.elapsed() {
            asked.fail("other reads took too long");
            continue;
        }
        let Asked { task, answer, .. } = asked;
        let Some(files) = files.upgrade() else { return answer(Err(FsError::Gone)) };
        answer(task(&files));
    }
}
