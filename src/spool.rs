//! What is being dropped: the inbox as real files on local disk, and the rule for when one is complete.
//!
//! The inbox is a plain directory tree below `state/spool/inbox`: names, modes, owners, times, links and
//! extended attributes are the disk's own, so they survive a remount, and a user can get at every
//! recording even without scribefs. This room gives those files numbers that are never reused, watches
//! who writes, and says when a recording may be taken.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime};

use crate::model::{Failure, FileName, InboxId, JobState};

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
    #[error("the file has changed since it was taken")]
    Changed,
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
    pub file: File,
    pub writable: bool,
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
    /// Something that a watcher of `.scribefs/events` may want to know: arrived, settled, failed, ...
    Stage { id: InboxId, path: Vec<FileName>, state: JobState },
}

/// What a file's extended attributes and the status say about the work on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    pub state: JobState,
    /// 0 to 1 over the whole road.
    pub done: f32,
}

/// The inbox.
#[derive(Debug, Clone)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    _todo: (),
}

/// For the filesystem: the inbox as a tree.
impl Spool {
    /// Opens or makes the spool below `dir`. Files that were being written when the last daemon died are
    /// marked interrupted; complete ones are offered again after the settle time.
    pub fn open(dir: &Path, options: SpoolOptions) -> Result<Self, SpoolError> {
        todo!("{dir:?} {options:?}")
    }

    pub fn lookup(&self, parent: InboxId, name: &OsStr) -> Result<Attributes, SpoolError> {
        todo!("{parent:?} {name:?}")
    }

    /// The kernel drops `count` references to a node it has looked up.
    pub fn forget(&self, id: InboxId, count: u64) {
        todo!("{id:?} {count}")
    }

    pub fn attributes(&self, id: InboxId) -> Result<Attributes, SpoolError> {
        todo!("{id:?}")
    }

    pub fn set_attributes(
        &self,
        id: InboxId,
        change: &SetAttributes,
    ) -> Result<Attributes, SpoolError> {
        todo!("{id:?} {change:?}")
    }

    /// `O_CREAT`: makes (with `exclusive`, only makes) and opens a file.
    pub fn create(
        &self,
        parent: InboxId,
        name: &OsStr,
        creator: Creator,
        open_flags: i32,
    ) -> Result<(Attributes, Arc<OpenFile>), SpoolError> {
        todo!("{parent:?} {name:?} {creator:?} {open_flags}")
    }

    pub fn open_file(&self, id: InboxId, open_flags: i32) -> Result<Arc<OpenFile>, SpoolError> {
        todo!("{id:?} {open_flags}")
    }

    /// Told of every write that came through the daemon, before it is done.
    ///
    /// # Errors
    /// [`SpoolError::Full`] where `bytes` more would eat into the space that is kept.
    pub fn before_write(&self, open: &OpenFile, bytes: u64) -> Result<(), SpoolError> {
        todo!("{open:?} {bytes}")
    }

    /// The last reference to the open file is gone: with the last writer the settle time begins.
    pub fn release(&self, open: &OpenFile) {
        todo!("{open:?}")
    }

    /// `close(2)` on one descriptor: the place to report an error, and to sync where that is asked for.
    pub fn flush(&self, open: &OpenFile) -> Result<(), SpoolError> {
        todo!("{open:?}")
    }

    /// File, then the directory that names it.
    pub fn sync(&self, open: &OpenFile, data_only: bool) -> Result<(), SpoolError> {
        todo!("{open:?} {data_only}")
    }

    pub fn sync_directory(&self, id: InboxId) -> Result<(), SpoolError> {
        todo!("{id:?}")
    }

    pub fn make_directory(
        &self,
        parent: InboxId,
        name: &OsStr,
        creator: Creator,
    ) -> Result<Attributes, SpoolError> {
        todo!("{parent:?} {name:?} {creator:?}")
    }

    pub fn make_symlink(
        &self,
        parent: InboxId,
        name: &OsStr,
        target: &Path,
        creator: Creator,
    ) -> Result<Attributes, SpoolError> {
        todo!("{parent:?} {name:?} {target:?} {creator:?}")
    }

