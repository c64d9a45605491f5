//! The way to the bucket cut at every step, and gone on with.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use super::maintenance::give_up_uploads;
use super::upload::UploadOutcome;
use crate::model::{PageKind, Placement, SpeakerId};
use crate::publishing::change_log::BucketChange;
use crate::publishing::name_speakers;
use crate::store::{FlakyStore, Store, StoreError};
use crate::sync::refusals::Refusals;

mod evicting;
mod full_disk;
mod hooked;
mod housekeeping;
mod patience;
mod refusing;
mod resumed;
mod threads;
mod world;

use hooked::{Hooked, hooked};
use world::{Death, LARGE, SMALL, World, carry_until};

#[test]
fn a_recording_arrives_with_its_pages_and_labels_and_is_told_of() {
    let world = World::with_two();
    world.finish();
    world.check("");
    assert_eq!(world.bucket.open_uploads(), Vec::<String>::new());
    let recordings = world.all();
    for (recording, told) in recordings.iter().zip(world.told()) {
        let label = world.bucket.label(&recording.audio.key).unwrap();
        assert_eq!(label.content_type, "audio/wav");
        assert_eq!(label.fields["blake3"], recording.audio.blake3);
        assert_eq!(label.fields["duration"], "2.000");
        assert_eq!(label.fields["original-name"], recording.audio_name.display());
        let metadata = recording.page(PageKind::Metadata).unwrap();
        assert_eq!(told, BucketChange::Metadata(metadata.object.key.clone()));
    }
    let bytes = (SMALL + LARGE) as u64;
    assert_eq!(world.index.copied_bytes().unwrap(), bytes);
}

#[test]
fn a_process_that_is_killed_anywhere_goes_on_where_it_was() {
    for steps in 0.. {
        let world = World::with_two();
        let was_killed = carry_until(&world, &Death::after(steps));
        let context = format!("killed at step {steps}");
        world.check_order(&context);
        let world = world.restart();
        world.finish();
        world.check(&context);
        // One that had just begun when the process died: nobody was told its id.
        assert!(world.bucket.open_uploads().len() <= usize::from(was_killed), "{context}");
        if !was_killed {
            assert!(40 < steps, "{steps} steps are too few to be all");
            break;
        }
    }
}

#[test]
fn two_hundred_random_kills_lose_nothing_and_send_nothing_wrong() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut kills = 0;
    while kills < 200 {
        let mut world = World::with_two();
        loop {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let steps = i64::try_from(random % 25).unwrap();
            if !carry_until(&world, &Death::after(steps)) {
                break;
            }
            kills += 1;
            world.check_order("a random kill");
            world = world.restart();
        }
        world.finish();
        world.check("random kills");
    }
}

#[test]
fn a_bucket_that_goes_away_anywhere_is_waited_for() {
    for calls in 0.. {
        let world = World::with_two();
        let cut = FlakyStore::failing_after(calls, world.bucket.clone());
        let is_done = world.carry_all(&cut, 8, &|| {});
        let context = format!("away after {calls} calls");
        world.check_order(&context);
        world.finish();
        world.check(&context);
        assert_eq!(world.bucket.open_uploads(), Vec::<String>::new(), "{context}");
        if is_done {
            break;
        }
    }
}

#[test]
fn answers_that_are_lost_are_looked_for() {
    for nth in 2..12 {
        let world = World::with_two();
        let lossy = FlakyStore::losing_every(nth, world.bucket.clone());
        let context = format!("every answer number {nth} is lost");
        assert!(world.carry_all(&lossy, 200, &|| {}), "{context}");
        world.check_order(&context);
        world.finish();
        world.check(&context);
    }
}

#[test]
fn names_that_are_given_at_any_moment_arrive_too() {
    for at in 0.. {
        let world = World::with_two();
        let recordings = world.all();
        let calls = AtomicU64::new(0);
        let hook = |_: &str, _: bool| {
            if calls.fetch_add(1, Ordering::Relaxed) == at {
                let names = BTreeMap::from([(SpeakerId(0), "Anna".to_owned())]);
                for recording in &recordings {
                    name_speakers(world.local.as_ref(), &world.index, recording.id, &names)
                        .unwrap();
                }
            }
            Ok(())
        };
        let bucket = hooked(&world.bucket, hook);
        let context = format!("names at call {at}");
        assert!(world.carry_all(&bucket, 50, &|| {}), "{context}");
        drop(bucket);
        world.finish();
        world.check(&context);
        assert_eq!(world.bucket.open_uploads(), Vec::<String>::new(), "{context}");
        if calls.load(Ordering::Relaxed) <= at {
            break;
        }
        let json = &world.in_bucket()["standup/2024/01/15/large.json"];
        assert!(String::from_utf8_lossy(json).contains("Anna"), "{context}");
    }
}

