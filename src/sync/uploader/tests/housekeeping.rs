//! What leaves the bucket and local disk, what moves elsewhere, and what is found again.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::hooked::hooked;
use super::world::{LARGE, SMALL, World, retention};
use crate::index::Index;
use crate::model::{ConversationSeq, Destination, Key, Placement, Recording};
use crate::publishing::change_log::{BucketChange, ChangeLog};
use crate::publishing::write_pages_due;
use crate::render;
use crate::store::{Bucket, FlakyStore, MemoryStore, Store, StoreError};
use crate::sync::eviction::Retention;
use crate::sync::purge;
use crate::sync::purge::PurgeContext;
use crate::sync::refusals::Refusals;
use crate::sync::tests::evict;
use crate::upkeep::rebuild_with_bucket;

#[test]
fn a_trashed_conversation_says_so_in_its_metadata_here_and_in_the_bucket() {
    let world = World::with_two();
    world.finish();
    let seq = ConversationSeq(1);
    let follow = || {
        let left = write_pages_due(world.local.as_ref(), &world.index).unwrap().left;
        assert_eq!(left, 0);
    };
    let is_trashed = |json: &[u8]| render::from_metadata(json).unwrap().0.trashed_at.is_some();
    let check = |expected: bool| {
        world.finish();
        world.check("");
        let held = world.in_bucket();
        let metadata = held.iter().filter(|(key, _)| key.ends_with("_metadata.json"));
        assert!(metadata.clone().count() == 2);
        assert!(metadata.clone().all(|(_, json)| is_trashed(json) == expected));
        let transcript = &held["standup/2024/01/15/standup_transcript.txt"];
        let text = String::from_utf8_lossy(transcript);
        assert!(text.contains("small.wav") && text.contains("large.wav"));
    };
    world.index.trash_conversation(seq, world.now()).unwrap();
    follow();
    check(true);
    world.index.restore_conversation(seq).unwrap();
    follow();
    check(false);
}

#[test]
fn a_days_text_that_is_rendered_while_its_recordings_are_on_their_way_arrives_too() {
    for step in 0.. {
        let world = World::with_two();
        let newer = b"rendered again meanwhile";
        let steps = Cell::new(0);
        let look = || {
            steps.set(steps.get() + 1);
            if steps.get() != step + 1 {
                return;
            }
            let recording = world.all().remove(0);
            let (seq, day) = (recording.id.conversation, recording.id.day);
            let mut transcript = world.index.filed_transcript(seq, day).unwrap().unwrap();
            world.local.put(&transcript.object.key, newer).unwrap();
            transcript.object.bytes = newer.len() as u64;
            transcript.object.blake3 = blake3::hash(newer).to_hex().to_string();
            world.index.set_transcript(transcript.into()).unwrap();
        };
        assert!(world.carry_all(world.bucket.as_ref(), 50, &look));
        if steps.get() <= step {
            assert!(10 < step);
            break;
        }
        let text = &world.in_bucket()["standup/2024/01/15/standup_transcript.txt"];
        assert_eq!(text, newer, "rendered at step {step}");
        world.check("");
    }
}

#[test]
fn the_trash_is_emptied_from_the_bucket_first_and_from_the_index_last() {
    let day = Duration::from_hours(24);
    for calls in 0.. {
        let world = World::with_two();
        let kept = world.publish("other", "kept", SMALL);
        world.finish();
        let seq = ConversationSeq(1);
        let trashed_at = world.now();
        world.index.trash_conversation(seq, trashed_at).unwrap();
        let empty = |bucket: Arc<dyn Bucket>, hours: i64| {
            let now = trashed_at + SignedDuration::from_hours(hours);
            let bins = &world.context(bucket);
            let observed = Duration::from_hours(12);
            purge::empty(
                PurgeContext::of(bins, &world.changes, &Refusals::default()),
                day,
                &|_| false,
                now,
                observed,
            )
        };
        assert_eq!(empty(world.bucket.clone(), 0).unwrap(), 0);
        // The wall clock alone says nothing, nor does the time observed.
        assert_eq!(empty(world.bucket.clone(), 999).unwrap(), 0);
        assert_eq!(empty(world.bucket.clone(), 23).unwrap(), 0);
        let cut = Arc::new(FlakyStore::failing_after(calls, world.bucket.clone()));
        let is_done = empty(cut, 24).is_ok();
        let context = format!("cut after {calls} calls");
        if !is_done {
            // It is too late to have it back, and nothing of it is seen any more.
            assert!(world.index.restore_conversation(seq).is_err(), "{context}");
            assert_eq!(world.index.trashed_conversations().unwrap(), [], "{context}");
            assert_eq!(empty(world.bucket.clone(), 24).unwrap(), 1, "{context}");
        }
        assert_eq!(world.all().iter().map(|it| it.id).collect::<Vec<_>>(), [kept.id], "{context}");
        world.check(&context);
        let removed: BTreeSet<String> = world
            .told()
            .iter()
            .filter_map(|told| match told {
                BucketChange::Removed(key) => Some(key.file_name().to_owned()),
                BucketChange::Metadata(_) => None,
            })
            .collect();
        let expected = ["large_metadata.json", "small_metadata.json"].map(str::to_owned);
        assert_eq!(removed, BTreeSet::from(expected), "{context}");
        assert_eq!(world.index.copied_bytes().unwrap(), SMALL as u64);
        if is_done {
            break;
        }
    }
}

