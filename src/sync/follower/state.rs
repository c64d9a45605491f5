//! What a follower works with, and what its thread and its owner tell each other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::index::{Index, IndexError};
use crate::model::causes;
use crate::store::{Bucket, StoreError};
use crate::sync::bucket_identity::BucketIdentityError;

/// What a follower works with.
#[derive(Clone)]
pub struct FollowerConfig {
    pub bucket: Arc<dyn Bucket>,
    pub index: Index,
    /// Rung when the index can no longer be written: the daemon must end and be started anew.
    pub alarm: Arc<dyn Fn() + Send + Sync>,
    /// Time between two rounds.
    pub every: Duration,
}

/// How it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowStatus {
    /// When the bucket last told everything that was new; `None`: not yet since the start.
    pub heard_at: Option<Timestamp>,
    /// Why it did not, the last time it was asked.
    pub trouble: Option<String>,
}

/// Why a round came to no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("the bucket could not be read")]
    Store(#[from] StoreError),
    #[error("the index could not be written")]
    Index(#[from] IndexError),
    /// It is not the bucket that the index is of.
    #[error(transparent)]
    Place(#[from] BucketIdentityError),
    #[error("told to stop")]
    Stopped,
}

/// What the thread and its owner tell each other.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Guards the word to stop and the status.
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    status: FollowStatus,
}

impl Watch {
    pub(crate) fn status(&self) -> FollowStatus {
        self.lock().status.clone()
    }

    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.stopped.notify_all();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// Says whether it was told to stop meanwhile.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let not_yet = |state: &mut State| !state.is_stopping;
        let waited = self.stopped.wait_timeout_while(self.lock(), time, not_yet);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }

    /// Keeps the outcome, and logs it where it differs from the last one.
    pub(crate) fn note(&self, outcome: Result<(), FollowError>) {
        let mut state = self.lock();
        let was_away = state.status.trouble.is_some();
        match outcome {
            Ok(()) => {
                state.status = FollowStatus { heard_at: Some(Timestamp::now()), trouble: None };
                if was_away {
                    log::info!("bucket: is followed again");
                }
            }
            Err(FollowError::Stopped) => {}
            Err(err) => {
                let why = causes(&err);
                if !was_away {
                    log::warn!("bucket: cannot be followed for now: {why}");
                }
                state.status.trouble = Some(why);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
