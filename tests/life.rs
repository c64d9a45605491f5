//! The daemon's life: how it starts, what it allows itself, how it ends, and who starts it again.

mod running;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use running::{Running, looks_broken, obstacle, signal, skip};

/// A daemon in the foreground, or `None`, said aloud, where there can be none.
fn daemon(test: &str, flags: &[&str]) -> Option<Running> {
    if let Some(why) = obstacle() {
        skip(test, &why);
        return None;
    }
    Some(Running::start(flags))
}

fn is_root() -> bool {
    // SAFETY: only reads a number.
    unsafe { libc::geteuid() == 0 }
}

fn is_mounted(path: &Path) -> bool {
    scribefs::fs::is_mounted(path).unwrap()
}

/// The process that serves the mount, which is a child of the one that was started where that is a supervisor.
fn served_by(running: &Running) -> Option<i32> {
    let text = fs::read(running.root().join(".scribefs/status.json")).ok()?;
    let status: serde_json::Value = serde_json::from_slice(&text).ok()?;
    i32::try_from(status["pid"].as_i64()?).ok()
}

/// Waits until another process than `before` serves the mount.
fn successor_of(before: i32, running: &Running) -> i32 {
    let mut found = None;
    running.wait_for("another daemon", || {
        found = served_by(running).filter(|pid| *pid != before);
        found.is_some()
    });
    found.unwrap()
}