#[test]
fn a_purged_recording_leaves_the_bucket_wherever_its_removal_is_cut_off() {
    for calls in 0.. {
        let world = World::with_two();
        world.finish();
        let [purged, kept] = &world.all()[..] else { panic!() };
        world.index.purge_recording(purged.id, world.now()).unwrap();
        let remove = |bucket: Arc<dyn Bucket>| {
            let context = &world.context(bucket);
            let refusals = Refusals::default();
            let bins = PurgeContext::of(context, &world.changes, &refusals);
            purge::remove_due(bins, &|_| false, world.now())
        };
        let is_done =
            remove(Arc::new(FlakyStore::failing_after(calls, world.bucket.clone()))).is_ok();
        remove(world.bucket.clone()).unwrap();
        let held = world.in_bucket();
        for object in purged.objects() {
            assert!(!held.contains_key(object.key.as_str()), "{calls}: {}", object.key);
            assert!(world.local.head(&object.key).is_err(), "{calls}: {}", object.key);
        }
        assert!(kept.objects().all(|object| held.contains_key(object.key.as_str())), "{calls}");
        assert_eq!(world.index.purging_recordings().unwrap(), [], "{calls}");
        if is_done {
            assert!(3 < calls);
            break;
        }
    }
}

#[test]
fn what_was_purged_on_local_disk_alone_does_not_come_back_from_the_bucket() {
    let world = World::with_two();
    world.finish();
    let [purged, kept] = &world.all()[..] else { panic!() };
    world.index.purge_recording(purged.id, world.now()).unwrap();
    // As where recordings belong on local disk again, and the bucket is still configured.
    let local = world.local.as_ref();
    purge::remove_purged(local, &world.index, &Refusals::default(), world.now()).unwrap();
    assert_eq!(world.index.purging_recordings().unwrap(), []);
    assert!(world.in_bucket().contains_key(purged.audio.key.as_str()));
    let index = Index::open(&world.dir.path().join("rebuilt.redb")).unwrap();
    rebuild_with_bucket(local, world.bucket.as_ref(), &index).unwrap();
    let found = |it: &Recording| index.recordings_with_audio(&it.audio.blake3).unwrap().len();
    assert_eq!((found(purged), found(kept)), (0, 1));
}

#[test]
fn a_conversation_on_its_way_is_not_removed_under_it() {
    let world = World::with_two();
    world.index.trash_conversation(ConversationSeq(1), world.now()).unwrap();
    let refusals = Refusals::default();
    let empty = |is_busy: bool| {
        let now = world.now() + SignedDuration::from_hours(1);
        let context = world.context(world.bucket.clone());
        let bins = PurgeContext::of(&context, &world.changes, &refusals);
        purge::empty(bins, Duration::ZERO, &|_| is_busy, now, Duration::ZERO).unwrap()
    };
    // Seen there for the first time.
    assert_eq!(empty(true), 0);
    assert_eq!(empty(true), 0);
    // And nothing of it begins any more.
    assert_eq!(world.index.pending_uploads(9).unwrap(), []);
    assert_eq!(empty(false), 1);
    assert_eq!((world.all(), world.in_bucket().len()), (Vec::new(), 0));
}

