//! The disk of the index is full while recordings are uploaded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::hooked::hooked;
use super::threads::{options, until};
use super::world::World;
use crate::index::failing_disk::FailingDisk;
use crate::sync::SyncContext;
use crate::sync::Uploader;
use crate::sync::uploader::upload::UploadOutcome;

#[test]
fn a_disk_that_is_full_at_any_moment_costs_no_upload() {
    for at in 0.. {
        let disk = FailingDisk::healthy();
        let world = World::with_two_on(disk.open().unwrap());
        let calls = AtomicU64::new(0);
        let filling = disk.clone();
        let hook = |_: &str, is_over: bool| {
            if is_over && calls.fetch_add(1, Ordering::Relaxed) == at {
                filling.fill(true);
            }
            Ok(())
        };
        let bucket = hooked(&world.bucket, hook);
        let (mut held, mut was_full) = (None, false);
        while let Some(recording) = world.index.pending_uploads(1).unwrap().pop() {
            match world.carry(&bucket, recording, held.take(), &|| {}) {
                UploadOutcome::DiskFull(upload) => {
                    was_full = true;
                    disk.fill(false);
                    until("the index is open again", || world.index.pending_uploads(1).is_ok());
                    held = upload;
                }
                UploadOutcome::Waits { until, upload, .. } => {
                    world.jump_to(until);
                    held = Some(upload);
                }
                UploadOutcome::Stored | UploadOutcome::Overtaken | UploadOutcome::Stopped => {}
            }
        }
        drop(bucket);
        let context = format!("full from call {at} on");
        world.check(&context);
        assert_eq!(world.bucket.open_uploads(), Vec::<String>::new(), "{context}");
        if !was_full {
            assert!(20 < at, "{at} calls are too few to be all");
            break;
        }
    }
}

#[test]
fn a_full_disk_pauses_uploads_and_says_so_until_there_is_room() {
    let disk = FailingDisk::healthy();
    let world = World::with_two_on(disk.open().unwrap());
    let filling = disk.clone();
    let is_filled = AtomicBool::new(false);
    let hook = move |name: &str, is_over: bool| {
        if name == "put_part" && is_over && !is_filled.swap(true, Ordering::Relaxed) {
            filling.fill(true);
        }
        Ok(())
    };
    let bucket = Arc::new(hooked(&world.bucket, hook));
    let has_ended = Arc::new(AtomicBool::new(false));
    let alarmed = has_ended.clone();
    let alarm = Arc::new(move || alarmed.store(true, Ordering::Relaxed));
    let context = SyncContext { alarm, ..world.context(bucket) };
    let uploader = Uploader::start(options(&world), context).unwrap();
    let why = || uploader.status().ok().and_then(|it| it.paused_because).unwrap_or_default();
    until("the pause is told of", || why().contains("disk is full"));
    disk.fill(false);
    until("everything has arrived", || {
        world.index.pending_uploads(1).is_ok_and(|pending_uploads| pending_uploads.is_empty())
    });
    world.check("");
    assert_eq!(why(), "");
    assert!(!has_ended.load(Ordering::Relaxed), "the daemon was told to end");
    uploader.stop();
}
