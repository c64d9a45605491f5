//! [`Inner`]: what the threads of the spool share.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::concurrency::{Condvar, Mutex};
use crate::spool::drafts::Drafts;
use crate::spool::marks::Marks;
use crate::spool::numbers::Numbers;
use crate::spool::space::FreeSpace;
use crate::spool::table::Table;
use crate::spool::{SpoolError, SpoolOptions, disk};

/// The spool itself, shared by all who hold it and by its threads.
#[derive(Debug)]
pub(crate) struct Inner {
    /// The inbox, held open.
    pub(crate) root: Arc<OwnedFd>,
    /// The spool itself, with what it remembers beside the inbox.
    pub(crate) dir: PathBuf,
    pub(crate) options: SpoolOptions,
    pub(crate) opened_at: Instant,
    pub(crate) numbers: Numbers,
    pub(crate) space: FreeSpace,
    pub(crate) marks: Marks,
    pub(crate) drafts: Drafts,
    /// Guards all that is known about entries, and who is told of it.
    pub(crate) table: Mutex<Table>,
    /// Rung for one thread when something falls due earlier, for all at the end. Goes with `table`.
    pub(crate) alarm: Condvar,
    pub(crate) is_closed: AtomicBool,
}

impl Inner {
    pub(crate) fn open(dir: &Path, options: SpoolOptions) -> Result<Self, SpoolError> {
        let inbox = dir.join("inbox");
        fs::create_dir_all(&inbox)?;
        let root = OwnedFd::from(File::open(&inbox)?);
        let disk_id = disk::stat_of(&root)?.disk_id();
        let inner = Self {
            root: Arc::new(root),
            dir: dir.to_owned(),
            opened_at: Instant::now(),
            numbers: Numbers::open(&dir.join("numbers"))?,
            space: FreeSpace::new(options.keep_free_bytes),
            marks: Marks::open(&dir.join("marks"))?,
            drafts: Drafts::open(&dir.join("drafts"))?,
            table: Mutex::new(Table::with_root(disk_id)),
            alarm: Condvar::new(),
            is_closed: AtomicBool::new(false),
            options,
        };
        inner.look_everywhere()?;
        inner.remove_orphaned_notes();
        Ok(inner)
    }
}
