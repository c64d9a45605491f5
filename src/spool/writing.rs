//! Open files: opened, written, flushed, synced, released.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::InboxId;
use crate::spool::directory::Directory;
use crate::spool::table::Place;
use crate::spool::{Access, Inner, OpenFile, Spool, SpoolError, disk};

impl Spool {
    /// To be called when the kernel has let go of a mount: with the last file that is closed a detached mount ends, and
    /// the kernel waits for our answer to the close, but tells of the release no more. Whoever never closed has not come
    /// to the end of what is written.
    pub(crate) fn release_closed(&self) {
        let inner = &self.keeper.inner;
        let handles = inner.table().all_handles();
        for open in handles.iter().filter(|open| open.is_flushed.load(Ordering::Relaxed)) {
            inner.release(open);
        }
    }
}

impl Inner {
    pub(crate) fn open_file(
        &self,
        id: InboxId,
        open_flags: i32,
    ) -> Result<Arc<OpenFile>, SpoolError> {
        self.check_is_file(id)?;
        let truncates = open_flags & libc::O_TRUNC != 0;
        let writable = open_flags & libc::O_ACCMODE != libc::O_RDONLY;
        if !writable && !truncates {
            let backing = self.open_backing(id, open_flags)?;
            let open = Arc::new(OpenFile::new(id, backing, writable, false));
            self.keep_handle(&open);
            return Ok(open);
        }
        self.check_open_for_changes()?;
        let is_counted = !self.space.claim_asked(self.root.as_fd(), 1)?;
        // Known as a writer before the disk opens it: the file cannot leave in between.
        self.begin_writing(id)?;
        let opened = self.open_backing(id, open_flags);
        let backing = opened.inspect_err(|_| self.end_writing(id, || None))?;
        let open = Arc::new(OpenFile::new(id, backing, true, is_counted));
        self.keep_handle(&open);
        self.put_mark(id);
        Ok(open)
    }

    /// For reading and writing where that is possible: all who have a file open share it, the writers and the
    /// kernel too, which wants one backing file for all.
    fn open_backing(
        &self,
        id: InboxId,
        open_flags: i32,
    ) -> Result<(Arc<File>, Access), SpoolError> {
        let wanted = open_flags & libc::O_ACCMODE;
        let truncates = open_flags & libc::O_TRUNC;
        if let Some((file, access)) = self.shared_backing(id, wanted) {
            if truncates != 0 {
                file.set_len(0)?;
            }
            return Ok((file, access));
        }
        let (file, access) = match self.open_entry(id, libc::O_RDWR | truncates) {
            Err(SpoolError::Disk(err)) if wanted != libc::O_RDWR && is_denied(&err) => {
                let access = if wanted == libc::O_RDONLY { Access::Read } else { Access::Write };
                (self.open_entry(id, wanted | truncates)?, access)
            }
            opened => (opened?, Access::Both),
        };
        Ok((Arc::new(file), access))
    }

    fn shared_backing(&self, id: InboxId, wanted: i32) -> Option<(Arc<File>, Access)> {
        let is_enough = |access: Access| match access {
            Access::Both => true,
            Access::Read => wanted == libc::O_RDONLY,
            Access::Write => false,
        };
        let table = self.table();
        let mut handles = table.node(id)?.handles.iter();
        let open = handles.find(|open| is_enough(open.access))?;
        Some((open.file.clone(), open.access))
    }

    fn check_is_file(&self, id: InboxId) -> Result<(), SpoolError> {
        let table = self.table();
        match (table.file(id), table.directory(id), table.node(id)) {
            (Some(_), ..) => Ok(()),
            (None, Some(_), _) => Err(disk::errno(libc::EISDIR).into()),
            (None, None, Some(_)) => Err(disk::errno(libc::ENXIO).into()),
            (None, None, None) => Err(SpoolError::Missing),
        }
    }

    pub(crate) fn keep_handle(&self, open: &Arc<OpenFile>) {
        if let Some(node) = self.table().node_mut(open.id) {
            node.handles.push(open.clone());
        }
    }

    /// A handle that a file can be cut through.
    pub(crate) fn writing_handle(&self, id: InboxId) -> Option<Arc<OpenFile>> {
        let table = self.table();
        table.node(id)?.handles.iter().find(|open| open.writable).cloned()
    }

    pub(crate) fn before_write(&self, open: &OpenFile, bytes: u64) -> Result<(), SpoolError> {
        self.check_open_for_changes()?;
        if !open.writable {
            return Err(disk::errno(libc::EBADF).into());
        }
        open.is_flushed.store(false, Ordering::Relaxed);
        self.space.claim(self.root.as_fd(), bytes)
    }

    pub(crate) fn release(&self, open: &OpenFile) {
        let was_open = self.table().remove_handle(open);
        if was_open && open.writable {
            let stamp = || disk::stat_of(&open.file).ok().map(|stat| stat.stamp());
            self.end_writing(open.id, stamp);
        }
        self.table().free_if_unused(open.id);
    }

    pub(crate) fn flush(&self, open: &OpenFile) -> Result<(), SpoolError> {
        open.is_flushed.store(true, Ordering::Relaxed);
        if self.options.sync_on_close && open.writable {
            return self.sync(open, true);
        }
        Ok(())
    }

    pub(crate) fn sync(&self, open: &OpenFile, data_only: bool) -> Result<(), SpoolError> {
        disk::sync(open.file.as_fd(), data_only)?;
        fail_point!("spool-file-synced");
        self.sync_names_of(open.id)
    }

    /// The directory, and what is new above it.
    pub(crate) fn sync_directory(&self, id: InboxId) -> Result<(), SpoolError> {
        self.sync_one(id)?;
        self.sync_names_of(id)
    }

    /// The way to an entry: every directory above it in which a name has changed since it was last synced.
    pub(crate) fn sync_names_of(&self, id: InboxId) -> Result<(), SpoolError> {
        let mut place = self.table().node(id).and_then(|node| node.place.clone());
        while let Some(Place { parent, .. }) = place {
            let is_changed =
                self.table().directory(parent).is_some_and(|dir| dir.unsynced().is_some());
            if is_changed {
                self.sync_one(parent)?;
            }
            place = self.table().node(parent).and_then(|node| node.place.clone());
        }
        Ok(())
    }

    fn sync_one(&self, id: InboxId) -> Result<(), SpoolError> {
        let changes = self.table().directory(id).and_then(Directory::unsynced);
        let dir = self.directory(id)?;
        match disk::sync(dir.as_fd(), false) {
            // Only pinned: we may not read it.
            Err(err) if err.raw_os_error() == Some(libc::EBADF) => {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY;
                let readable = disk::open_at(dir.as_fd(), std::ffi::OsStr::new("."), flags, 0)?;
                disk::sync(readable.as_fd(), false)?;
            }
            synced => synced?,
        }
        if let (Some(changes), Some(directory)) = (changes, self.table().directory_mut(id)) {
            directory.synced(changes);
        }
        Ok(())
    }
}

fn is_denied(err: &std::io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::ETXTBSY))
}
