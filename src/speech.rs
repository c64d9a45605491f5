//! From sound to words and voices: engines behind two seams, and the road that joins them.

mod diarize;
mod onnx;

use std::path::Path;

use crate::model::{SpeakerBounds, SpeakerId, Talk, Turn, WorkStage};

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

/// The recognizer in a model's folder, whichever engine its files are for.
pub fn open_transcriber(
    folder: &Path,
    language: Option<&str>,
    threads: u16,
) -> Result<Box<dyn Transcriber>, SpeechError> {
    todo!("{folder:?} {language:?} {threads}")
}

/// The diarizer in a model's folder.
pub fn open_diarizer(folder: &Path, threads: u16) -> Result<Box<dyn Diarizer>, SpeechError> {
    diarize::open(folder, threads)
}

/// What the road tells while it goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Heading {
    Progress(WorkStage, f32),
    Segment(crate::model::Segment),
}

/// The whole road over one signal, or over one signal for each party.
pub fn write_down(
    sounds: &[&[i16]],
    diarizer: Option<&mut dyn Diarizer>,
    transcriber: &mut dyn Transcriber,
    speakers: SpeakerBounds,
    heading: &mut dyn FnMut(Heading) -> Go,
) -> Result<Talk, SpeechError> {
    let _ = (sounds, diarizer, transcriber, speakers, heading);
    todo!()
}
