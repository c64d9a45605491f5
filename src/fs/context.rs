//! What the filesystem shows: the rooms below, and what only the daemon knows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::index::Index;
use crate::model::Key;
use crate::spool::Spool;
use crate::store::Store;

/// The rooms that the filesystem shows.
#[derive(Clone)]
pub struct FsContext {
    pub spool: Spool,
    pub index: Index,
    pub store: Arc<dyn Store>,
    pub facts: Arc<dyn StatusSource>,
}

/// What only the daemon knows, for the files of `.scribefs/`. Asked on threads that answer the kernel, so
/// nothing in it may wait.
pub trait StatusSource: Send + Sync {
    /// Fields of `status.json` beside ours: mount, state directory, models. The same name wins over ours.
    fn status(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Fields of `storage.json` beside ours.
    fn storage(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Lines for `metrics`, in the text format of Prometheus, each ending in a line end.
    fn metrics(&self) -> String {
        String::new()
    }

    /// Days that what is in the trash is kept for; `None`: for ever.
    fn trash_days(&self) -> Option<u32> {
        None
    }

    /// Whether all that is published is known. Until a bucket has been read to its end once, an empty folder could be
    /// mirrored as deletion.
    fn is_complete(&self) -> bool {
        true
    }

    /// A link with which anybody can get the object for that time; `None`: there is none. The one question
    /// that may wait.
    fn link(&self, _key: &Key, _lasts: Duration) -> Option<String> {
        None
    }

    /// A line of `control` that is not `retry PATH` or `cancel PATH`.
    fn command(&self, _verb: &str, _rest: &str) -> Result<(), CommandError> {
        Err(CommandError::Unknown)
    }
}

/// Nobody knows more.
impl StatusSource for () {}

/// Why a line of `control` is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("no such command, or it is malformed")]
    Unknown,
    #[error("no such recording")]
    NoRecording,
    #[error("the recording has no such speaker")]
    NoSpeaker,
    /// The same command may be taken a little later.
    #[error("too many commands are waiting")]
    Busy,
}
