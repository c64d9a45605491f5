//! [`Transcriber`]: one window of speech to words.

use crate::speech::error::SpeechError;

/// Sample rate of the sound that engines get, in hertz.
pub const SAMPLE_RATE: usize = 16_000;

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