fn has_ended(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn scribefs(running: &Running, arguments: &[&str]) -> (Option<i32>, String) {
    let output = running.command().args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Files and folders below `path`, with those of their mode bits that let others in.
fn open_to_others(path: &Path) -> Vec<String> {
    let mode = fs::symlink_metadata(path).unwrap().permissions().mode();
    let mut found = Vec::new();
    if mode & 0o077 != 0 {
        found.push(format!("{} {:o}", path.display(), mode & 0o7777));
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(open_to_others(&entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn a_killed_daemon_is_started_again_over_its_dead_mount() {
    let test = "a_killed_daemon_is_started_again_over_its_dead_mount";
    let Some(mut running) = daemon(test, &["--supervise"]) else { return };
    let first = served_by(&running).unwrap();
    assert_ne!(u32::try_from(first).unwrap(), running.pid(), "there is no supervisor");
    fs::write(running.inbox().join("notes.txt"), "kept").unwrap();
    signal(first, libc::SIGKILL);
    let second = successor_of(first, &running);
    assert_eq!(fs::read_to_string(running.inbox().join("notes.txt")).unwrap(), "kept");
    assert!(running.log().contains("was killed by signal 9"), "{}", running.log());
    // Who asks the supervisor to end, asks the daemon.
    assert_eq!(running.stop(), Some(0));
    assert!(has_ended(second));
    assert!(!is_mounted(&running.root()));
}

#[test]
fn a_panic_ends_the_daemon_and_the_mount_answers_again() {
    let test = "a_panic_ends_the_daemon_and_the_mount_answers_again";
    let Some(running) = daemon(test, &["--supervise"]) else { return };
    let first = served_by(&running).unwrap();
    // Known to builds with debug assertions only. The thread that answers us dies.
    let written = fs::write(running.root().join(".scribefs/control"), "panic\n");
    if written.as_ref().is_err_and(|err| err.raw_os_error() == Some(libc::EINVAL)) {
        return skip(test, "this build has no way to panic on purpose");
    }
    successor_of(first, &running);
    let log = running.log();
    // The supervisor repeats the reason beside the signal.
    let line = log.lines().find(|line| line.contains("was killed by signal 6")).unwrap_or_default();
    assert!(line.contains("because its thread `fuser-"), "{log}");
}

#[test]
fn a_connection_that_breaks_is_no_wish_to_end() {
    let test = "a_connection_that_breaks_is_no_wish_to_end";
    if !is_root() {
        return skip(test, "only root can end a connection");
    }
    let Some(running) = daemon(test, &["--supervise"]) else { return };
    let first = served_by(&running).unwrap();
    scribefs::fs::end_silent(&running.root()).unwrap();
    successor_of(first, &running);
    let log = running.log();
    let line = log.lines().find(|line| line.contains("restarting it")).unwrap_or_default();
    assert!(line.contains("because its connection to the kernel has ended"), "{log}");
}

#[test]
fn a_limit_on_the_size_of_files_does_not_end_the_daemon() {
    let test = "a_limit_on_the_size_of_files_does_not_end_the_daemon";
    let Some(mut running) = daemon(test, &[]) else { return };
    running.stop();
    let mut command = running.command();
    command.args(["mount", "mount", "--state", "state", "--foreground"]).stderr(Stdio::null());
    // SAFETY: setrlimit may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: 16 << 20, rlim_max: 16 << 20 };
            libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
            Ok(())
        });
    }
    let mut started = command.spawn().unwrap();
    running.wait_for("the mount to answer", || served_by(&running).is_some());
    let serving = served_by(&running);
    // Laid out by the daemon, whoever asks for it.
    let file = File::create(running.inbox().join("large.bin")).unwrap();
    let laid_out = file.set_len(64 << 20);
    assert_eq!(laid_out.map_err(|err| err.raw_os_error()), Err(Some(libc::EFBIG)));
    drop(file);
    assert_eq!(served_by(&running), serving);
    let root = running.root();
    assert_eq!(scribefs(&running, &["umount", root.to_str().unwrap()]).0, Some(0));
    started.wait().unwrap();
}

#[test]
fn a_daemon_that_dies_again_and_again_is_given_up_and_looks_broken() {
    let test = "a_daemon_that_dies_again_and_again_is_given_up_and_looks_broken";
    let Some(running) = daemon(test, &["--supervise"]) else { return };
    let supervisor = i32::try_from(running.pid()).unwrap();
    let mut serving = served_by(&running).unwrap();
    for _ in 0..5 {
        signal(serving, libc::SIGKILL);
        serving = successor_of(serving, &running);
    }
    signal(serving, libc::SIGKILL);
    running.wait_for("the supervisor to give up", || has_ended(supervisor));
    assert!(looks_broken(&running.root()));
    assert!(running.log().contains("giving up"), "{}", running.log());
}

#[test]
fn an_unmounted_mount_stays_unmounted() {
    let test = "an_unmounted_mount_stays_unmounted";
    let Some(running) = daemon(test, &["--supervise"]) else { return };
    let supervisor = i32::try_from(running.pid()).unwrap();
    let serving = served_by(&running).unwrap();
    let root = running.root();
    assert_eq!(scribefs(&running, &["umount", root.to_str().unwrap()]).0, Some(0));
    assert!(has_ended(serving));
    running.wait_for("the supervisor to end", || has_ended(supervisor));
    assert!(!is_mounted(&root));
}

#[test]
fn the_daemon_may_open_all_that_it_may_and_leaves_no_core() {
    let test = "the_daemon_may_open_all_that_it_may_and_leaves_no_core";
    let Some(running) = daemon(test, &[]) else { return };
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.pid())).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let mut words = line[name.len()..].split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    };
    let (soft, hard) = limit("Max open files");
    assert_eq!(soft, hard);
    assert_eq!(limit("Max core file size"), ("0".to_owned(), "0".to_owned()));
}

#[test]
fn a_hardened_process_lets_nobody_into_its_memory() {
    // SAFETY: the child makes system calls only, and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_hardened = scribefs::daemon::harden().is_ok();
        // SAFETY: takes numbers only, and `_exit` ends the child.
        unsafe {
            let dumpable = libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0);
            libc::_exit(if is_hardened && dumpable == 0 { 0 } else { 1 });
        }
    }
    let mut status = -1;
    // SAFETY: `status` has room for one number.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
}

