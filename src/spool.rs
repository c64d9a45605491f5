//! What is being dropped: the inbox as real files on local disk, and the rule for when one is complete.
//!
//! The inbox is a plain directory tree below `state/spool/inbox`: names, modes, owners, times, links and
//! extended attributes are the disk's own, so they survive a remount, and a user can get at every
//! recording even without scribefs. This room gives those files numbers that are never reused, watches
//! who writes, and says when a recording may be taken.

mod attributes;
mod completeness;
mod desk;
mod disk;
mod disk_xattrs;
mod entry;
mod listing;
mod marks;
mod names;
mod namespace;
mod notes;
mod numbers;
mod settling;
mod signs;
mod space;
mod table;
mod tree;
mod writing;
mod xattrs;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::model::{Failure, FileName, InboxId};

pub use entry::{
    Attributes, Creator, Dropped, EntryKind, ListedEntry, OpenFile, RenameMode, SetAttributes,
    SetTime, Space, SpoolError, SpoolEvent, SpoolOptions, Work,
};

use marks::Marks;
use numbers::Numbers;
use space::FreeSpace;
use table::Table;

/// The inbox.
#[derive(Debug, Clone)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The inbox, held open.
    root: Arc<OwnedFd>,
    options: SpoolOptions,
    opened_at: Instant,
    numbers: Numbers,
    space: FreeSpace,
    marks: Marks,
    /// Guards all that is known about entries, and who is told of it.
    table: Mutex<Table>,
    /// Rung when something falls due earlier, and at the end. Goes with `table`.
    alarm: Condvar,
    is_closed: AtomicBool,
}

impl Inner {
    fn open(dir: &Path, options: SpoolOptions) -> Result<Self, SpoolError> {
        let inbox = dir.join("inbox");
        fs::create_dir_all(&inbox)?;
        let root = OwnedFd::from(File::open(&inbox)?);
        let disk_id = disk::stat_of(&root)?.disk_id();
        let inner = Self {
            root: Arc::new(root),
            opened_at: Instant::now(),
            numbers: Numbers::open(&dir.join("numbers"))?,
            space: FreeSpace::new(options.keep_free_bytes),
            marks: Marks::open(&dir.join("marks"))?,
            table: Mutex::new(Table::with_root(disk_id)),
            alarm: Condvar::new(),
            is_closed: AtomicBool::new(false),
            options,
        };
        inner.look_everywhere()?;
        Ok(inner)
    }
}

/// For the filesystem: the inbox as a tree.
impl Spool {
    /// Opens or makes the spool below `dir`. Files that were being written when the last daemon died are
    /// marked interrupted; complete ones are offered again after the settle time.
    pub fn open(dir: &Path, options: SpoolOptions) -> Result<Self, SpoolError> {
        Ok(Self { inner: Arc::new(Inner::open(dir, options)?) })
    }

    /// Counts one reference of the kernel, as all that answer with a new entry do: `create`,
    /// `make_directory`, `make_symlink`.
    pub fn lookup(&self, parent: InboxId, name: &OsStr) -> Result<Attributes, SpoolError> {
        self.inner.lookup(parent, name)
    }

    /// The kernel drops `count` references to a node it has looked up.
    pub fn forget(&self, id: InboxId, count: u64) {
        self.inner.table().forget(id, count);
    }

    /// The kernel has got one more reference to a node, with an entry of a listing.
    pub fn remember(&self, id: InboxId) {
        self.inner.remember(id);
    }

    pub fn attributes(&self, id: InboxId) -> Result<Attributes, SpoolError> {
        self.inner.attributes(id)
    }

    pub fn set_attributes(
        &self,
        id: InboxId,
        change: &SetAttributes,
    ) -> Result<Attributes, SpoolError> {
        self.inner.set_attributes(id, change)
    }

    /// `O_CREAT`: makes (with `exclusive`, only makes) and opens a file.
    pub fn create(
        &self,
        parent: InboxId,
        name: &OsStr,
        creator: Creator,
        open_flags: i32,
    ) -> Result<(Attributes, Arc<OpenFile>), SpoolError> {
        self.inner.create(parent, name, creator, open_flags)
    }

