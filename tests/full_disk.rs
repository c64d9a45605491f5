//! A disk that is full pauses the work and ends nothing: a real daemon whose state lies on a small disk.

mod running;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use running::{Running, obstacle, skip, speech};

/// Unmounts the small disk when everything else is gone.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok());
    }
}

fn start(test: &str) -> Option<(SmallDisk, Running, PathBuf)> {
    let Some(speech) = speech() else {
        skip(test, "the real recordings are not here (SCRIBEFS_SHARED)");
        return None;
    };
    if let Some(why) = obstacle() {
        skip(test, &why);
        return None;
    }
    let probe = tempfile::tempdir().unwrap();
    let mount = |at: &Path| {
        let options = ["-t", "tmpfs", "-o", "size=96m", "small"];
        Command::new("mount").args(options).arg(at).status().is_ok_and(|status| status.success())
    };
    if !mount(probe.path()) {
        skip(test, "no tmpfs can be mounted");
        return None;
    }
    drop(SmallDisk(probe.path().to_owned()));
    let variables = vec![("SCRIBEFS_KEEP_FREE_MB".to_owned(), "8".to_owned())];
    let mut disk = None;
    let running = Running::start_prepared(&[], variables, |state| {
        assert!(mount(state));
        disk = Some(SmallDisk(state.to_owned()));
    });
    let clip = speech.join("utterances/jfk.flac");
    Some((disk?, running, clip))
}

/// Writes until nothing fits any more; how much that was.
fn fill(path: &Path) -> u64 {
    let mut file = File::create(path).unwrap();
    let (mut written, mut piece) = (0, 1 << 16);
    while 0 < piece {
        match file.write(&vec![1; piece]) {
            Ok(bytes) => written += bytes as u64,
            Err(err) => {
                assert_eq!(err.raw_os_error(), Some(libc::ENOSPC), "{err}");
                piece /= 2;
            }
        }
    }
    written
}

#[test]
fn a_full_disk_pauses_the_work_and_it_goes_on_when_there_is_room() {
    let test = "a_full_disk_pauses_the_work_and_it_goes_on_when_there_is_room";
    let Some((disk, mut running, clip)) = start(test) else { return };
    if !clip.is_file() {
        skip(test, "utterances/jfk.flac is not among the recordings");
        return;
    }
    // Whoever writes into the inbox is stopped before what is kept is used up, root too.
    let big = running.inbox().join("big.bin");
    fill(&big);
    let free = Command::new("df").args(["--output=avail", "-B1"]).arg(&disk.0).output().unwrap();
    let free = String::from_utf8(free.stdout).unwrap();
    let free: u64 = free.lines().last().unwrap().trim().parse().unwrap();
    assert!((7 << 20) <= free, "{free} bytes are left of 8 MB");
    let refused = File::create(running.inbox().join("more.bin")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC));
    // What a file of `.scribefs` says may be a moment old.
    running.wait_for("the status to say so", || running.status()["disk_full"] == true);
    fs::remove_file(big).unwrap();

    // Somebody else fills the disk to the last byte while a recording is dropped.
    let dropped = running.inbox().join("jfk.flac");
    let mut file = File::create(&dropped).unwrap();
    file.write_all(&fs::read(clip).unwrap()).unwrap();
    let filler = disk.0.join("filler");
    fill(&filler);
    drop(file);
    running.wait_for("the recording to wait for room", || {
        running.status()["inbox"].as_array().unwrap().iter().any(|it| it["waits_for"] == "room")
    });
    // The mount goes on, and so does the index: it has kept room for itself.
    fs::metadata(running.root().join("conversations")).unwrap();
    fs::remove_file(&filler).unwrap();
    running.published(&dropped);
    let log = running.log();
    assert!(!log.contains("the daemon exits") && !log.contains("attempt 2"), "{log}");
    running.stop();
    drop(disk);
}
