//! From sound to words and speakers: engines behind two traits, and the pipeline that joins them.

mod capacity;
mod diarize;
mod engines;
mod heartbeat;
mod join;
mod loudness;
mod onnx;
mod pipeline;
mod recognition;
mod repetition;
#[cfg(feature = "sherpa")]
mod sherpa;
#[cfg(feature = "whisper")]
mod whisper;
mod window;
mod word_times;

use std::ops::ControlFlow;
use std::path::Path;

use crate::model::{Segment, SpeakerBounds, SpeakerId, Talk, Turn, WorkStage};

pub use capacity::usable_threads;
pub use heartbeat::with_heartbeat;

/// Sample rate of the sound that engines get, in hertz.
pub const SAMPLE_RATE: usize = 16_000;

/// What went wrong in an engine, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    /// The folder does not hold a model that this build can run.
    #[error("no usable model in {folder}: {why}")]
    BadModel { folder: String, why: String },
    /// The engine itself failed; a new process may fare better.
    #[error("the speech engine failed: {0}")]
    Engine(String),
    /// The caller said stop.
    #[error("stopped")]
    Stopped,
}

/// One word, in seconds from the start of its window.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscribedWord {
    pub word: String,
    pub start: f64,
    pub end: f64,
    pub probability: Option<f32>,
}

/// What a recognizer made of one window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transcription {
    pub text: String,
    /// Empty where the engine has no word times.
    pub words: Vec<TranscribedWord>,
    /// BCP 47 code, where the engine knows.
    pub language: Option<String>,
    pub avg_logprob: Option<f32>,
    pub no_speech_prob: Option<f32>,
}

/// Transcribes one window of speech. Every implementor passes `tests/speech_contract.rs`.
pub trait Transcriber: Send {
    /// Transcribes one window of at most 30 s: 16 kHz mono, -1 to 1. Windows are independent of each other.
    fn transcribe(&mut self, window: &[f32]) -> Result<Transcription, SpeechError>;

    /// Whether `transcribe` gives word times.
    fn has_word_times(&self) -> bool;

    /// Detects the language of a new recording by a few of its windows, and keeps to it for all of it. Does nothing
    /// where the language is given or the engine knows only one.
    fn detect_language(&mut self, _windows: &[Vec<f32>]) -> Result<(), SpeechError> {
        Ok(())
    }
}

/// Who spoke when.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Diarization {
    /// Overlaps included.
    pub turns: Vec<Turn>,
    /// One speaker at a time.
    pub exclusive: Vec<Turn>,
    /// A voice for each speaker, unit length, in the order of [`SpeakerId`].
    pub voices: Vec<(SpeakerId, Vec<f32>)>,
}

/// Finds who speaks when. Every implementor passes `tests/speech_contract.rs`.
pub trait Diarizer: Send {
    /// Who speaks when in `sound` (16 kHz mono). `progress` gets 0 to 1 and may stop it.
    fn diarize(
        &mut self,
        sound: &[i16],
        speakers: SpeakerBounds,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Diarization, SpeechError>;
}

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

/// What the pipeline reports while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// How much of a stage is done, 0 to 1.
    Stage(WorkStage, f32),
    Segment(Segment),
}

/// The engines of one pipeline. Without a diarizer everybody is one speaker.
pub struct Engines<'a> {
    pub diarizer: Option<&'a mut dyn Diarizer>,
    /// At least one; windows are shared out among them.
    pub transcribers: &'a mut [Box<dyn Transcriber>],
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
