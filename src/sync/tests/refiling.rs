//! A recording that gets other keys leaves nothing behind, whatever is cut off.

use std::fs;
use std::sync::Arc;

use jiff::Timestamp;

use crate::fixtures::archive::Archive;
use crate::fixtures::contents;
use crate::index::{Index, PageWork, PagesDue};
use crate::model::{Destination, Key, Placement, Recording};
use crate::publishing::change_log::ChangeLog;
use crate::publishing::page_store::PageStore;
use crate::publishing::stores::{StorageTarget, Stores};
use crate::publishing::write_pages_due;
use crate::store::{
    Bucket, Bytes, Call, FlakyStore, Intercepted, Interceptor, Label, LocalStore, MemoryStore,
    Store, StoreError,
};
use crate::sync::bucket_removals;
use crate::sync::discover;
use crate::sync::refile::refile;
use crate::sync::refusals::Refusals;
use crate::upkeep::{Depth, check, rebuild};

fn remove_from_bucket(bucket: &dyn Bucket, changes: &ChangeLog, index: &Index) {
    let refusals = Refusals::default();
    bucket_removals::remove_from_bucket(bucket, changes, index, &refusals, Timestamp::now())
        .unwrap();
}

fn refiled(archive: &Archive, local: &dyn Store, standing: &Recording) -> Recording {
    let index = &archive.services.index;
    refile(local, PageStore { store: local, index }, standing).unwrap();
    index.recording(standing.id).unwrap().unwrap()
}

/// How many calls refiling makes before the first removal of what is left.
fn calls_before_removal() -> u64 {
    let mut calls = 0;
    loop {
        let archive = Archive::new();
        let standing = archive.publish("standup", "rec.wav", b"sound");
        let local = FlakyStore::failing_after(calls, archive.local.clone());
        let index = &archive.services.index;
        if refile(&local, PageStore { store: &local, index }, &standing).is_ok() {
            return calls;
        }
        calls += 1;
    }
}

#[test]
fn a_refiling_that_is_cut_off_after_its_commit_leaves_no_second_recording() {
    let first = calls_before_removal();
    for calls in first..first + 12 {
        let archive = Archive::new();
        let standing = archive.publish("standup", "rec.wav", b"sound");
        let local = FlakyStore::failing_after(calls, archive.local.clone());
        let moved = refiled(&archive, &local, &standing);
        assert_eq!(moved.stem.display(), "rec-2");
        // The next daemon does the rest.
        let index = &archive.services.index;
        write_pages_due(archive.local.as_ref(), index).unwrap();
        assert_eq!(index.removals_due().unwrap(), []);
        assert_eq!(found(&archive.local, &archive), ["rec-2.wav"], "{calls} calls");
        let here = contents(archive.local.as_ref());
        assert!(here.keys().all(|key| !key.contains("/rec.") && !key.contains("/rec_")));
    }
}

#[test]
fn an_index_made_anew_has_a_refiled_recording_once_and_knows_what_it_has_left() {
    let first = calls_before_removal();
    for has_old_index in [true, false] {
        for calls in first..first + 12 {
            let archive = Archive::new();
            let standing = archive.publish("standup", "rec.wav", b"sound");
            let local = FlakyStore::failing_after(calls, archive.local.clone());
            refiled(&archive, &local, &standing);
            // The same bytes under another name are a recording of their own.
            archive.publish("standup", "other.wav", b"sound");
            let anew = Index::open(&archive.dir.path().join("anew.redb")).unwrap();
            if has_old_index {
                anew.take_over(&archive.services.index).unwrap();
            }
            rebuild(archive.local.as_ref(), &anew).unwrap();
            let all = anew.every_recording(None, 10).unwrap();
            let mut names: Vec<_> = all.iter().map(|it| it.audio_name.display()).collect();
            names.sort();
            let context = format!("{calls} calls, old index: {has_old_index}");
            assert_eq!(names, ["other.wav", "rec-2.wav"], "{context}");
            write_pages_due(archive.local.as_ref(), &anew).unwrap();
            assert_eq!(anew.removals_due().unwrap(), [], "{context}");
            let here = contents(archive.local.as_ref());
            let is_left = |key: &String| key.contains("/rec.") || key.contains("/rec_");
            // Without its metadata nobody knows whose it is: `gc` does.
            let is_known = has_old_index || here.keys().any(|key| key.contains("/rec_"));
            assert!(!is_known || !here.keys().any(is_left), "{context}: {:?}", here.keys());
        }
    }
}

