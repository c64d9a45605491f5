//! [`AudioError`]: messages and remedies for files that cannot be decoded.

use std::io;
use std::time::Duration;

use crate::model::{Failure, FailureCause, SoundFacts};

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

const CHECK: &str = "Check that it plays in a media player. If it does, convert it to WAV, FLAC or MP3 with \
                     another program and drop that; if not, copy the recording again.";

fn refused(message: impl Into<String>, remedy: &str) -> AudioError {
    AudioError::Refused(Failure {
        cause: FailureCause::NotAudio,
        message: message.into(),
        remedy: remedy.to_owned(),
    })
}

pub(crate) fn empty() -> AudioError {
    refused("The file is empty.", "Copy the recording again; the copy may have been interrupted.")
}

pub(crate) fn not_audio() -> AudioError {
    refused("This is not a sound file that scribefs knows.", CHECK)
}

/// Neither we nor any converter that we know of can read it. `source`: what can.
pub(crate) fn secret(what: &str, source: &str) -> AudioError {
    refused(
        format!("This is {what}, which neither scribefs nor ffmpeg can read."),
        &format!("Save it as WAV or MP3 with {source}, and drop that."),
    )
}

/// `what` is a container's name with its article.
pub(crate) fn damaged(what: &str) -> AudioError {
    refused(format!("This looks like {what}, but it is damaged or incomplete."), CHECK)
}

pub(crate) fn no_sound_track() -> AudioError {
    refused("The file has no sound track.", "Drop a recording with sound.")
}

pub(crate) fn impossible(what: &str) -> AudioError {
    refused(format!("The file claims {what}, which no recording has. It is damaged."), CHECK)
}

pub(crate) fn too_long(longest: Duration) -> AudioError {
    let hours = longest.as_secs_f64() / 3_600.0;
    AudioError::Refused(Failure {
        cause: FailureCause::TooLarge,
        message: format!("The recording is longer than the limit of {hours} h."),
        remedy: "Split it and drop the parts, or raise `max_duration` in the settings.".to_owned(),
    })
}

pub(crate) fn nothing_decodes(what: &str) -> AudioError {
    refused(format!("No sound could be decoded from this {what} file. It is damaged."), CHECK)
}
