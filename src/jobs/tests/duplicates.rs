//! What becomes of stored copies when their bytes are dropped again.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fixtures::archive::{Archive, Before};
use crate::fixtures::{recipe, talk};
use crate::index::Index;
use crate::jobs::duplicates::{self, Checked, DroppedFile, Kept, Known};
use crate::jobs::publish::PublishError;
use crate::jobs::remarks;
use crate::model::{Job, PageKind, Placement, Recording};
use crate::publishing::page_store::PageStore;
use crate::publishing::rewrite;
use crate::store::{
    BlockCache, Bucket, Bytes, CacheOptions, Call, FlakyStore, Intercepted, Label, MemoryStore,
    ReadOptions, Store, StoreError, TieredStore,
};
use crate::sync::empty_trash;
use crate::upkeep::rebuild;

/// A drop of those bytes into that conversation, with its job.
fn dropped(archive: &Archive, conversation: &str, sound: &[u8]) -> (Job, File) {
    let dropped = archive.drop_file("again.wav", sound);
    let file = archive.services.spool.take(dropped.id, dropped.generation).unwrap();
    (archive.job(&dropped, conversation), file)
}

fn keep(
    archive: &Archive,
    recording: &Recording,
    (job, file): &(Job, File),
) -> Result<Kept, PublishError> {
    let blake3 = recording.audio.blake3.as_str();
    let dropped = DroppedFile { job, file, blake3, may_go_on: &|| true };
    let kept = duplicates::keep_whole(&archive.services, recording, dropped)?;
    Ok(kept.expect("it is where it was"))
}

fn path_of(archive: &Archive, recording: &Recording) -> PathBuf {
    archive.local.root().join(recording.audio.key.as_str())
}

fn staged(archive: &Archive) -> usize {
    fs::read_dir(archive.local.staging()).unwrap().count()
}

#[test]
fn lost_or_damaged_audio_is_put_back_from_a_drop() {
    let archive = Archive::new();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let path = path_of(&archive, &recording);
    let again = dropped(&archive, "standup", b"sound");
    assert_eq!(keep(&archive, &recording, &again).unwrap(), Kept::Whole);
    for damage in [None, Some(&b"soun!"[..]), Some(b"so"), Some(b"")] {
        fs::remove_file(&path).unwrap();
        if let Some(bytes) = damage {
            fs::write(&path, bytes).unwrap();
        }
        assert_eq!(keep(&archive, &recording, &again).unwrap(), Kept::PutBack, "{damage:?}");
        assert_eq!(archive.audio_of(&recording), b"sound");
        assert_eq!(keep(&archive, &recording, &again).unwrap(), Kept::Whole);
    }
    assert_eq!(staged(&archive), 0);
}

#[test]
fn a_drop_that_is_not_what_was_read_takes_nobodys_place() {
    for damage in [None, Some(&b"soun!"[..])] {
        let archive = Archive::new();
        let recording = archive.publish("standup", "rec.wav", b"sound");
        let path = path_of(&archive, &recording);
        fs::remove_file(&path).unwrap();
        damage.inspect(|bytes| fs::write(&path, bytes).unwrap());
        // Behind everybody's back, after it was hashed.
        let (job, file) = dropped(&archive, "standup", b"sound");
        let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let writable = File::options().write(true).open(own).unwrap();
        writable.write_all_at(b"S", 0).unwrap();
        let kept = keep(&archive, &recording, &(job, file));
        assert!(kept.is_err(), "{kept:?}");
        assert_eq!(fs::read(&path).ok().as_deref(), damage);
        assert_eq!(staged(&archive), 0);
    }
}

#[test]
fn a_drop_that_is_withdrawn_meanwhile_takes_nobodys_place() {
    let archive = Archive::new();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let path = path_of(&archive, &recording);
    fs::write(&path, b"soun!").unwrap();
    let (job, file) = dropped(&archive, "standup", b"sound");
    let spool = &archive.services.spool;
    spool.unlink(crate::model::InboxId::ROOT, "again.wav".as_ref()).unwrap();
    let kept = keep(&archive, &recording, &(job.clone(), file.try_clone().unwrap()));
    assert!(matches!(kept, Err(PublishError::Withdrawn)), "{kept:?}");
    // Or somebody says stop while it is copied.
    let blake3 = recording.audio.blake3.as_str();
    let stopped = DroppedFile { job: &job, file: &file, blake3, may_go_on: &|| false };
    let kept = duplicates::keep_whole(&archive.services, &recording, stopped);
    assert!(matches!(kept, Err(PublishError::Withdrawn)), "{kept:?}");
    assert_eq!(fs::read(&path).unwrap(), b"soun!");
}

