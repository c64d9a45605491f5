//! What is done before a file is offered, and what happens where that cannot be done.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::Receiver;

use super::*;
use crate::spool::{Creator, Dropped, Spool, SpoolEvent, SpoolOptions, disk_log};

fn spool(settle: Duration) -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        settle,
        settle_after_rename: settle,
        max_upload_bytes: None,
        keep_free_bytes: 0,
        sync_on_close: false,
    };
    let spool = Spool::open(dir.path(), options).unwrap();
    (dir, spool)
}

fn ready(events: &Receiver<SpoolEvent>) -> Dropped {
    loop {
        if let SpoolEvent::Ready(dropped) = events.recv_timeout(Duration::from_secs(60)).unwrap() {
            return dropped;
        }
    }
}

fn drop_in(spool: &Spool, parent: InboxId, name: &str) -> InboxId {
    let creator = Creator { uid: 0, gid: 0, mode: 0o644, thread: 0 };
    let flags = libc::O_CREAT | libc::O_WRONLY;
    let (made, open) = spool.create(parent, OsStr::new(name), creator, flags).unwrap();
    open.file.write_all_at(b"sound", 0).unwrap();
    spool.release(&open);
    made.id
}

#[test]
fn bytes_and_names_reach_the_disk_before_the_mark_goes_and_the_mark_before_the_offer() {
    let (_dir, spool) = spool(Duration::from_millis(20));
    let then = disk_log::now();
    let events = spool.subscribe();
    let creator = Creator { uid: 0, gid: 0, mode: 0o755, thread: 0 };
    let folder = spool.make_directory(InboxId::ROOT, OsStr::new("standup"), creator).unwrap().id;
    let id = drop_in(&spool, folder, "a.wav");
    assert_eq!(ready(&events).id, id);
    let inner = &spool.keeper.inner;
    let disk_id = |id| inner.stat(id).unwrap().disk_id();
    let named =
        [("file", disk_id(id)), ("folder", disk_id(folder)), ("inbox", disk_id(InboxId::ROOT))];
    assert_eq!(
        disk_log::since(then, &named),
        [
            "file: receiving",
            "file: closed",
            "file: sync",
            "folder: sync",
            "inbox: sync",
            "file: no mark",
            "file: sync",
        ]
    );
    // The next one finds the way to it synced, all but the folder that it is new in.
    let second = drop_in(&spool, folder, "b.wav");
    assert_eq!(ready(&events).id, second);
    let named = [("folder", disk_id(folder)), ("inbox", disk_id(InboxId::ROOT))];
    assert_eq!(disk_log::since(then, &named), ["folder: sync", "inbox: sync", "folder: sync"]);
}

#[test]
fn what_is_closed_when_the_daemon_ends_is_brought_to_the_disk() {
    let (dir, spool) = spool(Duration::from_secs(3600));
    let then = disk_log::now();
    let id = drop_in(&spool, InboxId::ROOT, "a.wav");
    let disk_id = spool.keeper.inner.stat(id).unwrap().disk_id();
    drop(spool);
    let done = disk_log::since(then, &[("file", disk_id)]);
    assert_eq!(done[done.len() - 3..], ["file: sync", "file: no mark", "file: sync"]);
    drop(dir);
}

#[test]
fn a_file_that_cannot_be_read_is_tried_again_and_in_the_end_says_so() {
    let (dir, spool) = spool(Duration::from_millis(20));
    let events = spool.subscribe();
    let id = drop_in(&spool, InboxId::ROOT, "a.wav");
    // Too few descriptors are ours to bear, however often.
    let generation = spool.keeper.inner.table().file(id).unwrap().generation();
    let shortage = SpoolError::Disk(io::Error::from_raw_os_error(libc::EMFILE));
    for _ in 0..50 {
        spool.keeper.inner.postpone(id, generation, &shortage);
    }
    assert_eq!(ready(&events).id, id);
    let id = drop_in(&spool, InboxId::ROOT, "b.wav");
    let generation = spool.keeper.inner.table().file(id).unwrap().generation();
    let broken = SpoolError::Disk(io::Error::from_raw_os_error(libc::EIO));
    spool.keeper.inner.postpone(id, generation, &broken);
    assert_eq!(ready(&events).id, id, "once is no reason to give up");
    let id = drop_in(&spool, InboxId::ROOT, "c.wav");
    let settle_for_long = |file: &mut crate::spool::completeness::Completeness| {
        file.postponed(file.generation(), Duration::from_secs(3600), false)
    };
    let generation = {
        let mut table = spool.keeper.inner.table();
        let file = table.file_mut(id).unwrap();
        settle_for_long(file).unwrap();
        let generation = file.generation();
        table.set_alarm(id);
        generation
    };
    for _ in 0..MOST_FAILURES {
        spool.keeper.inner.postpone(id, generation, &broken);
        let mut table = spool.keeper.inner.table();
        let _ = table.file_mut(id).map(settle_for_long);
        table.set_alarm(id);
    }
    let note = std::fs::read_to_string(dir.path().join("inbox/c.wav.error.txt")).unwrap();
    assert!(note.contains("cannot be read") && note.contains("Input/output error"), "{note}");
}
