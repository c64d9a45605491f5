//! Recordings of another system, beside what is there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::fixtures::archive::Archive;
use crate::model::{Access, ConversationId, Day, FileName};
use crate::publishing::{StorageTarget, Stores};
use crate::store::{Bucket, MemoryStore, Store};
use crate::upkeep::{Find, Imported, import};

fn find(archive: &Archive, name: &str, sound: &[u8]) -> (Find, std::path::PathBuf) {
    let folder = archive.dir.path().join("first system");
    fs::create_dir_all(&folder).unwrap();
    let (audio, text) = (folder.join(name), folder.join("words.txt"));
    fs::write(&audio, sound).unwrap();
    fs::write(&text, "Speaker 1: These are the imported words.\n").unwrap();
    let find = Find {
        conversation: ConversationId::new("standup").unwrap(),
        day: Day::from_ymd(2024, 1, 15).unwrap(),
        name: FileName::new(name).unwrap(),
        audio,
        text: Some(text.clone()),
        metadata: None,
    };
    (find, text)
}

fn imported(archive: &Archive, bucket: Option<&dyn Bucket>, name: &str, sound: &[u8]) -> Imported {
    let (find, text) = find(archive, name, sound);
    let stores = Stores {
        local: archive.local.as_ref(),
        remote: bucket,
        index: &archive.services.index,
        home: if bucket.is_some() { StorageTarget::Bucket } else { StorageTarget::Disk },
    };
    import(stores, &find, &text, &TimeZone::UTC, Timestamp::now()).unwrap()
}

#[test]
fn bytes_that_lie_in_the_trash_are_imported() {
    let archive = Archive::new();
    let index = &archive.services.index;
    let old = archive.publish("old", "x.wav", b"sound");
    let single = archive.publish("old", "y.wav", b"other sound");
    index.trash_recording(single.id, Timestamp::now()).unwrap();
    let known = imported(&archive, None, "a.wav", b"sound");
    assert_eq!(known, Imported::Known(old.id));
    assert!(matches!(imported(&archive, None, "b.wav", b"other sound"), Imported::Published(_)));
    index.trash_conversation(old.id.conversation, Timestamp::now()).unwrap();
    let published = imported(&archive, None, "a.wav", b"sound");
    let Imported::Published(id) = published else { panic!("{published:?}") };
    assert_eq!(imported(&archive, None, "a.wav", b"sound"), Imported::Known(id));
}

#[test]
fn bytes_that_are_being_removed_for_good_are_imported() {
    let archive = Archive::new();
    let index = &archive.services.index;
    let old = archive.publish("old", "x.wav", b"sound");
    index.trash_conversation(old.id.conversation, Timestamp::now()).unwrap();
    for _ in 0..2 {
        index.mark_old_purging(Duration::ZERO, Timestamp::now(), Duration::from_secs(1)).unwrap();
    }
    assert!(matches!(imported(&archive, None, "a.wav", b"sound"), Imported::Published(_)));
}

#[test]
fn an_import_keeps_the_words_of_the_day_that_are_in_the_bucket_only() {
    let archive = Archive::for_bucket();
    let first = archive.publish("standup", "words in the bucket.wav", b"sound");
    let bucket = Arc::new(MemoryStore::default());
    for page in &first.pages {
        let key = &page.object.key;
        bucket.put(key, &archive.local.get_range(key, 0..u64::MAX).unwrap()).unwrap();
        archive.local.delete(key).unwrap();
    }
    let published = imported(&archive, Some(bucket.as_ref()), "a.wav", b"imported");
    let Imported::Published(id) = published else { panic!("{published:?}") };
    let transcript = archive.services.index.day_transcript(id.conversation, id.day).unwrap();
    let text = archive.local.get_range(&transcript.unwrap().object.key, 0..u64::MAX).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("Good morning.") && text.contains("the imported words"), "{text}");
}

#[test]
fn whoever_could_read_the_source_can_read_what_was_imported() {
    for mode in [0o600, 0o640, 0o644] {
        let archive = Archive::new();
        let (find, text) = find(&archive, "a.wav", b"sound");
        fs::set_permissions(&find.audio, Permissions::from_mode(mode)).unwrap();
        let owner = fs::metadata(&find.audio).map(|stat| (stat.uid(), stat.gid())).unwrap();
        let stores = Stores {
            local: archive.local.as_ref(),
            remote: None,
            index: &archive.services.index,
            home: StorageTarget::Disk,
        };
        let published = import(stores, &find, &text, &TimeZone::UTC, Timestamp::now()).unwrap();
        let Imported::Published(id) = published else { panic!("{published:?}") };
        let recording = archive.services.index.recording(id).unwrap().unwrap();
        assert_eq!(recording.overlay.access, Some(Access { owner: Some(owner), mode }));
    }
}