#[test]
fn what_was_open_when_the_daemon_was_started_is_closed() {
    let test = "what_was_open_when_the_daemon_was_started_is_closed";
    let Some(mut running) = daemon(test, &[]) else { return };
    running.stop();
    let secret = running.dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    for extra in [&["--foreground"][..], &[]] {
        let file = File::open(&secret).unwrap();
        let mut command = running.command();
        command.args(["mount", "mount", "--state", "state"]).args(extra);
        command.stderr(Stdio::null());
        // SAFETY: dup2 may be called between fork and exec; the copy is not closed by exec.
        unsafe {
            command.pre_exec(move || {
                match libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&file), 77) {
                    -1 => Err(std::io::Error::last_os_error()),
                    _ => Ok(()),
                }
            });
        }
        let mut started = command.spawn().unwrap();
        running.wait_for("the mount to answer", || served_by(&running).is_some());
        let pid = served_by(&running).unwrap();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
            assert_ne!(target, secret, "{extra:?}");
        }
        let root = running.root();
        assert_eq!(scribefs(&running, &["umount", root.to_str().unwrap()]).0, Some(0));
        started.wait().unwrap();
    }
}

#[test]
fn nobody_else_can_read_what_a_command_writes() {
    let test = "nobody_else_can_read_what_a_command_writes";
    let Some(mut running) = daemon(test, &[]) else { return };
    running.stop();
    let state = running.dir.path().join("private");
    let folder = "old/standup/2024/01/15";
    fs::create_dir_all(running.dir.path().join(folder)).unwrap();
    fs::write(running.dir.path().join(folder).join("monday.wav"), "sound").unwrap();
    fs::write(running.dir.path().join(folder).join("monday.txt"), "Anna: Good morning.\n").unwrap();
    for arguments in [
        &["import", "old"][..],
        &["fsck"],
        &["reindex"],
        &["gc"],
        &["mount", "mount"],
        &["mount", "mount", "--foreground"],
    ] {
        // As an administrator makes it, and as it was left by versions that let others in.
        fs::create_dir_all(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = running.command();
        command.args(arguments).args(["--state", "private"]).stdout(Stdio::null());
        command.stderr(Stdio::null());
        // SAFETY: umask may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::umask(0);
                Ok(())
            });
        }
        let mut started = command.spawn().unwrap();
        if arguments[0] == "mount" {
            running.wait_for("the mount to answer", || served_by(&running).is_some());
            fs::write(running.inbox().join("notes.txt"), "x").unwrap();
            fs::remove_file(running.inbox().join("notes.txt")).unwrap();
            let root = running.root();
            assert_eq!(scribefs(&running, &["umount", root.to_str().unwrap()]).0, Some(0));
        }
        started.wait().unwrap();
        assert_eq!(open_to_others(&state), Vec::<String>::new(), "{arguments:?}");
    }
}

#[test]
fn a_command_after_umount_finds_the_state_free() {
    let test = "a_command_after_umount_finds_the_state_free";
    let Some(mut running) = daemon(test, &[]) else { return };
    running.stop();
    let root = running.root();
    let root = root.to_str().unwrap();
    for round in 0..3 {
        let mounted = scribefs(&running, &["mount", root, "--state", "state"]);
        assert_eq!(mounted.0, Some(0), "round {round}: {}", mounted.1);
        assert_eq!(scribefs(&running, &["umount", root]).0, Some(0));
    }
    let checked = scribefs(&running, &["fsck", "--state", "state"]);
    assert_eq!(checked.0, Some(0), "{}", checked.1);
    // And one that does not wait is waited for by what comes next.
    assert_eq!(scribefs(&running, &["mount", root, "--state", "state"]).0, Some(0));
    assert_eq!(scribefs(&running, &["umount", root, "--no-wait"]).0, Some(0));
    let checked = scribefs(&running, &["fsck", "--state", "state"]);
    assert_eq!(checked.0, Some(0), "{}", checked.1);
}

#[test]
fn a_shell_that_stands_in_the_mount_does_not_keep_umount_from_ending_it() {
    let test = "a_shell_that_stands_in_the_mount_does_not_keep_umount_from_ending_it";
    let Some(running) = daemon(test, &[]) else { return };
    let serving = served_by(&running).unwrap();
    let mut shell = Command::new("sleep").arg("1000").current_dir(running.inbox()).spawn().unwrap();
    let root = running.root();
    let unmounted = scribefs(&running, &["umount", root.to_str().unwrap()]);
    let is_over = has_ended(serving);
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert_eq!(unmounted.0, Some(0), "{}", unmounted.1);
    assert!(is_over);
}

