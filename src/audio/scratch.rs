//! Decoded sound in files without a name: written once, then mapped.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// Files that decoding one recording may fill: each of two channels, and their mix.
pub const SCRATCH_FILES: usize = 3;

/// Empty files for decoded sound, open already, so that whoever decodes needs no folder to write in.
#[derive(Debug)]
pub struct Scratch {
    files: [File; SCRATCH_FILES],
    used: Cell<usize>,
}

impl Scratch {
    pub fn new(files: [File; SCRATCH_FILES]) -> Self {
        Self { files, used: Cell::new(0) }
    }

    /// Files below `folder` that nobody else can see.
    pub fn below(folder: &Path) -> io::Result<Self> {
        let file = || tempfile::tempfile_in(folder);
        Ok(Self::new([file()?, file()?, file()?]))
    }

    /// Every file is to be filled anew.
    pub(crate) fn start_over(&self) {
        self.used.set(0);
    }

    /// The next file, emptied, with its number.
    fn next(&self) -> io::Result<(usize, File)> {
        let number = self.used.get();
        let file = self.files.get(number).ok_or_else(|| io::Error::other("no file is left"))?;
        self.used.set(number + 1);
        let mut file = file.try_clone()?;
        file.set_len(0)?;
        file.rewind()?;
        Ok((number, file))
    }
}

/// 16-bit mono sound at 16 kHz in a file, mapped into memory.
#[derive(Debug)]
pub struct Pcm {
    /// `None` for no sound at all: nothing cannot be mapped.
    map: Option<Mmap>,
    number: usize,
}

impl Pcm {
    /// Sound that another process has written to `file`, and writes no more.
    pub fn map(file: &File) -> io::Result<Self> {
        Self::numbered(file, 0)
    }

    /// Which file of its [`Scratch`] holds it.
    pub fn number(&self) -> usize {
        self.number
    }

    fn numbered(file: &File, number: usize) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self { map: None, number });
        }
        // SAFETY: the file has no name, and whoever wrote it is done: nobody can change it.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self { map: Some(map), number })
    }
}

impl Deref for Pcm {
    type Target = [i16];

    fn deref(&self) -> &[i16] {
        let Some(map) = &self.map else { return &[] };
        // SAFETY: any two bytes are an `i16`, and a map begins at a page, so it is aligned.
        unsafe { map.align_to::<i16>() }.1
    }
}

/// Writes sound that becomes a [`Pcm`].
#[derive(Debug)]
pub(crate) struct PcmWriter {
    file: BufWriter<File>,
    number: usize,
}

impl PcmWriter {
    /// Writes to the next file of `scratch`.
    pub(crate) fn new(scratch: &Scratch) -> io::Result<Self> {
        let (number, file) = scratch.next()?;
        Ok(Self { file: BufWriter::with_capacity(1 << 16, file), number })
    }

    /// Samples from -1 to 1; what is beyond is clipped. 16-bit sound comes out as it went in.
    pub(crate) fn write(&mut self, samples: impl Iterator<Item = f32>) -> io::Result<()> {
        for sample in samples {
            let scaled = (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0);
            // Within the range of an `i16`, by the clamp.
            self.file.write_all(&(scaled as i16).to_ne_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<Pcm> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Pcm::numbered(&file, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_comes_back_as_it_was_written_and_clipped() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::below(dir.path()).unwrap();
        let mut writer = PcmWriter::new(&scratch).unwrap();
        writer.write([0.0, 1.0, -1.0, 7.0, -7.0].into_iter()).unwrap();
        let pcm = writer.finish().unwrap();
        assert_eq!(&*pcm, [0, 32_767, -32_768, 32_767, -32_768]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let empty = PcmWriter::new(&scratch).unwrap().finish().unwrap();
        assert_eq!((empty.is_empty(), empty.number()), (true, 1));
    }

    #[test]
    fn what_starts_over_fills_the_same_files_anew() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::below(dir.path()).unwrap();
        for sound in [[0.25, 0.5].as_slice(), &[0.5]] {
            scratch.start_over();
            let mut writer = PcmWriter::new(&scratch).unwrap();
            writer.write(sound.iter().copied()).unwrap();
            let pcm = writer.finish().unwrap();
            assert_eq!((pcm.len(), pcm.number()), (sound.len(), 0));
        }
    }
}