#[test]
fn a_copy_that_cannot_be_read_now_is_not_taken_for_a_damaged_one() {
    for is_refused in [true, false] {
        let mut archive = Archive::new();
        let recording = archive.publish("standup", "rec.wav", b"sound");
        let path = path_of(&archive, &recording);
        // If it could be read it would be replaced.
        fs::write(&path, b"soun!").unwrap();
        let key = recording.audio.key.clone();
        let refuse = move |call: Call<'_>| {
            let (at, source) = (call.at.to_owned(), "bad sector".into());
            match call.at == key.as_str() && ["open_local", "get_range"].contains(&call.name) {
                true if is_refused => Err(StoreError::Refused { at, source }),
                true => Err(StoreError::Unavailable { at, source }),
                false => Ok(()),
            }
        };
        archive.services.store = Arc::new(Intercepted::new(archive.local.clone(), Before(refuse)));
        let kept = keep(&archive, &recording, &dropped(&archive, "standup", b"sound"));
        assert!(matches!(kept, Err(PublishError::Store(_))), "{kept:?}");
        assert_eq!(fs::read(&path).unwrap(), b"soun!");
        assert_eq!(staged(&archive), 0);
    }
}

#[test]
fn a_drop_gives_a_recording_its_lost_words_back() {
    let archive = Archive::new();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let services = &archive.services;
    let again = dropped(&archive, "standup", b"sound");
    let check = || {
        let blake3 = recording.audio.blake3.as_str();
        let dropped = DroppedFile { job: &again.0, file: &again.1, blake3, may_go_on: &|| true };
        duplicates::check(services, dropped).unwrap()
    };
    assert!(matches!(check(), Checked::Duplicate(_, Kept::Whole)));
    for kind in [PageKind::Json, PageKind::Metadata] {
        archive.local.delete(&recording.page(kind).unwrap().object.key).unwrap();
    }
    assert!(matches!(check(), Checked::Unknown));
    let (job, file) = &again;
    let wordless = duplicates::wordless(services, job, file, &recording.audio.blake3).unwrap();
    assert_eq!(wordless.as_ref(), Some(&recording));
    let page_store = PageStore { store: archive.local.as_ref(), index: &services.index };
    rewrite::write_words(page_store, recording.id, (recipe(), talk())).unwrap();
    assert!(matches!(check(), Checked::Duplicate(_, Kept::Whole)));
    let dir = tempfile::tempdir().unwrap();
    let anew = Index::open(&dir.path().join("index.redb")).unwrap();
    let rebuilt = rebuild(archive.local.as_ref(), &anew).unwrap();
    assert_eq!((rebuilt.recordings, rebuilt.salvaged.len(), rebuilt.torn.len()), (1, 0, 0));
}

#[test]
fn copies_in_other_conversations_are_mended_by_a_drop() {
    let archive = Archive::new();
    let first = archive.publish("a", "x.wav", b"sound");
    let second = archive.publish("b", "x.wav", b"sound");
    let third = archive.publish("c", "x.wav", b"sound");
    fs::write(path_of(&archive, &first), b"soun!").unwrap();
    fs::remove_file(path_of(&archive, &second)).unwrap();
    let (job, file) = dropped(&archive, "d", b"sound");
    let blake3 = first.audio.blake3.as_str();
    let again = DroppedFile { job: &job, file: &file, blake3, may_go_on: &|| true };
    duplicates::mend(&archive.services, again).unwrap();
    for recording in [&first, &second, &third] {
        assert_eq!(archive.audio_of(recording), b"sound");
    }
    fs::write(path_of(&archive, &first), b"soun!").unwrap();
    duplicates::mend_others(&archive.services, &third, again).unwrap();
    assert_eq!(archive.audio_of(&first), b"sound");
}

