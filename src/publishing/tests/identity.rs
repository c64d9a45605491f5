//! Nothing is written over, and what is there is known by its bytes.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use jiff::Timestamp;

use crate::fixtures::archive::Archive;
use crate::fixtures::contents;
use crate::index::IndexError;
use crate::jobs::duplicates::Known;
use crate::model::{
    Access, Conversation, ConversationId, ConversationSeq, Day, FileName, Key, PageKind, Recording,
    RecordingId, SpeakerId,
};
use crate::publishing::{claim, name_speakers};
use crate::store::Store;

fn day() -> Day {
    Day::from_ymd(2024, 1, 15).unwrap()
}

fn is_in(all: &BTreeMap<String, Vec<u8>>, before: &BTreeMap<String, Vec<u8>>) -> bool {
    before.iter().all(|(key, bytes)| all.get(key) == Some(bytes))
}

#[test]
fn a_page_never_takes_the_place_of_a_recording_that_is_named_like_one() {
    let archive = Archive::new();
    let names = [
        "talk.json",
        "talk.JSON",
        "meeting.srt",
        "film.vtt",
        "page.html",
        "notes.txt",
        "notes.TXT",
        "x_metadata.json",
        "standup_transcript.txt",
        "a.",
        ".json",
        "noise",
    ];
    for name in names {
        let sound = format!("the sound of {name}");
        let recording = archive.publish("standup", name, sound.as_bytes());
        assert_eq!(archive.audio_of(&recording), sound.as_bytes(), "{name}");
        assert!(!recording.audio.key.is_page(), "{name}: {}", recording.audio.key);
        assert_eq!(recording.original_name.display(), name);
    }
    let texts = contents(archive.local.as_ref()).into_keys().filter(|key| key.ends_with(".txt"));
    assert_eq!(texts.count(), 1);
    assert_eq!(
        archive.services.index.recordings(first_seq(&archive), day()).unwrap().len(),
        names.len()
    );
}

fn first_seq(archive: &Archive) -> crate::model::ConversationSeq {
    let id = ConversationId::new("standup").unwrap();
    archive.services.index.conversation_named(&id).unwrap().unwrap().seq
}

#[test]
fn what_the_index_does_not_know_is_never_written_over() {
    for lost in ["rec.srt", "rec_metadata.json", "rec.json", "rec.wav", "standup_transcript.txt"] {
        let mut archive = Archive::new();
        let first = archive.publish("standup", "rec.wav", b"the sound of this morning");
        fs::remove_file(archive.local.root().join("standup/2024/01/15").join(lost)).unwrap();
        let before = contents(archive.local.as_ref());
        archive.forget();
        let second = archive.publish("standup", "rec.wav", b"this afternoon's");
        assert_ne!(second.audio.key, first.audio.key);
        assert!(is_in(&contents(archive.local.as_ref()), &before), "without {lost}");
        assert_eq!(archive.audio_of(&second), b"this afternoon's");
    }
}

#[test]
fn a_stranger_in_a_folder_of_ours_is_left_alone() {
    for stranger in ["rec.wav", "rec.json", "rec.srt", "rec_metadata.json", "rec.html"] {
        let archive = Archive::new();
        archive.publish("standup", "first.wav", b"first");
        archive.write(&format!("standup/2024/01/15/{stranger}"), b"another's");
        let recording = archive.publish("standup", "rec.wav", b"ours");
        assert_eq!(recording.stem.display(), "rec-2", "{stranger}");
        let all = contents(archive.local.as_ref());
        assert_eq!(all[&format!("standup/2024/01/15/{stranger}")], b"another's");
        assert_eq!(archive.audio_of(&recording), b"ours");
    }
}

#[test]
fn bytes_that_a_lost_index_has_left_are_taken_over_with_what_was_said_of_them() {
    let mut archive = Archive::new();
    let first = archive.publish("standup", "rec.wav", b"sound");
    let names = BTreeMap::from([(SpeakerId(0), "Anna".to_owned())]);
    name_speakers(archive.local.as_ref(), &archive.services.index, first.id, &names).unwrap();
    archive.forget();
    // The folder is known, the recording in it is not.
    let index = &archive.services.index;
    let id = ConversationId::new("standup").unwrap();
    index.ensure_conversation(&id, Timestamp::now()).unwrap();
    let again = archive.publish("standup", "rec.wav", b"sound");
    assert_eq!(again.audio.key, first.audio.key);
    assert_eq!(again.overlay.names, names);
    let vtt = archive.local.get_range(&again.audio.key.page_beside(PageKind::Vtt), 0..999).unwrap();
    assert!(String::from_utf8_lossy(&vtt).contains("Anna"));
}

#[test]
fn a_full_day_goes_on_in_the_next_conversation_and_its_bytes_are_known_there() {
    let archive = Archive::new();
    let first = archive.publish("calls", "call.wav", b"first");
    let index = &archive.services.index;
    let conversation = index.conversation(first.id.conversation).unwrap().unwrap();
    let transcript = index.day_transcript(first.id.conversation, day()).unwrap().unwrap();
    let stem = FileName::new("last").unwrap();
    let key = Key::audio(&conversation.filed_as, day(), b"last", b"wav");
    let last = Recording {
        id: RecordingId { number: RecordingId::MAX_NUMBER, ..first.id },
        audio_name: stem.with_extension(b"wav"),
        stem,
        audio: crate::model::Object { key, ..first.audio.clone() },
        pages: Vec::new(),
        ..first
    };
    index.adopt(vec![(conversation, last, transcript)]).unwrap();

    let next = archive.publish("calls", "call.wav", b"next");
    let spilled = index.conversation(next.id.conversation).unwrap().unwrap();
    assert_eq!(spilled.id.as_str(), "calls-2");
    let known = archive.known("calls", "again.wav", b"next");
    assert!(matches!(known, Some(Known::Here(known)) if known.id == next.id));
}

