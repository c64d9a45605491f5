//! The one thread that writes. What waits when a commit begins shares it: one flush for everybody.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redb::{Database, Durability, WriteTransaction};

use crate::index::damage::Damage;
use crate::index::database::Opened;
use crate::index::failure::Refusal;
use crate::index::purge_log::{PurgeLog, fingerprint};
use crate::index::subscribers::Subscribers;
use crate::index::{Change, IndexError};
use crate::model::Recording;

/// Changes that wait for the writer. A caller of a full queue waits for room, as it would for the commit.
const QUEUE: usize = 256;

/// Rest between tries to open a database again whose disk had no room for that. Nothing tells of room.
const AGAIN: Duration = Duration::from_millis(200);

/// A transaction that several changes go into.
pub(crate) struct WriteTxn<'a> {
    transaction: &'a WriteTransaction,
    writes: u32,
    /// One of the writes must be durable before anybody is told of it.
    is_urgent: bool,
    /// What subscribers are told after the commit.
    changes: Vec<Change>,
    /// What the log of purges is told.
    purged: Vec<String>,
}

impl<'a> WriteTxn<'a> {
    /// For looking only.
    pub(crate) fn tables(&self) -> &'a WriteTransaction {
        self.transaction
    }

    /// For writing. A change looks first and writes last, so that a refusal leaves nothing half done.
    pub(crate) fn begin(&mut self) -> &'a WriteTransaction {
        self.is_urgent = true;
        self.begin_lazily()
    }

    /// For what a crash may forget, since it is found out and done once more after it: seen by all at once, it
    /// reaches the disk with the next change that must, and costs no flush of its own.
    pub(crate) fn begin_lazily(&mut self) -> &'a WriteTransaction {
        self.writes += 1;
        self.transaction
    }

    pub(crate) fn tell(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// The recording is being removed for good from now on.
    pub(crate) fn note_purge(&mut self, recording: &Recording) {
        self.purged.push(fingerprint(recording));
    }
}

/// Who hears of a commit.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) subscribers: Arc<Subscribers>,
    pub(crate) purge_log: PurgeLog,
}

impl Listeners {
    fn tell(&self, changes: &[Change], purged: &[String]) {
        if let Err(err) = self.purge_log.add(purged) {
            log::error!(
                "index: a purge could not be noted beside it ({err}): if the index is lost before the files are \
                 removed, `reindex` brings them back"
            );
        }
        self.subscribers.tell(changes);
    }
}

/// Owns the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Guards the way in; `None` once closed.
    queue: Mutex<Option<SyncSender<Box<dyn Request>>>>,
    /// Guards the thread until it is joined.
    thread: Mutex<Option<JoinHandle<()>>>,
    damage: Arc<Damage>,
}

impl Writer {
    pub(crate) fn start(
        database: Arc<Opened>,
        listeners: Listeners,
        damage: Arc<Damage>,
    ) -> Result<Self, IndexError> {
        let (queue, requests) = sync_channel(QUEUE);
        let watched = damage.clone();
        let thread = thread::Builder::new()
            .name("index".into())
            .spawn(move || write_all(&database, &listeners, &watched, &requests))
            .map_err(|err| IndexError::Disk(Box::new(err)))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), damage })
    }

    /// Makes a change and waits until it is durable. It is made again where another change of the same commit was
    /// refused half-way: it must not have effects outside of the transaction.
    pub(crate) fn change<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, IndexError> + Clone + Send + 'static,
    ) -> Result<T, IndexError> {
        let answer = self.send(apply)?;
        // A row that it cannot read is refused to it alone.
        self.damage.watch(|| answer.recv().unwrap_or_else(|_| Err(Refusal::Closed.into())))
    }

    /// The same without waiting for the answer.
    pub(crate) fn send<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, IndexError> + Clone + Send + 'static,
    ) -> Result<Receiver<Result<T, IndexError>>, IndexError> {
        let (reply, answer) = channel();
        // Not kept any longer: it would keep the thread from ending.
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let queue = queue.ok_or(Refusal::Closed)?;
        queue.send(Box::new(Asked { apply, outcome: None, reply })).map_err(|_| Refusal::Closed)?;
        Ok(answer)
    }

    /// Lets what is queued be committed, and nothing after it.
    pub(crate) fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("index: the writer ended in a panic");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// A change on its way, and somebody who waits for it.
