//! Open files: opened, written, flushed, synced, released.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::model::InboxId;
use crate::spool::disk;
use crate::spool::signs::Mark;
use crate::spool::{Inner, OpenFile, SpoolError};

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
            let file = self.open_backing(id, open_flags)?;
            let open = Arc::new(OpenFile { id, file, writable });
            self.keep_handle(&open);
            return Ok(open);
        }
        self.check_open_for_changes()?;
        self.space.claim(self.root.as_fd(), 1)?;
        // Known as a writer before the disk opens it: the file cannot leave in between.
        let is_first = self.begin_writing(id)?;
        let file = self.open_backing(id, open_flags).inspect_err(|_| self.end_writing(id, None))?;
        let open = Arc::new(OpenFile { id, file, writable: true });
        self.keep_handle(&open);
        if is_first {
            self.mark_receiving(&open);
        }
        Ok(open)
    }

    /// For reading and writing where that is possible: passthrough shares one open file among all who
    /// have opened it, the writers too.
    fn open_backing(&self, id: InboxId, open_flags: i32) -> Result<File, SpoolError> {
        let wanted = open_flags & libc::O_ACCMODE;
        let truncates = open_flags & libc::O_TRUNC;
        match self.open_entry(id, libc::O_RDWR | truncates) {
            Err(SpoolError::Disk(err)) if wanted != libc::O_RDWR && is_denied(&err) => {
                self.open_entry(id, wanted | truncates)
            }
            result => result,
        }
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

    pub(crate) fn mark_receiving(&self, open: &OpenFile) {
        let Some(disk_id) = self.table().node(open.id).map(|node| node.disk_id) else { return };
        fail_point!("spool-before-mark");
        self.marks.put(open.file.as_fd(), disk_id, &Mark::Receiving);
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
        self.space.claim(self.root.as_fd(), bytes)
    }

    pub(crate) fn release(&self, open: &OpenFile) {
        let (is_last_writer, disk_id) = {
            let mut table = self.table();
            if !open.writable {
                table.remove_handle(open);
                table.free_if_unused(open.id);
                return;
            }
            let writers = table.file(open.id).map_or(0, |file| file.writers());
            let node = table.node(open.id).filter(|node| node.place.is_some());
            (writers == 1, node.map(|node| node.disk_id))
        };
        let stamp = disk_id.filter(|_| is_last_writer).and_then(|disk_id| {
            self.marks.put(open.file.as_fd(), disk_id, &Mark::Nothing);
            fail_point!("spool-mark-removed");
            disk::stat_of(&open.file).ok().map(|stat| stat.stamp())
        });
        if self.table().remove_handle(open) {
            self.end_writing(open.id, stamp);
        }
        let is_written = self.table().file(open.id).is_some_and(|file| 0 < file.writers());
        if stamp.is_some() && is_written {
            // Somebody came while this one left and took the mark along.
            self.mark_receiving(open);
        }
        self.table().free_if_unused(open.id);
    }

    pub(crate) fn flush(&self, open: &OpenFile) -> Result<(), SpoolError> {
        if self.options.sync_on_close && open.writable {
            return self.sync(open, true);
        }
        Ok(())
    }

    pub(crate) fn sync(&self, open: &OpenFile, data_only: bool) -> Result<(), SpoolError> {
        disk::sync(open.file.as_fd(), data_only)?;
        fail_point!("spool-file-synced");
        let place = self.table().node(open.id).and_then(|node| node.place.clone());
        match place {
            Some(place) => self.sync_directory(place.parent),
            None => Ok(()),
        }
    }

    /// The directory and those above it: a new folder must survive too.
    pub(crate) fn sync_directory(&self, id: InboxId) -> Result<(), SpoolError> {
        let mut at = id;
        loop {
            let dir = self.directory(at)?;
            let readable = disk::open_at(
                dir.as_fd(),
                std::ffi::OsStr::new("."),
                libc::O_RDONLY | libc::O_DIRECTORY,
                0,
            )?;
            disk::sync(readable.as_fd(), false)?;
            let place = self.table().node(at).and_then(|node| node.place.clone());
            match place {
                Some(place) => at = place.parent,
                None => return Ok(()),
            }
        }
    }
}

fn is_denied(err: &std::io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::ETXTBSY))
}