#[test]
fn copies_make_room_oldest_first_and_only_if_the_bucket_has_them() {
    let world = World::with_two();
    let [small, large] = world.all().try_into().unwrap();
    let context = world.context(world.bucket.clone());
    let limit = Retention { copied_bytes: LARGE as u64, ..retention() };
    // Nothing that has not arrived goes, whatever the limit.
    let nothing = Retention { copied_bytes: 0, ..retention() };
    assert_eq!(evict(&context, &nothing, world.now()).unwrap(), 0);
    world.finish();
    let both = Retention { keeps_local: true, ..nothing.clone() };
    assert_eq!(evict(&context, &both, world.now()).unwrap(), 0);
    assert_eq!(evict(&context, &limit, world.now()).unwrap(), 1);
    assert!(world.local.head(&small.audio.key).is_err());
    assert!(world.local.head(&large.audio.key).is_ok());
    assert_eq!(world.index.copied_bytes().unwrap(), LARGE as u64);
    // Somebody has removed it from the bucket: the copy is all there is.
    world.bucket.delete(&large.audio.key).unwrap();
    assert_eq!(evict(&context, &nothing, world.now()).unwrap(), 0);
    assert!(world.local.head(&large.audio.key).is_ok());
    world.finish();
    assert!(world.bucket.head(&large.audio.key).is_ok());
    let away = world.context(Arc::new(FlakyStore::failing_after(0, world.bucket.clone())));
    assert!(evict(&away, &nothing, world.now()).is_err());
    assert!(world.local.head(&large.audio.key).is_ok());
}

#[test]
fn copies_go_when_they_are_old_or_when_the_disk_is_full() {
    let world = World::with_two();
    world.finish();
    let mut context = world.context(world.bucket.clone());
    let days = Retention { audio: Some(Duration::from_hours(24)), ..retention() };
    let later = |hours| world.now() + SignedDuration::from_hours(hours);
    assert_eq!(evict(&context, &days, later(23)).unwrap(), 0);
    context.free_bytes = Arc::new(|| Some(10));
    let floor = Retention { keep_free_bytes: 10, ..retention() };
    assert_eq!(evict(&context, &floor, later(0)).unwrap(), 0);
    assert_eq!(evict(&context, &days, later(25)).unwrap(), 2);
    assert_eq!(evict(&context, &days, later(25)).unwrap(), 0);
}

#[test]
fn a_copy_whose_object_is_in_an_archive_stays_and_is_asked_for_once_a_day() {
    let world = World::with_two();
    world.finish();
    let [small, large] = world.all().try_into().unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let archive = move |call: &str, is_over: bool| {
        count.fetch_add(u32::from(!is_over), Ordering::Relaxed);
        match call {
            "get_range" => {
                let source = "it was moved to an archive".into();
                Err(StoreError::Refused { at: "there".to_owned(), source })
            }
            _ => Ok(()),
        }
    };
    let archive = hooked(&world.bucket, archive);
    let (archived, readable) =
        (world.context(Arc::new(archive)), world.context(world.bucket.clone()));
    let nothing = Retention { copied_bytes: 0, ..retention() };
    let evict = |context, hours| {
        let now = world.now() + SignedDuration::from_hours(hours);
        let evicted = evict(context, &nothing, now).unwrap();
        (evicted, asked.swap(0, Ordering::Relaxed))
    };
    let (gone, looks) = evict(&archived, 0);
    assert_eq!(gone, 0);
    assert!(2 <= looks, "{looks}");
    assert_eq!(evict(&archived, 0), (0, 0));
    assert_eq!(evict(&archived, 23), (0, 0));
    assert_eq!(world.index.copied_bytes().unwrap(), (SMALL + LARGE) as u64);
    // What is newer is not kept waiting by it.
    let third = world.publish("other", "third", SMALL);
    world.finish();
    assert_eq!(evict(&readable, 23), (1, 0));
    assert!(world.local.head(&third.audio.key).is_err());
    assert!(evict(&archived, 25).1 != 0);
    // Brought back from there, they make room.
    assert_eq!(evict(&readable, 50), (2, 0));
    for audio in [&small.audio, &large.audio] {
        assert!(world.local.head(&audio.key).is_err());
    }
}