#[test]
fn the_daemon_ends_although_a_file_is_held_open() {
    let test = "the_daemon_ends_although_a_file_is_held_open";
    let Some(mut running) = daemon(test, &[]) else { return };
    let held = File::open(running.root().join("README.txt")).unwrap();
    assert_eq!(running.stop(), Some(0));
    assert!(!is_mounted(&running.root()));
    drop(held);
}

#[test]
fn the_daemon_leaves_alone_what_somebody_else_has_mounted_at_its_place() {
    let test = "the_daemon_leaves_alone_what_somebody_else_has_mounted_at_its_place";
    if !is_root() {
        return skip(test, "only root can mount something else");
    }
    let Some(mut running) = daemon(test, &[]) else { return };
    let held = File::open(running.root().join("README.txt")).unwrap();
    let root = running.root();
    let run = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).arg(&root).status().unwrap().success()
    };
    assert!(run("umount", &["-l"]));
    assert!(run("mount", &["-t", "tmpfs", "strangers"]));
    fs::write(root.join("stranger"), "x").unwrap();
    running.stop();
    let is_there = root.join("stranger").exists();
    run("umount", &[]);
    assert!(is_there, "the other mount is gone");
    drop(held);
}

#[test]
fn a_signal_while_the_daemon_starts_leaves_no_dead_mount() {
    let test = "a_signal_while_the_daemon_starts_leaves_no_dead_mount";
    let Some(mut running) = daemon(test, &[]) else { return };
    running.stop();
    let path = |name: &str| running.dir.path().join(name);
    type Stage<'a> = (&'a str, Box<dyn Fn() -> bool + 'a>);
    let stages: [Stage<'_>; 4] = [
        ("it runs", Box::new(|| true)),
        ("it has an index", Box::new(|| path("fresh/index.redb").exists())),
        ("it has a spool", Box::new(|| path("fresh/spool/inbox").exists())),
        ("it is mounted", Box::new(|| is_mounted(&path("mount")))),
    ];
    for (stage, is_reached) in &stages {
        let _ = fs::remove_dir_all(path("fresh"));
        let mut command = running.command();
        command.args(["mount", "mount", "--state", "fresh", "--foreground"]);
        let mut started: Child = command.stderr(Stdio::piped()).spawn().unwrap();
        running.wait_for(stage, || is_reached() || started.try_wait().unwrap().is_some());
        signal(i32::try_from(started.id()).unwrap(), libc::SIGTERM);
        started.wait().unwrap();
        let mut said = String::new();
        started.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!is_mounted(&path("mount")), "when {stage}: {said}");
    }
}

#[test]
fn all_threads_that_are_counted_are_there() {
    let test = "all_threads_that_are_counted_are_there";
    let Some(running) = daemon(test, &[]) else { return };
    // A thread has its name a moment after it was started, and others end meanwhile.
    let names = || -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap();
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
        tasks.filter_map(|task| name(task.ok()?)).collect()
    };
    let source = include_str!("../src/daemon/thread_check.rs");
    let counted = source.split("ALWAYS: ").nth(1).unwrap().split("];").next().unwrap();
    let counted: Vec<&str> = counted.split('"').skip(1).step_by(2).collect();
    assert!(5 < counted.len());
    for name in counted {
        running.wait_for(&format!("a thread `{name}`"), || {
            names().iter().any(|it| it.starts_with(name))
        });
    }
}

#[test]
fn a_log_that_was_moved_away_is_begun_anew() {
    let test = "a_log_that_was_moved_away_is_begun_anew";
    let Some(mut running) = daemon(test, &[]) else { return };
    running.stop();
    let root = running.root();
    let root = root.to_str().unwrap();
    let mounted = scribefs(&running, &["mount", root, "--state", "state"]);
    assert_eq!(mounted.0, Some(0), "{}", mounted.1);
    let log = running.dir.path().join("state/daemon.log");
    fs::rename(&log, running.dir.path().join("state/daemon.log.old")).unwrap();
    signal(served_by(&running).unwrap(), libc::SIGHUP);
    running.wait_for("a new log", || fs::read_to_string(&log).is_ok_and(|it| !it.is_empty()));
    assert!(served_by(&running).is_some(), "SIGHUP must not end the daemon");
    assert_eq!(scribefs(&running, &["umount", root]).0, Some(0));
}