trait Request: Send {
    fn apply(&mut self, writing: &mut WriteTxn<'_>) -> Applied;
    fn answer(self: Box<Self>, committed: Result<(), Refusal>);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applied {
    /// Also if it was refused: nothing of it is in the transaction then.
    Whole,
    /// It was refused after it had begun to write.
    Half,
    /// The disk failed.
    Broken,
    /// The disk is full.
    Full,
}

struct Asked<F, T> {
    apply: F,
    outcome: Option<Result<T, IndexError>>,
    reply: Sender<Result<T, IndexError>>,
}

impl<F, T> Request for Asked<F, T>
where
    F: FnOnce(&mut WriteTxn<'_>) -> Result<T, IndexError> + Clone + Send,
    T: Send,
{
    fn apply(&mut self, writing: &mut WriteTxn<'_>) -> Applied {
        // What an application that was thrown away has given out, such as a reservation, is taken back first.
        self.outcome = None;
        let writes_before = writing.writes;
        let outcome = self.apply.clone()(writing);
        let applied = match &outcome {
            Err(IndexError::Disk(_)) => Applied::Broken,
            Err(IndexError::Full(_)) => Applied::Full,
            Err(_) if writes_before < writing.writes => Applied::Half,
            _ => Applied::Whole,
        };
        self.outcome = Some(outcome);
        applied
    }

    fn answer(self: Box<Self>, committed: Result<(), Refusal>) {
        let answer = match (self.outcome, committed) {
            (Some(Err(err)), _) => Err(err),
            (_, Err(refusal)) => Err(refusal.into()),
            (Some(Ok(outcome)), Ok(())) => Ok(outcome),
            (None, Ok(())) => Err(Refusal::FailedBefore.into()),
        };
        // The caller waits for nothing but this answer; if it is gone, nobody wants it.
        let _ = self.reply.send(answer);
    }
}

fn write_all(
    opened: &Opened,
    listeners: &Listeners,
    damage: &Damage,
    requests: &Receiver<Box<dyn Request>>,
) {
    let mut is_broken = false;
    while let Some(first) = next(opened, damage, requests) {
        let mut batch = vec![first];
        batch.extend(requests.try_iter().take(QUEUE));
        // A disk that refused once leaves an unknown state behind: only a new start finds out.
        let committed = match is_broken {
            true => Err(Refusal::FailedBefore),
            false => commit(opened, listeners, damage, &mut batch),
        };
        is_broken = committed == Err(Refusal::FailedBefore);
        for request in batch {
            request.answer(committed);
        }
    }
}

/// The next request. Where the disk had no room for the database, it is opened as soon as there is some: nobody may
/// come who wants to write.
fn next(
    opened: &Opened,
    damage: &Damage,
    requests: &Receiver<Box<dyn Request>>,
) -> Option<Box<dyn Request>> {
    while opened.is_waiting() {
        match requests.recv_timeout(AGAIN) {
            Ok(request) => return Some(request),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                if damage.watch(|| opened.for_writing()).is_ok() {
                    log::info!("index: there is space on its disk again");
                }
            }
        }
    }
    requests.recv().ok()
}

/// Everything of the batch in one commit, but for what is refused.
fn commit(
    opened: &Opened,
    listeners: &Listeners,
    damage: &Damage,
    batch: &mut [Box<dyn Request>],
) -> Result<(), Refusal> {
    let database = damage.watch(|| opened.for_writing()).map_err(|err| log_failure(&err))?;
    let mut refused = vec![false; batch.len()];
    loop {
        let written = damage.watch(|| Ok(write_without(&refused, &database, listeners, batch)));
        match written.unwrap_or_else(|err| Err(failed(&err))) {
            Ok(()) => return Ok(()),
            // What it has written cannot be told from what others have: all of it is thrown away, and the
            // others are made again without it.
            Err(Failed::Half(culprit)) => refused[culprit] = true,
            Err(Failed::All(refusal)) => {
                // Before anybody is told: who asks again finds it open.
                if refusal == Refusal::Full
                    && let Err(err) = damage.watch(|| opened.reopen(database))
                {
                    log::error!("index: could not be opened again: {err}");
                }
                return Err(refusal);
            }
        }
    }
}

/// Why there was no commit.
enum Failed {
    /// The change at that place was refused after it had begun to write.
    Half(usize),
    All(Refusal),
}

fn write_without(
    refused: &[bool],
    database: &Database,
    listeners: &Listeners,
    batch: &mut [Box<dyn Request>],
) -> Result<(), Failed> {
    let transaction = database.begin_write();
    let mut transaction = transaction.map_err(|err| failed(&err.into()))?;
    // Without it a crash is followed by a walk over the whole file.
    transaction.set_quick_repair(true);
    let mut writing = WriteTxn {
        transaction: &transaction,
        writes: 0,
        is_urgent: false,
        changes: Vec::new(),
        purged: Vec::new(),
    };
    for (at, request) in batch.iter_mut().enumerate().filter(|(at, _)| !refused[*at]) {
        match request.apply(&mut writing) {
            Applied::Whole => {}
            Applied::Half => return Err(Failed::Half(at)),
            Applied::Full => return Err(Failed::All(Refusal::Full)),
            Applied::Broken => return Err(Failed::All(Refusal::FailedBefore)),
        }
    }
    let WriteTxn { writes, is_urgent, changes, purged, .. } = writing;
    if 0 < writes {
        let durability = if is_urgent { Durability::Immediate } else { Durability::None };
        transaction
            .set_durability(durability)
            .map_err(|err| failed(&IndexError::Disk(Box::new(err))))?;
        fail_point!("index-before-commit");
        transaction.commit().map_err(|err| failed(&err.into()))?;
        listeners.subscribers.commits.fetch_add(u64::from(is_urgent), Ordering::Relaxed);
        fail_point!("index-committed");
        listeners.tell(&changes, &purged);
    }
    Ok(())
}

fn failed(err: &IndexError) -> Failed {
    Failed::All(log_failure(err))
}

fn log_failure(err: &IndexError) -> Refusal {
    let source = std::error::Error::source(err);
    if matches!(err, IndexError::Full(_)) {
        log::warn!("index: a change could not be saved: {err}: {source:?}");
        return Refusal::Full;
    }
    log::error!("index: can no longer be written: {err}: {source:?}");
    Refusal::FailedBefore
}