/// A bucket that has the audio of a recording, and no copy of it here.
fn in_bucket(archive: &mut Archive, recording: &Recording, bucket: Arc<dyn Bucket>) {
    fs::remove_file(path_of(archive, recording)).unwrap();
    let index = &archive.services.index;
    index.set_stored(recording.id, recording.revision, None).unwrap();
    let limits = CacheOptions { limit_bytes: 1 << 20, keep_free_bytes: 0 };
    let cache = BlockCache::open(&archive.dir.path().join("cache"), limits).unwrap();
    let local = archive.local.clone();
    archive.services.store =
        Arc::new(TieredStore::with_bucket(local, bucket, cache, ReadOptions::default()));
}

fn bucket_with(recording: &Recording, sound: &'static [u8]) -> Arc<MemoryStore> {
    let bucket = Arc::new(MemoryStore::default());
    let blake3 = blake3::hash(sound).to_hex().to_string();
    let fields = [(Label::BLAKE3, blake3), (Label::CONVERSATION, "standup".to_owned())];
    let label = Label { content_type: "audio/wav", fields: fields.into() };
    bucket.put_labelled(&recording.audio.key, Bytes::from_static(sound), &label).unwrap();
    bucket
}

#[test]
fn what_the_bucket_has_is_not_kept_here_again() {
    let mut archive = Archive::for_bucket();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let bucket = bucket_with(&recording, b"sound");
    in_bucket(&mut archive, &recording, bucket.clone());
    let version = bucket.facts(&recording.audio.key).unwrap().version.unwrap();
    let (index, now) = (&archive.services.index, jiff::Timestamp::now());
    index.set_stored_as(recording.id, recording.revision, Some(now), Some(version)).unwrap();
    // Its local copy has made room.
    index.set_evicted(recording.id).unwrap();
    let again = dropped(&archive, "standup", b"sound");
    assert_eq!(keep(&archive, &recording, &again).unwrap(), Kept::Whole);
    assert!(!path_of(&archive, &recording).exists());
}

#[test]
fn a_drop_is_kept_here_where_others_may_have_put_other_bytes_under_the_label_of_its_copy() {
    // Of what was found in the bucket no version is known; or another version than the known one lies there.
    for is_known in [false, true] {
        let mut archive = Archive::for_bucket();
        let recording = archive.publish("standup", "rec.wav", b"sound");
        let key = recording.audio.key.clone();
        let bucket = bucket_with(&recording, b"sound");
        in_bucket(&mut archive, &recording, bucket.clone());
        let index = &archive.services.index;
        let version = bucket.facts(&key).unwrap().version.unwrap();
        if is_known {
            let (revision, now) = (recording.revision, jiff::Timestamp::now());
            index.set_stored_as(recording.id, revision, Some(now), Some(version)).unwrap();
        }
        let fields = [(Label::BLAKE3, recording.audio.blake3.clone())];
        let label = Label { content_type: "audio/wav", fields: fields.into() };
        bucket.put_labelled(&key, Bytes::from_static(b"soun!"), &label).unwrap();
        let again = dropped(&archive, "standup", b"sound");
        assert_eq!(keep(&archive, &recording, &again).unwrap(), Kept::Copied, "{is_known}");
        assert_eq!(archive.audio_of(&recording), b"sound");
    }
}

#[test]
fn a_drop_is_kept_here_where_the_bucket_cannot_give_its_copy() {
    // Nothing of it can be asked; or its label can, and it is in an archive.
    for calls in [0, 1] {
        let mut archive = Archive::for_bucket();
        let recording = archive.publish("standup", "rec.wav", b"sound");
        let bucket = bucket_with(&recording, b"sound");
        let version = bucket.facts(&recording.audio.key).unwrap().version.unwrap();
        in_bucket(&mut archive, &recording, Arc::new(FlakyStore::failing_after(calls, bucket)));
        let (index, now) = (&archive.services.index, jiff::Timestamp::now());
        index.set_stored_as(recording.id, recording.revision, Some(now), Some(version)).unwrap();
        let again = dropped(&archive, "standup", b"sound");
        assert_eq!(keep(&archive, &recording, &again).unwrap(), Kept::Copied, "{calls}");
        assert_eq!(archive.audio_of(&recording), b"sound");
        // It is looked at again when the bucket answers.
        let row = archive.services.index.recording(recording.id).unwrap().unwrap();
        assert_eq!(row.placement, Placement::unknown());
    }
}

