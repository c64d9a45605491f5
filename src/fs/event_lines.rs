//! What has happened to what is published, as a line of `.scribefs/events`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fs::archive::Archive;
use crate::fs::control::job_line;
use crate::index::Change;
use crate::model::{ConversationSeq, Day, Recording};

/// One JSON object. Folders are named as they are seen from the mount.
pub(crate) fn line(archive: &Archive, change: &Change) -> Value {
    let folder = |seq, day| folder_of(archive, seq, day);
    let mut line = match change {
        Change::Published { recording, .. } => recording_line(archive, "published", recording),
        Change::Replaced { recording } => recording_line(archive, "replaced", recording),
        Change::Removed { recording, conversation, .. } => {
            let mut line = recording_line(archive, "removed", recording);
            // It may be gone from the index, and its name with it.
            let name = conversation.id.shown();
            line["folder"] =
                path(&name, conversation.trashed_at.is_some(), recording.id.day).into();
            line
        }
        Change::DayTranscript { conversation, day } => {
            json!({ "event": "transcript", "folder": folder(*conversation, *day) })
        }
        Change::Renamed { from, to, .. } => {
            json!({ "event": "renamed", "from": from, "conversation": to })
        }
        Change::Trashed { id, .. } => json!({ "event": "trashed", "conversation": id }),
        Change::Restored { id, .. } => json!({ "event": "restored", "conversation": id }),
        Change::RecordingMoved { recording, .. } => {
            let conversation = archive.conversation(recording.id.conversation);
            let is_in_trash = recording.overlay.trashed_at.is_some()
                || conversation.is_ok_and(|conversation| conversation.trashed_at.is_some());
            let event = if is_in_trash { "recording_trashed" } else { "recording_restored" };
            recording_line(archive, event, recording)
        }
        Change::Purging { name } => json!({ "event": "purged", "trash": name.display() }),
        Change::Placed { id, placement } => {
            let placement = serde_json::to_value(placement).unwrap_or_default();
            let state = placement.get("state").cloned().unwrap_or_default();
            let folder = folder(id.conversation, id.day);
            json!({ "event": "placed", "folder": folder, "placement": state })
        }
        Change::Missed => json!({ "event": "missed" }),
        Change::Job(job) => {
            let mut line = job_line(job);
            line["event"] = "job".into();
            if let Some(id) = job.recording {
                line["folder"] = folder(id.conversation, id.day).into();
            }
            line
        }
    };
    line["at"] = Timestamp::now().to_string().into();
    line
}

fn recording_line(archive: &Archive, event: &str, recording: &Recording) -> Value {
    json!({
        "event": event,
        "folder": folder_of(archive, recording.id.conversation, recording.id.day),
        "audio": recording.audio_name,
        "from": recording.original_name,
        "duration": recording.facts.duration,
        "speakers": recording.speakers,
        "language": recording.language,
    })
}

/// Where a folder of a day is, seen from the mount.
fn folder_of(archive: &Archive, seq: ConversationSeq, day: Day) -> String {
    let conversation = archive.conversation(seq).ok();
    let is_trashed = conversation.as_ref().is_some_and(|it| it.trashed_at.is_some());
    let name = conversation.map(|conversation| conversation.id.shown()).unwrap_or_default();
    path(&name, is_trashed, day)
}

fn path(conversation: &str, is_trashed: bool, day: Day) -> String {
    let above = if is_trashed { ".scribefs/trash" } else { "conversations" };
    let (year, month, day) = (day.year(), day.month(), day.day());
    format!("{above}/{conversation}/{year:04}/{month:02}/{day:02}")
}
