//! What a bucket shows of our objects beside their bytes.

use std::collections::BTreeMap;

use crate::model::{Conversation, ConversationId, Object, PageKind, Recording};
use crate::store::Label;

/// The label of the audio: enough to know a recording by in any tool that lists buckets.
pub(crate) fn of_audio(recording: &Recording) -> Label {
    let mut fields = common(&recording.filed_as, &recording.audio);
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

/// The label of a page about a recording.
pub(crate) fn of_page(recording: &Recording, object: &Object) -> Label {
    let page = recording.pages.iter().find(|page| page.object.key == object.key);
    let content_type = page.map_or(PageKind::Json, |page| page.kind).content_type();
    let mut fields = common(&recording.filed_as, object);
    fields.insert(Label::RECORDING, recording.audio.blake3.clone());
    Label { content_type, fields }
}

/// The label of a day's transcript.
pub(crate) fn of_transcript(conversation: &Conversation, object: &Object) -> Label {
    let mut fields = common(&conversation.filed_as, object);
    fields.insert(Label::CONVERSATION_CREATED, conversation.created_at.to_string());
    Label { content_type: "text/plain; charset=utf-8", fields }
}

fn common(filed_as: &ConversationId, object: &Object) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (Label::CONVERSATION, filed_as.to_string()),
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
