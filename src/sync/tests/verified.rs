//! Before the last other copy goes, the bucket's bytes are known: by the version that was sent, or by reading them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;

use crate::fixtures::archive::{Archive, Before, keeps_all};
use crate::index::Verification;
use crate::model::{Key, PageKind, Placement, Recording};
use crate::publishing::change_log::ChangeLog;
use crate::publishing::{StorageTarget, Stores};
use crate::store::{Bucket, Bytes, Call, Intercepted, MemoryStore, Store, StoreError};
use crate::sync::eviction::Retention;
use crate::sync::refusals::Refusals;
use crate::sync::tests;
use crate::sync::{SyncContext, bucket_removals};
use crate::upkeep::{Depth, Problem, Where, check};

const SMALL: &[u8] = b"sound";
const LARGE: &[u8] = b"a recording that is sent in several parts, one by one";

/// How many local copies of audio have gone.
fn evict(context: &SyncContext) -> u64 {
    let evicting = Retention { copied_bytes: 0, ..keeps_all() };
    tests::evict(context, &evicting, Timestamp::now()).unwrap()
}

/// Puts other bytes of that size there, under the label that is there.
fn replace(bucket: &MemoryStore, key: &Key) -> Bytes {
    let length = bucket.get_range(key, 0..u64::MAX).unwrap().len();
    let other = Bytes::from(vec![b'x'; length]);
    let label = bucket.label(key).unwrap();
    bucket.put_labelled(key, other.clone(), &label).unwrap();
    other
}

fn row(archive: &Archive, recording: &Recording) -> Recording {
    archive.services.index.recording(recording.id).unwrap().unwrap()
}

/// The bucket has other bytes under the label of the recording: its copy stays, and goes there under another name.
fn check_other_bytes_are_noticed(
    archive: &Archive,
    bucket: &Arc<MemoryStore>,
    recording: &Recording,
    sound: &[u8],
) {
    let key = &recording.audio.key;
    let other = bucket.get_range(key, 0..u64::MAX).unwrap();
    assert_ne!(other, sound);
    let context = archive.context(bucket.clone());
    let index = &archive.services.index;
    assert_eq!(evict(&context), 0);
    assert_eq!(archive.audio_of(recording), sound);
    assert_ne!(row(archive, recording).placement, Placement::Stored);
    assert_eq!(index.totals().unwrap().pending, 1);

    assert_eq!(archive.carry(bucket), None);
    let moved = row(archive, recording);
    assert_eq!((moved.stem.display().as_str(), &moved.placement), ("rec-2", &Placement::Stored));
    assert_eq!(archive.audio_of(&moved), sound);
    assert_eq!(bucket.get_range(&moved.audio.key, 0..u64::MAX).unwrap(), sound);
    let (changes, refusals) = (ChangeLog::default(), Refusals::default());
    let now = Timestamp::now();
    bucket_removals::remove_from_bucket(bucket.as_ref(), &changes, index, &refusals, now).unwrap();
    assert_eq!(index.removals_due().unwrap(), []);
    assert!(bucket.head(&key.page_beside(PageKind::Metadata)).is_err());
    // Whosever it is, it may be the only one.
    assert_eq!(bucket.get_range(key, 0..u64::MAX).unwrap(), other);
    let local = archive.local.as_ref();
    let stores =
        Stores { local, remote: Some(bucket.as_ref()), index, home: StorageTarget::Bucket };
    let found = check(stores, Depth::Sizes, Timestamp::MAX, &mut |_| ()).unwrap().findings;
    let found: Vec<_> = found.into_iter().map(|finding| (finding.key, finding.fault)).collect();
    assert_eq!(found, [(key.clone(), Problem::OnlyCopy { place: Where::Bucket })]);

    assert_eq!(evict(&context), 1);
    assert!(archive.local.head(&moved.audio.key).is_err());
}