#[test]
fn changed_pages_go_without_the_audio() {
    let world = World::with_two();
    world.finish();
    let recording = world.all().pop().unwrap();
    let names = BTreeMap::from([(SpeakerId(0), "Anna".to_owned())]);
    name_speakers(world.local.as_ref(), &world.index, recording.id, &names).unwrap();
    let row = world.index.recording(recording.id).unwrap().unwrap();
    assert_eq!(row.placement, Placement::PagesChanged);
    // The local copy of the audio is not needed for it.
    world.local.delete(&recording.audio.key).unwrap();
    world.index.set_evicted(recording.id).unwrap();
    world.finish();
    let row = world.index.recording(recording.id).unwrap().unwrap();
    assert_eq!(row.placement, Placement::Stored);
    assert_eq!(world.index.copied_bytes().unwrap(), (SMALL + LARGE) as u64 - row.audio.bytes);
}

#[test]
fn a_local_copy_that_is_damaged_is_never_sent_as_if_it_were_right() {
    let world = World::with_two();
    for recording in world.all() {
        let mut bytes = world.local.get_range(&recording.audio.key, 0..u64::MAX).unwrap();
        bytes[3] ^= 1;
        world.local.put(&recording.audio.key, &bytes).unwrap();
        let carried = world.carry(world.bucket.as_ref(), recording.clone(), None, &|| {});
        let UploadOutcome::Waits { why, .. } = carried else { panic!("{carried:?}") };
        assert!(why.contains("damaged"), "{why}");
        let row = world.index.recording(recording.id).unwrap().unwrap();
        assert!(matches!(row.placement, Placement::Paused { .. }));
        assert!(world.bucket.head(&recording.audio.key).is_err());
    }
    give_up_uploads(&world.context(world.bucket.clone()), &Refusals::default(), world.now())
        .unwrap();
    assert_eq!(world.bucket.open_uploads(), Vec::<String>::new());
}

#[test]
fn pages_that_a_power_cut_has_left_behind_are_written_anew() {
    let world = World::with_two();
    let recording = world.all().remove(0);
    let srt = recording.page(PageKind::Srt).unwrap();
    world.local.put(&srt.object.key, b"of another time").unwrap();
    world.finish();
    world.check("");
    assert!(world.index.recording(recording.id).unwrap().unwrap().revision == 2);
}

/// Answers `name` with a refusal while `is_refusing`, and counts parts.
fn refusing<'a>(
    world: &World,
    name: &'static str,
    is_refusing: &'a AtomicU64,
    parts: &'a AtomicU64,
) -> Hooked<'a> {
    let hook = move |call: &str, is_over: bool| {
        parts.fetch_add(u64::from(call == "put_part" && is_over), Ordering::Relaxed);
        let is_next = call == name && !is_over && is_refusing.load(Ordering::Relaxed) == 0;
        if call == name && !is_over {
            is_refusing.fetch_sub(u64::from(!is_next), Ordering::Relaxed);
        }
        match is_next {
            true => Err(StoreError::Refused { at: call.to_owned(), source: "expired".into() }),
            false => Ok(()),
        }
    };
    hooked(&world.bucket, hook)
}

#[test]
fn an_upload_that_is_refused_in_the_middle_goes_on_where_it_was() {
    for refused_at in [0, 1, 2, 3] {
        let world = World::new();
        let recording = world.publish("standup", "large", LARGE);
        let (left, parts) = (AtomicU64::new(refused_at), AtomicU64::new(0));
        let bucket = refusing(&world, "put_part", &left, &parts);
        let carried = world.carry(&bucket, recording.clone(), None, &|| {});
        assert!(matches!(carried, UploadOutcome::Waits { .. }), "{carried:?}");
        let uploads = world.bucket.open_uploads();
        assert_eq!(uploads.len(), 1);
        let row = world.index.recording(recording.id).unwrap().unwrap();
        assert!(matches!(row.placement, Placement::Paused { .. }));
        assert_eq!(row.placement.upload_id(), Some(uploads[0].as_str()));
        // Maintenance leaves it alone, and so does a new process.
        give_up_uploads(&world.context(world.bucket.clone()), &Refusals::default(), world.now())
            .unwrap();
        assert_eq!(world.bucket.open_uploads(), uploads);
        left.store(u64::MAX, Ordering::Relaxed);
        let world = {
            drop(bucket);
            world.restart()
        };
        let bucket = refusing(&world, "put_part", &left, &parts);
        assert!(world.carry_all(&bucket, 5, &|| {}));
        drop(bucket);
        world.check("");
        let expected = (LARGE as u64).div_ceil(60);
        assert_eq!(parts.load(Ordering::Relaxed), expected, "no part goes twice");
    }
}

