//! Every format that was ever released still opens and answers.
//!
//! A file is made once, with `cargo test --test old_index -- --ignored make`, when a format is released, and
//! is never made again.

use std::fs;
use std::path::{Path, PathBuf};

use scribefs::index::{Index, Totals};
use scribefs::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, FileName, Job, JobId,
    JobState, Placement, Recording, RecordingId,
};

fn file(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/old_index/v{version}.redb"))
}

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn day() -> Day {
    Day::from_ymd(2024, 1, 15).unwrap()
}

/// A copy to work on: opening writes.
fn opened(version: u32) -> (Index, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    fs::copy(file(version), &path).unwrap();
    (Index::open(&path).unwrap(), folder)
}

#[test]
fn the_first_format_still_answers() {
    let (index, _folder) = opened(1);
    let standup = ConversationId::new("weekly").unwrap();
    let conversation = index.conversation_named(&standup).unwrap().unwrap();
    assert_eq!(conversation.seq, ConversationSeq(1));
    assert_eq!(conversation.filed_as.as_str(), "standup");
    assert_eq!(index.days(conversation.seq).unwrap(), [day()]);
    let recordings = index.recordings(conversation.seq, day()).unwrap();
    let stems: Vec<String> = recordings.iter().map(|recording| recording.stem.display()).collect();
    assert_eq!(stems, ["meeting", "meeting-2"]);
    let first = &recordings[0];
    assert_eq!(first.original_name.as_bytes(), b"meeting \xff.wav");
    assert_eq!(first.facts.duration, 12.5);
    assert_eq!(first.overlay.title.as_deref(), Some("Team sync"));
    assert_eq!(index.recordings_with_audio(&first.audio.blake3).unwrap().first(), Some(first));
    let transcript = index.day_transcript(conversation.seq, day()).unwrap().unwrap();
    assert_eq!(transcript.object.key.file_name(), "standup_transcript.txt");
    assert_eq!(index.trashed_conversations().unwrap()[0].id.as_str(), "old");
    let pending_uploads = index.pending_uploads(9).unwrap();
    assert!(
        matches!(&pending_uploads[0].placement, Placement::Uploading { parts, .. } if parts.len() == 1)
    );
    assert_eq!(index.unfinished_jobs().unwrap()[0].state, JobState::Queued);
    let failed = index.job(JobId(1)).unwrap().unwrap();
    assert_eq!(failed.modified_ns, -1_500_000_001);
    assert_eq!(failed.failure.unwrap().remedy, "Check the file.");
    let totals =
        Totals { conversations: 1, recordings: 2, audio_bytes: 2_000, pending: 1, paused: 0 };
    assert_eq!(index.totals().unwrap(), totals);
}

#[test]
fn the_first_format_can_be_written_on() {
    let (index, _folder) = opened(1);
    assert_eq!(index.next_job_id().unwrap(), JobId(3));
    let reserved = index.reserve(ConversationSeq(1), day(), &name("meeting")).unwrap();
    assert_eq!((reserved.id.number, &reserved.stem), (3, &name("meeting-3")));
    let made = index.ensure_conversation(
        &ConversationId::new("standup").unwrap(),
        "2024-02-01T00:00:00Z".parse().unwrap(),
    );
    let made = made.unwrap();
    assert_eq!((made.seq, made.filed_as.as_str()), (ConversationSeq(3), "standup-2"));
}

#[test]
#[ignore = "makes the file of the present format, once"]
fn make() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    let index = Index::open(&path).unwrap();
    let at = "2024-01-15T10:00:00Z".parse().unwrap();
    for (conversation, stem, placement) in [
        ("standup", "meeting", r#"{"state":"stored"}"#),
        (
            "standup",
            "meeting",
            r#"{"state":"uploading","upload_id":"u-1","parts":[{"number":1,"etag":"e","bytes":5}],
                "attempts":2,"not_before":"2024-01-15T10:00:05Z"}"#,
        ),
        ("old", "gone", r#"{"state":"local"}"#),
    ] {
        let id = ConversationId::new(conversation).unwrap();
        let conversation = index.ensure_conversation(&id, at).unwrap();
        let reserved = index.reserve(conversation.seq, day(), &name(stem)).unwrap();
        let recording = recording(&conversation, reserved.id, &reserved.stem, placement);
        let transcript = DayTranscript {
            conversation: conversation.seq,
            day: day(),
            object: serde_json::from_str(&object(&format!("{id}_transcript.txt"))).unwrap(),
            modified_at: at,
            access: None,
        };
        index.publish(recording, transcript, None).unwrap();
    }
    index.rename_conversation(ConversationSeq(1), &ConversationId::new("weekly").unwrap()).unwrap();
    index.trash_conversation(ConversationSeq(2), at).unwrap();
    let failure = r#"{"cause":"not_audio","message":"It is no sound.","remedy":"Check the file."}"#;
    index.save_job(job(1, "failed", failure)).unwrap();
    index.save_job(job(2, "queued", "null")).unwrap();
    index.close().unwrap();
    fs::create_dir_all(file(1).parent().unwrap()).unwrap();
    fs::copy(&path, file(1)).unwrap();
}

fn object(file: &str) -> String {
    let blake3 = blake3::hash(file.as_bytes()).to_hex();
    format!(r#"{{"key":"standup/2024/01/15/{file}","bytes":1000,"blake3":"{blake3}"}}"#)
}

fn recording(
    conversation: &Conversation,
    id: RecordingId,
    stem: &FileName,
    placement: &str,
) -> Recording {
    let stem = stem.display();
    let (id, filed_as) = (
        serde_json::to_string(&id).unwrap(),
        serde_json::to_string(&conversation.filed_as).unwrap(),
    );
    let audio = object(&format!("{filed_as}-{stem}.wav").replace('"', ""));
    let page = object(&format!("{stem}_metadata.json"));
    // `meeting \xff.wav`, which is not UTF-8.
    let original = "[109,101,101,116,105,110,103,32,255,46,119,97,118]";
    let row = format!(
        r#"{{"id":{id},"stem":"{stem}","audio_name":"{stem}.wav","original_name":{original},
        "filed_as":{filed_as},"audio":{audio},"pages":[{{"kind":"metadata","object":{page}}}],
        "modified_at":"2024-01-15T09:00:00.123456789Z","published_at":"2024-01-15T10:00:00Z",
        "recorded_at":{{"time":"2024-01-15T10:02:00","zone":"Europe/Paris","source":"container",
        "detail":"bext"}},
        "facts":{{"container":"wav","codec":"pcm_s16le","channels":1,"sample_rate":16000,
        "bits_per_sample":16,"duration":12.5,"created":null,"tags":{{"title":"x"}}}},
        "language":"en","speakers":2,"model":"moonshine-tiny-en","placement":{placement},"revision":1,
        "overlay":{{"names":{{"S1":"Anna"}},"title":"Team sync","custom":{{"a":1}}}}}}"#
    );
    serde_json::from_str(&row).unwrap()
}

fn job(id: u64, state: &str, failure: &str) -> Job {
    let row = format!(
        r#"{{"id":{id},"inbox":7,"generation":3,"path":["standup","meeting.wav"],"bytes":1000,
        "modified_ns":-1500000001,"conversation":"standup","state":"{state}","attempts":1,"recipe":null,
        "created_at":"2024-01-15T10:00:00Z","updated_at":"2024-01-15T10:00:01Z","failure":{failure},
        "recording":null}}"#
    );
    serde_json::from_str(&row).unwrap()
}
