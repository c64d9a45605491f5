//! `ReservedFile`: the index's file, with room on the disk for what is still to be written to it.
//!
//! All of the file is laid out on the disk, and some more after its end, so that changes can be saved when the disk is full.
//! Where a disk cannot do that, or copies what it writes (btrfs), nothing is reserved.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::fd::AsRawFd;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::index::IndexError;
use crate::index::failure::opening;

/// Room for thousands of changes.
const RESERVE_BYTES: u64 = 64 << 20;

/// On a small disk no more than this part of it.
const PART_OF_DISK: u64 = 32;

#[derive(Debug)]
pub(crate) struct ReservedFile {
    backend: FileBackend,
    file: File,
    reserve_bytes: u64,
}

impl ReservedFile {
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let disk = |err: io::Error| IndexError::from(redb::StorageError::Io(err));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(disk)?;
        let reserve_bytes = RESERVE_BYTES.min(disk_bytes(&file).map_err(disk)? / PART_OF_DISK);
        let backend = file.try_clone().map_err(disk)?;
        let backend =
            FileBackend::new(backend).map_err(|err| opening(&path.display().to_string(), err))?;
        let reserved = Self { backend, file, reserve_bytes };
        reserved.lay_out(reserved.file.metadata().map_err(disk)?.len());
        Ok(reserved)
    }

    /// All that the file will have, and the reserve; on a full disk as much of it as there is.
    fn lay_out(&self, bytes: u64) {
        for more in [self.reserve_bytes, 0] {
            let Ok(end) = i64::try_from(bytes + more) else { return };
            if end == 0 {
                continue;
            }
            let mode = libc::FALLOC_FL_KEEP_SIZE;
            // SAFETY: the call takes nothing but an open descriptor and numbers.
            if unsafe { libc::fallocate(self.file.as_raw_fd(), mode, 0, end) } == 0 {
                return;
            }
        }
        log::debug!("index: nothing is reserved: {}", io::Error::last_os_error());
    }
}

impl StorageBackend for ReservedFile {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.backend.set_len(bytes)?;
        self.lay_out(bytes);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}

fn disk_bytes(file: &File) -> io::Result<u64> {
    let mut space = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `space` has room for one `statvfs`.
    if unsafe { libc::fstatvfs(file.as_raw_fd(), space.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstatvfs succeeded, so it has filled `space`.
    let space = unsafe { space.assume_init() };
    Ok(space.f_blocks.saturating_mul(space.f_frsize))
}
