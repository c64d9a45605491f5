//! What is published moves to the bucket by itself, over the doors that the daemon uses.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use common::{content, day, publish, quiet_spool, services_in, until};
use scribefs::fs::FsContext;
use scribefs::model::{Destination, Placement};
use scribefs::store::outbox::Sizes;
use scribefs::store::{Bucket, FlakyStore, MemoryStore, Store};
use scribefs::sync::{LeaseError, Retention, SyncContext, Uploader, UploaderConfig, UploaderError};

fn services(dir: &Path) -> FsContext {
    let services = services_in(dir, quiet_spool());
    services.index.set_destination(&Destination::Bucket { place: "s3://talks/".into() }).unwrap();
    services.index.set_needs_remote_scan(false).unwrap();
    services
}

fn context(services: &FsContext, bucket: Arc<dyn Bucket>) -> SyncContext {
    SyncContext {
        local: services.store.clone(),
        store: services.store.clone(),
        bucket,
        index: services.index.clone(),
        free_bytes: Arc::new(|| None),
        copied: Arc::new(|_| {}),
        health: Arc::default(),
        alarm: Arc::new(|| panic!("the index is sound")),
    }
}

fn options(dir: &Path) -> UploaderConfig {
    UploaderConfig {
        uploads_at_once: 4,
        bytes_per_second: None,
        sizes: Sizes { single_put_bytes: 40, part_bytes: 16 },
        retention: Retention {
            keeps_local: false,
            copied_bytes: u64::MAX,
            keep_free_bytes: 0,
            audio: None,
            trash: None,
        },
        writer: dir.join("writer.id"),
    }
}

fn start(dir: &Path, services: &FsContext, bucket: Arc<dyn Bucket>) -> Uploader {
    Uploader::start(options(dir), context(services, bucket)).unwrap()
}

/// Keys of recordings; what we put beside them is left out.
fn keys(store: &dyn Store) -> BTreeSet<String> {
    let found = store.list("").unwrap().into_iter().map(|found| found.key.to_string());
    found.filter(|key| !key.starts_with("_scribefs/")).collect()
}

fn wait_for_all(services: &FsContext) {
    until("everything is in the bucket", || {
        services.index.pending_uploads(1).unwrap().is_empty().then_some(())
    });
}

#[test]
fn what_is_published_before_and_after_the_start_arrives_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let services = services(dir.path());
    let bucket = Arc::new(MemoryStore::default());
    let before = publish(&services, "standup", day(2024, 1, 15), "before.wav");
    let uploader = start(dir.path(), &services, bucket.clone());
    for number in 0..10 {
        publish(&services, "weekly", day(2024, 1, 16), &format!("meeting-{number}.wav"));
    }
    wait_for_all(&services);
    assert_eq!(keys(bucket.as_ref()), keys(services.store.as_ref()));
    let audio = &before.audio;
    assert_eq!(bucket.get_range(&audio.key, 0..u64::MAX).unwrap(), content(&audio.key));
    assert_eq!(bucket.label(&audio.key).unwrap().fields["blake3"], audio.blake3);
    let row = services.index.recording(before.id).unwrap().unwrap();
    assert_eq!(row.placement, Placement::Stored);
    let status = uploader.status().unwrap();
    assert_eq!((status.pending, status.paused, status.paused_because), (0, 0, None));
    assert!(status.last_success.is_some() && status.last_error.is_none());
    assert_eq!(bucket.open_uploads(), Vec::<String>::new());
    uploader.stop();
}

#[test]
fn one_call_in_three_may_fail() {
    let dir = tempfile::tempdir().unwrap();
    let services = services(dir.path());
    let bucket = Arc::new(MemoryStore::default());
    let uploader =
        start(dir.path(), &services, Arc::new(FlakyStore::failing_every(3, bucket.clone())));
    for number in 0..3 {
        publish(&services, "weekly", day(2024, 1, 16), &format!("meeting-{number}.wav"));
    }
    wait_for_all(&services);
    assert_eq!(keys(bucket.as_ref()), keys(services.store.as_ref()));
    uploader.stop();
}

#[test]
fn a_second_writer_is_refused_until_the_first_has_ended() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let both = dirs.each_ref().map(|dir| services(dir.path()));
    let bucket = Arc::new(MemoryStore::default());
    let first = start(dirs[0].path(), &both[0], bucket.clone());
    let second = || Uploader::start(options(dirs[1].path()), context(&both[1], bucket.clone()));
    let refused = second();
    assert!(matches!(refused, Err(UploaderError::Lease(LeaseError::Held { .. }))));
    first.stop();
    second().unwrap().stop();
}
