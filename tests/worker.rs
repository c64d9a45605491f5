//! The workers as processes: confined before they look at anything, and gone when their daemon is.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

fn worker(parent: u32) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scribefs"));
    command.args(["worker", "--memory-mb", "512", "--parent", &parent.to_string()]);
    command
}

fn status_of(process: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

#[test]
fn a_worker_is_confined_before_its_first_order_and_goes_with_its_daemon() {
    let dir = tempfile::tempdir().unwrap();
    for engines in [true, false] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = worker(std::process::id());
        if engines {
            command.arg("--models").arg(dir.path());
        } else {
            command.args(["--file-bytes", "1000", "--cpu-seconds", "60"]);
        }
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), r#"{"event":"ready"}"#);
        assert_eq!(status_of(child.id(), "NoNewPrivs"), "1");
        // 2: every call goes through a filter.
        assert_eq!(status_of(child.id(), "Seccomp"), "2");
        for set in ["CapEff", "CapPrm", "CapInh"] {
            assert_eq!(status_of(child.id(), set), "0000000000000000", "{set}");
        }
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let limit = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!(limit("Max data size"), (512_u64 << 20).to_string());
        assert_eq!(limit("Max core file size"), "0");
        assert_eq!(limit("Max file size"), if engines { "0" } else { "1000" });
        assert_eq!(limit("Max cpu time"), if engines { "unlimited" } else { "60" });
        // Its socket, the events, and standard error twice.
        let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
        assert_eq!(open, 4);
        drop(ours);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_worker_whose_daemon_is_gone_already_does_not_begin() {
    // Process 1 is nobody's daemon here.
    let output = worker(1).stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("is gone"), "{told}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn a_converter_that_is_a_script_reads_its_input() {
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = dir.path().join("ffmpeg");
    let script = "#!/bin/sh\nread line < /proc/self/fd/0 && echo \"$line\"\n";
    fs::write(&ffmpeg, script).unwrap();
    fs::set_permissions(&ffmpeg, Permissions::from_mode(0o755)).unwrap();
    let recording = dir.path().join("recording");
    fs::write(&recording, "RIFF and sound\n").unwrap();
    assert!(Path::new("/bin/sh").exists());
    let mut command = worker(std::process::id());
    command.arg("--convert").arg(&ffmpeg).args(["--file-bytes", "1000"]);
    let output = command.stdin(File::open(&recording).unwrap()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "RIFF and sound\n");
}
