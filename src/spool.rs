//! What is being dropped: the inbox as real files on local disk, and the rule for when one is complete.
//!
//! The inbox is a plain directory tree below `state/spool/inbox`: names, modes, owners, times, links and
//! extended attributes are the disk's own, so they survive a remount, and a user can get at every
//! recording even without scribefs. This room gives those files numbers that are never reused, watches
//! who writes, and says when a recording may be taken.

mod attributes;
mod completeness;
mod directory;
mod disk;
mod disk_id;
#[cfg(test)]
mod disk_log;
mod disk_xattrs;
mod drafts;
mod emptied;
mod entry;
mod inner;
mod intake;
mod listing;
mod magic;
mod marks;
mod names;
mod namespace;
mod notes;
mod notifications;
mod numbers;
mod offers;
#[cfg(all(test, feature = "shuttle"))]
mod orders;
mod settling;
mod space;
mod state_inputs;
mod table;
mod table_events;
mod timer;
mod tree;
mod unfinished;
mod watch;
mod watch_hints;
mod watch_log;
mod watch_poll;
mod watch_scan;
mod writing;
mod xattrs;

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use crate::model::{Failure, FileName, InboxId, Waiting};

pub(crate) use entry::Access;
pub use entry::{
    Attributes, Creator, Dropped, EntryKind, ListedEntry, OpenFile, RenameMode, SetAttributes,
    SetTime, Space, SpoolError, SpoolEvent, SpoolOptions, Work,
};
pub(crate) use inner::Inner;
pub use watch::Watch;

use timer::Timers;

/// The inbox.
#[derive(Debug, Clone)]
pub struct Spool {
    keeper: Arc<Timers>,
}

/// For the filesystem: the inbox as a tree.
impl Spool {
    /// Opens or makes the spool below `dir`. Files that were being written when the last daemon died are
    /// marked interrupted; complete ones are offered again after the settle time.
    pub fn open(dir: &Path, options: SpoolOptions) -> Result<Self, SpoolError> {
        let keeper = Timers::start(Inner::open(dir, options)?)?;
        Ok(Self { keeper: Arc::new(keeper) })
    }

    /// Counts one reference of the kernel, as all that answer with a new entry do: `create`,
    /// `make_directory`, `make_symlink`.
    pub fn lookup(&self, parent: InboxId, name: &OsStr) -> Result<Attributes, SpoolError> {
        self.keeper.inner.lookup(parent, name)
    }

    /// The kernel drops `count` references to a node it has looked up.
    pub fn forget(&self, id: InboxId, count: u64) {
        self.keeper.inner.table().forget(id, count);
    }

    /// The kernel has got one more reference to a node, with an entry of a listing.
    pub fn remember(&self, id: InboxId) {
        self.keeper.inner.remember(id);
    }

    pub fn attributes(&self, id: InboxId) -> Result<Attributes, SpoolError> {
        self.keeper.inner.attributes(id)
    }

    pub fn set_attributes(
        &self,
        id: InboxId,
        change: &SetAttributes,
    ) -> Result<Attributes, SpoolError> {
        self.keeper.inner.set_attributes(id, change)
    }

    /// `O_CREAT`: makes (with `exclusive`, only makes) and opens a file.
    pub fn create(
        &self,
        parent: InboxId,
        name: &OsStr,
        creator: Creator,
        open_flags: i32,
    ) -> Result<(Attributes, Arc<OpenFile>), SpoolError> {
        self.keeper.inner.create(parent, name, creator, open_flags)
    }

    pub fn open_file(&self, id: InboxId, open_flags: i32) -> Result<Arc<OpenFile>, SpoolError> {
        self.keeper.inner.open_file(id, open_flags)
    }

    /// Told of every write that came through the daemon, before it is done.
    ///
    /// # Errors
    /// [`SpoolError::Full`] where `bytes` more would eat into the space that is kept.
    pub fn before_write(&self, open: &OpenFile, bytes: u64) -> Result<(), SpoolError> {
        self.keeper.inner.before_write(open, bytes)
    }

