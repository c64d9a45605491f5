//! An index that follows a bucket which another machine writes to: many readers, one writer.
//!
//! First the whole bucket is listed. From then on the writer's markers say what has changed, so an idle
//! follower costs one request a round. A bucket that does not answer delays news and breaks nothing.

mod discovery;
mod poll;
mod reading;
mod refresh;
mod rows;
mod scan;
mod state;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;

pub use crate::sync::follower::discovery::discover;
pub(crate) use crate::sync::follower::discovery::discover_at;
pub use crate::sync::follower::refresh::PageRefresher;
pub use crate::sync::follower::state::{FollowStatus, FollowerConfig};

use crate::index::{Index, IndexError};
use crate::model::{StateRole, causes};
use crate::sync::bucket_identity::BucketIdentityError;
use crate::sync::follower::poll::Poll;
use crate::sync::follower::state::{FollowError, Watch};

/// How often the bucket is asked for news. At list prices a follower costs about 1.30 $ a month then.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(10);

/// Why nothing is followed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("the thread that follows the bucket could not be started")]
    Thread(#[from] io::Error),
}

/// A thread that makes the rounds until it is told to stop.
#[derive(Debug)]
pub struct Follower {
    watch: Arc<Watch>,
    index: Index,
    /// The bucket was read to its end once; never taken back.
    is_complete: AtomicBool,
    /// Guards the thread until it is joined.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Starts at once, and fills the index.
    ///
    /// # Errors
    /// `Index`: it is a writer's, whose recordings may be nowhere else.
    pub fn start(with: FollowerConfig) -> Result<Self, StartError> {
        with.index.claim_role(StateRole::Follower)?;
        let watch = Arc::<Watch>::default();
        let (watching, index) = (watch.clone(), with.index.clone());
        let thread =
            Builder::new().name("follow".to_owned()).spawn(move || run(with, &watching))?;
        let is_complete = AtomicBool::new(false);
        Ok(Self { watch, index, is_complete, thread: Mutex::new(Some(thread)) })
    }

    /// Whether the bucket was read to its end, at this start or an earlier one: until then, what is not in the index may
    /// be in the bucket all the same.
    pub fn is_complete(&self) -> bool {
        if !self.is_complete.load(Ordering::Relaxed)
            && self.index.followed().is_ok_and(|followed| followed.is_some())
        {
            self.is_complete.store(true, Ordering::Relaxed);
        }
        self.is_complete.load(Ordering::Relaxed)
    }

    pub fn status(&self) -> FollowStatus {
        self.watch.status()
    }

    /// Waits for the request that is under way.
    pub fn stop(&self) {
        self.watch.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that follows the bucket has panicked");
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(with: FollowerConfig, watch: &Arc<Watch>) {
    let (every, alarm) = (with.every, with.alarm.clone());
    let mut rounds = Poll::new(with, watch.clone());
    loop {
        let outcome = rounds.make(Timestamp::now());
        // What the index shows must not stay in sight when it is of another bucket.
        if let Err(
            err @ (FollowError::Index(IndexError::Disk(_) | IndexError::Damaged(_))
            | FollowError::Place(BucketIdentityError::Other { .. })),
        ) = &outcome
            && !watch.is_stopping()
        {
            log::error!("bucket: is no longer followed: {}", causes(err));
            alarm();
            return;
        }
        watch.note(outcome);
        if watch.wait(every) {
            return;
        }
    }
}
