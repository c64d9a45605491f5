//! What a bucket shows of our objects beside their bytes.

use std::collections::BTreeMap;

use crate::model::{DayTranscript, Object, PageKind, Recording};
use crate::store::Label;

/// The label of the audio: enough to know a recording by in any tool that lists buckets.
pub(crate) fn of_audio(recording: &Recording) -> Label {
    let mut fields = common(recording, &recording.audio);
    let facts = &recording.facts;
    let modified = recording.modified_at.as_nanosecond();
    fields.insert("duration", format!("{:.3}", facts.duration));
    fields.insert("speakers", recording.speakers.to_string());
    fields.insert("recorded-at", recording.recorded_at.time.to_string());
    fields.insert("codec", facts.codec.clone());
    fields.insert("original-name", recording.original_name.display());
    // Seconds with a fraction, as rclone writes and reads them.
    fields.insert("mtime", seconds(modified));
    Label { content_type: audio_type(&facts.container), fields }
}

/// The label of a page or of the day's transcript.
pub(crate) fn of_page(recording: &Recording, transcript: &DayTranscript, object: &Object) -> Label {
    let page = recording.pages.iter().find(|page| page.object.key == object.key);
    let content_type = match page {
        Some(page) => page.kind.content_type(),
        None if object.key == transcript.object.key => "text/plain; charset=utf-8",
        None => PageKind::Json.content_type(),
    };
    let mut fields = common(recording, object);
    if page.is_some() {
        fields.insert(Label::RECORDING, recording.audio.blake3.clone());
    }
    Label { content_type, fields }
}

fn common(recording: &Recording, object: &Object) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (Label::CONVERSATION, recording.filed_as.to_string()),
        (Label::BLAKE3, object.blake3.clone()),
    ])
}

fn seconds(nanoseconds: i128) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let nanoseconds = nanoseconds.unsigned_abs();
    format!("{sign}{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

/// By container, as our decoder calls it.
fn audio_type(container: &str) -> &'static str {
    match container {
        "wav" | "rf64" => "audio/wav",
        "mp1" | "mp2" | "mp3" => "audio/mpeg",
        "mp4" => "audio/mp4",
        "aac" | "adts" => "audio/aac",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "mkv" | "matroska" | "webm" => "audio/x-matroska",
        "aiff" => "audio/aiff",
        "caf" => "audio/x-caf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_is_told_as_rclone_tells_it() {
        assert_eq!(seconds(1_500_000_001), "1.500000001");
        assert_eq!(seconds(-500_000_000), "-0.500000000");
    }
}
