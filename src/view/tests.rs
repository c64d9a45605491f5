//! What the view promises, on small trees and on random ones.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::{
    ConversationId, ConversationSeq, Object, Page, PageKind, Placement, RecordedAt, RecordingId,
    SoundFacts, TimeSource,
};

fn conversation(id: &str) -> Conversation {
    let id = ConversationId::new(id).unwrap();
    let created_at = "2024-01-15T10:00:00Z".parse().unwrap();
    Conversation { seq: ConversationSeq(7), filed_as: id.clone(), id, created_at, trashed_at: None }
}

fn day() -> Day {
    Day::from_ymd(2024, 1, 15).unwrap()
}

fn object(key: &str, bytes: u64) -> Object {
    Object { key: Key::new(key).unwrap(), bytes, blake3: "0".repeat(64) }
}

fn transcript() -> DayTranscript {
    DayTranscript {
        conversation: ConversationSeq(7),
        day: day(),
        object: object("standup/2024/01/15/standup_transcript.txt", 900),
        modified_at: "2024-01-16T00:00:00Z".parse().unwrap(),
        access: None,
    }
}

fn recording(number: u16, stem: &FileName, audio_name: &FileName) -> Recording {
    let pages = PageKind::ALL.iter().take(4).map(|kind| Page {
        kind: *kind,
        object: object(&format!("standup/2024/01/15/{number}{}", kind.suffix()), 10),
        written_at: None,
    });
    Recording {
        id: RecordingId { conversation: ConversationSeq(7), day: day(), number },
        stem: stem.clone(),
        audio_name: audio_name.clone(),
        original_name: audio_name.clone(),
        filed_as: ConversationId::new("standup").unwrap(),
        audio: object(&format!("standup/2024/01/15/{number}.wav"), 1_000),
        pages: pages.collect(),
        modified_at: "2024-01-15T09:59:59.123456789Z".parse().unwrap(),
        published_at: "2024-01-15T11:00:00Z".parse().unwrap(),
        recorded_at: RecordedAt {
            time: "2024-01-15T10:00:00".parse().unwrap(),
            zone: "UTC".into(),
            source: TimeSource::Now,
            detail: String::new(),
        },
        facts: SoundFacts {
            container: "wav".into(),
            codec: "pcm_s16le".into(),
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: Some(16),
            duration: 1.0,
            created: None,
            tags: BTreeMap::new(),
        },
        language: None,
        speakers: 1,
        model: "m".into(),
        placement: Placement::Stored,
        revision: 1,
        overlay: crate::model::Overlay::default(),
    }
}

/// Recordings of one day as the pipeline makes them: each stem the first that is free.
fn filed(names: &[FileName]) -> Vec<Recording> {
    let mut taken = BTreeSet::new();
    let mut recordings = Vec::new();
    for (number, name) in (1..).zip(names) {
        let (wanted, extension) = name.stem_and_extension("wav");
        let mut stems = (1..).filter_map(|count| wanted.numbered_stem(count));
        let stem = stems.find(|stem| taken.insert(stem.clone())).unwrap();
        recordings.push(recording(number, &stem, &stem.with_extension(&extension)));
    }
    recordings
}