#[test]
fn the_same_bytes_are_at_home_in_every_conversation_that_has_them() {
    let archive = Archive::new();
    let index = &archive.services.index;
    let first = archive.publish("a", "x.wav", b"sound");
    assert!(matches!(archive.known("a", "y.wav", b"sound"), Some(Known::Here(_))));
    assert!(matches!(archive.known("b", "y.wav", b"sound"), Some(Known::Elsewhere(_))));
    let second = archive.publish("b", "x.wav", b"sound");
    assert!(matches!(archive.known("b", "y.wav", b"sound"), Some(Known::Here(_))));

    let is = |known: Option<Known>, wanted: &Recording| matches!(known, Some(Known::Here(it)) if it.id == wanted.id);
    // In the trash nothing is at home, and nothing is forgotten.
    index.trash_conversation(first.id.conversation, Timestamp::now()).unwrap();
    assert!(is(archive.known("b", "y.wav", b"sound"), &second));
    assert!(matches!(archive.known("a", "y.wav", b"sound"), Some(Known::Elsewhere(_))));

    // What goes for good leaves the others known.
    for _ in 0..2 {
        index.mark_old_purging(Duration::ZERO, Timestamp::now(), Duration::from_secs(1)).unwrap();
    }
    index.remove_conversation(first.id.conversation).unwrap();
    assert!(is(archive.known("b", "y.wav", b"sound"), &second));

    // Dropped again while they lie in the trash, they are there again, and from then on known.
    index.trash_conversation(second.id.conversation, Timestamp::now()).unwrap();
    assert!(matches!(archive.known("a", "y.wav", b"sound"), Some(Known::InTrash(_))));
    let third = archive.publish("a", "x.wav", b"sound");
    assert!(is(archive.known("a", "z.wav", b"sound"), &third));
    index.restore_conversation(second.id.conversation).unwrap();
    assert!(is(archive.known("b", "z.wav", b"sound"), &second));
    assert!(is(archive.known("a", "z.wav", b"sound"), &third));
}

#[test]
fn the_same_bytes_are_no_duplicate_of_what_their_owner_may_not_read() {
    let archive = Archive::new();
    let hers = archive.try_publish_with_mode(0o600, "a", "alice.wav", b"sound").unwrap();
    let (uid, gid) = hers.overlay.access.unwrap().owner.unwrap();
    let his = Access { owner: Some((uid + 1, gid + 1)), mode: 0o644 };
    let names = BTreeMap::from([(SpeakerId(0), "Anna".to_owned())]);
    let services = &archive.services;
    name_speakers(services.store.as_ref(), &services.index, hers.id, &names).unwrap();

    let is_hers = |known: Option<Known>| matches!(known, Some(Known::Here(it)) if it.id == hers.id);
    assert!(is_hers(archive.known("a", "again.wav", b"sound")), "she has it");
    // Neither in the folder that has it, nor in one of his own.
    for folder in ["a", "b"] {
        let known = archive.known_to(his, folder, "bob.wav", b"sound");
        let Some(Known::Elsewhere(told)) = known else { panic!("{folder}: he would have nothing") };
        assert_eq!(told.recording.overlay.names, BTreeMap::new(), "the names are hers");
    }
    // What is for everybody is there for him too.
    let for_all = archive.publish("a", "both.wav", b"sound");
    let known = archive.known_to(his, "a", "bob.wav", b"sound");
    assert!(matches!(known, Some(Known::Here(it)) if it.id == for_all.id));
}

#[test]
fn that_numbers_have_run_out_is_known_before_any_work() {
    let archive = Archive::new();
    let first = archive.publish("calls", "call.wav", b"first");
    let index = &archive.services.index;
    let find_room = |name: &str| {
        let id = ConversationId::new(name).unwrap();
        claim::find_room(index, &id, day(), Timestamp::now())
    };
    find_room("new").unwrap();
    // The last conversation that can be numbered.
    let conversation = index.conversation(first.id.conversation).unwrap().unwrap();
    let transcript = index.day_transcript(first.id.conversation, day()).unwrap().unwrap();
    let id = ConversationId::new("last").unwrap();
    let seq = ConversationSeq::MAX;
    let last = Conversation { seq, id: id.clone(), filed_as: id.clone(), ..conversation.clone() };
    let key = Key::audio(&id, day(), b"call", b"wav");
    let recording = Recording {
        id: RecordingId { conversation: seq, ..first.id },
        filed_as: id,
        audio: crate::model::Object { key, ..first.audio.clone() },
        pages: Vec::new(),
        ..first.clone()
    };
    index.adopt(vec![(last, recording, transcript.clone())]).unwrap();
    find_room("calls").unwrap();
    find_room("last").unwrap();
    assert!(matches!(find_room("new"), Err(IndexError::NumbersExhausted)));
    // A day that is full would go on in a conversation that cannot be made.
    let stem = FileName::new("last").unwrap();
    let key = Key::audio(&conversation.filed_as, day(), b"last", b"wav");
    let full = Recording {
        id: RecordingId { number: RecordingId::MAX_NUMBER, ..first.id },
        audio_name: stem.with_extension(b"wav"),
        stem,
        audio: crate::model::Object { key, ..first.audio.clone() },
        pages: Vec::new(),
        ..first
    };
    index.adopt(vec![(conversation, full, transcript)]).unwrap();
    assert!(matches!(find_room("calls"), Err(IndexError::NumbersExhausted)));
}