#[test]
fn what_is_still_to_be_removed_is_not_found_to_be_another_recording() {
    let archive = Archive::new();
    let standing = archive.publish("standup", "rec.wav", b"sound");
    let local = FlakyStore::failing_after(calls_before_removal(), archive.local.clone());
    refiled(&archive, &local, &standing);
    let index = &archive.services.index;
    assert_eq!(index.removals_due().unwrap().len(), 1);
    let stores =
        Stores { local: archive.local.as_ref(), remote: None, index, home: StorageTarget::Disk };
    let checked = check(stores, Depth::Sizes, Timestamp::MAX, &mut |_| ()).unwrap();
    assert_eq!(checked.findings, []);
}

#[test]
fn what_a_refiled_recording_has_left_in_the_bucket_is_not_discovered_as_another_one() {
    let archive = Archive::for_bucket();
    archive.publish("standup", "rec.wav", b"sound");
    let bucket = Arc::new(MemoryStore::default());
    assert_eq!(archive.carry(&bucket), None);
    let standing = archive.services.index.every_recording(None, 9).unwrap().remove(0);
    let moved = refiled(&archive, archive.local.as_ref(), &standing);
    assert_eq!(moved.stem.display(), "rec-2");
    // The index is lost, and the bucket did not answer when it was made anew.
    let anew = Index::open(&archive.dir.path().join("anew.redb")).unwrap();
    anew.set_destination(&Destination::Bucket { place: "s3://talks/".to_owned() }).unwrap();
    rebuild(archive.local.as_ref(), &anew).unwrap();
    assert_eq!(discover(bucket.as_ref(), &anew).unwrap(), 0);
    let names: Vec<String> =
        anew.every_recording(None, 9).unwrap().iter().map(|it| it.stem.display()).collect();
    assert_eq!(names, ["rec-2"]);
    let due = anew.removals_due().unwrap().remove(0);
    assert_eq!(due.recording.audio.key, standing.audio.key);
    assert!(due.is_in_bucket && !due.is_here);
}

/// Names of recordings that an index made anew finds.
fn found(local: &Arc<LocalStore>, archive: &Archive) -> Vec<String> {
    let path = archive.dir.path().join("anew.redb");
    let anew = Index::open(&path).unwrap();
    rebuild(local.as_ref(), &anew).unwrap();
    let all = anew.every_recording(None, 10).unwrap();
    all.iter().map(|recording| recording.audio_name.display()).collect()
}

#[test]
fn nothing_is_filed_under_former_keys_before_they_are_free() {
    let archive = Archive::new();
    let standing = archive.publish("standup", "rec.wav", b"sound");
    let local = FlakyStore::failing_after(calls_before_removal(), archive.local.clone());
    refiled(&archive, &local, &standing);
    // The very bytes that are still left under the old name.
    let other = archive.publish("standup", "rec.wav", b"sound");
    write_pages_due(archive.local.as_ref(), &archive.services.index).unwrap();
    assert_eq!(archive.audio_of(&other), b"sound");
}

#[test]
fn what_a_refiled_recording_has_left_in_the_bucket_goes_when_it_has_arrived() {
    let archive = Archive::for_bucket();
    let index = &archive.services.index;
    let standing = archive.publish("standup", "rec.wav", b"sound");
    let bucket = Arc::new(MemoryStore::default());
    // Its audio was there already, and then somebody else has put a page of the same name.
    let fields = [
        (Label::BLAKE3, standing.audio.blake3.clone()),
        (Label::CONVERSATION, "standup".to_owned()),
    ];
    let label = Label { content_type: "audio/wav", fields: fields.into() };
    bucket.put_labelled(&standing.audio.key, Bytes::from_static(b"sound"), &label).unwrap();
    let page = Key::new("standup/2024/01/15/rec.json").unwrap();
    bucket.put(&page, b"another's").unwrap();
    assert_eq!(archive.carry(&bucket), None);
    let moved = index.recording(standing.id).unwrap().unwrap();
    assert_eq!(moved.stem.display(), "rec-2");

    let changes = ChangeLog::default();
    remove_from_bucket(bucket.as_ref(), &changes, index);
    assert_eq!(index.removals_due().unwrap(), []);
    assert!(!bucket.is_taken(standing.audio.key.as_str()).unwrap());
    assert!(bucket.is_taken(moved.audio.key.as_str()).unwrap());
    assert_eq!(bucket.get_range(&page, 0..99).unwrap(), b"another's");
    let told: Vec<String> = contents(bucket.as_ref())
        .into_iter()
        .filter(|(key, _)| key.starts_with(Key::CHANGES))
        .map(|(_, json)| String::from_utf8(json).unwrap())
        .collect();
    assert!(told.iter().any(|told| told.contains("removed") && told.contains("rec_metadata")));
    assert!(!fs::exists(archive.local.root().join(standing.audio.key.as_str())).unwrap());
}