fn named(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

#[test]
fn a_day_shows_its_transcript_and_every_recording_with_its_pages() {
    let entries = day_entries(
        &conversation("standup"),
        Some(&transcript()),
        &filed(&[named("meeting.m4a"), named("meeting.m4a")]),
    );
    let names: Vec<String> = entries.iter().map(|entry| entry.name.display()).collect();
    assert_eq!(
        names,
        [
            "standup_transcript.txt",
            "meeting.m4a",
            "meeting_metadata.json",
            "meeting.json",
            "meeting.srt",
            "meeting.vtt",
            "meeting-2.m4a",
            "meeting-2_metadata.json",
            "meeting-2.json",
            "meeting-2.srt",
            "meeting-2.vtt",
        ]
    );
    assert!(entries.is_sorted_by_key(|entry| entry.attributes.node.inode()));
}

#[test]
fn audio_keeps_its_own_time_to_the_nanosecond() {
    let recording = &filed(&[named("a.wav")])[0];
    let file = recording_file(recording, Facet::Audio).unwrap();
    assert_eq!(file.attributes.modified, recording.modified_at.into());
    assert_eq!(file.attributes.bytes, 1_000);
}

#[test]
fn a_renamed_conversation_renames_its_transcript() {
    let conversation = conversation("weekly");
    let file = transcript_file(&conversation, &transcript());
    assert_eq!(file.name, named("weekly_transcript.txt"));
    assert!(is_transcript(&conversation, &file.name));
    assert!(!is_transcript(&conversation, &named("standup_transcript.txt")));
}

#[test]
fn what_was_removed_is_not_shown_and_keeps_its_name() {
    let mut recordings = filed(&[named("monday.wav")]);
    let all = recording_files(&recordings[0]);
    recordings[0].overlay.hidden.insert(PageKind::Srt);
    let shown: Vec<NamedNode> = day_entries(&conversation("standup"), None, &recordings);
    let expected: Vec<NamedNode> =
        all.iter().filter(|file| file.name != named("monday.srt")).cloned().collect();
    assert_eq!(shown, expected);
    recordings[0].overlay.trashed_at = Some(recordings[0].published_at);
    assert_eq!(day_entries(&conversation("standup"), None, &recordings), []);
    assert_eq!(recording_files(&recordings[0]), all);
}

#[test]
fn bytes_are_where_the_record_says() {
    let recording = &filed(&[named("a.wav")])[0];
    let key = |node| key_of(node, Some(&transcript()), Some(recording));
    assert_eq!(key(Node::Audio(recording.id)), Some(recording.audio.key.clone()));
    let page = Node::Page(recording.id, PageKind::Srt);
    assert_eq!(key(page).unwrap().as_str(), "standup/2024/01/15/1.srt");
    assert_eq!(key(Node::Page(recording.id, PageKind::Html)), None);
    let transcript_key = key(Node::Transcript(recording.id.conversation, day()));
    assert_eq!(transcript_key.unwrap().file_name(), "standup_transcript.txt");
    assert_eq!(key(Node::Conversation(ConversationSeq(7))), None);
}

/// Names made of the pieces that could make trouble.
fn awkward_name() -> impl Strategy<Value = FileName> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        ".",
        "-2",
        "_metadata",
        "_transcript",
        ".json",
        ".txt",
        ".wav",
        ".WAV",
        ".srt",
        "standup",
        "☃",
        " ",
        "-",
        "..",
        ".html",
    ]);
    prop::collection::vec(piece, 1..5)
        .prop_filter_map("not a legal name", |pieces| FileName::new(pieces.concat()))
}

proptest! {
    #[test]
    fn no_two_names_of_a_day_are_the_same_and_each_is_found_again(
        names in prop::collection::vec(awkward_name(), 1..12),
    ) {
        let recordings = filed(&names);
        for id in ["standup", "a", "a_metadata", "b.json"] {
            let conversation = conversation(id);
            let entries = day_entries(&conversation, Some(&transcript()), &recordings);
            let all: BTreeSet<&FileName> = entries.iter().map(|entry| &entry.name).collect();
            prop_assert_eq!(all.len(), entries.len(), "{:?}", entries);
            for entry in &entries {
                let found: Vec<NamedNode> = candidates(&entry.name)
                    .into_iter()
                    .filter_map(|(stem, facet)| {
                        let recording = recordings.iter().find(|recording| recording.stem == stem)?;
                        recording_file(recording, facet).filter(|file| file.name == entry.name)
                    })
                    .collect();
                if is_transcript(&conversation, &entry.name) {
                    prop_assert!(found.is_empty());
                } else {
                    prop_assert_eq!(found, vec![entry.clone()]);
                }
            }
        }
    }
}
