//! What kind of sound a file is, how long, recorded when; and its sound as 16 kHz mono.

mod channels;
mod converter;
mod creation_time;
mod decode;
mod error;
mod facts;
mod header_repair;
mod resample;
mod scratch;
mod sniff;
mod source;
mod tags;
mod track;

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::model::{Failure, SoundFacts, Warning};

pub use scratch::{Pcm, SCRATCH_FILES, Scratch};

/// What an engine is to listen to.
#[derive(Debug)]
pub enum Sound {
    /// Everybody in one signal.
    Mixed(Pcm),
    /// One party on each channel, as in a telephone recording: two speakers, whoever else is heard.
    Parties(Vec<Pcm>),
}

/// A recording, decoded.
#[derive(Debug)]
pub struct Decoded {
    pub facts: SoundFacts,
    pub sound: Sound,
    /// `truncated`, `corrupt`, `silent`: the sound goes as far as it goes.
    pub warnings: Vec<Warning>,
}

/// Why a file could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// Nothing can be made of it: it says why, and what to do.
    #[error("not a usable recording")]
    Refused(Failure),
    /// An outside converter may be able to read it.
    #[error("needs a converter: {what}")]
    NeedsConverter { what: String, facts: Option<Box<SoundFacts>> },
    /// The files for the decoded sound refused.
    #[error("the decoded sound could not be written")]
    Scratch(#[from] io::Error),
}

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
