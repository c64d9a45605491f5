//! The uploader with its threads, over a bucket that goes and comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::hooked::hooked;
use super::world::{SIZES, SMALL, World, retention};
use crate::store::StoreError;
use crate::sync::{Lease, Now, Uploader, UploaderConfig, Watch, Writer};

pub(super) fn options(world: &World) -> UploaderConfig {
    UploaderConfig {
        uploads_at_once: 2,
        bytes_per_second: None,
        sizes: SIZES,
        retention: retention(),
        writer: world.dir.path().join("writer.id"),
    }
}

pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_bucket_that_is_away_at_the_start_is_filled_when_it_is_back() {
    let world = World::with_two();
    let is_away = Arc::new(AtomicBool::new(true));
    let away = is_away.clone();
    let hook = move |name: &str, _: bool| match away.load(Ordering::Relaxed) {
        true => Err(StoreError::Unavailable { at: name.to_owned(), source: "away".into() }),
        false => Ok(()),
    };
    let bucket = Arc::new(hooked(&world.bucket, hook));
    let uploader = Uploader::start(options(&world), world.context(bucket)).unwrap();
    let status = uploader.status().unwrap();
    assert_eq!(status.pending, 2);
    assert!(status.paused_because.is_some());
    is_away.store(false, Ordering::Relaxed);
    uploader.retry_now();
    until("everything has arrived", || world.index.pending_uploads(1).unwrap().is_empty());
    assert_eq!(uploader.status().unwrap().paused_because, None);
    world.check("");
    uploader.stop();
}

#[test]
fn a_writer_who_comes_later_holds_the_carrier_up_and_is_named() {
    let world = World::new();
    let is_away = Arc::new(AtomicBool::new(true));
    let away = is_away.clone();
    let hook = move |name: &str, _: bool| match away.load(Ordering::Relaxed) {
        true => Err(StoreError::Unavailable { at: name.to_owned(), source: "away".into() }),
        false => Ok(()),
    };
    let bucket = Arc::new(hooked(&world.bucket, hook));
    let uploader = Uploader::start(options(&world), world.context(bucket)).unwrap();
    let other = Writer { id: "other".to_owned(), host: "elsewhere".to_owned() };
    let lease =
        Lease::take(world.bucket.clone(), &other, &mut Watch::default(), Now::read()).unwrap();
    is_away.store(false, Ordering::Relaxed);
    world.publish("standup", "small", SMALL);
    uploader.retry_now();
    let why = || uploader.status().unwrap().paused_because.unwrap_or_default();
    until("the other one is named", || why().contains("elsewhere"));
    assert_eq!(world.in_bucket().len(), 0);
    lease.release(None);
    uploader.retry_now();
    until("everything has arrived", || world.index.pending_uploads(1).unwrap().is_empty());
    uploader.stop();
}
