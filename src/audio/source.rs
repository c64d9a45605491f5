//! The file as symphonia is to see it: with a few bytes of its header put right.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use symphonia::core::io::MediaSource;

/// Bytes that are shown in place of those of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A file that is read from its start whatever others do with its descriptor.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    bytes: u64,
    position: u64,
    patches: Vec<Patch>,
    /// Shared with whoever tells how far the work is.
    reached: Arc<AtomicU64>,
}

impl Source {
    pub(crate) fn open(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes, position: 0, patches: Vec::new(), reached: Arc::default() })
    }

    pub(crate) fn with_patches(mut self, patches: Vec<Patch>) -> Self {
        self.patches = patches;
        self
    }

    /// Position of the last read.
    pub(crate) fn reached(&self) -> Arc<AtomicU64> {
        self.reached.clone()
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        for Patch { at, bytes } in &self.patches {
            for (offset, byte) in (0_u64..).zip(bytes) {
                let place = (at + offset).checked_sub(self.position);
                let place = place.and_then(|place| usize::try_from(place).ok());
                if let Some(shown) = place.and_then(|place| buffer[..count].get_mut(place)) {
                    *shown = *byte;
                }
            }
        }
        self.position += count as u64;
        self.reached.store(self.position, Ordering::Relaxed);
        Ok(count)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(delta) => self.bytes.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position =
            target.ok_or_else(|| io::Error::other("a position before the start of the file"))?;
        Ok(self.position)
    }
}

impl MediaSource for Source {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.bytes)
    }
}