/// A bucket with another index's `monday.wav`, and a writer who has one of the same name, with other bytes.
fn met() -> (Arc<MemoryStore>, Archive, Archive) {
    let bucket = Arc::new(MemoryStore::default());
    let other = Archive::for_bucket();
    other.publish("standup", "monday.wav", b"of another index");
    assert_eq!(other.carry(&bucket), None);
    let archive = Archive::for_bucket();
    archive.publish("standup", "monday.wav", b"of this index");
    (bucket, other, archive)
}

const THEIRS: &str = "standup/2024/01/15/monday_metadata.json";

fn names(index: &Index) -> Vec<String> {
    let all = index.every_recording(None, 10).unwrap();
    all.iter().map(|recording| recording.audio_name.display()).collect()
}

#[test]
fn whose_name_a_recording_has_to_leave_is_filed_beside_it_and_the_day_gets_one_text() {
    let (bucket, other, archive) = met();
    let index = &archive.services.index;
    assert_eq!(discover(bucket.as_ref(), index).unwrap(), 0);
    assert_eq!(archive.carry(&bucket), None);
    assert_eq!(names(index), ["monday-2.wav", "monday.wav"]);
    // Its words come from the bucket.
    let transcript = "standup/2024/01/15/standup_transcript.txt";
    for found in
        other.local.list("").unwrap().into_iter().filter(|it| it.key.as_str() != transcript)
    {
        let bytes = other.local.get_range(&found.key, 0..u64::MAX).unwrap();
        archive.local.put(&found.key, &bytes).unwrap();
    }
    write_pages_due(archive.local.as_ref(), index).unwrap();
    assert_eq!(archive.carry(&bucket), None);
    let text = contents(bucket.as_ref()).remove(transcript).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("monday.wav") && text.contains("monday-2.wav"), "{text}");
    let theirs = index.filed_recording_at(&Key::new(THEIRS).unwrap()).unwrap().unwrap();
    assert_eq!(bucket.get_range(&theirs.audio.key, 0..99).unwrap(), b"of another index");
}

#[test]
fn whose_name_a_recording_has_left_is_found_after_a_crash_too() {
    let (bucket, _other, archive) = met();
    let index = &archive.services.index;
    let standing = index.every_recording(None, 10).unwrap().remove(0);
    refiled(&archive, archive.local.as_ref(), &standing);
    // The process has ended, and the recording has not arrived under its new name.
    assert_eq!(names(index), ["monday-2.wav"]);
    remove_from_bucket(bucket.as_ref(), &ChangeLog::default(), index);
    assert_eq!(names(index), ["monday-2.wav", "monday.wav"]);
    let day = PagesDue::Day(standing.id.conversation, standing.id.day);
    let entries = index.pages_due(None, 99).unwrap();
    assert!(entries.iter().any(|it| it.due == day && it.work == PageWork::Render), "{entries:?}");
}

#[test]
fn a_former_object_that_is_refused_keeps_no_other_in_the_bucket() {
    let archive = Archive::for_bucket();
    let index = &archive.services.index;
    let former = ["one.wav", "two.wav"].map(|name| {
        let standing = archive.publish("standup", name, name.as_bytes());
        refiled(&archive, archive.local.as_ref(), &standing);
        let row = index.recording(standing.id).unwrap().unwrap();
        index.set_placement(row.id, row.revision, Placement::Stored).unwrap();
        standing.audio
    });
    let memory = Arc::new(MemoryStore::default());
    for (audio, sound) in former.iter().zip([&b"one.wav"[..], b"two.wav"]) {
        memory.put(&audio.key, sound).unwrap();
    }
    let locked = Locked(former[0].key.to_string());
    let bucket = Intercepted::<MemoryStore, _>::new(memory.clone(), locked);
    remove_from_bucket(&bucket, &ChangeLog::default(), index);
    assert!(memory.head(&former[0].key).is_ok() && memory.head(&former[1].key).is_err());
    remove_from_bucket(memory.as_ref(), &ChangeLog::default(), index);
    assert_eq!(
        (memory.head(&former[0].key).is_err(), index.removals_due().unwrap()),
        (true, vec![])
    );
}

/// Refuses to remove what lies at that key.
struct Locked(String);

impl Interceptor for Locked {
    type Passed = ();

    fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        match call.name == "delete" && call.at == self.0 {
            true => Err(StoreError::Refused { at: self.0.clone(), source: "locked".into() }),
            false => Ok(()),
        }
    }
}
