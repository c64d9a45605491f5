//! The uploader while the mount is up: it is started when the bucket has been asked for what an index that was made
//! anew may lack, and that may take until the bucket answers.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::index::IndexError;
use crate::model::causes;
use crate::publishing::StorageError;
use crate::store::Backoff;
use crate::sync::context::SyncContext;
use crate::sync::error::SyncError;
use crate::sync::follower::discover;
use crate::sync::uploader::{Uploader, UploaderConfig, UploaderError, UploaderStatus};

/// How long the mount waits to hear whether another scribefs writes to the bucket.
const PATIENCE: Duration = Duration::from_secs(5);

/// The first and the longest time until the bucket is asked again.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_mins(1);

/// Somebody brings recordings to the bucket, or waits to begin.
pub(crate) struct UploaderStart {
    work: Arc<Work>,
    /// Guards the thread that starts the uploader, until it is joined.
    starter: Mutex<Option<JoinHandle<()>>>,
}

struct Work {
    options: UploaderConfig,
    context: SyncContext,
    state: Mutex<State>,
    /// Rung at the end, and when somebody calls.
    bell: Condvar,
}

/// Guarded by `Work::state`.
#[derive(Default)]
struct State {
    uploader: Option<Uploader>,
    /// Why there is no uploader yet.
    trouble: Option<String>,
    /// Somebody says that it is worth a try before its time.
    is_called: bool,
    is_closing: bool,
}

impl UploaderStart {
    /// # Errors
    /// The bucket has answered soon, and another scribefs writes to it.
    pub(crate) fn start(options: UploaderConfig, context: SyncContext) -> Result<Self, SyncError> {
        let (sender, first) = sync_channel(1);
        let state = Mutex::new(State {
            trouble: Some("the bucket has not answered yet".to_owned()),
            ..State::default()
        });
        let work = Arc::new(Work { options, context, state, bell: Condvar::new() });
        let starting = work.clone();
        let starter = Builder::new()
            .name("upload-start".to_owned())
            .spawn(move || starting.begin(&sender))
            .map_err(SyncError::Threads)?;
        let starting = Self { work, starter: Mutex::new(Some(starter)) };
        match first.recv_timeout(PATIENCE) {
            Ok(Err(err)) => {
                starting.stop();
                Err(err.into())
            }
            // The bucket is slow or away: the mount need not wait for it.
            Ok(Ok(())) | Err(_) => Ok(starting),
        }
    }

    pub(crate) fn status(&self) -> Result<UploaderStatus, IndexError> {
        let state = self.work.state();
        if let Some(uploader) = &state.uploader {
            return uploader.status();
        }
        let paused_because = state.trouble.clone();
        drop(state);
        let totals = self.work.context.index.totals()?;
        let (pending, paused) = (totals.pending, totals.paused);
        Ok(UploaderStatus { pending, paused, paused_because, ..UploaderStatus::default() })
    }

    /// Somebody has mended what was refused: it is tried now.
    pub(crate) fn retry_now(&self) {
        let mut state = self.work.state();
        match &state.uploader {
            Some(uploader) => uploader.retry_now(),
            None => state.is_called = true,
        }
        drop(state);
        self.work.bell.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.work.state().is_closing = true;
        self.work.bell.notify_all();
        let starter = self.starter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(starter) = starter {
            end(starter);
        }
        let uploader = self.work.state().uploader.take();
        if let Some(uploader) = uploader {
            uploader.stop();
        }
    }
}

/// A request that is under way has a deadline; what comes of it nobody needs any more.
fn end(starter: JoinHandle<()>) {
    let begun = Instant::now();
    while !starter.is_finished() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    if starter.is_finished() && starter.join().is_err() {
        log::error!("the thread that starts the uploader has panicked");
    }
}

impl Work {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries until there is an uploader. `told` hears the first outcome.
    fn begin(&self, told: &SyncSender<Result<(), UploaderError>>) {
        let mut rests = Backoff::new(FIRST_REST, LONGEST_REST);
        let mut is_first = true;
        while !self.state().is_closing {
            let why = match self.try_to_begin() {
                Ok(()) => {
                    // Nobody listens any more where this took long.
                    let _ = told.try_send(Ok(()));
                    return;
                }
                Err(Obstacle::Uploader(err)) if is_first => {
                    let why = causes(&err);
                    // The same; then nobody is told, and it is tried again.
                    if told.try_send(Err(err)).is_ok() {
                        return;
                    }
                    why
                }
                Err(Obstacle::Uploader(err)) => causes(&err),
                Err(Obstacle::Bucket(why)) => why,
                // There will be room again.
                Err(Obstacle::Index(err @ IndexError::Full(_))) => causes(&err),
                Err(Obstacle::Index(err)) => {
                    log::error!("uploads cannot begin: {}", causes(&err));
                    (self.context.alarm)();
                    return;
                }
            };
            is_first = false;
            self.complain(why);
            let not_yet = |state: &mut State| !state.is_closing && !state.is_called;
            let rest = rests.failed(1.0);
            let waited = self.bell.wait_timeout_while(self.state(), rest, not_yet);
            waited.unwrap_or_else(PoisonError::into_inner).0.is_called = false;
        }
    }

    fn try_to_begin(&self) -> Result<(), Obstacle> {
        let SyncContext { bucket, index, .. } = &self.context;
        if index.needs_remote_scan()? {
            let found = discover(bucket.as_ref(), index)?;
            log::info!("the bucket has answered: {found} recordings in it were new to the index");
        }
        let uploader = Uploader::start(self.options.clone(), self.context.clone())
            .map_err(Obstacle::Uploader)?;
        let mut state = self.state();
        if state.is_closing {
            drop(state);
            uploader.stop();
        } else {
            state.uploader = Some(uploader);
            state.trouble = None;
        }
        Ok(())
    }

    /// Says each trouble once.
    fn complain(&self, why: String) {
        let mut state = self.state();
        if state.trouble.as_ref() != Some(&why) {
            log::warn!("nothing is uploaded yet: {why}");
            state.trouble = Some(why);
        }
    }
}

/// Why there is no uploader yet.
enum Obstacle {
    Uploader(UploaderError),
    Bucket(String),
    Index(IndexError),
}

impl From<IndexError> for Obstacle {
    fn from(err: IndexError) -> Self {
        Self::Index(err)
    }
}

impl From<StorageError> for Obstacle {
    fn from(err: StorageError) -> Self {
        match err {
            StorageError::Store(err) => Self::Bucket(causes(&err)),
            StorageError::Index(err) => Self::Index(err),
        }
    }
}