#[test]
fn a_mountpoint_that_overlaps_a_folder_of_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("talks")).unwrap();
    std::os::unix::fs::symlink("talks", dir.path().join("link")).unwrap();
    for arguments in [
        &["talks", "--state", "talks/.state"][..],
        &["talks", "--state", "talks"],
        &["talks", "--state", "link/state"],
        &["link", "--state", "talks/state"],
        &["talks/sub", "--state", "talks"],
        &["talks", "--state", "s", "--store", "./talks/../talks/out"],
        &["talks", "--state", "s", "--models", "talks/models"],
        &["talks", "--state", "s", "--watch", "."],
        &["talks", "--state", "s", "--watch", "talks/in"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scribefs"));
        command.arg("mount").args(arguments).current_dir(dir.path()).env("HOME", dir.path());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("the mountpoint "), "{arguments:?}: {said}");
        assert!(!dir.path().join("talks/.state").exists());
        assert!(!is_mounted(&dir.path().join("talks")));
    }
}

#[test]
fn folders_of_ours_that_lie_within_each_other_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("state/spool/inbox")).unwrap();
    std::os::unix::fs::symlink("state/spool", dir.path().join("link")).unwrap();
    for (arguments, wanted) in [
        (&["--store", "state/spool/inbox/kept"][..], "folder of the inbox"),
        (&["--store", "link/inbox"], "folder of the inbox"),
        (&["--store", "state"], "state folder"),
        (&["--store", "state/cache"], "cache"),
        (&["--models", "state/spool"], "folder of the inbox"),
    ] {
        for command in [&["mount", "talks"][..], &["fsck"], &["reindex"]] {
            let mut said = Command::new(env!("CARGO_BIN_EXE_scribefs"));
            said.args(command).args(["--state", "state"]).args(arguments);
            let output = said.current_dir(dir.path()).env("HOME", dir.path()).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            // Models are of no use to those.
            if command.len() == 1 && arguments[0] == "--models" {
                continue;
            }
            assert_eq!(output.status.code(), Some(1), "{command:?} {arguments:?}: {said}");
            assert!(said.contains(wanted), "{command:?} {arguments:?}: {said}");
            assert!(said.contains(arguments[0]), "{command:?} {arguments:?}: {said}");
        }
    }
}

#[test]
fn a_state_folder_in_the_inbox_of_another_mount_is_refused() {
    let test = "a_state_folder_in_the_inbox_of_another_mount_is_refused";
    let Some(running) = daemon(test, &[]) else { return };
    for arguments in [
        ["other", "--state", "mount/inbox/state"],
        ["other", "--store", "mount/inbox/kept"],
        ["mount/inbox/other", "--state", "fresh"],
    ] {
        let mut command = running.command();
        command.arg("mount").args(arguments).env("HOME", running.dir.path());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("is inside the scribefs mounted at"), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read_dir(running.inbox()).unwrap().count(), 0);
}