    pub fn open_file(&self, id: InboxId, open_flags: i32) -> Result<Arc<OpenFile>, SpoolError> {
        self.inner.open_file(id, open_flags)
    }

    /// Told of every write that came through the daemon, before it is done.
    ///
    /// # Errors
    /// [`SpoolError::Full`] where `bytes` more would eat into the space that is kept.
    pub fn before_write(&self, open: &OpenFile, bytes: u64) -> Result<(), SpoolError> {
        self.inner.before_write(open, bytes)
    }

    /// The last reference to the open file is gone: with the last writer the settle time begins.
    pub fn release(&self, open: &OpenFile) {
        self.inner.release(open)
    }

    /// `close(2)` on one descriptor: the place to report an error, and to sync where that is asked for.
    pub fn flush(&self, open: &OpenFile) -> Result<(), SpoolError> {
        self.inner.flush(open)
    }

    /// File, then the directory that names it.
    pub fn sync(&self, open: &OpenFile, data_only: bool) -> Result<(), SpoolError> {
        self.inner.sync(open, data_only)
    }

    pub fn sync_directory(&self, id: InboxId) -> Result<(), SpoolError> {
        self.inner.sync_directory(id)
    }

    pub fn make_directory(
        &self,
        parent: InboxId,
        name: &OsStr,
        creator: Creator,
    ) -> Result<Attributes, SpoolError> {
        self.inner.make_directory(parent, name, creator)
    }

    pub fn make_symlink(
        &self,
        parent: InboxId,
        name: &OsStr,
        target: &Path,
        creator: Creator,
    ) -> Result<Attributes, SpoolError> {
        self.inner.make_symlink(parent, name, target, creator)
    }

    pub fn read_symlink(&self, id: InboxId) -> Result<PathBuf, SpoolError> {
        self.inner.read_symlink(id)
    }

    pub fn unlink(&self, parent: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        self.inner.unlink(parent, name)
    }

    pub fn remove_directory(&self, parent: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        self.inner.remove_directory(parent, name)
    }

    pub fn rename(
        &self,
        from: (InboxId, &OsStr),
        to: (InboxId, &OsStr),
        mode: RenameMode,
    ) -> Result<(), SpoolError> {
        self.inner.rename(from, to, mode)
    }

    /// Entries after `cookie` (0: from the start), at most `limit`, without `.` and `..`. No state is kept
    /// between calls, and an entry that stays is listed exactly once whatever happens to others.
    pub fn list(
        &self,
        id: InboxId,
        cookie: u64,
        limit: usize,
    ) -> Result<Vec<ListedEntry>, SpoolError> {
        self.inner.list(id, cookie, limit)
    }

    /// A user's extended attribute, or one of ours: `user.scribefs.state`, `.progress`, `.error`.
    pub fn attribute(&self, id: InboxId, name: &OsStr) -> Result<Option<Vec<u8>>, SpoolError> {
        self.inner.attribute(id, name)
    }

    pub fn attribute_names(&self, id: InboxId) -> Result<Vec<FileName>, SpoolError> {
        self.inner.attribute_names(id)
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
        self.inner.set_attribute(id, name, value, flags)
    }

    pub fn remove_attribute(&self, id: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        self.inner.remove_attribute(id, name)
    }

    pub fn space(&self) -> Result<Space, SpoolError> {
        Ok(self.inner.space.report(self.inner.root.as_fd())?)
    }
}

/// For the pipeline: what is complete, and what becomes of it.
impl Spool {
    /// All events from now on, and `Ready` for what is complete already. One subscriber never blocks another.
    pub fn subscribe(&self) -> Receiver<SpoolEvent> {
        self.inner.table().subscribe()
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
        self.inner.retry(id)
    }

    /// The inbox file at a path below the inbox.
    pub fn find(&self, path: &Path) -> Result<InboxId, SpoolError> {
        self.inner.find(path)
    }

    /// No new data from now on (`EROFS`), and every pending timer stops. Waits for nobody.
    pub fn close(&self) {
        todo!()
    }
}
