//! Decoded sound in files without a name: written once, then mapped.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// 16-bit mono sound at 16 kHz in a temporary file, mapped into memory.
#[derive(Debug)]
pub struct Pcm {
    /// `None` for no sound at all: nothing cannot be mapped.
    map: Option<Mmap>,
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
}

impl PcmWriter {
    /// Writes below `folder`, in a file that nobody else can see.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::with_capacity(1 << 16, tempfile::tempfile_in(folder)?) })
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
        if file.metadata()?.len() == 0 {
            return Ok(Pcm { map: None });
        }
        // SAFETY: the file has no name and its only descriptor is dropped here: nobody can change it.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Pcm { map: Some(map) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_comes_back_as_it_was_written_and_clipped() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = PcmWriter::new(dir.path()).unwrap();
        writer.write([0.0, 1.0, -1.0, 7.0, -7.0].into_iter()).unwrap();
        let pcm = writer.finish().unwrap();
        assert_eq!(&*pcm, [0, 32_767, -32_768, 32_767, -32_768]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(PcmWriter::new(dir.path()).unwrap().finish().unwrap().is_empty());
    }
}