#[test]
fn one_daemon_at_a_time_writes_to_a_local_store() {
    let test = "one_daemon_at_a_time_writes_to_a_local_store";
    let Some(mut running) = daemon(test, &["--store", "kept"]) else { return };
    let other = ["mount", "other", "--state", "fresh", "--store", "kept"];
    let pid = running.pid();
    for command in [&other[..], &["fsck", "--state", "fresh", "--store", "kept"]] {
        fs::create_dir_all(running.dir.path().join("fresh")).unwrap();
        let (code, said) = scribefs(&running, command);
        assert_eq!(code, Some(1), "{command:?}: {said}");
        let wanted = format!("another scribefs (process {pid}) writes to it");
        assert!(said.contains(&wanted) && said.contains("--store"), "{command:?}: {said}");
        // A lost index is not made anew of a store that somebody writes to.
        assert!(!running.dir.path().join("fresh/index.redb").exists());
    }
    assert!(!is_mounted(&running.dir.path().join("other")));
    // The kernel lets go of it, however the daemon ends.
    running.kill();
    let (code, said) = scribefs(&running, &other);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(scribefs(&running, &["umount", "other"]).0, Some(0));
    let (code, said) = scribefs(&running, &["fsck", "--state", "fresh", "--store", "kept"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_mount_hides_files_only_when_that_is_wanted() {
    let test = "a_mount_hides_files_only_when_that_is_wanted";
    let Some(mut running) = daemon(test, &[]) else { return };
    running.stop();
    fs::write(running.root().join("old.m4a"), "x").unwrap();
    let root = running.root();
    let root = root.to_str().unwrap();
    let (code, said) = scribefs(&running, &["mount", root, "--state", "state"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is not empty") && said.contains("--nonempty"), "{said}");
    for wanted in [&["--nonempty"][..], &["-o", "nonempty"]] {
        let arguments = [&["mount", root, "--state", "state"][..], wanted].concat();
        let (code, said) = scribefs(&running, &arguments);
        assert_eq!(code, Some(0), "{said}");
        assert!(!running.root().join("old.m4a").exists());
        assert_eq!(scribefs(&running, &["umount", root]).0, Some(0));
        assert!(running.root().join("old.m4a").exists());
    }
}

#[test]
fn what_is_written_below_the_mount_is_reported() {
    let test = "what_is_written_below_the_mount_is_reported";
    if !is_root() || Command::new("unshare").arg("--version").output().is_err() {
        return skip(test, "it takes root, and `unshare`, to write there");
    }
    let Some(running) = daemon(test, &[]) else { return };
    assert_eq!(running.status()["hidden"], 0);
    // As a container that was started before the mount: it does not see it.
    let write = "umount -l mount && mkdir mount/inbox && echo lost > mount/inbox/notes.txt";
    let mut container = Command::new("unshare");
    container.args(["--mount", "sh", "-c", write]).current_dir(running.dir.path());
    assert!(container.status().unwrap().success());
    running.wait_for("it to be found", || running.status()["hidden"] == 1);
    assert_eq!(running.status()["hidden_first"], "inbox");
    let (code, said) = scribefs(&running, &["doctor"]);
    let root = running.root().display().to_string();
    let line = said.lines().find(|line| line.contains("hidden below the mount at"));
    assert_eq!(code, Some(1));
    assert!(line.is_some_and(|it| it.contains(&root) && it.contains("`inbox`")), "{said}");
    let (_, said) = scribefs(&running, &["status", &root]);
    assert!(said.contains("hidden in the folder below the mount (inbox)"), "{said}");
    assert!(running.log().contains("written to the folder below the mount"), "{}", running.log());
}

#[test]
fn a_private_drop_is_published_for_its_owner_alone() {
    let test = "a_private_drop_is_published_for_its_owner_alone";
    if !is_root() {
        return skip(test, "only root can drop as somebody else");
    }
    let Some((running, from)) = running::with_public_recording(test, "two_cities.wav") else {
        return;
    };
    let anna = 65_534;
    let stat = |path: &Path| {
        let stat = fs::metadata(path).unwrap();
        (stat.uid(), stat.permissions().mode() & 0o7777)
    };
    for (mode, wanted) in [(0o600, 0o400), (0o640, 0o440)] {
        let name = format!("{mode:o}.wav");
        let text = fs::read(&from).unwrap();
        // Other bytes, so that the second is no duplicate: what follows the sound is passed over.
        let text = [&text[..], name.as_bytes()].concat();
        let hidden = running.inbox().join(format!("{name}.part"));
        fs::write(&hidden, text).unwrap();
        fs::set_permissions(&hidden, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&hidden, Some(anna), Some(anna)).unwrap();
        fs::rename(&hidden, running.inbox().join(&name)).unwrap();
        assert_eq!(running.outcome(&running.inbox().join(&name)), None);
        let recordings = running.recordings();
        let (json, _) =
            recordings.iter().find(|(_, json)| json["source"]["file"] == *name).unwrap();
        for entry in fs::read_dir(json.parent().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(stat(&path), (anna, wanted), "{}", path.display());
        }
    }
    // The mount's own: nobody but its owner and group sees the names of the queue.
    for name in ["status.json", "events", "errors"] {
        assert_eq!(stat(&running.root().join(".scribefs").join(name)), (0, 0o440), "{name}");
    }
}