#[test]
fn a_damaged_local_copy_is_not_sent_again_before_it_has_changed() {
    let world = World::new();
    let recording = world.publish("standup", "large", LARGE);
    let whole = world.local.get_range(&recording.audio.key, 0..u64::MAX).unwrap();
    let mut damaged = whole.clone();
    damaged[3] ^= 1;
    world.local.put(&recording.audio.key, &damaged).unwrap();
    let (never, parts) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
    let bucket = refusing(&world, "none", &never, &parts);
    assert!(!world.carry_all(&bucket, 1, &|| {}));
    let sent = parts.load(Ordering::Relaxed);
    assert!(0 < sent);
    // Hours go by, and the daemon is started anew.
    assert!(!world.carry_all(&bucket, 20, &|| {}));
    drop(bucket);
    let world = world.restart();
    let bucket = refusing(&world, "none", &never, &parts);
    assert!(!world.carry_all(&bucket, 20, &|| {}));
    assert_eq!(parts.load(Ordering::Relaxed), sent);
    // Touched, it is hashed and found as bad as before.
    world.local.put(&recording.audio.key, &damaged).unwrap();
    assert!(!world.carry_all(&bucket, 20, &|| {}));
    assert_eq!(parts.load(Ordering::Relaxed), sent);
    world.local.put(&recording.audio.key, &whole).unwrap();
    assert!(world.carry_all(&bucket, 20, &|| {}));
    drop(bucket);
    give_up_uploads(&world.context(world.bucket.clone()), &Refusals::default(), world.now())
        .unwrap();
    world.check("");
}

#[test]
fn an_upload_under_way_stops_when_the_lease_is_lost() {
    let world = World::new();
    let recording = world.publish("standup", "large", LARGE);
    let hook = |call: &str, is_over: bool| {
        if call == "put_part" && is_over {
            world.fence.close();
        }
        Ok(())
    };
    let bucket = hooked(&world.bucket, hook);
    let carried = world.carry(&bucket, recording.clone(), None, &|| {});
    assert!(matches!(carried, UploadOutcome::Stopped), "{carried:?}");
    drop(bucket);
    assert_eq!(world.in_bucket().len(), 0);
    // What had arrived counts when the lease is there again.
    let row = world.index.recording(recording.id).unwrap().unwrap();
    let Placement::Uploading { parts, .. } = row.placement else { panic!("{row:?}") };
    assert_eq!(parts.len(), 1);
}

#[test]
fn parts_of_a_large_recording_go_several_at_once_where_the_line_is_quick() {
    let world = World::new();
    // Nine parts.
    world.publish("standup", "large", 530);
    let calls = AtomicU64::new(0);
    // Those that go together meet, and none of them arrives before: one by one they would wait for ever.
    let (two, three) = (Barrier::new(2), Barrier::new(3));
    let hook = |name: &str, is_over: bool| {
        if name == "put_part" && !is_over {
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 => {}
                1 | 2 => drop(two.wait()),
                _ => drop(three.wait()),
            }
        }
        Ok(())
    };
    let bucket = hooked(&world.bucket, hook);
    assert!(world.carry_all(&bucket, 1, &|| {}));
    world.check("");
    // One, then two, then three, then those three that are left: up to four would go.
    assert_eq!(calls.load(Ordering::SeqCst), 9);
    assert_eq!(world.bucket.open_uploads(), Vec::<String>::new());
}

#[test]
fn a_part_that_fails_among_others_is_sent_again_and_those_behind_it_are_not() {
    let world = World::new();
    let recording = world.publish("standup", "large", 530);
    let calls = AtomicU64::new(0);
    let hook = |name: &str, is_over: bool| {
        if name == "put_part" && !is_over {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            if call == 4 {
                let source = "the line was cut".into();
                return Err(StoreError::Unavailable { at: "there".to_owned(), source });
            }
        }
        Ok(())
    };
    let bucket = hooked(&world.bucket, hook);
    assert!(world.carry_all(&bucket, 9, &|| {}));
    world.check("");
    // Nine parts, and one of them twice.
    assert_eq!(calls.load(Ordering::Relaxed), 10);
    // All of them were hashed as they were sent.
    assert!(world.index.verification(recording.id).unwrap().is_some());
}
