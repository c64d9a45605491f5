//! Sound as engines get it, and what is known of the recording it comes from.

use crate::audio::Pcm;
use crate::model::{SoundFacts, Warning};

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
