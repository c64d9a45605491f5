//! What became of a page that is no longer the one that the index knows: its writer has put another one in its
//! place, and the metadata and the marker that say so may be on their way.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::index::Index;
use crate::model::{Key, Object, PageKind, causes};
use crate::publishing::StorageError;
use crate::store::Bucket;
use crate::sync::follower::reading;

/// The metadata comes last: usually within a second or two of the pages.
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(1);

/// Readers that may wait at once. More are told that the page is not there any more, and ask again.
const WAITING: usize = 16;

/// Finds out what became of pages, one after the other, on a thread of its own: a request to the bucket may take longer
/// than a reader may wait.
pub struct PageRefresher {
    /// `None` only while it is dropped.
    requests: Option<SyncSender<Request>>,
    is_closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Request {
    stale: Object,
    deadline: Instant,
    answer: SyncSender<()>,
}

impl PageRefresher {
    pub fn start(bucket: Arc<dyn Bucket>, index: Index) -> io::Result<Self> {
        let (requests, receiver) = sync_channel(WAITING);
        let is_closing = Arc::<AtomicBool>::default();
        let closing = is_closing.clone();
        let serve = move || serve(bucket.as_ref(), &index, &receiver, &closing);
        let thread = Builder::new().name("page-refresh".to_owned()).spawn(serve)?;
        Ok(Self { requests: Some(requests), is_closing, thread: Some(thread) })
    }

    /// Returns when the index knows what lies in the place of `stale` now, when that cannot be found out, or at the
    /// deadline.
    pub fn refresh(&self, stale: &Object, deadline: Instant) {
        let (answer, answered) = sync_channel(1);
        let request = Request { stale: stale.clone(), deadline, answer };
        let is_taken = self.requests.as_ref().is_some_and(|it| it.try_send(request).is_ok());
        if is_taken {
            // The reader's time is over, or there is an answer: both are the end of it.
            let _ = answered.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

impl Drop for PageRefresher {
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::Relaxed);
        drop(self.requests.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that finds out about pages has panicked");
        }
    }
}

fn serve(
    bucket: &dyn Bucket,
    index: &Index,
    requests: &Receiver<Request>,
    is_closing: &AtomicBool,
) {
    for Request { stale, deadline, answer } in requests {
        let is_over = || deadline <= Instant::now() || is_closing.load(Ordering::Relaxed);
        if let Err(err) = refresh_page(bucket, index, &stale, &is_over) {
            log::debug!("{}: what it is now is not known: {}", stale.key, causes(&err));
        }
        // The reader may be gone.
        let _ = answer.send(());
    }
}

/// Reads the metadata again, a few times, until it names another page in the place of `stale`, and files what it
/// says.
fn refresh_page(
    bucket: &dyn Bucket,
    index: &Index,
    stale: &Object,
    is_over: &dyn Fn() -> bool,
) -> Result<(), StorageError> {
    for number in 0..TRIES {
        if 0 < number {
            std::thread::sleep(BETWEEN);
        }
        if is_over() {
            break;
        }
        let Some(metadata) = metadata_of(index, &stale.key)? else { break };
        let told = reading::recordings(bucket, &[metadata])?;
        let named = told.iter().find_map(|(_, recording, transcript)| {
            let mut objects = recording.objects().chain([&transcript.object]);
            objects.find(|object| object.key == stale.key).cloned()
        });
        if named.is_some_and(|named| named != *stale) {
            index.follow(told)?;
            break;
        }
    }
    Ok(())
}

/// The metadata page of the recording that has that page. A day's transcript is told of by any of the day.
fn metadata_of(index: &Index, page: &Key) -> Result<Option<Key>, StorageError> {
    let Some(end) = page.as_str().rfind('/') else { return Ok(None) };
    let folder = &page.as_str()[..=end];
    // No key has a character behind this one.
    let beside = index.metadata_between(folder, Some(&format!("{folder}~")))?;
    let is_its = |metadata: &Key| {
        metadata == page || PageKind::ALL.into_iter().any(|it| page.is_page_beside(metadata, it))
    };
    let its = beside.iter().find(|object| is_its(&object.key)).or(beside.first());
    Ok(its.map(|object| object.key.clone()))
}