    /// The last reference to the open file is gone: with the last writer the settle time begins.
    pub fn release(&self, open: &OpenFile) {
        self.keeper.inner.release(open)
    }

    /// `close(2)` on one descriptor: the place to report an error, and to sync where that is asked for.
    pub fn flush(&self, open: &OpenFile) -> Result<(), SpoolError> {
        self.keeper.inner.flush(open)
    }

    /// Whether [`Self::flush`] waits for the disk.
    pub fn syncs_on_close(&self) -> bool {
        self.keeper.inner.options.sync_on_close
    }

    /// File, then the directory that names it.
    pub fn sync(&self, open: &OpenFile, data_only: bool) -> Result<(), SpoolError> {
        self.keeper.inner.sync(open, data_only)
    }

    pub fn sync_directory(&self, id: InboxId) -> Result<(), SpoolError> {
        self.keeper.inner.sync_directory(id)
    }

    pub fn make_directory(
        &self,
        parent: InboxId,
        name: &OsStr,
        creator: Creator,
    ) -> Result<Attributes, SpoolError> {
        self.keeper.inner.make_directory(parent, name, creator)
    }

    pub fn make_symlink(
        &self,
        parent: InboxId,
        name: &OsStr,
        target: &Path,
        creator: Creator,
    ) -> Result<Attributes, SpoolError> {
        self.keeper.inner.make_symlink(parent, name, target, creator)
    }

    pub fn read_symlink(&self, id: InboxId) -> Result<PathBuf, SpoolError> {
        self.keeper.inner.read_symlink(id)
    }

    pub fn unlink(&self, parent: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        self.keeper.inner.unlink(parent, name)
    }

    pub fn remove_directory(&self, parent: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        self.keeper.inner.remove_directory(parent, name)
    }

    pub fn rename(
        &self,
        from: (InboxId, &OsStr),
        to: (InboxId, &OsStr),
        mode: RenameMode,
    ) -> Result<(), SpoolError> {
        self.keeper.inner.rename(from, to, mode)
    }

    /// Entries after `cookie` (0: from the start), at most `limit`, without `.` and `..`. No state is kept
    /// between calls. An entry that stays is listed exactly once whatever happens to others, no name twice, and what
    /// comes while the listing is under way is not in it.
    pub fn list(
        &self,
        id: InboxId,
        cookie: u64,
        limit: usize,
    ) -> Result<Vec<ListedEntry>, SpoolError> {
        self.keeper.inner.list(id, cookie, limit)
    }

    /// A user's extended attribute, or one of ours: `user.scribefs.state`, `.progress`, `.error`, `.waits_for`.
    pub fn attribute(&self, id: InboxId, name: &OsStr) -> Result<Option<Vec<u8>>, SpoolError> {
        self.keeper.inner.attribute(id, name)
    }

    pub fn attribute_names(&self, id: InboxId) -> Result<Vec<FileName>, SpoolError> {
        self.keeper.inner.attribute_names(id)
    }

    /// `user.scribefs.commit` ends the settle time, `.cancel` stops the job, `.retry` starts it again, and
    /// the rest of `user.scribefs.*` is accepted and forgotten; `.speakers` and other `user.*` attributes are stored.
    pub fn set_attribute(
        &self,
        id: InboxId,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<(), SpoolError> {
        self.keeper.inner.set_attribute(id, name, value, flags)
    }

    pub fn remove_attribute(&self, id: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        self.keeper.inner.remove_attribute(id, name)
    }

    pub fn space(&self) -> Result<Space, SpoolError> {
        Ok(self.keeper.inner.space.report(self.keeper.inner.root.as_fd())?)
    }
}

/// For the pipeline: what is complete, and what becomes of it.
impl Spool {
    /// All events from now on, and `Ready` for what is complete already. One subscriber never blocks another.
    pub fn subscribe(&self) -> Receiver<SpoolEvent> {
        self.keeper.inner.subscribe()
    }

    /// All receivers of [`Spool::subscribe`] come to their end: their threads are to be joined.
    pub fn end_subscriptions(&self) {
        self.keeper.inner.table().end_subscriptions();
    }

