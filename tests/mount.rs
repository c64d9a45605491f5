//! The mount itself: how it comes, what it says of itself, and how it goes.

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{World, day, names};
use scribefs::fs::{Liveness, Mount, MountError};
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
    let file = File::open(world.path(".scribefs/events")).unwrap();
    let mut events = BufReader::new(&file);
    let mut next = || {
        let mut line = String::new();
        while events.read_line(&mut line).unwrap() == 0 {
            wait_for_more(&file);
        }
        serde_json::from_str::<Value>(&line).unwrap()
    };
    assert_eq!(next()["event"], "mounted");
    std::thread::scope(|scope| {
        scope.spawn(|| world.publish("standup", day(2024, 1, 15), "monday.wav"));
        let published = next();
        assert_eq!(published["event"], "published");
        assert_eq!(published["folder"], "conversations/standup/2024/01/15");
    });
    // Who reads of it can see it.
    assert!(world.path("conversations/standup/2024/01/15/monday.srt").exists());
}

/// Waits at the end of the events until there are more.
fn wait_for_more(events: &File) {
    let mut poll = libc::pollfd { fd: events.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let patience = libc::c_int::try_from(common::PATIENCE.as_millis()).unwrap();
    // SAFETY: `poll` is one valid entry, and the call does not outlive it.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, patience) }, 1, "nothing has come");
}

/// Runs a program that must come to an end by itself; what it printed.
fn ends_well(program: &str, arguments: &[&OsStr]) -> Vec<u8> {
    let output = Command::new("timeout").arg("60").arg(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    output.stdout
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

#[test]
fn programs_that_copy_or_read_everything_come_to_an_end() {
    let test = "programs_that_copy_or_read_everything_come_to_an_end";
    let Some(world) = World::new(test) else { return };
    world.publish("standup", day(2024, 1, 15), "monday.wav");
    fs::write(world.path("inbox/notes.txt"), "needle").unwrap();
    let root = world.path("");
    let copies = tempfile::tempdir().unwrap();
    let to = |name: &str| copies.path().join(name);
    ends_well("cp", &["-r".as_ref(), root.as_ref(), to("cp-r").as_ref()]);
    ends_well("cp", &["-a".as_ref(), root.as_ref(), to("cp-a").as_ref()]);
    let archive = to("tar");
    let tar = ["cf", archive.to_str().unwrap(), "-C", root.to_str().unwrap(), "."];
    ends_well("tar", &tar.map(OsStr::new));
    fs::create_dir(to("untarred")).unwrap();
    ends_well("tar", &["xf".as_ref(), archive.as_ref(), "-C".as_ref(), to("untarred").as_ref()]);
    let mut all = vec!["cp-r", "cp-a", "untarred"];
    if has("rsync") {
        ends_well(
            "rsync",
            &["-a".as_ref(), world.path("").join("").as_ref(), to("rsync").as_ref()],
        );
        all.push("rsync");
    } else {
        common::skip(test, "there is no rsync");
    }
    for copy in all {
        let read = |name: &str| fs::read(to(copy).join(name)).unwrap();
        let status: Value = serde_json::from_slice(&read(".scribefs/status.json")).unwrap();
        assert_eq!(status["totals"]["recordings"], 1, "{copy}");
        serde_json::from_slice::<Value>(&read(".scribefs/storage.json")).unwrap();
        let metrics = String::from_utf8(read(".scribefs/metrics")).unwrap();
        assert!(metrics.contains("scribefs_inbox_failed_files 0\n"), "{copy}: {metrics}");
        assert!(String::from_utf8(read(".scribefs/events")).unwrap().contains("mounted"));
        assert_eq!(read("inbox/notes.txt"), b"needle");
        assert_eq!(names(to(copy).join("conversations/standup/2024/01/15")).len(), 6);
    }
    let found = ends_well("grep", &["-r".as_ref(), "needle".as_ref(), root.as_ref()]);
    assert!(String::from_utf8_lossy(&found).contains("inbox/notes.txt"));
    let files = ends_well("find", &[root.as_ref(), "-type".as_ref(), "f".as_ref()]);
    for file in String::from_utf8(files).unwrap().lines() {
        ends_well("sha256sum", &[file.as_ref()]);
        let bytes = fs::read(file).unwrap();
        assert!(
            file.ends_with("/events") || bytes.len() as u64 == fs::metadata(file).unwrap().len()
        );
    }
}

#[test]
fn a_status_file_keeps_its_size_and_time_while_it_is_copied() {
    let test = "a_status_file_keeps_its_size_and_time_while_it_is_copied";
    let Some(world) = World::new(test) else { return };
    let path = world.path(".scribefs/status.json");
    let before = fs::metadata(&path).unwrap();
    world.publish("standup", day(2024, 1, 15), "monday.wav");
    let mut file = File::open(&path).unwrap();
    let mut text = Vec::new();
    file.read_to_end(&mut text).unwrap();
    let after = file.metadata().unwrap();
    assert_eq!(text.len() as u64, before.len());
    assert_eq!(
        (after.len(), after.modified().unwrap()),
        (before.len(), before.modified().unwrap())
    );
    drop(file);
    // Whoever comes next gets what is true now.
    let status: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(status["totals"]["recordings"], 1);
}

#[test]
fn many_polls_of_a_reader_are_answered_by_one_event() {
    let Some(world) = World::new("many_polls_of_a_reader_are_answered_by_one_event") else {
        return;
    };
    let mut file = File::open(world.path(".scribefs/events")).unwrap();
    let mut text = Vec::new();
    file.read_to_end(&mut text).unwrap();
    for _ in 0..1000 {
        let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` is one valid entry, and the call does not outlive it.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 0) }, 0);
    }
    world.publish("standup", day(2024, 1, 15), "monday.wav");
    wait_for_more(&file);
    assert!(0 < file.read_to_end(&mut text).unwrap());
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
fn tail_follows_the_events_when_old_ones_are_forgotten() {
    let Some(world) = World::new("tail_follows_the_events_when_old_ones_are_forgotten") else {
        return;
    };
    let (out, said) = (world.dir.path().join("out"), world.dir.path().join("said"));
    let mut tail = Command::new("tail");
    tail.args(["-s", "0.05", "-n", "+1", "-f"]).arg(world.path(".scribefs/events"));
    tail.stdout(File::create(&out).unwrap()).stderr(File::create(&said).unwrap());
    let mut tail = tail.spawn().unwrap();
    // Half of a megabyte is forgotten at once, three times.
    let long = ["x".repeat(250), "y".repeat(250), "z".repeat(250)].join("/");
    fs::create_dir_all(world.path("inbox").join(&long)).unwrap();
    let mut bytes = 0;
    for number in 0.. {
        let path = world.path("inbox").join(&long).join(format!("{number}.wav"));
        fs::write(&path, "x").unwrap();
        fs::remove_file(&path).unwrap();
        let last = format!("/{number}.wav");
        if number % 100 == 0 {
            common::until("tail has it", || {
                let text = fs::read_to_string(&out).unwrap();
                bytes = text.len();
                text.lines().last().is_some_and(|line| line.contains(&last)).then_some(())
            });
        }
        if 5 << 19 < bytes {
            break;
        }
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
    let said = fs::read_to_string(&said).unwrap();
    assert_eq!(said, "");
    let text = fs::read_to_string(&out).unwrap();
    let mounted = text.lines().filter(|line| line.contains(r#""event":"mounted""#)).count();
    assert_eq!(mounted, 1, "it was read again from its start");
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

#[test]
fn what_is_closed_while_the_mount_ends_is_written_to_its_end() {
    let test = "what_is_closed_while_the_mount_ends_is_written_to_its_end";
    let Some(mut world) = World::new(test) else { return };
    let path = world.path("inbox/late.wav");
    let mut late = File::create(&path).unwrap();
    late.write_all(b"RIFF").unwrap();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| world.mount().stop());
        common::until("the mount to be detached", || {
            (!scribefs::fs::is_mounted(&world.options.mountpoint).unwrap()).then_some(())
        });
        late.write_all(b" and all the rest").unwrap();
        drop(late);
        stopping.join().unwrap();
    });
    world.remount();
    assert_eq!(fs::read(&path).unwrap(), b"RIFF and all the rest");
    assert_eq!(common::getxattr(&path, "user.scribefs.state").unwrap(), "settling");
}

#[test]
fn a_connection_that_has_ended_is_not_ended_again_when_its_number_is_anothers() {
    let test = "a_connection_that_has_ended_is_not_ended_again_when_its_number_is_anothers";
    let Some(mut first) = World::new(test) else { return };
    let connection = first.mount().connection();
    first.stop();
    // The kernel gives the number that has just become free to the next one.
    let Some(second) = World::new(test) else { return };
    connection.abort();
    assert_eq!(names(second.path("")), [".scribefs", "README.txt", "conversations", "inbox"]);
    assert_eq!(fs::read(second.path("README.txt")).unwrap()[..7], *b"Welcome");
    assert_eq!(scribefs::fs::liveness(&second.path("")), scribefs::fs::Liveness::Alive);
    // Its own is ended: every call fails.
    if common::is_root() {
        second.mount().connection().abort();
        assert_eq!(scribefs::fs::liveness(&second.path("")), scribefs::fs::Liveness::Dead);
    }
}

#[test]
fn a_dead_mount_is_replaced_by_one_of_two_daemons_and_the_other_is_told() {
    let test = "a_dead_mount_is_replaced_by_one_of_two_daemons_and_the_other_is_told";
    if !common::is_root() {
        return common::skip(test, "only root can end a connection");
    }
    let (Some(dead), Some(mut faster), Some(mut slower)) =
        (World::new(test), World::new(test), World::new(test))
    else {
        return;
    };
    for world in [&mut faster, &mut slower] {
        world.stop();
        world.options.mountpoint = dead.options.mountpoint.clone();
    }
    dead.mount().connection().abort();
    // The faster one comes after the slower one has found the mount dead.
    let (options, services) = (faster.options.clone(), faster.services.clone());
    let (this, has_come) = (thread::current().id(), AtomicBool::new(false));
    let mounted: Arc<Mutex<Option<Mount>>> = Arc::default();
    let slot = mounted.clone();
    let come = move || {
        if thread::current().id() == this && !has_come.swap(true, Ordering::Relaxed) {
            *slot.lock().unwrap() = Some(Mount::start(&options, &services).unwrap());
        }
    };
    fail::cfg_callback("mount-before-beneath", come).unwrap();
    let refused = Mount::start(&slower.options, &slower.services).err();
    fail::remove("mount-before-beneath");
    let mounted = mounted.lock().unwrap().take();
    if mounted.is_none() {
        return common::skip(test, "this kernel puts no mount below another");
    }
    assert!(matches!(refused, Some(MountError::InUse { .. })), "{refused:?}");
    let place = dead.options.mountpoint.to_str().unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(table.lines().filter(|line| line.contains(place)).count(), 1, "{table}");
    assert_eq!(scribefs::fs::liveness(&dead.options.mountpoint), Liveness::Alive);
    assert!(dead.path("README.txt").exists());
    mounted.unwrap().stop();
}