#[test]
fn other_bytes_under_the_label_of_a_recording_never_cost_its_local_copy() {
    for sound in [SMALL, LARGE] {
        for hides_versions in [false, true] {
            let archive = Archive::for_bucket();
            let recording = archive.publish("standup", "rec.wav", sound);
            let bucket = Arc::new(MemoryStore::default());
            if hides_versions {
                bucket.hide_versions();
            }
            assert_eq!(archive.carry(&bucket), None);
            replace(&bucket, &recording.audio.key);
            check_other_bytes_are_noticed(&archive, &bucket, &recording, sound);
        }
    }
}

#[test]
fn what_was_replaced_before_it_was_looked_at_is_not_taken_for_what_was_sent() {
    for (sound, change) in [(SMALL, "put_new"), (LARGE, "complete_upload")] {
        let archive = Archive::for_bucket();
        let recording = archive.publish("standup", "rec.wav", sound);
        let bucket = Arc::new(MemoryStore::default());
        let (memory, key) = (bucket.clone(), recording.audio.key.clone());
        let sent = AtomicU32::new(0);
        let hook = move |call: Call<'_>| -> Result<(), StoreError> {
            if call.at != key.as_str() {
                return Ok(());
            }
            match call.name {
                name if name == change => sent.store(1, Ordering::Relaxed),
                "facts" if sent.swap(2, Ordering::Relaxed) == 1 => {
                    replace(&memory, &key);
                }
                _ => {}
            }
            Ok(())
        };
        let hooked = Intercepted::<MemoryStore, _>::new(bucket.clone(), Before(hook));
        assert_eq!(archive.carry_on(archive.context(Arc::new(hooked))), None);
        assert_eq!(row(&archive, &recording).placement, Placement::Stored);
        check_other_bytes_are_noticed(&archive, &bucket, &recording, sound);
    }
}

#[test]
fn only_bytes_of_an_unknown_version_are_read_and_once() {
    for sound in [SMALL, LARGE] {
        let archive = Archive::for_bucket();
        let recording = archive.publish("standup", "rec.wav", sound);
        let bucket = Arc::new(MemoryStore::default());
        assert_eq!(archive.carry(&bucket), None);
        let reads = Arc::new(AtomicU32::new(0));
        let counted = |is_archived: bool| {
            let reads = reads.clone();
            let hook = move |call: Call<'_>| {
                reads.fetch_add(u32::from(call.name == "stream_range"), Ordering::Relaxed);
                let source = "it was moved to an archive";
                match call.name {
                    "get_range" if is_archived => {
                        Err(StoreError::Refused { at: call.at.to_owned(), source: source.into() })
                    }
                    _ => Ok(()),
                }
            };
            archive
                .context(Arc::new(Intercepted::<MemoryStore, _>::new(bucket.clone(), Before(hook))))
        };
        let index = &archive.services.index;
        let version = bucket.facts(&recording.audio.key).unwrap().version.unwrap();
        let sent = Verification::Same { version };
        assert_eq!(index.verification(recording.id).unwrap().as_ref(), Some(&sent));

        // As an earlier version left it: nobody knows which version was sent.
        index.set_lost(recording.id, recording.revision, None).unwrap();
        let copied_at = Some(Timestamp::UNIX_EPOCH);
        index.set_stored_as(recording.id, recording.revision, copied_at, None).unwrap();
        assert_eq!(index.verification(recording.id).unwrap(), None);
        assert_eq!(evict(&counted(true)), 0);
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        assert_eq!(index.verification(recording.id).unwrap(), Some(sent));
        // A day later it is no longer in the archive.
        let evicting = Retention { copied_bytes: 0, ..keeps_all() };
        let tomorrow = Timestamp::now() + jiff::SignedDuration::from_hours(25);
        assert_eq!(tests::evict(&counted(false), &evicting, tomorrow).unwrap(), 1);
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_place_that_recordings_have_left_says_nothing_about_the_next_one() {
    let archive = Archive::for_bucket();
    let recording = archive.publish("standup", "rec.wav", SMALL);
    assert_eq!(archive.carry(&Arc::new(MemoryStore::default())), None);
    let index = &archive.services.index;
    assert!(index.verification(recording.id).unwrap().is_some());
    let place = "s3://another/".to_owned();
    index.set_destination(&crate::model::Destination::Bucket { place }).unwrap();
    assert_eq!(index.verification(recording.id).unwrap(), None);
}
