//! From sound to words and voices: engines behind two seams, and the road that joins them.

mod capacity;
mod diarize;
mod engines;
mod hearing;
mod heartbeat;
mod join;
mod loops;
mod loudness;
mod onnx;
mod road;
#[cfg(feature = "sherpa")]
mod sherpa;
mod spread;
#[cfg(feature = "whisper")]
mod whisper;
mod window;

use std::path::Path;

use crate::model::{Segment, SpeakerBounds, SpeakerId, Talk, Turn, WorkStage};

pub use capacity::usable_threads;
pub use heartbeat::with_heartbeat;

/// Hertz of everything that an engine hears.
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

/// One word as an engine heard it, in seconds from the start of its window.
#[derive(Debug, Clone, PartialEq)]
pub struct HeardWord {
    pub word: String,
    pub start: f64,
    pub end: f64,
    pub probability: Option<f32>,
}

/// What a recognizer made of one window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Heard {
    pub text: String,
    /// Empty where the engine has no word times.
    pub words: Vec<HeardWord>,
    /// BCP 47 code, where the engine knows.
    pub language: Option<String>,
    pub avg_logprob: Option<f32>,
    pub no_speech_prob: Option<f32>,
}

/// Writes down one window of speech. Every implementor passes `tests/speech_contract.rs`.
pub trait Transcriber: Send {
    /// Hears one window of at most 30 s: 16 kHz mono, -1 to 1. Windows are independent of each other.
    fn hear(&mut self, window: &[f32]) -> Result<Heard, SpeechError>;

    /// Whether `hear` gives word times.
    fn has_word_times(&self) -> bool;

    /// Listens to a few windows of a new recording, and keeps to one language for all of it. Does nothing
    /// where the language is given or the engine knows only one.
    fn settle_language(&mut self, _windows: &[Vec<f32>]) -> Result<(), SpeechError> {
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

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    On,
    Stop,
}

/// Tells voices apart. Every implementor passes `tests/speech_contract.rs`.
pub trait Diarizer: Send {
    /// Who speaks when in `sound` (16 kHz mono). `progress` is told 0 to 1 and may say stop.
    fn diarize(
        &mut self,
        sound: &[i16],
        speakers: SpeakerBounds,
        progress: &mut dyn FnMut(f32) -> Go,
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

/// What the road tells while it goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Heading {
    Progress(WorkStage, f32),
    Segment(Segment),
}

/// The engines of one road. Without a diarizer everybody is one speaker.
pub struct Engines<'a> {
    pub diarizer: Option<&'a mut dyn Diarizer>,
    /// At least one; windows are shared out among them.
    pub transcribers: &'a mut [Box<dyn Transcriber>],
}

/// The whole road over one signal, or over one signal for each party. `heading` may say stop.
pub fn write_down(
    sounds: &[&[i16]],
    engines: Engines<'_>,
    speakers: SpeakerBounds,
    heading: &mut dyn FnMut(Heading) -> Go,
) -> Result<Talk, SpeechError> {
    road::write_down(sounds, engines, speakers, heading)
}