    pub fn read_symlink(&self, id: InboxId) -> Result<PathBuf, SpoolError> {
        todo!("{id:?}")
    }

    pub fn unlink(&self, parent: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        todo!("{parent:?} {name:?}")
    }

    pub fn remove_directory(&self, parent: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        todo!("{parent:?} {name:?}")
    }

    pub fn rename(
        &self,
        from: (InboxId, &OsStr),
        to: (InboxId, &OsStr),
        mode: RenameMode,
    ) -> Result<(), SpoolError> {
        todo!("{from:?} {to:?} {mode:?}")
    }

    /// Entries after `cookie` (0: from the start), at most `limit`, without `.` and `..`. No state is kept
    /// between calls, and an entry that stays is listed exactly once whatever happens to others.
    pub fn list(
        &self,
        id: InboxId,
        cookie: u64,
        limit: usize,
    ) -> Result<Vec<ListedEntry>, SpoolError> {
        todo!("{id:?} {cookie} {limit}")
    }

    /// A user's extended attribute, or one of ours: `user.scribefs.state`, `.progress`, `.error`.
    pub fn attribute(&self, id: InboxId, name: &OsStr) -> Result<Option<Vec<u8>>, SpoolError> {
        todo!("{id:?} {name:?}")
    }

    pub fn attribute_names(&self, id: InboxId) -> Result<Vec<FileName>, SpoolError> {
        todo!("{id:?}")
    }

    /// `user.scribefs.commit` ends the settle time, `.cancel` stops the job, `.retry` starts it again, and
    /// the rest of `user.scribefs.*` is refused; other `user.*` attributes are stored.
    pub fn set_attribute(
        &self,
        id: InboxId,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<(), SpoolError> {
        todo!("{id:?} {name:?} {value:?} {flags}")
    }

    pub fn remove_attribute(&self, id: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        todo!("{id:?} {name:?}")
    }

    pub fn space(&self) -> Result<Space, SpoolError> {
        todo!()
    }
}

/// For the pipeline: what is complete, and what becomes of it.
impl Spool {
    /// All events from now on, and `Ready` for what is complete already. One subscriber never blocks another.
    pub fn subscribe(&self) -> Receiver<SpoolEvent> {
        todo!()
    }

    /// Opens what was offered, for reading.
    ///
    /// # Errors
    /// [`SpoolError::Changed`] where it is no longer the same.
    pub fn take(&self, id: InboxId, generation: u64) -> Result<File, SpoolError> {
        todo!("{id:?} {generation}")
    }

    pub fn is_current(&self, id: InboxId, generation: u64) -> bool {
        todo!("{id:?} {generation}")
    }

    /// Shows how far the work is, in attributes and status.
    pub fn mark(&self, id: InboxId, generation: u64, work: Work) {
        todo!("{id:?} {generation} {work:?}")
    }

    /// Everything in the inbox that is work, with where it stands, oldest first.
    pub fn works(&self) -> Vec<(Dropped, Work)> {
        todo!()
    }

    /// Removes what was published, its error note with it, and folders that this leaves empty and that
    /// nobody has touched since.
    ///
    /// # Errors
    /// [`SpoolError::Changed`] where it is no longer the same: it stays, and will be offered again.
    pub fn finish(&self, id: InboxId, generation: u64) -> Result<(), SpoolError> {
        todo!("{id:?} {generation}")
    }

    /// Marks the file failed and writes `<name>.error.txt` beside it. `touch` offers it again.
    pub fn fail(&self, id: InboxId, generation: u64, failure: &Failure) -> Result<(), SpoolError> {
        todo!("{id:?} {generation} {failure:?}")
    }

    /// Offers a failed, cancelled or interrupted file again.
    pub fn retry(&self, id: InboxId) -> Result<(), SpoolError> {
        todo!("{id:?}")
    }

    /// The inbox file at a path below the inbox.
    pub fn find(&self, path: &Path) -> Result<InboxId, SpoolError> {
        todo!("{path:?}")
    }

    /// No new data from now on (`EROFS`), and every pending timer stops. Waits for nobody.
    pub fn close(&self) {
        todo!()
    }
}
