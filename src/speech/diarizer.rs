//! [`Diarizer`]: who speaks when.

use std::ops::ControlFlow;

use crate::model::{SpeakerBounds, SpeakerId, Turn};
use crate::speech::error::SpeechError;

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
