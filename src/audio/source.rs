//! The file as symphonia is to see it: with a few bytes of its header put right.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use symphonia::core::io::MediaSource;

use crate::audio::metadata_limit::Trim;

/// Bytes that are shown in place of those of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A file that is read from its start whatever others do with its descriptor, as far as it is to be seen.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    trim: Trim,
    /// In what is shown.
    position: u64,
    patches: Vec<Patch>,
    /// Shared with whoever tells how far the work is.
    reached: Arc<AtomicU64>,
}

impl Source {
    pub(crate) fn open(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let bytes = file.metadata()?.len();
        let trim = Trim::none(bytes);
        Ok(Self { file, trim, position: 0, patches: Vec::new(), reached: Arc::default() })
    }

    pub(crate) fn trimmed(mut self, trim: Trim) -> Self {
        self.trim = trim;
        self
    }

    pub(crate) fn with_patches(mut self, patches: Vec<Patch>) -> Self {
        self.patches = patches;
        self
    }

    /// Position of the last read, in the file.
    pub(crate) fn reached(&self) -> Arc<AtomicU64> {
        self.reached.clone()
    }

    /// Bytes that are shown.
    fn length(&self) -> u64 {
        self.trim.start.len() as u64 + self.trim.end.saturating_sub(self.trim.from)
    }

    fn read_file(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let left = usize::try_from(self.trim.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..room], at)?;
        let is_here = |patch: &&Patch| {
            patch.at < at + count as u64 && at < patch.at + patch.bytes.len() as u64
        };
        for Patch { at: from, bytes } in self.patches.iter().filter(is_here) {
            for (offset, byte) in (0_u64..).zip(bytes) {
                let place = (from + offset).checked_sub(at);
                let place = place.and_then(|place| usize::try_from(place).ok());
                if let Some(shown) = place.and_then(|place| buffer[..count].get_mut(place)) {
                    *shown = *byte;
                }
            }
        }
        Ok(count)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = &self.trim.start;
        let of_start = usize::try_from(self.position).ok().and_then(|from| start.get(from..));
        let count = match of_start {
            Some(rest) if !rest.is_empty() => {
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                count
            }
            _ => {
                let at = self.trim.from + (self.position - start.len() as u64);
                let count = self.read_file(buffer, at)?;
                self.reached.store(at + count as u64, Ordering::Relaxed);
                count
            }
        };
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(delta) => self.length().checked_add_signed(delta),
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
        Some(self.length())
    }
}
