//! In the bucket nothing of another's is written over, and what is there is known by its label or its bytes.

use std::sync::Arc;

use jiff::Timestamp;

use crate::fixtures::archive::{Archive, keeps_all};
use crate::fixtures::contents;
use crate::model::{ConversationSeq, Destination, Key, Object, PageKind, Placement, SpeakerId};
use crate::publishing::{StorageTarget, Stores, name_speakers, verify, write_pages_due};
use crate::store::{Bucket, Bytes, Label, MemoryStore, Store};
use crate::sync::discover;
use crate::sync::eviction::Retention;
use crate::sync::tests;
use crate::upkeep::leave_disk;

#[test]
fn an_object_of_the_bucket_is_never_replaced_by_another_recording() {
    let (small, large) =
        (&b"of this machine"[..], &b"a recording that is sent in several parts, one by one"[..]);
    for sound in [small, large] {
        for label in [Label::default(), label_of(b"of another machine")] {
            let archive = Archive::for_bucket();
            let recording = archive.publish("standup", "rec.wav", sound);
            let bucket = Arc::new(MemoryStore::default());
            let other: Vec<u8> =
                b"of another machine".iter().copied().cycle().take(sound.len()).collect();
            bucket.put_labelled(&recording.audio.key, Bytes::from(other.clone()), &label).unwrap();

            assert_eq!(archive.carry(&bucket), None);
            assert_eq!(bucket.get_range(&recording.audio.key, 0..u64::MAX).unwrap(), other);
            let row = archive.services.index.recording(recording.id).unwrap().unwrap();
            assert_eq!((row.stem.display().as_str(), row.placement), ("rec-2", Placement::Stored));
            assert_eq!(row.audio_name.display(), "rec-2.wav");
            assert_eq!(bucket.get_range(&row.audio.key, 0..u64::MAX).unwrap(), sound);
            for page in &row.pages {
                assert!(bucket.facts(&page.object.key).unwrap().is_ours);
            }
            // Nothing of the old name is left here, and the day's transcript names it once.
            let here = contents(archive.local.as_ref());
            assert!(
                here.keys().all(|key| !key.contains("/rec.") && !key.contains("/rec_")),
                "{here:?}"
            );
            let text = String::from_utf8(here["standup/2024/01/15/standup_transcript.txt"].clone())
                .unwrap();
            assert!(text.contains("rec-2.wav") || text.contains("rec.wav"));
            assert_eq!(text.matches("Good morning.").count(), 1, "{text}");
            assert_eq!(bucket.open_uploads(), Vec::<String>::new());
        }
    }
}

fn label_of(content: &[u8]) -> Label {
    let blake3 = blake3::hash(content).to_hex().to_string();
    let fields = [(Label::BLAKE3, blake3), (Label::CONVERSATION, "standup".to_owned())];
    Label { content_type: "audio/wav", fields: fields.into() }
}

#[test]
fn a_page_of_another_is_never_replaced_in_the_bucket() {
    for stranger in ["rec.json", "rec.srt", "rec.vtt", "rec_metadata.json"] {
        let archive = Archive::for_bucket();
        let recording = archive.publish("standup", "rec.wav", b"sound");
        let bucket = Arc::new(MemoryStore::default());
        let key = Key::new(&format!("standup/2024/01/15/{stranger}")).unwrap();
        bucket.put(&key, b"another's").unwrap();
        assert_eq!(archive.carry(&bucket), None);
        assert_eq!(bucket.get_range(&key, 0..99).unwrap(), b"another's");
        let row = archive.services.index.recording(recording.id).unwrap().unwrap();
        assert_eq!((row.stem.display().as_str(), row.placement), ("rec-2", Placement::Stored));
    }
    // The day's transcript can have no other name: a person has to say what is to be done.
    let archive = Archive::for_bucket();
    archive.publish("standup", "rec.wav", b"sound");
    let bucket = Arc::new(MemoryStore::default());
    let key = Key::new("standup/2024/01/15/standup_transcript.txt").unwrap();
    bucket.put(&key, b"another's").unwrap();
    let why = archive.carry(&bucket).unwrap();
    assert!(why.contains(key.as_str()), "{why}");
    assert_eq!(bucket.get_range(&key, 0..99).unwrap(), b"another's");
}

#[test]
fn what_was_copied_to_the_bucket_without_labels_is_taken_for_what_it_is() {
    let archive = Archive::for_bucket();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let bucket = Arc::new(MemoryStore::default());
    for found in archive.local.list("").unwrap() {
        let bytes = archive.local.get_range(&found.key, 0..u64::MAX).unwrap();
        bucket.put(&found.key, &bytes).unwrap();
    }
    assert_eq!(archive.carry(&bucket), None);
    let row = archive.services.index.recording(recording.id).unwrap().unwrap();
    assert_eq!((row.stem, row.placement), (recording.stem, Placement::Stored));
}

