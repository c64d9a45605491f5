//! What kind of sound a file is, how long, recorded when; and its sound as 16 kHz mono.

mod channels;
mod converter;
mod creation_time;
mod decode;
mod error;
mod facts;
mod header_repair;
mod metadata_hiding;
mod metadata_limit;
mod resample;
mod scratch;
mod sniff;
mod sound;
mod source;
mod tags;
mod track;

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

pub use error::AudioError;
pub use scratch::{Pcm, SCRATCH_FILES, Scratch};
pub use sound::{Decoded, Sound};

/// Decodes `input`, whatever it is, in constant memory; more than `longest` is refused. `extension` is a
/// hint. `progress` gets 0 to 1.
pub fn decode(
    input: File,
    extension: &str,
    scratch: &Scratch,
    longest: Duration,
    progress: &mut dyn FnMut(f32),
) -> Result<Decoded, AudioError> {
    decode::decode(&input, extension, scratch, longest, progress)
}

/// Puts an `ffmpeg` in place of this process, which reads `input` and writes a 16-bit WAV to standard output.
/// Returns only where that failed. The caller has confined the process.
pub fn convert(ffmpeg: &Path, input: &File) -> io::Error {
    converter::exec(ffmpeg, input)
}
