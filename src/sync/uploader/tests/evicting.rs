//! Copies that have to be read first hold nothing else up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;

use super::threads::{options, until};
use super::world::{LARGE, SMALL, World, retention};
use crate::fixtures::archive::Before;
use crate::store::{Call, Intercepted, MemoryStore, Store, StoreError};
use crate::sync::eviction::{Eviction, Retention, evict_next};
use crate::sync::tests::evict;
use crate::sync::{Uploader, UploaderConfig};

fn nothing_stays() -> Retention {
    Retention { copied_bytes: 0, ..retention() }
}

/// As an earlier version left it: nobody knows which versions were sent.
fn forget_versions(world: &World) {
    let copied_at = Some(Timestamp::UNIX_EPOCH);
    for recording in world.all() {
        let (id, revision) = (recording.id, recording.revision);
        world.index.set_lost(id, revision, None).unwrap();
        world.index.set_stored_as(id, revision, copied_at, None).unwrap();
    }
}

#[test]
fn reading_a_copys_object_stops_at_the_end() {
    let world = World::with_two();
    world.finish();
    forget_versions(&world);
    let context = world.context(world.bucket.clone());
    let stopped = evict_next(&context, &nothing_stays(), world.now(), &|| false).unwrap();
    assert_eq!(stopped, Eviction::Stopped);
    assert_eq!(world.index.copied_bytes().unwrap(), (SMALL + LARGE) as u64);
    assert_eq!(evict(&context, &nothing_stays(), world.now()).unwrap(), 2);
}

#[test]
fn what_is_purged_waits_for_no_copy_that_has_to_be_read() {
    let world = World::with_two();
    let purged = world.publish("other", "purged", SMALL);
    world.finish();
    forget_versions(&world);
    world.index.purge_conversation(purged.id.conversation, world.now()).unwrap();
    let read = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let (reading, memory, key) = (read.clone(), world.bucket.clone(), purged.audio.key.clone());
    let hook = move |call: Call<'_>| match call.name {
        "stream_range" => {
            let is_purged = memory.head(&key).is_err();
            reading[usize::from(is_purged)].fetch_add(1, Ordering::Relaxed);
            let source = "the line was cut".into();
            Err(StoreError::Unavailable { at: call.at.to_owned(), source })
        }
        _ => Ok(()),
    };
    let bucket = Intercepted::<MemoryStore, _>::new(world.bucket.clone(), Before(hook));
    let options = UploaderConfig { retention: nothing_stays(), ..options(&world) };
    let uploader = Uploader::start(options, world.context(Arc::new(bucket))).unwrap();
    until("it is purged", || world.index.filed_recording(purged.id).unwrap().is_none());
    until("a copy was looked at", || read[1].load(Ordering::Relaxed) != 0);
    uploader.stop();
    assert_eq!(read[0].load(Ordering::Relaxed), 0);
    assert_eq!(world.index.copied_bytes().unwrap(), (SMALL + LARGE) as u64);
}
