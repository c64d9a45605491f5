//! From sound to words and speakers: engines behind two traits, and the pipeline that joins them.

mod capacity;
mod diarize;
mod diarizer;
mod engine_files;
mod engines;
mod error;
mod heartbeat;
mod join;
mod loudness;
mod onnx;
mod pipeline;
mod recognition;
mod repetition;
#[cfg(feature = "sherpa")]
mod sherpa;
mod transcriber;
#[cfg(feature = "whisper")]
mod whisper;
mod window;
mod word_times;

use std::ops::ControlFlow;
use std::path::Path;

use crate::model::{SpeakerBounds, Talk};

pub use capacity::usable_threads;
pub use diarizer::{Diarization, Diarizer};
pub use error::SpeechError;
pub use heartbeat::with_heartbeat;
pub use pipeline::{Engines, Progress};
pub use transcriber::{SAMPLE_RATE, TranscribedWord, Transcriber, Transcription};

/// Opens the recognizer in a model's folder, whichever engine its files are for: one instance, or several
/// that together use `threads`, where a small model does more on one core each than on all at once.
pub fn open_transcribers(
    folder: &Path,
    language: Option<&str>,
    threads: u16,
) -> Result<Vec<Box<dyn Transcriber>>, SpeechError> {
    engines::open(folder, language, threads)
}

/// The diarizer in a model's folder.
pub fn open_diarizer(folder: &Path, threads: u16) -> Result<Box<dyn Diarizer>, SpeechError> {
    diarize::open(folder, threads)
}

/// Transcribes one signal, or one signal for each party. `report` may stop it.
pub fn transcribe(
    sounds: &[&[i16]],
    engines: Engines<'_>,
    speakers: SpeakerBounds,
    report: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Talk, SpeechError> {
    pipeline::transcribe(sounds, engines, speakers, report)
}
