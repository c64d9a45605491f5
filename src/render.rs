//! A conversation to pages: text, subtitles, JSON. Pure functions of what is known.

mod captions;
mod chapter;
mod cues;
mod json;
mod languages;
mod metadata;
mod rttm;
mod text;
mod transcript;

pub use crate::render::chapter::Chapter;
pub use crate::render::json::TranscriptSource;
pub use crate::render::transcript::DayPage;

use crate::model::{Conversation, DayTranscript, Key, Page, Recipe, Recording, Talk};

/// `meeting.json`, schema `scribefs.transcript/1`.
pub fn json(chapter: Chapter<'_>) -> Vec<u8> {
    json::write(chapter)
}

/// The talk and the recipe that a `meeting.json` was made of.
///
/// # Errors
/// Says in one line what is wrong with a page that cannot be read back.
pub fn talk_from_json(json: &[u8]) -> Result<(Talk, Recipe), String> {
    json::read(json)
}

/// The BLAKE3 of the recording that a `meeting.json` is about; `None`: it cannot be read.
pub fn audio_of_json(json: &[u8]) -> Option<String> {
    json::audio(json)
}

/// What a `meeting.json` says of its recording.
///
/// # Errors
/// Says in one line what is wrong with a page that cannot be read back.
pub fn source_of_json(json: &[u8]) -> Result<TranscriptSource, String> {
    json::read_source(json)
}

/// `meeting_metadata.json`: everything about the recording, with the list of pages given. `recording_url` leads to
/// the recording for as long as it lies there.
pub fn metadata(
    chapter: Chapter<'_>,
    pages: &[Page],
    transcript: &DayTranscript,
    recording_url: Option<&str>,
) -> Vec<u8> {
    metadata::write(chapter, pages, transcript, recording_url)
}

/// What a `_metadata.json` in the store says, to rebuild the index from.
///
/// # Errors
/// Says in one line what is wrong with it.
pub fn from_metadata(json: &[u8]) -> Result<(Conversation, Recording, DayTranscript), String> {
    metadata::read(json)
}

/// The same of the page that lies at `key`, and nothing that does not belong beside it: whoever can write to a
/// bucket could otherwise name any object as a recording's, to be read, overwritten or removed with it.
pub fn from_metadata_at(
    key: &Key,
    json: &[u8],
) -> Result<(Conversation, Recording, DayTranscript), String> {
    metadata::read_at(key, json)
}

/// `meeting.srt`.
pub fn srt(chapter: Chapter<'_>) -> Vec<u8> {
    captions::srt(chapter.talk)
}

/// `meeting.vtt`, with voice tags.
pub fn vtt(chapter: Chapter<'_>) -> Vec<u8> {
    captions::vtt(chapter.talk, chapter.recipe)
}

/// Rich Transcription Time Marked: one line a turn.
pub fn rttm(name: &str, talk: &Talk) -> String {
    rttm::write(name, talk)
}

/// What a recording has in the transcript of its day.
pub fn chapter(chapter: Chapter<'_>) -> String {
    transcript::chapter(chapter)
}

/// One recording's transcript to read, without knowing any conversation: for `scribefs transcribe`.
pub fn plain_transcript(title: &str, recipe: &Recipe, talk: &Talk) -> String {
    transcript::plain(title, recipe, talk)
}
