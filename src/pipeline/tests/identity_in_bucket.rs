//! In the bucket nothing of another's is written over, and what is there is known by its label or its bytes.

use std::sync::Arc;

use jiff::Timestamp;

use super::archive::{Archive, keeps_all};
use super::contents;
use crate::model::{Key, Placement};
use crate::pipeline::eviction::{self, Retention};
use crate::pipeline::{Home, Stock, leave_disk};
use crate::store::{Bucket, Bytes, Label, MemoryStore, Store};

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
            let here = contents(archive.near.as_ref());
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
    for found in archive.near.list("").unwrap() {
        let bytes = archive.near.get_range(&found.key, 0..u64::MAX).unwrap();
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
        let grounds = archive.grounds(bucket.clone());
        let evicting = Retention { copied_bytes: 0, ..keeps_all() };
        assert_eq!(eviction::evict(&grounds, &evicting, Timestamp::now()).unwrap(), 0);
        assert_eq!(archive.audio_of(&recording), b"sound");
        let row = archive.services.index.recording(recording.id).unwrap().unwrap();
        assert_ne!(row.placement, Placement::Stored);

        let (id, revision) = (row.id, row.revision);
        archive.services.index.set_stored(id, revision, Some(Timestamp::now())).unwrap();
        let stock = Stock {
            near: archive.near.as_ref(),
            far: Some(bucket.as_ref()),
            index: &archive.services.index,
            home: Home::Bucket,
        };
        let moved = leave_disk(stock, bucket.as_ref()).unwrap();
        assert_eq!((moved.objects, moved.kept), (0, 1));
        assert_eq!(archive.audio_of(&recording), b"sound");
    }
}
