//! Reads that wait for the network, on threads of their own.
//!
//! A read holds its thread until the store's deadline at the worst. There are so many threads that objects which
//! come slowly, or not at all, do not keep a read from its turn that could be answered at once.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::fs::errno::FsError;
use crate::fs::files::Files;
use crate::fs::worker_pool::{Turn, WorkerPool};
use crate::model::{Key, Node, Object};
use crate::store::{Bytes, StoreError};

/// Reads that are under way at once. They wait for the network and do little else.
const THREADS: usize = 256;

/// How long a read may wait for a thread. One that does for longer has little time left for the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// Called once with what a task comes to.
pub(crate) type Answer = Box<dyn FnOnce(Result<Bytes, FsError>) + Send>;

/// A read of what is not on this disk. It is answered when the store's deadline is over at the latest, and
/// the time that it may wait for a thread.
pub(crate) struct Fetch {
    pub(crate) node: Node,
    pub(crate) object: Object,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) answer: Answer,
}

/// With a local store there are no threads.
pub(crate) struct Fetchers {
    files: Weak<Files>,
    pool: WorkerPool,
}

impl Fetchers {
    pub(crate) fn new(files: &Arc<Files>) -> Self {
        Self { files: Arc::downgrade(files), pool: WorkerPool::new("fs-fetch", THREADS) }
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
        let (asked_at, files) = (Instant::now(), self.files.clone());
        let in_vain = move |why: &str| {
            let at = key.to_string();
            Err(StoreError::Unavailable { at, source: why.into() }.into())
        };
        self.pool.submit(Box::new(move |turn| {
            answer(match (turn, files.upgrade()) {
                (Turn::Never, _) => in_vain("too many reads are waiting already"),
                (Turn::Now, _) if PATIENCE < asked_at.elapsed() => {
                    in_vain("other reads took too long")
                }
                (Turn::Now, Some(files)) => task(&files),
                (Turn::Now, None) => Err(FsError::Gone),
            });
        }));
    }

    /// Answers what is queued, and joins the threads.
    pub(crate) fn stop(&self) {
        self.pool.stop();
    }
}
