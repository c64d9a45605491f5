//! [`FailingDisk`]: what an index of a test lies on.

use std::io;
use std::sync::{Arc, Mutex};

use redb::{Builder, StorageBackend};

use crate::index::damage::Damage;
use crate::index::failure::opening;
use crate::index::purge_log::PurgeLog;
use crate::index::{Index, IndexError};

/// A disk that keeps for sure only what was synced.
#[derive(Debug, Default)]
struct Disk {
    durable: Vec<u8>,
    /// As everybody sees it.
    current: Vec<u8>,
    /// Since the last sync.
    unsynced: Vec<Write>,
    calls: u64,
    /// Calls that succeed before the disk fails for good.
    allowed: u64,
    /// Nothing new can be written as long as this is so.
    is_full: bool,
}

#[derive(Debug)]
enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Bytes(offset, bytes) => {
                let offset = usize::try_from(*offset).unwrap();
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[offset..end].copy_from_slice(bytes);
            }
            Self::Length(length) => to.resize(usize::try_from(*length).unwrap(), 0),
        }
    }
}

/// An index's file in memory, on a disk that can fail, fill up and lose power.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailingDisk(Arc<Mutex<Disk>>);

impl FailingDisk {
    pub(crate) fn healthy() -> Self {
        let disk = Self::default();
        disk.fail_after(u64::MAX);
        disk
    }

    fn call<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> io::Result<T> {
        let mut disk = self.0.lock().unwrap();
        disk.calls += 1;
        if disk.allowed < disk.calls {
            return Err(io::Error::other("the disk has failed"));
        }
        Ok(act(&mut disk))
    }

    pub(crate) fn fill(&self, is_full: bool) {
        self.0.lock().unwrap().is_full = is_full;
    }

    fn write(&self, write: Write) -> io::Result<()> {
        if self.0.lock().unwrap().is_full {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.call(|disk| {
            write.apply(&mut disk.current);
            disk.unsynced.push(write);
        })
    }

    /// The power goes and comes back: of what was not synced, some is there and some is not.
    pub(crate) fn power_cut(&self, seed: u64) {
        let mut disk = self.0.lock().unwrap();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let disk = &mut *disk;
        for write in disk.unsynced.drain(..) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Lengths are kept: a file that is shorter than its header says is another matter.
            if random & 1 == 0 || matches!(write, Write::Length(_)) {
                write.apply(&mut disk.durable);
            }
        }
        disk.current = disk.durable.clone();
        disk.calls = 0;
        disk.allowed = u64::MAX;
    }

    pub(crate) fn fail_after(&self, calls: u64) {
        let mut disk = self.0.lock().unwrap();
        disk.calls = 0;
        disk.allowed = calls;
    }

    pub(crate) fn open(&self) -> Result<Index, IndexError> {
        let disk = self.clone();
        let open = move || {
            let database = Builder::new().create_with_backend(disk.clone());
            database.map_err(|err| opening("", err))
        };
        Index::on(Box::new(open), Damage::default(), PurgeLog::default())
    }
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> io::Result<u64> {
        self.call(|disk| disk.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.call(|disk| {
            let offset = usize::try_from(offset).unwrap();
            out.copy_from_slice(&disk.current[offset..offset + out.len()]);
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write(Write::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(|disk| {
            for write in disk.unsynced.drain(..) {
                write.apply(&mut disk.durable);
            }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(Write::Bytes(offset, data.to_vec()))
    }
}
