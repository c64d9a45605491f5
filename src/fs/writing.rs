//! What is done to open files: writing, syncing, laying out space, copying.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use crate::fs::errno::FsError;
use crate::fs::files::{Files, Handle};
use crate::model::{Inode, Node};

/// Longest copy in one call: the caller asks again for the rest.
const COPY_BYTES: u64 = 64 << 20;

impl Files {
    pub(crate) fn write(&self, number: u64, offset: u64, data: &[u8]) -> Result<u32, FsError> {
        let handle = self.handle(number)?;
        match &*handle {
            Handle::Inbox(open) if open.writable => {
                self.tree.spool.before_write(open, data.len() as u64)?;
                Ok(count(write_at(&open.file, offset, data)?))
            }
            Handle::Control => {
                self.tree.control.command(data)?;
                Ok(count(data.len()))
            }
            _ => Err(FsError::BadHandle),
        }
    }

    pub(crate) fn flush(&self, number: u64) -> Result<(), FsError> {
        match &*self.handle(number)? {
            Handle::Inbox(open) if open.writable => Ok(self.tree.spool.flush(open)?),
            Handle::Text(node, _) => {
                self.tree.snapshots.read(*node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether [`Self::flush`] waits for the disk.
    pub(crate) fn syncs_on_flush(&self, number: u64) -> bool {
        let is_written = |handle: std::sync::Arc<Handle>| matches!(&*handle, Handle::Inbox(open) if open.writable);
        self.tree.spool.syncs_on_close() && self.handle(number).is_ok_and(is_written)
    }

    pub(crate) fn sync(&self, number: u64, data_only: bool) -> Result<(), FsError> {
        match &*self.handle(number)? {
            Handle::Inbox(open) => Ok(self.tree.spool.sync(open, data_only)?),
            // What is published was synced before it was shown.
            _ => Ok(()),
        }
    }

    pub(crate) fn sync_folder(&self, inode: Inode) -> Result<(), FsError> {
        match Node::from_inode(inode) {
            Some(Node::Inbox(id)) => Ok(self.tree.spool.sync_directory(id)?),
            _ => Ok(()),
        }
    }

    pub(crate) fn allocate(
        &self,
        number: u64,
        mode: i32,
        offset: u64,
        length: u64,
    ) -> Result<(), FsError> {
        let handle = self.handle(number)?;
        let Handle::Inbox(open) = &*handle else { return Err(FsError::ReadOnly) };
        let frees = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_COLLAPSE_RANGE;
        let more = if mode & frees == 0 { length } else { 0 };
        self.tree.spool.before_write(open, more)?;
        let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
            return Err(FsError::Invalid);
        };
        // SAFETY: the descriptor is open as long as the handle is held.
        let result = unsafe { libc::fallocate(open.file.as_raw_fd(), mode, offset, length) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
    }

    /// Where data or a hole begins; the kernel asks for nothing else.
    pub(crate) fn seek(&self, number: u64, offset: i64, whence: i32) -> Result<i64, FsError> {
        let handle = self.handle(number)?;
        let Some(file) = handle.backing_file() else {
            return self.seek_without_holes(&handle, offset, whence);
        };
        // The descriptor's own position is used by nobody: all reading and writing says where.
        // SAFETY: the descriptor is open as long as the handle is held.
        let found = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
        if found < 0 { Err(io::Error::last_os_error().into()) } else { Ok(found) }
    }

    fn seek_without_holes(
        &self,
        handle: &Handle,
        offset: i64,
        whence: i32,
    ) -> Result<i64, FsError> {
        let bytes = match handle {
            Handle::Text(_, text) => text.len() as u64,
            Handle::Published { node, .. } => self.tree.archive.object(*node)?.bytes,
            _ => return Err(FsError::Invalid),
        };
        let end = i64::try_from(bytes).unwrap_or(i64::MAX);
        match whence {
            _ if offset < 0 || end <= offset => Err(FsError::PastEnd),
            libc::SEEK_DATA => Ok(offset),
            libc::SEEK_HOLE => Ok(end),
            _ => Err(FsError::Invalid),
        }
    }

    /// Copies inside the kernel where both ends are real files.
    pub(crate) fn copy(
        &self,
        from: (u64, u64),
        to: (u64, u64),
        length: u64,
    ) -> Result<u32, FsError> {
        let (source, target) = (self.handle(from.0)?, self.handle(to.0)?);
        let Handle::Inbox(open) = &*target else { return Err(FsError::ReadOnly) };
        let Some(file) = source.backing_file() else { return Err(FsError::CrossDevice) };
        let length = length.min(COPY_BYTES);
        self.tree.spool.before_write(open, length)?;
        let (Ok(mut start), Ok(mut end)) = (i64::try_from(from.1), i64::try_from(to.1)) else {
            return Err(FsError::Invalid);
        };
        // SAFETY: both descriptors are open as long as their handles are held, and both positions are
        // ours.
        let copied = unsafe {
            libc::copy_file_range(
                file.as_raw_fd(),
                &raw mut start,
                open.file.as_raw_fd(),
                &raw mut end,
                usize::try_from(length).unwrap_or(usize::MAX),
                0,
            )
        };
        u32::try_from(copied).map_err(|_| io::Error::last_os_error().into())
    }
}

/// Of bytes in one request, which the kernel keeps far below what fits.
fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// As much as there is room for; an error only where not a byte could be written.
fn write_at(file: &File, offset: u64, data: &[u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < data.len() {
        match file.write_at(&data[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if done > 0 => break,
            Err(err) => return Err(err),
        }
    }
    Ok(done)
}