#[test]
fn a_local_copy_goes_only_when_the_bucket_has_these_very_bytes() {
    for label in [Label::default(), label_of(b"other")] {
        let archive = Archive::for_bucket();
        let recording = archive.publish("standup", "rec.wav", b"sound");
        let bucket = Arc::new(MemoryStore::default());
        assert_eq!(archive.carry(&bucket), None);
        // Another tool has put something of equal size there.
        bucket.put_labelled(&recording.audio.key, Bytes::from_static(b"other"), &label).unwrap();
        let context = archive.context(bucket.clone());
        let evicting = Retention { copied_bytes: 0, ..keeps_all() };
        assert_eq!(tests::evict(&context, &evicting, Timestamp::now()).unwrap(), 0);
        assert_eq!(archive.audio_of(&recording), b"sound");
        let row = archive.services.index.recording(recording.id).unwrap().unwrap();
        assert_ne!(row.placement, Placement::Stored);

        let (id, revision) = (row.id, row.revision);
        archive.services.index.set_stored(id, revision, Some(Timestamp::now())).unwrap();
        let stores = Stores {
            local: archive.local.as_ref(),
            remote: Some(bucket.as_ref()),
            index: &archive.services.index,
            home: StorageTarget::Bucket,
        };
        let moved = leave_disk(stores, bucket.as_ref()).unwrap();
        assert_eq!((moved.objects, moved.kept), (0, 1));
        assert_eq!(archive.audio_of(&recording), b"sound");
    }
}

const TRANSCRIPT: &str = "standup/2024/01/15/standup_transcript.txt";

