//! The worker as a process: confined before it looks at anything, and gone when its daemon is.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

fn worker() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scribefs"));
    command.args(["worker", "--memory-mb", "512"]);
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
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut child = worker()
        .arg("--scratch")
        .arg(dir.path())
        .arg("--models")
        .arg(dir.path())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"event":"ready"}"#);
    assert_eq!(status_of(child.id(), "NoNewPrivs"), "1");
    // 2: every call goes through a filter.
    assert_eq!(status_of(child.id(), "Seccomp"), "2");
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max data size"), (512_u64 << 20).to_string());
    assert_eq!(limit("Max core file size"), "0");
    drop(ours);
    assert!(child.wait().unwrap().success());
}

/// A converter that tries what it must not, and tells on standard output what it could do.
const NOSY: &str = r#"#!/bin/bash
head -c 4 /proc/self/fd/0
cat SECRET 2>/dev/null && echo read-a-secret
(echo x > BESIDE) 2>/dev/null && echo wrote-a-file
ls HOME >/dev/null 2>&1 && echo listed-a-folder
(exec 3<>/dev/tcp/127.0.0.1/PORT) 2>/dev/null && echo reached-the-network
exit 0
"#;

fn converted_by(script: &str, dir: &Path) -> String {
    let ffmpeg = dir.join("ffmpeg");
    fs::write(&ffmpeg, script).unwrap();
    fs::set_permissions(&ffmpeg, Permissions::from_mode(0o755)).unwrap();
    let recording = dir.join("recording");
    fs::write(&recording, "RIFF and sound").unwrap();
    let output = worker()
        .arg("--convert")
        .arg(&ffmpeg)
        .stdin(File::open(&recording).unwrap())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_converter_gets_at_its_input_and_at_nothing_else() {
    if !Path::new("/bin/bash").exists() {
        eprintln!("skipped: a_converter_gets_at_its_input_and_at_nothing_else: there is no bash");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let script = NOSY
        .replace("SECRET", secret.to_str().unwrap())
        .replace("BESIDE", dir.path().join("beside").to_str().unwrap())
        .replace("HOME", dir.path().to_str().unwrap())
        .replace("PORT", &listener.local_addr().unwrap().port().to_string());
    // By itself it can do all of that, so the test can fail.
    let mut free = Command::new("bash");
    let free = free.arg("-c").arg(&script).stdin(File::open(&secret).unwrap()).output().unwrap();
    let free = String::from_utf8(free.stdout).unwrap();
    for deed in ["read-a-secret", "wrote-a-file", "listed-a-folder", "reached-the-network"] {
        assert!(free.contains(deed), "{deed}: {free}");
    }
    assert_eq!(converted_by(&script, dir.path()), "RIFF");
}
