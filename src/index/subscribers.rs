//! `Subscribers`: who is told of changes after a commit, each through a queue of its own.
//!
//! The writer never waits for a subscriber: the one that speaks to the kernel may itself wait for somebody who waits for
//! the writer. So a queue that is full takes no more, and its reader is told that it has missed something.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::index::Change;

/// Changes that wait for one subscriber: some ten megabytes, and more commits than a slow reader falls behind by.
const QUEUE: usize = 1 << 13;

#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    /// Commits since the index was opened.
    pub(crate) commits: AtomicU64,
    /// Guards the list.
    all: Mutex<Vec<Subscriber>>,
}

#[derive(Debug)]
struct Subscriber {
    queue: SyncSender<Change>,
    missed: Arc<Mutex<Missed>>,
}

/// What a queue had no room for.
#[derive(Debug, Default)]
struct Missed {
    is_untold: bool,
    /// Of what was missed, names that are gone: nothing in the index tells of them any more. At most as many as a queue
    /// takes.
    names: VecDeque<Change>,
}

/// The changes that one subscriber is told of, in order.
#[derive(Debug)]
pub struct ChangeQueue {
    queue: Receiver<Change>,
    missed: Arc<Mutex<Missed>>,
}

impl Subscribers {
    pub(crate) fn subscribe(&self) -> ChangeQueue {
        let (sender, queue) = sync_channel(QUEUE);
        let missed = Arc::<Mutex<Missed>>::default();
        let subscriber = Subscriber { queue: sender, missed: missed.clone() };
        self.lock().push(subscriber);
        ChangeQueue { queue, missed }
    }

    /// Nobody hears of anything more.
    pub(crate) fn end(&self) {
        self.lock().clear();
    }

    pub(crate) fn tell(&self, changes: &[Change]) {
        let mut all = self.lock();
        for change in changes {
            all.retain(|subscriber| subscriber.tell(change));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber {
    /// `false`: it is gone.
    fn tell(&self, change: &Change) -> bool {
        let mut missed = lock(&self.missed);
        // What is missed is looked for after what is queued; nothing that is newer may be queued before that.
        if !missed.is_untold {
            match self.queue.try_send(change.clone()) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) => missed.is_untold = true,
            }
        }
        if change.ends_a_name() && missed.names.len() < QUEUE {
            missed.names.push_back(change.clone());
        }
        drop(missed);
        1 < Arc::strong_count(&self.missed)
    }
}

impl ChangeQueue {
    /// The next change; [`Change::Missed`] where some were not queued.
    pub fn recv_timeout(&self, time: Duration) -> Result<Change, RecvTimeoutError> {
        match self.try_recv() {
            Ok(change) => Ok(change),
            Err(TryRecvError::Empty) => self.queue.recv_timeout(time),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
        }
    }

    pub fn try_recv(&self) -> Result<Change, TryRecvError> {
        self.queue.try_recv().or_else(|err| {
            let mut missed = lock(&self.missed);
            match err {
                TryRecvError::Empty if std::mem::take(&mut missed.is_untold) => Ok(Change::Missed),
                err => missed.names.pop_front().ok_or(err),
            }
        })
    }

    /// What there is now.
    pub fn try_iter(&self) -> impl Iterator<Item = Change> {
        std::iter::from_fn(|| self.try_recv().ok())
    }
}

fn lock(missed: &Mutex<Missed>) -> MutexGuard<'_, Missed> {
    missed.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConversationId, ConversationSeq, Day};

    fn placed(number: usize) -> Change {
        let conversation = ConversationSeq(u32::try_from(number).unwrap());
        Change::DayTranscript { conversation, day: Day::UNKNOWN }
    }

    #[test]
    fn a_subscriber_that_falls_behind_is_told_so_once_and_keeps_nobody_waiting() {
        let subscribers = Subscribers::default();
        let (slow, quick) = (subscribers.subscribe(), subscribers.subscribe());
        for number in 0..2 * QUEUE {
            subscribers.tell(&[placed(number)]);
            assert_eq!(quick.try_recv(), Ok(placed(number)));
        }
        // A name that is gone is not in the index any more, so it is told of all the same.
        let gone =
            Change::Trashed { seq: ConversationSeq(1), id: ConversationId::new("a").unwrap() };
        subscribers.tell(std::slice::from_ref(&gone));
        let told: Vec<Change> = slow.try_iter().collect();
        assert_eq!(told.len(), QUEUE + 2);
        assert_eq!((&told[0], &told[QUEUE..]), (&placed(0), &[Change::Missed, gone][..]));
        assert_eq!(slow.try_recv(), Err(TryRecvError::Empty));
        subscribers.tell(&[placed(7)]);
        assert_eq!(slow.recv_timeout(Duration::ZERO), Ok(placed(7)));
        subscribers.end();
        assert_eq!(slow.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn one_that_is_gone_is_forgotten_also_where_it_had_fallen_behind() {
        let subscribers = Subscribers::default();
        let (gone, slow) = (subscribers.subscribe(), subscribers.subscribe());
        drop(gone);
        for number in 0..=QUEUE {
            subscribers.tell(&[placed(number)]);
        }
        drop(slow);
        subscribers.tell(&[placed(0)]);
        assert!(subscribers.all.lock().unwrap().is_empty());
    }
}