#[test]
fn a_remark_says_where_the_recording_is() {
    let archive = Archive::new();
    let recording = archive.publish("Team & friends", "rec.wav", b"sound");
    let index = &archive.services.index;
    let place = "conversations/Team & friends/2024/01/15/rec.wav";
    for kept in [Kept::Whole, Kept::PutBack, Kept::Copied] {
        let remark = remarks::remark(index, &recording, kept).unwrap();
        assert!(remark.contains(place), "{remark}");
    }
    let known = archive.known("other", "again.wav", b"sound");
    let Some(Known::Elsewhere(told)) = known else { panic!("it is known elsewhere") };
    let remark = remarks::remark_of_filing(index, &told.recording).unwrap();
    assert!(remark.contains(place), "{remark}");
    index.trash_conversation(recording.id.conversation, jiff::Timestamp::now()).unwrap();
    let remark = remarks::remark_of_filing(index, &told.recording).unwrap();
    assert!(remark.contains("rec.wav of 2024-01-15, in the trash"), "{remark}");
}

#[test]
fn a_drop_is_no_duplicate_of_what_is_removed_while_the_stored_copy_is_looked_at() {
    type Break = fn(&Archive, &Recording);
    let breaks: [Break; 2] =
        [|_, _| (), |archive, it| fs::remove_file(path_of(archive, it)).unwrap()];
    let removals: [Break; 2] = [
        |archive, it| {
            let index = &archive.services.index;
            index.trash_conversation(it.id.conversation, jiff::Timestamp::now()).unwrap();
        },
        |archive, it| {
            let index = &archive.services.index;
            let (now, long) = (jiff::Timestamp::now(), Duration::from_hours(9_999));
            index.trash_conversation(it.id.conversation, now).unwrap();
            for _ in 0..2 {
                empty_trash(archive.local.as_ref(), index, Duration::ZERO, now, long).unwrap();
            }
            assert_eq!(index.filed_recording(it.id).unwrap(), None);
        },
    ];
    for damage in breaks {
        for (is_purged, remove) in [false, true].into_iter().zip(removals) {
            let archive = Archive::new();
            let recording = archive.publish("standup", "rec.wav", b"sound");
            damage(&archive, &recording);
            let (job, file) = dropped(&archive, "standup", b"sound");
            let blake3 = recording.audio.blake3.as_str();
            let is_removed = std::cell::Cell::new(false);
            // While it reads.
            let may_go_on = || {
                if !is_removed.replace(true) {
                    remove(&archive, &recording);
                }
                true
            };
            let again = DroppedFile { job: &job, file: &file, blake3, may_go_on: &may_go_on };
            let checked = duplicates::check(&archive.services, again).unwrap();
            assert!(is_removed.get());
            match checked {
                Checked::InTrash(_) => assert!(!is_purged),
                Checked::Unknown => assert!(is_purged),
                Checked::Duplicate(_, kept) => panic!("a duplicate: {kept:?}"),
                Checked::Elsewhere(_) => panic!("nobody else has it"),
            }
        }
    }
}

#[test]
fn a_drop_is_heard_again_where_the_words_that_are_known_are_refused() {
    let mut archive = Archive::new();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let json = recording.page(PageKind::Json).unwrap().object.key.clone();
    let refuse = move |call: Call<'_>| match call.at == json.as_str() {
        true => Err(StoreError::Refused { at: call.at.to_owned(), source: "in an archive".into() }),
        false => Ok(()),
    };
    archive.services.store = Arc::new(Intercepted::new(archive.local.clone(), Before(refuse)));
    assert!(archive.known("other", "again.wav", b"sound").is_none());
}

#[test]
fn a_drop_that_is_left_from_a_publication_belongs_to_it_wherever_that_is_by_now() {
    let archive = Archive::new();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let index = &archive.services.index;
    index.trash_conversation(recording.id.conversation, jiff::Timestamp::now()).unwrap();
    let (mut job, file) = dropped(&archive, "standup", b"sound");
    let blake3 = recording.audio.blake3.as_str();
    let check = |job: &Job| {
        let dropped = DroppedFile { job, file: &file, blake3, may_go_on: &|| true };
        duplicates::check(&archive.services, dropped).unwrap()
    };
    assert!(matches!(check(&job), Checked::InTrash(_)), "a new drop is filed again");
    job.recording = Some(recording.id);
    assert!(
        matches!(check(&job), Checked::Duplicate(known, Kept::Whole) if known.id == recording.id)
    );
}
