//! A mount that nobody answers any more and that cannot end: its daemon was killed while one of its threads waited in
//! the kernel for the lock of a folder, which is held by a program that waits for the daemon. It hangs nobody for long.

mod running;

use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use running::{Running, obstacle, signal, skip};

/// Longer than a command takes that asks a silent mount and gives up, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that was killed and cannot end, and the program that waits for its answer.
struct Silent {
    running: Running,
    daemon: i32,
    renaming: Child,
}

impl Silent {
    /// `None`, said aloud, where nothing can be mounted.
    fn new(test: &str, flags: &[&str]) -> Option<Self> {
        if let Some(why) = obstacle() {
            skip(test, &why);
            return None;
        }
        // The answer to a rename is held back: meanwhile the kernel is told that the old name is gone.
        let variables = vec![("FAILPOINTS".to_owned(), "fs-conversation-renamed=pause".to_owned())];
        let running = Running::start_prepared(flags, variables, import);
        let pid = running.status()["pid"].as_i64().unwrap();
        let daemon = i32::try_from(pid).unwrap();
        let conversations = running.root().join("conversations");
        let mut renaming = Command::new("mv");
        renaming.arg(conversations.join("standup")).arg(conversations.join("renamed"));
        let renaming = renaming.stderr(Stdio::null()).spawn().unwrap();
        running.wait_for("the kernel to be told", || is_stuck(daemon));
        signal(daemon, libc::SIGKILL);
        Some(Self { running, daemon, renaming })
    }

    /// Exit code and all that was said; fails where the command hangs.
    fn ends(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let said = self.running.dir.path().join("said");
        let out = File::create(&said).unwrap();
        let mut command = self.running.command();
        command.args(arguments).stdout(out.try_clone().unwrap()).stderr(out);
        let mut started = command.env_remove("FAILPOINTS").spawn().unwrap();
        self.wait_for(&format!("{arguments:?} to end"), || started.try_wait().unwrap().is_some());
        (started.wait().unwrap().code(), fs::read_to_string(&said).unwrap())
    }

    fn wait_for(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            if PATIENCE < begun.elapsed() {
                abort(&self.running.root());
                panic!("waited in vain for {what}: {}", self.running.log());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_until_over(&mut self) {
        let begun = Instant::now();
        while self.renaming.try_wait().unwrap().is_none() || !is_over(self.daemon) {
            assert!(begun.elapsed() < PATIENCE, "who waited for the daemon still waits");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Where it failed: nothing may wait for ever.
        abort(&self.running.root());
    }
}

/// One recording, without a transcription.
fn import(state: &Path) {
    let dir = state.parent().unwrap();
    let day = dir.join("old/standup/2024/01/15");
    fs::create_dir_all(&day).unwrap();
    fs::write(day.join("monday.wav"), "sound").unwrap();
    fs::write(day.join("monday.txt"), "Anna: Good morning.\nBen: Yes.\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scribefs"));
    command.args(["import", "old", "--state", "state"]).current_dir(dir).env("HOME", dir);
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
}

/// Whether the thread that tells the kernel of changes waits in it, and not to be woken by a signal.
fn is_stuck(daemon: i32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{daemon}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok()).any(|stat| {
        stat.contains("(fs-published)")
            && stat.rsplit_once(") ").is_some_and(|it| it.1.starts_with('D'))
    })
}

/// Whether nothing is left of it but what its parent has to be told.
fn is_over(daemon: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| {
        let threads = rest.split(' ').nth(17);
        rest.starts_with('Z') && matches!(threads, Some("0" | "1"))
    })
}

/// Lets go of all that waits on the mount.
fn abort(root: &Path) {
    let root = CString::new(root.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: `root` ends in NUL. Fails where nothing is mounted, which is what we want.
    unsafe { libc::umount2(root.as_ptr(), libc::MNT_FORCE | libc::MNT_DETACH) };
}

#[test]
fn the_supervisor_ends_a_daemon_that_was_killed_and_cannot_end() {
    let test = "the_supervisor_ends_a_daemon_that_was_killed_and_cannot_end";
    let Some(mut silent) = Silent::new(test, &["--supervise"]) else { return };
    silent.wait_until_over();
    let status = silent.running.root().join(".scribefs/status.json");
    silent.wait_for("another daemon", || status.exists());
    assert!(silent.running.root().join("conversations/renamed").exists());
    let log = silent.running.log();
    assert!(log.contains("was killed by signal 9"), "{log}");
}

#[test]
fn the_doctor_sees_a_silent_mount_and_mount_replaces_it() {
    let test = "the_doctor_sees_a_silent_mount_and_mount_replaces_it";
    let Some(mut silent) = Silent::new(test, &[]) else { return };
    let root = silent.running.root().display().to_string();
    let (code, text) = silent.ends(&["doctor"]);
    assert_eq!(code, Some(1), "{text}");
    let line = text.lines().find(|line| line.contains("no answer from"));
    assert!(line.is_some_and(|line| line.contains(&format!("the mount at {root}"))), "{text}");
    let (code, text) = silent.ends(&["mount", "mount", "--state", "state"]);
    assert_eq!(code, Some(0), "{text}");
    silent.wait_until_over();
    assert!(silent.running.root().join("conversations/renamed").exists());
    assert_eq!(silent.ends(&["umount", "mount"]).0, Some(0));
}

#[test]
fn umount_ends_a_silent_mount() {
    let test = "umount_ends_a_silent_mount";
    let Some(mut silent) = Silent::new(test, &[]) else { return };
    let (code, text) = silent.ends(&["umount", "mount"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!scribefs::fs::is_mounted(&silent.running.root()).unwrap());
    silent.wait_until_over();
}

#[test]
fn a_mount_that_is_only_slow_is_not_ended_because_another_daemon_cannot_end() {
    let test = "a_mount_that_is_only_slow_is_not_ended_because_another_daemon_cannot_end";
    let Some(mut silent) = Silent::new(test, &[]) else { return };
    let slow = Running::start(&[]);
    let daemon = i32::try_from(slow.status()["pid"].as_i64().unwrap()).unwrap();
    signal(daemon, libc::SIGSTOP);
    let mut command = slow.command();
    let mounted = command.args(["mount", "mount", "--state", "state"]).output().unwrap();
    signal(daemon, libc::SIGCONT);
    let text = String::from_utf8_lossy(&mounted.stderr).into_owned();
    assert!(!mounted.status.success() && text.contains("does not answer"), "{text}");
    assert_eq!(slow.status()["pid"].as_i64(), Some(i64::from(daemon)));
    assert_eq!(silent.ends(&["umount", "mount"]).0, Some(0));
    silent.wait_until_over();
}
