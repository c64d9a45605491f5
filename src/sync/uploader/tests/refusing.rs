//! One object that refuses keeps nothing else waiting.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::hooked::hooked;
use super::world::{SMALL, World, retention};
use crate::model::{Key, Recording};
use crate::store::{Bucket, Call, Intercepted, Interceptor, Label, Store, StoreError};
use crate::sync::eviction::Retention;
use crate::sync::purge::{self, PurgeContext};
use crate::sync::refusals::Refusals;
use crate::sync::tests::evict;
use crate::sync::uploader::maintenance::give_up_uploads;

/// Refuses some calls at one key.
struct Refusing {
    calls: &'static [&'static str],
    at: String,
}

impl Interceptor for Refusing {
    type Passed = ();

    fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        match self.calls.contains(&call.name) && call.at == self.at {
            true => Err(StoreError::Refused { at: self.at.clone(), source: "locked".into() }),
            false => Ok(()),
        }
    }
}

fn refusing(world: &World, calls: &'static [&'static str], at: &Key) -> Arc<dyn Bucket> {
    Arc::new(Intercepted::new(world.bucket.clone(), Refusing { calls, at: at.to_string() }))
}

#[test]
fn a_copy_whose_object_is_refused_keeps_no_other_from_making_room() {
    let world = World::with_two();
    world.finish();
    let [small, large] = world.all().try_into().unwrap();
    let nothing = Retention { copied_bytes: 0, ..retention() };
    let context = world.context(refusing(&world, &["facts"], &small.audio.key));
    assert_eq!(evict(&context, &nothing, world.now()).unwrap(), 1);
    assert!(world.local.head(&small.audio.key).is_ok());
    assert!(world.local.head(&large.audio.key).is_err());
    // The day after it is asked for again.
    let context = world.context(world.bucket.clone());
    assert_eq!(evict(&context, &nothing, world.now()).unwrap(), 0);
    let later = world.now() + SignedDuration::from_hours(25);
    assert_eq!(evict(&context, &nothing, later).unwrap(), 1);
}

#[test]
fn a_bucket_that_refuses_everything_leaves_all_copies_to_be_looked_at_again() {
    let world = World::with_two();
    world.finish();
    let nothing = Retention { copied_bytes: 0, ..retention() };
    let refuse = |_: &str, _: bool| {
        Err(StoreError::Refused { at: String::new(), source: "expired keys".into() })
    };
    let context = world.context(Arc::new(hooked(&world.bucket, refuse)));
    assert!(evict(&context, &nothing, world.now()).is_err());
    let context = world.context(world.bucket.clone());
    assert_eq!(evict(&context, &nothing, world.now()).unwrap(), 2);
}

#[test]
fn an_upload_that_cannot_be_given_up_keeps_no_other_open() {
    let world = World::new();
    let keys = ["a/2024/01/15/x.wav", "a/2024/01/15/y.wav"].map(|key| Key::new(key).unwrap());
    for key in &keys {
        let upload = world.bucket.begin_upload(key, &Label::default()).unwrap();
        world.index.remember_upload(&upload, key).unwrap();
    }
    let refusals = Refusals::default();
    let first = world.index.uploads().unwrap().remove(0).1;
    let context = world.context(refusing(&world, &["abort_upload"], &first));
    give_up_uploads(&context, &refusals, world.now()).unwrap();
    assert_eq!(world.index.uploads().unwrap().len(), 1);
    give_up_uploads(&world.context(world.bucket.clone()), &Refusals::default(), world.now())
        .unwrap();
    assert_eq!(world.index.uploads().unwrap(), []);
}

#[test]
fn what_cannot_be_removed_for_good_keeps_nothing_else_in_the_trash() {
    let world = World::with_two();
    let kept = world.publish("other", "kept", SMALL);
    let third = world.publish("third", "third", SMALL);
    world.finish();
    let [small, large, _, _]: [Recording; 4] = world.all().try_into().unwrap();
    let at = world.now();
    let refusals = Refusals::default();
    for conversation in [kept.id.conversation, third.id.conversation] {
        world.index.trash_conversation(conversation, at).unwrap();
    }
    let day = Duration::from_hours(24);
    let empty = |bucket: Arc<dyn Bucket>, hours: i64| {
        let now = at + SignedDuration::from_hours(hours);
        let context = world.context(bucket);
        purge::empty(
            PurgeContext::of(&context, &world.changes, &refusals),
            day,
            &|_| false,
            now,
            day,
        )
        .unwrap()
    };
    assert_eq!(empty(world.bucket.clone(), 1), 0);
    assert_eq!(empty(refusing(&world, &["delete"], &kept.audio.key), 25), 1);
    assert!(world.bucket.head(&third.audio.key).is_err());
    assert!(world.bucket.head(&kept.audio.key).is_ok());
    assert_eq!(empty(world.bucket.clone(), 51), 1);
    assert!(world.bucket.head(&kept.audio.key).is_err());

    world.index.trash_recording(small.id, at).unwrap();
    world.publish("standup", "fourth", SMALL);
    world.index.trash_recording(large.id, at).unwrap();
    assert_eq!(empty(world.bucket.clone(), 52), 0);
    assert_eq!(empty(refusing(&world, &["delete"], &small.audio.key), 77), 0);
    assert!(world.bucket.head(&large.audio.key).is_err());
    assert!(world.bucket.head(&small.audio.key).is_ok());
}
