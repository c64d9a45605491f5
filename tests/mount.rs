//! The mount itself: how it comes, what it says of itself, and how it goes.

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::Command;

use common::{World, day, names, until};
use serde_json::Value;

#[test]
fn the_root_shows_its_four_entries() {
    let Some(world) = World::new("the_root_shows_its_four_entries") else { return };
    assert_eq!(names(world.path("")), [".scribefs", "README.txt", "conversations", "inbox"]);
    let readme = fs::read_to_string(world.path("README.txt")).unwrap();
    assert!(readme.contains("inbox/"));
    assert_eq!(readme.len() as u64, fs::metadata(world.path("README.txt")).unwrap().len());
}

#[test]
fn the_mount_is_of_our_type_and_safe() {
    let Some(world) = World::new("the_mount_is_of_our_type_and_safe") else { return };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let place = world.options.mountpoint.to_str().unwrap();
    let line = mounts.lines().find(|line| line.contains(place)).unwrap();
    assert!(line.contains(" fuse.scribefs scribefs "), "{line}");
    for word in ["nosuid", "nodev", "noatime", "default_permissions"] {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn status_is_json_and_names_the_daemon() {
    let Some(world) = World::new("status_is_json_and_names_the_daemon") else { return };
    world.publish("standup", day(2024, 1, 15), "monday.wav");
    let text = fs::read(world.path(".scribefs/status.json")).unwrap();
    let status: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(status["pid"], std::process::id());
    assert_eq!(status["totals"]["recordings"], 1);
    let text = fs::read(world.path(".scribefs/storage.json")).unwrap();
    let storage: Value = serde_json::from_slice(&text).unwrap();
    assert!(storage["spool"]["available_bytes"].as_u64().unwrap() > 0);
    let metrics = fs::read_to_string(world.path(".scribefs/metrics")).unwrap();
    assert!(metrics.contains("\nscribefs_recordings 1\n"), "{metrics}");
}

#[test]
fn statfs_tells_of_the_disk_of_the_spool() {
    let Some(world) = World::new("statfs_tells_of_the_disk_of_the_spool") else { return };
    let output =
        Command::new("stat").args(["-f", "-c", "%S %b %a %l"]).arg(world.path("")).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let space = world.services.spool.space().unwrap();
    assert_eq!(numbers[0], u64::from(space.block_bytes));
    assert_eq!(numbers[1], space.blocks);
    assert!(numbers[2] > 0);
    assert_eq!(numbers[3], 255);
}

#[test]
fn events_come_as_they_happen() {
    let Some(world) = World::new("events_come_as_they_happen") else { return };
    let mut events = BufReader::new(File::open(world.path(".scribefs/events")).unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&events.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["event"], "mounted");
    // Long enough that the reader is sent away and comes back by itself.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(2500));
            world.publish("standup", day(2024, 1, 15), "monday.wav");
        });
        let published = next();
        assert_eq!(published["event"], "published");
        assert_eq!(published["folder"], "conversations/standup/2024/01/15");
    });
    // Who reads of it can see it.
    assert!(world.path("conversations/standup/2024/01/15/monday.srt").exists());
}

#[test]
fn a_killed_reader_of_events_is_let_go() {
    let Some(world) = World::new("a_killed_reader_of_events_is_let_go") else { return };
    let mut cat = Command::new("cat")
        .arg(world.path(".scribefs/events"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(cat.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("mounted"));
    cat.kill().unwrap();
    until("cat is gone", || cat.try_wait().unwrap());
}

#[test]
fn tail_follows_the_events() {
    let Some(world) = World::new("tail_follows_the_events") else { return };
    let mut tail = Command::new("tail")
        .args(["-n", "1", "-f"])
        .arg(world.path(".scribefs/events"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("mounted"));
    world.publish("standup", day(2024, 1, 15), "monday.wav");
    assert!(lines.next().unwrap().unwrap().contains("published"));
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn an_order_that_nobody_knows_is_refused() {
    let Some(world) = World::new("an_order_that_nobody_knows_is_refused") else { return };
    let control = world.path(".scribefs/control");
    let err = fs::write(&control, "dance\n").unwrap_err();
    assert_eq!(err.raw_os_error(), Some(libc::EINVAL));
    let err = fs::write(&control, "retry nothing.wav\n").unwrap_err();
    assert_eq!(err.raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn a_stopped_mount_leaves_an_empty_folder() {
    let Some(mut world) = World::new("a_stopped_mount_leaves_an_empty_folder") else { return };
    assert!(scribefs::fs::is_mounted(&world.options.mountpoint).unwrap());
    world.stop();
    assert!(!scribefs::fs::is_mounted(&world.options.mountpoint).unwrap());
    assert!(names(world.path("")).is_empty());
}

#[test]
fn an_outside_umount_ends_the_mount() {
    let Some(world) = World::new("an_outside_umount_ends_the_mount") else { return };
    scribefs::fs::unmount(&world.options.mountpoint).unwrap();
    world.mount().wait();
    assert!(scribefs::fs::unmount(&world.options.mountpoint).is_err());
}
