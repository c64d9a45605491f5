//! `meeting_metadata.json`: what the first system's API told of a recording, and all that the index is
//! rebuilt from. Nothing of what was said.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::model::{
    Access, Conversation, DayTranscript, FileName, Key, Object, Overlay, Page, PageKind, Placement,
    Recording,
};
use crate::render::json::{pretty, thousandths};
use crate::render::{Chapter, text};

const SCHEMA: &str = "scribefs.metadata/1";

#[derive(Serialize, Deserialize)]
struct Document {
    schema: String,
    #[serde(flatten)]
    told: Map<String, Value>,
    pages: Vec<PageEntry>,
    transcript: Object,
    transcript_written_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transcript_access: Option<Access>,
    overlay: Overlay,
    /// The rows of the index.
    conversation: Conversation,
    recording: Recording,
}

#[derive(Serialize, Deserialize)]
struct PageEntry {
    name: String,
    kind: PageKind,
    content_type: String,
    #[serde(flatten)]
    object: Object,
}

/// The page of a chapter.
pub(crate) fn write(
    chapter: Chapter<'_>,
    pages: &[Page],
    transcript: &DayTranscript,
    recording_url: Option<&str>,
) -> Vec<u8> {
    // How far it is on its way concerns this machine alone, and is not true for long.
    let placement = Placement::Stored;
    let recording = Recording { pages: pages.to_vec(), placement, ..chapter.recording.clone() };
    let entries = pages.iter().map(|page| PageEntry {
        name: name_of(&recording.stem, page.kind),
        kind: page.kind,
        content_type: page.kind.content_type().to_owned(),
        object: page.object.clone(),
    });
    pretty(&Document {
        schema: SCHEMA.to_owned(),
        told: told(chapter, recording_url),
        pages: entries.collect(),
        transcript: transcript.object.clone(),
        transcript_written_at: transcript.modified_at,
        transcript_access: transcript.access,
        overlay: recording.overlay.clone(),
        conversation: chapter.conversation.clone(),
        recording,
    })
}

fn name_of(stem: &FileName, kind: PageKind) -> String {
    format!("{}{}", stem.display(), kind.suffix())
}

/// Fields that clients of the first system know. Paths lead through the mount. Entities and action items are not
/// among them: nobody has looked for any.
fn told(chapter: Chapter<'_>, recording_url: Option<&str>) -> Map<String, Value> {
    let Chapter { conversation, recording, talk, .. } = chapter;
    let participants: Vec<Value> = talk
        .speakers
        .iter()
        .map(|speaker| {
            json!({
                "id": speaker.id,
                "label": speaker.label,
                "name": speaker.name,
                "talk_seconds": thousandths(speaker.talk_seconds),
                "turns": speaker.turns,
            })
        })
        .collect();
    let facts = &recording.facts;
    let fields = json!({
        "conversation_id": conversation.id,
        "message": message(chapter),
        "audio_file_path": path(chapter, &recording.audio_name.display()),
        "transcript_file_path": path(chapter, &format!("{}_transcript.txt", conversation.id)),
        "recording_url": recording_url,
        "participants": participants,
        "duration": thousandths(facts.duration),
        "speaker_count": talk.speakers.len(),
        "language": talk.language,
        "upload_time": recording.published_at.to_string(),
        "recorded_at": recording.recorded_at.time.to_string(),
        "format": facts.container,
        "codec": facts.codec,
        "warnings": talk.warnings,
        "custom": recording.overlay.custom,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Below the mount.
fn path(chapter: Chapter<'_>, file: &str) -> String {
    let (id, day) = (&chapter.conversation.id, chapter.recording.id.day);
    let (year, month, day) = (day.year(), day.month(), day.day());
    format!("conversations/{id}/{year:04}/{month:02}/{day:02}/{file}")
}

fn message(chapter: Chapter<'_>) -> String {
    let talk = chapter.talk;
    if talk.segments.is_empty() {
        return "Transcribed: no speech was found.".to_owned();
    }
    let people = match talk.speakers.len() {
        1 => "1 speaker".to_owned(),
        count => format!("{count} speakers"),
    };
    format!("Transcribed: {people}, {}.", text::duration(talk.duration))
}

/// The rows of a page.
pub(crate) fn read(json: &[u8]) -> Result<(Conversation, Recording, DayTranscript), String> {
    let document: Document = serde_json::from_slice(json).map_err(|err| err.to_string())?;
    if document.schema != SCHEMA {
        return Err(format!("its schema is {}, not {SCHEMA}", document.schema));
    }
    let recording = document.recording;
    let transcript = DayTranscript {
        conversation: recording.id.conversation,
        day: recording.id.day,
        object: document.transcript,
        modified_at: document.transcript_written_at,
        access: document.transcript_access,
    };
    Ok((document.conversation, recording, transcript))
}

/// The rows of the page at `key`, whose objects all lie beside it.
pub(crate) fn read_at(
    key: &Key,
    json: &[u8],
) -> Result<(Conversation, Recording, DayTranscript), String> {
    let rows = read(json)?;
    check_keys(key, &rows)?;
    Ok(rows)
}

/// Conversation, day and stem determine all keys.
fn check_keys(
    key: &Key,
    (conversation, recording, transcript): &(Conversation, Recording, DayTranscript),
) -> Result<(), String> {
    let prefix = Key::conversation_prefix(&recording.filed_as);
    let is_filed_here = key.folder() == Some((prefix.as_str(), recording.id.day))
        && conversation.filed_as == recording.filed_as
        && conversation.seq == recording.id.conversation;
    if !is_filed_here {
        return Err("it describes a recording of another place".to_owned());
    }
    let strange = |object: &Key| format!("it names {object}, which does not belong beside it");
    for page in &recording.pages {
        if !page.object.key.is_page_beside(key, page.kind) {
            return Err(strange(&page.object.key));
        }
    }
    if !recording.audio.key.is_audio_beside(key) {
        return Err(strange(&recording.audio.key));
    }
    if transcript.object.key != Key::transcript(&recording.filed_as, recording.id.day) {
        return Err(strange(&transcript.object.key));
    }
    Ok(())
}
