//! A thousand recordings that wait for a bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;

use super::hooked::hooked;
use super::world::{SMALL, World};
use crate::model::{ConversationSeq, FileName};
use crate::store::{Bucket, BucketHealth, FlakyStore, StoreError};
use crate::sync::uploader::scheduler::{Next, Scheduler};
use crate::sync::uploader::upload::UploadOutcome;

/// A thousand recordings that wait, as cheap as can be.
fn a_thousand() -> World {
    let world = World::new();
    let recording = world.publish("standup", "first", SMALL);
    let conversation = world.index.conversation(ConversationSeq(1)).unwrap().unwrap();
    let transcript = world.index.filed_transcript(ConversationSeq(1), recording.id.day);
    let transcript = transcript.unwrap().unwrap();
    let told = (2..=1_000_u16).map(|number| {
        let mut other = recording.clone();
        other.id.number = number;
        other.stem = FileName::new(format!("other-{number}")).unwrap();
        other.published_at = recording.published_at + SignedDuration::from_secs(number.into());
        (conversation.clone(), other, transcript.clone())
    });
    world.index.adopt(told.collect()).unwrap();
    world
}

/// Four threads at once until then, over a bucket that takes nothing.
fn simulate(world: &World, bucket: &dyn Bucket, scheduler: &Scheduler, until: Duration) {
    loop {
        let mut going = Vec::new();
        let mut wait = None;
        while going.len() < 4 && wait.is_none() {
            match scheduler.turn(&world.index, world.both_clocks()).unwrap() {
                Next::Carry(recording, rested, ticket) => {
                    going.push((recording, rested, ticket));
                }
                Next::Wait { until, .. } => wait = Some(until.unwrap_or(Duration::MAX)),
                Next::Closed => panic!("nobody has closed it"),
            }
        }
        if going.is_empty() {
            let wake = wait.unwrap_or(until);
            if until <= wake {
                return;
            }
            world.jump_to_boot(wake);
        }
        for (recording, rested, ticket) in going {
            let id = recording.id;
            let carried = world.carry(bucket, *recording, rested, &|| {});
            assert!(matches!(carried, UploadOutcome::Waits { .. }), "{carried:?}");
            scheduler.done(id, &ticket, carried, world.both_clocks(), 1.0);
        }
    }
}

#[test]
fn a_thousand_that_wait_for_a_dead_bucket_make_few_requests() {
    let world = a_thousand();
    let dead = FlakyStore::failing_after(0, world.bucket.clone());
    let scheduler = Scheduler::default();
    let hour = world.both_clocks().boot + Duration::from_hours(1);
    simulate(&world, &dead, &scheduler, hour);
    assert!(dead.calls() < 40, "{} requests in an hour", dead.calls());
    assert!(scheduler.status(world.both_clocks()).away_until.is_some());
    assert_eq!(scheduler.status(world.both_clocks()).paused_because, None);
    // When it is back all go by themselves, within the longest wait, and the oldest first.
    world.jump_to_boot(hour);
    let soon = hour + Duration::from_mins(5);
    let arrived = arrivals(&world, world.bucket.as_ref(), &scheduler, soon, 20);
    let expected: Vec<u16> = (1..=20).collect();
    assert_eq!(arrived, expected);
}

/// The first `count` that arrive over a bucket that answers, none of which waits for longer than `until`.
fn arrivals(
    world: &World,
    bucket: &dyn Bucket,
    scheduler: &Scheduler,
    until: Duration,
    count: usize,
) -> Vec<u16> {
    let mut arrived = Vec::new();
    while arrived.len() < count {
        match scheduler.turn(&world.index, world.both_clocks()).unwrap() {
            Next::Carry(recording, rested, ticket) => {
                let id = recording.id;
                let carried = world.carry(bucket, *recording, rested, &|| {});
                assert!(matches!(carried, UploadOutcome::Stored), "{carried:?}");
                arrived.push(id.number);
                scheduler.done(id, &ticket, carried, world.both_clocks(), 1.0);
            }
            Next::Wait { until: wake, .. } => {
                let wake = wake.unwrap();
                assert!(wake <= until, "nobody goes before {wake:?}");
                world.jump_to_boot(wake);
            }
            Next::Closed => panic!("nobody has closed it"),
        }
    }
    arrived
}

#[test]
fn a_refusal_pauses_everybody_loudly_and_heals() {
    let world = a_thousand();
    let calls = AtomicU64::new(0);
    let hook = |name: &str, is_over: bool| {
        calls.fetch_add(u64::from(!is_over), Ordering::Relaxed);
        // Looking is allowed and writing is not, as a policy with a gap would have it.
        match name {
            "head" => Ok(()),
            _ => Err(StoreError::Refused { at: name.to_owned(), source: "access denied".into() }),
        }
    };
    let refusing = hooked(&world.bucket, hook);
    let health = Arc::<BucketHealth>::default();
    let scheduler = Scheduler::new(health.clone());
    let hour = world.both_clocks().boot + Duration::from_hours(1);
    simulate(&world, &refusing, &scheduler, hour);
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls < 60, "{calls} requests in an hour");
    let why = scheduler.status(world.both_clocks()).paused_because.unwrap();
    assert!(why.contains("access denied"), "{why}");
    assert!(0 < world.index.totals().unwrap().paused);
    assert!(health.is_well(), "readers are not held up by what uploads are refused");
    // Somebody has mended it and says so.
    scheduler.call();
    let now = world.both_clocks();
    assert_eq!(arrivals(&world, world.bucket.as_ref(), &scheduler, now.boot, 3), [1, 2, 3]);
    assert_eq!(scheduler.status(now).paused_because, None);
}

#[test]
fn readers_and_uploads_know_the_same_of_the_bucket() {
    let world = a_thousand();
    let dead = FlakyStore::failing_after(0, world.bucket.clone());
    let health = Arc::<BucketHealth>::default();
    let scheduler = Scheduler::new(health.clone());
    let hour = world.both_clocks().boot + Duration::from_hours(1);
    assert!(health.is_well());
    simulate(&world, &dead, &scheduler, hour);
    // Readers need not find out for themselves.
    assert!(!health.is_well());
    let waits =
        || matches!(scheduler.turn(&world.index, world.both_clocks()).unwrap(), Next::Wait { .. });
    assert!(waits() && scheduler.status(world.both_clocks()).away_until.is_some());
    // One of them is answered: nobody waits any longer.
    health.answered();
    assert!(!waits());
    assert_eq!(scheduler.status(world.both_clocks()).away_until, None);
}