#[test]
fn another_bucket_is_filled_and_local_disk_is_gone_back_to_only_with_everything() {
    let world = World::with_two();
    world.finish();
    let [small, _] = world.all().try_into().unwrap();
    let other = Destination::Bucket { place: "s3://other/".into() };
    assert_eq!(world.index.set_destination(&other).unwrap(), 2);
    assert_eq!(world.index.set_destination(&other).unwrap(), 0);
    assert_eq!(world.index.totals().unwrap().pending, 2);
    world.finish();
    world.local.delete(&small.audio.key).unwrap();
    world.index.set_evicted(small.id).unwrap();
    let refused = world.index.set_destination(&Destination::Here).unwrap_err().to_string();
    assert_eq!(
        refused,
        "1 recordings are only in s3://other/: bring them back with `scribefs migrate --to local` first"
    );
    assert_eq!(world.index.destination().unwrap(), other);
}

#[test]
fn an_index_is_made_anew_from_local_disk_and_bucket_together() {
    let world = World::with_two();
    world.finish();
    let waiting = world.publish("other", "waiting", LARGE);
    let [small, large, _] = world.all().try_into().unwrap();
    world.local.delete(&small.audio.key).unwrap();
    for page in &small.pages {
        world.local.delete(&page.object.key).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.redb")).unwrap();
    index.set_destination(&world.index.destination().unwrap()).unwrap();
    let rebuilt = rebuild_with_bucket(world.local.as_ref(), world.bucket.as_ref(), &index).unwrap();
    assert_eq!((rebuilt.recordings, rebuilt.incomplete.len()), (3, 0));
    let placement = |recording: &Recording| {
        index.recordings_with_audio(&recording.audio.blake3).unwrap().remove(0).placement
    };
    assert_eq!(placement(&small), Placement::Stored);
    assert_eq!(placement(&large), Placement::Stored);
    assert_eq!(placement(&waiting), Placement::Local);
    // Only what has a local copy may lose it.
    assert_eq!(index.copied_bytes().unwrap(), large.audio.bytes);
}

#[test]
fn old_markers_are_removed_and_young_ones_kept() {
    let world = World::with_two();
    world.finish();
    let days = |days: i64| world.now() + SignedDuration::from_hours(24 * days);
    ChangeLog::prune(world.bucket.as_ref(), days(29)).unwrap();
    assert_eq!(world.told().len(), 2);
    ChangeLog::prune(world.bucket.as_ref(), days(31)).unwrap();
    assert_eq!(world.told(), []);
}

#[test]
fn a_marker_never_comes_before_an_earlier_one() {
    let bucket = MemoryStore::default();
    let changes = ChangeLog::default();
    let told = |count: u64| BucketChange::Removed(Key::new(&format!("a/{count}")).unwrap());
    // A clock that stands still, and one that was set back.
    for (count, second) in [(0, 9), (1, 9), (2, 1)] {
        let clock = || Timestamp::from_second(second).unwrap();
        changes.tell(&bucket, &told(count), &clock).unwrap();
    }
    let found = bucket.list_after(Key::CHANGES, "", 9).unwrap();
    let read = |key: &Key| bucket.get_range(key, 0..u64::MAX).unwrap();
    let all: Vec<BucketChange> =
        found.iter().map(|it| serde_json::from_slice(&read(&it.key)).unwrap()).collect();
    assert_eq!(all, [told(0), told(1), told(2)]);
    assert_eq!(serde_json::to_string(&told(0)).unwrap(), r#"{"removed":"a/0"}"#);
}

#[test]
fn the_last_marker_is_known_while_one_is_on_its_way() {
    let world = World::new();
    let (is_under_way, begun) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let hook = move |name: &str, is_over: bool| {
        if name == "put_labelled" && !is_over {
            is_under_way.send(()).unwrap();
            // The bucket takes its time.
            let _ = wait.lock().unwrap().recv();
        }
        Ok(())
    };
    let bucket = hooked(&world.bucket, hook);
    let told = BucketChange::Removed(Key::probe());
    std::thread::scope(|scope| {
        scope.spawn(|| world.changes.tell(&bucket, &told, &|| world.now()));
        begun.recv().unwrap();
        let (answer, answered) = std::sync::mpsc::channel();
        let changes = &world.changes;
        scope.spawn(move || answer.send(changes.last()));
        // The thread that renews the lease asks this.
        let last = answered.recv_timeout(Duration::from_secs(20));
        drop(go);
        assert!(last.unwrap().is_some());
    });
}