fn text_of(bucket: &MemoryStore, key: &str) -> String {
    let bytes = bucket.get_range(&Key::new(key).unwrap(), 0..u64::MAX).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The same object with a label that lacks a field, as older versions wrote it.
fn drop_field(bucket: &MemoryStore, key: &Key, field: &str) {
    let bytes = bucket.get_range(key, 0..u64::MAX).unwrap();
    let mut label = bucket.label(key).unwrap();
    assert!(label.fields.remove(field).is_some(), "{key} has no {field}");
    bucket.put_labelled(key, bytes.into(), &label).unwrap();
}

#[test]
fn a_days_transcript_of_another_index_is_replaced_by_one_of_all_recordings_only() {
    let bucket = Arc::new(MemoryStore::default());
    let other = Archive::for_bucket();
    other.publish("standup", "monday.wav", b"of another index");
    assert_eq!(other.carry(&bucket), None);
    let theirs = text_of(&bucket, TRANSCRIPT);

    let archive = Archive::for_bucket();
    archive.publish("standup", "rec.wav", b"sound");
    let why = archive.carry(&bucket).unwrap();
    assert!(why.contains(TRANSCRIPT), "{why}");
    assert_eq!(text_of(&bucket, TRANSCRIPT), theirs);

    // What the bucket has becomes known, and the day gets one text.
    let index = &archive.services.index;
    assert_eq!(discover(bucket.as_ref(), index).unwrap(), 1);
    for found in
        other.local.list("").unwrap().into_iter().filter(|it| it.key.as_str() != TRANSCRIPT)
    {
        let bytes = other.local.get_range(&found.key, 0..u64::MAX).unwrap();
        archive.local.put(&found.key, &bytes).unwrap();
    }
    write_pages_due(archive.local.as_ref(), index).unwrap();
    // What was refused is tried again at each start.
    assert!((0..100).any(|_| archive.carry(&bucket).is_none()));
    let text = text_of(&bucket, TRANSCRIPT);
    assert!(text.contains("monday.wav") && text.contains("rec.wav"), "{text}");
}

#[test]
fn a_days_transcript_of_an_older_version_goes_on() {
    let archive = Archive::for_bucket();
    archive.publish("standup", "one.wav", b"sound");
    let bucket = Arc::new(MemoryStore::default());
    assert_eq!(archive.carry(&bucket), None);
    drop_field(&bucket, &Key::new(TRANSCRIPT).unwrap(), Label::CONVERSATION_CREATED);
    archive.publish("standup", "two.wav", b"another sound");
    assert_eq!(archive.carry(&bucket), None);
    assert!(text_of(&bucket, TRANSCRIPT).contains("two.wav"));
    let facts = bucket.facts(&Key::new(TRANSCRIPT).unwrap()).unwrap();
    assert!(facts.conversation_created.is_some());
}

#[test]
fn a_page_of_an_older_version_belongs_to_the_recording_that_it_is_about() {
    let bucket = Arc::new(MemoryStore::default());
    let other = Archive::for_bucket();
    let theirs = other.publish("standup", "rec.mp3", b"of another index");
    assert_eq!(other.carry(&bucket), None);
    for page in &theirs.pages {
        drop_field(&bucket, &page.object.key, Label::RECORDING);
    }
    let before = contents(bucket.as_ref());
    let archive = Archive::for_bucket();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    // That the day's text is another's is told of when all else has gone.
    bucket.delete(&Key::new(TRANSCRIPT).unwrap()).unwrap();
    assert_eq!(archive.carry(&bucket), None);
    for page in &theirs.pages {
        let now = bucket.get_range(&page.object.key, 0..u64::MAX).unwrap();
        assert_eq!(now, before[page.object.key.as_str()], "{}", page.object.key);
    }
    let ours = archive.services.index.recording(recording.id).unwrap().unwrap();
    assert_eq!(ours.stem.display(), "rec-2");

    // Our own are written over, whatever their labels lack.
    for page in &ours.pages {
        drop_field(&bucket, &page.object.key, Label::RECORDING);
    }
    let names = [(SpeakerId(0), "Anna".to_owned())].into();
    name_speakers(archive.local.as_ref(), &archive.services.index, ours.id, &names).unwrap();
    assert_eq!(archive.carry(&bucket), None);
    let row = archive.services.index.recording(recording.id).unwrap().unwrap();
    assert_eq!((row.stem.display().as_str(), row.placement), ("rec-2", Placement::Stored));
    assert!(text_of(&bucket, "standup/2024/01/15/rec-2.json").contains("Anna"));
}

#[test]
fn what_is_about_another_recording_survives_a_removal_for_good() {
    let archive = Archive::for_bucket();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let bucket = MemoryStore::default();
    let json = &recording.page(PageKind::Json).unwrap().object;
    let transcript = archive.services.index.filed_transcript(ConversationSeq(1), recording.id.day);
    let transcript = transcript.unwrap().unwrap().object;
    let conversation = archive.services.index.filed_conversation(ConversationSeq(1));
    let conversation = conversation.unwrap().unwrap();
    let mut label = label_of(b"another page");
    for (field, value) in [
        (Label::RECORDING, "0".repeat(64)),
        (Label::CONVERSATION_CREATED, "1999-01-01T00:00:00Z".to_owned()),
    ] {
        label.fields.insert(field, value);
    }
    for key in [&json.key, &transcript.key] {
        bucket.put_labelled(key, Bytes::from_static(b"another page"), &label).unwrap();
    }
    verify::remove(&bucket, &recording, json).unwrap();
    verify::remove_transcript(&bucket, &conversation, &transcript).unwrap();
    assert_eq!(bucket.list("").unwrap().len(), 2);
}

#[test]
fn what_an_older_version_has_labelled_is_removed_for_good_only_if_it_is_the_very_page() {
    let archive = Archive::for_bucket();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let transcript = archive.services.index.filed_transcript(ConversationSeq(1), recording.id.day);
    let transcript = transcript.unwrap().unwrap().object;
    let conversation = archive.services.index.filed_conversation(ConversationSeq(1));
    let conversation = conversation.unwrap().unwrap();
    let pages: Vec<&Object> = recording.pages.iter().map(|page| &page.object).collect();
    let remove_all = |bucket: &MemoryStore| {
        for page in &pages {
            verify::remove(bucket, &recording, page).unwrap();
        }
        verify::remove_transcript(bucket, &conversation, &transcript).unwrap();
        bucket.list("").unwrap().len()
    };
    let bucket = MemoryStore::default();
    for object in pages.iter().copied().chain([&transcript]) {
        let label = label_of(b"another's page");
        bucket.put_labelled(&object.key, Bytes::from_static(b"another's page"), &label).unwrap();
    }
    assert_eq!(remove_all(&bucket), pages.len() + 1);
    for object in pages.iter().copied().chain([&transcript]) {
        let bytes = archive.local.get_range(&object.key, 0..u64::MAX).unwrap();
        bucket.put_labelled(&object.key, bytes.clone().into(), &label_of(&bytes)).unwrap();
    }
    assert_eq!(remove_all(&bucket), 0);
}

#[test]
fn a_bucket_that_is_new_to_an_index_is_asked_for_what_it_has() {
    let index = Archive::new().services.index;
    assert!(!index.needs_remote_scan().unwrap());
    index.set_destination(&Destination::Bucket { place: "s3://talks/".to_owned() }).unwrap();
    assert!(index.needs_remote_scan().unwrap());
}

#[test]
fn a_move_believes_no_label_and_leaves_the_copy_of_what_is_damaged_in_the_bucket() {
    let archive = Archive::for_bucket();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let bucket = Arc::new(MemoryStore::default());
    assert_eq!(archive.carry(&bucket), None);
    let stores = Stores {
        local: archive.local.as_ref(),
        remote: Some(bucket.as_ref()),
        index: &archive.services.index,
        home: StorageTarget::Bucket,
    };
    // A disk of the server has turned a bit; the label is what it was.
    let audio = &recording.audio.key;
    bucket.put_labelled(audio, Bytes::from_static(b"sOund"), &label_of(b"sound")).unwrap();
    let moved = leave_disk(stores, bucket.as_ref()).unwrap();
    assert_eq!((moved.objects, moved.kept), (0, 1));
    assert_eq!(archive.audio_of(&recording), b"sound");
    bucket.put_labelled(audio, Bytes::from_static(b"sound"), &label_of(b"sound")).unwrap();
    assert_eq!(leave_disk(stores, bucket.as_ref()).unwrap().objects, 1);
}
