//! What is said about the inbox: its entries, its events, its faults.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use crate::model::{FileName, InboxId, JobState, Waiting};

/// How the spool behaves.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// Quiet time after the last writer has gone before a file is taken for complete. Default 5 s.
    pub settle: Duration,
    /// The same after a rename from a temporary name. Default 0.5 s.
    pub settle_after_rename: Duration,
    /// Larger files are kept and said to be too large, never taken. `None`: no limit.
    pub max_upload_bytes: Option<u64>,
    /// Space of the disk that new data must leave free.
    pub keep_free_bytes: u64,
    /// Wait for the disk on every close of a written file, so that `mv` may remove its source.
    pub sync_on_close: bool,
}

/// What went wrong in the spool, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("no such file in the inbox")]
    Missing,
    /// New data would eat into the free space that is kept.
    #[error(
        "the disk of the spool is full: {free_bytes} bytes are free and {keep_free_bytes} are kept"
    )]
    Full { free_bytes: u64, keep_free_bytes: u64 },
    /// The file was changed, renamed or removed since it was offered.
    #[error("the file has changed since it was accepted")]
    Changed,
    /// A folder that is to be watched would be copied into itself.
    #[error("{} overlaps {}, where scribefs keeps recordings", folder.display(), ours.display())]
    Overlap { folder: PathBuf, ours: PathBuf },
    /// The disk's own answer, to be passed on as it is.
    #[error("the disk of the spool refused")]
    Disk(#[from] std::io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
    /// A fifo, socket or device that was put there behind our back: shown, never served.
    Other,
}

/// What `stat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    pub id: InboxId,
    pub kind: EntryKind,
    pub bytes: u64,
    pub blocks: u64,
    /// Permission bits only.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub accessed: SystemTime,
    pub modified: SystemTime,
    pub changed: SystemTime,
}

/// Changes to attributes; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct SetAttributes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub bytes: Option<u64>,
    pub accessed: Option<SetTime>,
    pub modified: Option<SetTime>,
}

#[derive(Debug, Clone, Copy)]
pub enum SetTime {
    Now,
    At(SystemTime),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    Replace,
    NoReplace,
    Exchange,
}

/// Who creates an entry, and how.
#[derive(Debug, Clone, Copy)]
pub struct Creator {
    pub uid: u32,
    pub gid: u32,
    /// With the umask already applied.
    pub mode: u32,
    /// Who asks; 0 where that is not known.
    pub thread: u32,
}

/// One entry of a listing. `cookie` continues the listing after this entry; any earlier one may be used again.
#[derive(Debug, Clone)]
pub struct ListedEntry {
    pub name: FileName,
    pub attributes: Attributes,
    pub cookie: u64,
}

/// Space on the spool's disk, as `statfs` should report it.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    pub block_bytes: u32,
    pub blocks: u64,
    pub blocks_free: u64,
    /// What a writer may use: free space less what is kept.
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
}

/// An open file of the inbox. Reading and writing go straight to `file`; a writer must be released.
#[derive(Debug)]
pub struct OpenFile {
    pub id: InboxId,
    /// Shared among all who have the file open, as far as `access` goes: descriptors are few.
    pub file: Arc<File>,
    pub writable: bool,
    /// The disk is nearly full: every write must go through [`crate::spool::Spool::before_write`].
    pub is_counted: bool,
    pub(crate) access: Access,
    /// Closed by somebody, and not written to since as far as we are told.
    pub(crate) is_flushed: AtomicBool,
}

impl OpenFile {
    pub(crate) fn new(
        id: InboxId,
        (file, access): (Arc<File>, Access),
        writable: bool,
        is_counted: bool,
    ) -> Self {
        Self { id, file, writable, is_counted, access, is_flushed: AtomicBool::new(false) }
    }
}

/// What the disk lets be done through an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Both,
}

/// A recording that is complete and waits to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub id: InboxId,
    pub generation: u64,
    /// Folders and name below the inbox.
    pub path: Vec<FileName>,
    pub bytes: u64,
    pub modified_ns: i128,
}

/// What the daemon is told about the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolEvent {
    /// Complete: take it.
    Ready(Dropped),
    /// What was offered with a generation up to this one is no longer to be had: written to, renamed, removed.
    Withdrawn { id: InboxId, generation: u64 },
    /// The user asked for the job to stop; the file stays.
    CancelRequested { id: InboxId },
    /// Work on it cannot begin before something else has come.
    Waits { id: InboxId, path: Vec<FileName>, what: Waiting },
    /// Something that a watcher of `.scribefs/events` may want to know: arrived, settled, failed, ...
    Stage { id: InboxId, path: Vec<FileName>, state: JobState },
    /// A name was made or removed in a folder by the daemon itself, so that the kernel knows nothing of it.
    Name { folder: InboxId, name: FileName },
}

/// What a file's extended attributes and the status say about the work on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    pub state: JobState,
    /// 0 to 1 over the whole road.
    pub done: f32,
}