    /// Opens what was offered, for reading.
    ///
    /// # Errors
    /// [`SpoolError::Changed`] where it is no longer the same.
    pub fn take(&self, id: InboxId, generation: u64) -> Result<File, SpoolError> {
        self.keeper.inner.take(id, generation)
    }

    pub fn is_current(&self, id: InboxId, generation: u64) -> bool {
        self.keeper.inner.is_current(id, generation)
    }

    /// Shows how far the work is, in attributes and status.
    pub fn mark(&self, id: InboxId, generation: u64, work: Work) {
        self.keeper.inner.mark(id, generation, work);
    }

    /// Says what a file waits for, in attributes, status and events, until [`Self::mark`] says that it goes on.
    pub fn wait_for(&self, id: InboxId, generation: u64, what: Waiting) {
        self.keeper.inner.wait_for(id, generation, what);
    }

    pub fn waits_for(&self, id: InboxId) -> Option<Waiting> {
        self.keeper.inner.table().file(id)?.waits_for()
    }

    /// Everything in the inbox that is work, with where it stands, oldest first.
    pub fn works(&self) -> Vec<(Dropped, Work)> {
        self.oldest_works(usize::MAX)
    }

    /// The first `most` of [`Self::works`].
    pub fn oldest_works(&self, most: usize) -> Vec<(Dropped, Work)> {
        self.keeper.inner.works(most)
    }

    /// How many files of the inbox are work, and how many of them have failed.
    pub fn work_counts(&self) -> (usize, usize) {
        self.keeper.inner.table().work_counts()
    }

    /// How many recordings lie in folders whose names begin with a dot, where they are left alone, and the path of one.
    pub fn left_alone(&self) -> (usize, Option<Vec<FileName>>) {
        self.keeper.inner.table().left_alone()
    }

    /// Removes what was published. A folder that came with what was in it is removed too when that was all and nothing
    /// more comes for a while; one that was made empty stays: the next recording may be meant for it.
    ///
    /// # Errors
    /// [`SpoolError::Changed`] where it is no longer the same: it stays, and will be offered again.
    pub fn finish(&self, id: InboxId, generation: u64) -> Result<(), SpoolError> {
        self.keeper.inner.finish(id, generation)
    }

    /// Marks the file failed and writes `<name>.error.txt` beside it. `touch` offers it again.
    pub fn fail(&self, id: InboxId, generation: u64, failure: &Failure) -> Result<(), SpoolError> {
        self.keeper.inner.fail(id, generation, failure)
    }

    /// Offers a failed, cancelled or interrupted file again.
    pub fn retry(&self, id: InboxId) -> Result<(), SpoolError> {
        self.keeper.inner.retry(id)
    }

    /// Whether a file that has failed stands at a path below the inbox.
    pub fn is_failed(&self, path: &[FileName]) -> bool {
        self.keeper.inner.table().is_failed(path)
    }

    /// The inbox file at a path below the inbox.
    pub fn find(&self, path: &Path) -> Result<InboxId, SpoolError> {
        self.keeper.inner.find(path)
    }

    /// Copies recordings that settle in folders elsewhere into the inbox, each once, until the answer is
    /// dropped. Below a watched folder the same rule holds as below the inbox: its folders name conversations. A folder that
    /// is not there is watched when it comes.
    ///
    /// # Errors
    /// A folder that contains the spool or lies in it.
    pub fn watch(&self, folders: Vec<PathBuf>) -> Result<Watch, SpoolError> {
        self.watch_apart_from(folders, Vec::new())
    }

    /// The same, and `ours` are the mountpoint and whatever else no watched folder may have to do with.
    ///
    /// # Errors
    /// A folder that contains the spool or one of `ours`, or lies in it.
    pub fn watch_apart_from(
        &self,
        folders: Vec<PathBuf>,
        ours: Vec<PathBuf>,
    ) -> Result<Watch, SpoolError> {
        Watch::start(self.keeper.inner.clone(), folders, ours)
    }

    /// No new data from now on (`EROFS`), and every pending timer stops. Waits for nobody; the last
    /// `Spool` to go waits for the timer's thread.
    pub fn close(&self) {
        self.keeper.inner.close();
    }
}
