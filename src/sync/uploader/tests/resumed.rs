//! Parts that an earlier process has sent: nobody knows any longer which bytes they have.

use std::sync::atomic::{AtomicU64, Ordering};

use super::hooked::hooked;
use super::world::{LARGE, World, retention};
use crate::model::{Placement, Recording};
use crate::store::{Store, StoreError};
use crate::sync::eviction::Retention;
use crate::sync::tests;
use crate::sync::uploader::upload::UploadOutcome;

/// Sends three parts of the recording and ends.
fn send_three_parts(world: &World, recording: &Recording) {
    let calls = AtomicU64::new(0);
    let hook = |name: &str, is_over: bool| {
        if name == "put_part" && !is_over && 3 <= calls.fetch_add(1, Ordering::Relaxed) {
            let source = "the line was cut".into();
            return Err(StoreError::Unavailable { at: "there".to_owned(), source });
        }
        Ok(())
    };
    let bucket = hooked(&world.bucket, hook);
    let carried = world.carry(&bucket, recording.clone(), None, &|| {});
    assert!(matches!(carried, UploadOutcome::Waits { .. }), "{carried:?}");
    let row = world.index.recording(recording.id).unwrap().unwrap();
    let Placement::Uploading { parts, .. } = row.placement else { panic!("{row:?}") };
    assert_eq!(parts.len(), 3);
}

/// How many copies have gone.
fn evict(world: &World) -> u64 {
    let context = world.context(world.bucket.clone());
    let evicting = Retention { copied_bytes: 0, ..retention() };
    tests::evict(&context, &evicting, world.now()).unwrap()
}

#[test]
fn parts_of_a_damaged_copy_that_was_restored_before_the_upload_went_on_never_cost_the_copy() {
    for rotten in [3, 100, 170] {
        let world = World::new();
        let recording = world.publish("standup", "large", LARGE);
        let key = &recording.audio.key;
        let whole = world.local.get_range(key, 0..u64::MAX).unwrap();
        let mut damaged = whole.clone();
        damaged[rotten] ^= 1;
        world.local.put(key, &damaged).unwrap();
        send_three_parts(&world, &recording);
        let world = world.restart();
        world.local.put(key, &whole).unwrap();
        world.finish();
        assert_eq!(world.bucket.get_range(key, 0..u64::MAX).unwrap(), damaged);
        assert_eq!(world.index.verification(recording.id).unwrap(), None);

        assert_eq!(evict(&world), 0);
        assert_eq!(world.local.get_range(key, 0..u64::MAX).unwrap(), whole);
        let row = world.index.recording(recording.id).unwrap().unwrap();
        assert_ne!(row.placement, Placement::Stored);
    }
}

#[test]
fn the_copy_of_a_resumed_upload_goes_when_its_bytes_were_read() {
    let world = World::new();
    let recording = world.publish("standup", "large", LARGE);
    send_three_parts(&world, &recording);
    let world = world.restart();
    world.finish();
    world.check("");
    assert_eq!(world.index.verification(recording.id).unwrap(), None);
    assert_eq!(evict(&world), 1);
    assert!(world.local.head(&recording.audio.key).is_err());
}
