//! A real daemon on a real mount, for tests that claim something about the whole road.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a slow machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(300);

/// A daemon in the foreground, its folders and its log.
pub(crate) struct Running {
    pub(crate) dir: TempDir,
    daemon: Option<Child>,
    flags: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
}

/// The reason why whole-road tests cannot run here, if there is one.
pub(crate) fn obstacle() -> Option<String> {
    if File::options().read(true).write(true).open("/dev/fuse").is_err() {
        return Some("/dev/fuse cannot be opened".to_owned());
    }
    let models = models_dir();
    for name in ["moonshine-tiny-en", "pyannote-community-1"] {
        if !models.join(name).is_dir() {
            return Some(format!("the model {name} is not in {}", models.display()));
        }
    }
    None
}

/// Says that a test is skipped, and why.
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
}

/// Whether the long run is asked for (`scripts/test --full`), not the part that CI runs.
pub(crate) fn is_full() -> bool {
    std::env::var_os("SCRIBEFS_FULL").is_some()
}

pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid only reads a number.
    unsafe { libc::geteuid() == 0 }
}

pub(crate) fn models_dir() -> PathBuf {
    let given = std::env::var_os("SCRIBEFS_MODELS").map(PathBuf::from);
    given.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").unwrap_or_default();
        Path::new(&home).join(".local/share/scribefs/models")
    })
}

/// The folder of real recordings, where it is.
pub(crate) fn speech() -> Option<PathBuf> {
    let given = std::env::var_os("SCRIBEFS_SHARED").map(PathBuf::from);
    let shared = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    Some(shared.join("speech")).filter(|speech| speech.is_dir())
}

/// A daemon and a public recording that `scripts/setup` has brought; `None`, said aloud, where one of them
/// cannot be had.
pub(crate) fn with_public_recording(test: &str, name: &str) -> Option<(Running, PathBuf)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("native/recordings").join(name);
    let missing = || (!path.is_file()).then(|| format!("{} is missing", path.display()));
    if let Some(why) = obstacle().or_else(missing) {
        skip(test, &why);
        return None;
    }
    Some((Running::start(&[]), path))
}

/// A daemon and the folder of recordings; `None`, said aloud, where one of them cannot be had.
pub(crate) fn with_speech(test: &str, flags: &[&str]) -> Option<(Running, PathBuf)> {
    let why = match (obstacle(), speech()) {
        (Some(why), _) => why,
        (None, None) => "the real recordings are not here (SCRIBEFS_SHARED)".to_owned(),
        (None, Some(speech)) => return Some((Running::start(flags), speech)),
    };
    skip(test, &why);
    None
}

impl Running {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, Vec::new())
    }

    /// The same with more in the daemon's environment.
    pub(crate) fn start_with(flags: &[&str], variables: Vec<(String, String)>) -> Self {
        Self::start_prepared(flags, variables, |_| {})
    }

    /// The same with something done to the state folder before.
    pub(crate) fn start_prepared(
        flags: &[&str],
        variables: Vec<(String, String)>,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["mount", "state"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        prepare(&dir.path().join("state"));
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let mut running = Self { dir, daemon: None, flags, variables };
        running.mount();
        running
    }

    /// Starts the daemon (again) and waits until the mount answers.
    pub(crate) fn mount(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"));
        let mut command = self.command();
        command.arg("mount").arg(self.root()).arg("--foreground");
        command.arg("--state").arg(self.dir.path().join("state"));
        command.arg("--models").arg(models_dir());
        if !self.flags.iter().any(|flag| flag == "--settle") {
            command.args(["--settle", "200ms"]);
        }
        command.args(["--log-level", "debug"]).args(&self.flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.unwrap());
        let mut daemon = command.spawn().unwrap();
        let status = self.root().join(".scribefs/status.json");
        self.wait_for("the mount to answer", || {
            let ended = daemon.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon has ended: {}", self.log());
            status.exists()
        });
        self.daemon = Some(daemon);
    }

    /// The program, in the daemon's environment: nothing in ours leads it to anybody's bucket.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scribefs"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AWS_") || text.starts_with("S3_") || text == "NOTIFY_SOCKET" {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().cloned()).current_dir(self.dir.path());
        command
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    pub(crate) fn inbox(&self) -> PathBuf {
        self.root().join("inbox")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Copies a recording into the inbox as a person would.
    pub(crate) fn drop_file(&self, from: &Path, name: impl AsRef<Path>) -> PathBuf {
        let to = self.inbox().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap_or_else(|err| panic!("{}: {err}", to.display()));
        to
    }

    /// Waits until the file has left the inbox or has an error note; the note, if there is one.
    pub(crate) fn outcome(&self, dropped: &Path) -> Option<String> {
        let note = note_of(dropped);
        self.wait_for(&format!("{} to be done", dropped.display()), || {
            !dropped.exists() || note.exists()
        });
        fs::read_to_string(note).ok()
    }

    /// Waits until it is published: its `meeting.json`.
    pub(crate) fn published(&self, dropped: &Path) -> Value {
        let note = self.outcome(dropped);
        assert_eq!(note, None, "{} was refused", dropped.display());
        let name = dropped.file_name().unwrap().to_string_lossy().into_owned();
        let mut published = None;
        // Listings that the kernel keeps may be a moment behind.
        self.wait_for(&format!("{name}, which has left the inbox, to be seen"), || {
            let mut recordings = self.recordings().into_iter();
            published = recordings.find(|(_, json)| json["source"]["file"] == *name);
            published.is_some()
        });
        published.unwrap().1
    }

    /// Every published `_metadata.json` beside its transcript JSON, with the path of the latter.
    pub(crate) fn recordings(&self) -> Vec<(PathBuf, Value)> {
        let mut found = None;
        // What is renamed, removed or written again between its listing and its reading is looked at again; so is a
        // bucket that a follower has not read to its end yet.
        self.wait_for("the conversations to hold still", || {
            match recordings_below(&self.root().join("conversations")) {
                Ok(recordings) => found = Some(recordings),
                Err(err) => {
                    let passes = [libc::ENOENT, libc::ESTALE, libc::EIO].map(Some);
                    assert!(passes.contains(&err.raw_os_error()), "{err}");
                }
            }
            found.is_some()
        });
        found.unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        let text = fs::read(self.root().join(".scribefs/status.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Process ids of the workers that diarize and transcribe. Those that decode come and go with each recording.
    pub(crate) fn engines(&self) -> Vec<i32> {
        let mut workers = self.workers();
        workers.retain(|id| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == b"--models")
        });
        workers
    }

    /// Process ids of the daemon's workers.
    pub(crate) fn workers(&self) -> Vec<i32> {
        let children = format!("/proc/{pid}/task", pid = self.pid());
        let Ok(tasks) = fs::read_dir(children) else { return Vec::new() };
        let lists =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
        let ids = lists.flat_map(|list| {
            list.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<i32>>()
        });
        ids.filter(|id| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("worker")
        })
        .collect()
    }

    /// Polls: the daemon has no event for most of what tests wait for. Fails loudly with the log.
    pub(crate) fn wait_for(&self, what: &str, is_so: impl FnMut() -> bool) {
        self.wait_at_most(PATIENCE, what, is_so);
    }

    /// The same for what happens every five minutes only.
    pub(crate) fn wait_for_long(&self, what: &str, is_so: impl FnMut() -> bool) {
        self.wait_at_most(3 * PATIENCE, what, is_so);
    }

    fn wait_at_most(&self, patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            if begun.elapsed() > patience {
                let log = self.log();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                panic!("waited in vain for {what}; the log ends with\n{}", tail.join("\n"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`, and the dead mount with it.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// SIGTERM; the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut daemon = self.daemon.take().unwrap();
        signal(i32::try_from(daemon.id()).unwrap(), libc::SIGTERM);
        daemon.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            signal(i32::try_from(daemon.id()).unwrap(), libc::SIGTERM);
            daemon.wait().unwrap();
        }
        let root =
            std::ffi::CString::new(self.root().into_os_string().into_encoded_bytes()).unwrap();
        // SAFETY: `root` ends in NUL. Fails where nothing is mounted, which is what we want.
        unsafe { libc::umount2(root.as_ptr(), libc::MNT_DETACH) };
    }
}

pub(crate) fn signal(process: i32, signal: i32) {
    // SAFETY: plain numbers; a process that is gone is an error that nobody minds.
    unsafe { libc::kill(process, signal) };
}

/// Whether programs see that the daemon of a mount has died: files answer ENOTCONN, and so do folders, unless the
/// kernel still has their listing, which is whole then. Nothing looks empty.
pub(crate) fn looks_broken(root: &Path) -> bool {
    let is_broken = |err: &std::io::Error| err.raw_os_error() == Some(libc::ENOTCONN);
    let listed: std::io::Result<Vec<_>> = fs::read_dir(root).and_then(Iterator::collect);
    fs::read(root.join(".scribefs/status.json")).is_err_and(|err| is_broken(&err))
        && listed.map_or_else(|err| is_broken(&err), |entries| !entries.is_empty())
}

/// As [`Running::recordings`]; an error where something was changed meanwhile.
fn recordings_below(folder: &Path) -> io::Result<Vec<(PathBuf, Value)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if name.ends_with(".json") && !name.ends_with("_metadata.json") {
                let text = fs::read(&path)?;
                found.push((path, serde_json::from_slice(&text).unwrap()));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

pub(crate) fn note_of(dropped: &Path) -> PathBuf {
    let mut name = dropped.file_name().unwrap().to_owned();
    name.push(".error.txt");
    dropped.with_file_name(name)
}

/// Word error rate of `heard` against `wanted`: lower case, letters and digits only.
pub(crate) fn word_error_rate(wanted: &str, heard: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let kept: String = text
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || c.is_whitespace() || *c == '-')
            .map(|c| if c == '-' { ' ' } else { c })
            .collect();
        kept.split_whitespace().map(str::to_owned).collect()
    };
    let (wanted, heard) = (words(wanted), words(heard));
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, want) in wanted.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, hear) in heard.iter().enumerate() {
            let substituted = diagonal + usize::from(want != hear);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    let errors = u32::try_from(row[heard.len()]).unwrap();
    f64::from(errors) / f64::from(u32::try_from(wanted.len().max(1)).unwrap())
}

/// The rows of a tab-separated file by column name.
pub(crate) fn table(path: &Path) -> Vec<std::collections::BTreeMap<String, String>> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split('\t').collect();
    lines
        .map(|line| {
            let cells = line.split('\t').map(str::to_owned);
            head.iter().map(|name| (*name).to_owned()).zip(cells).collect()
        })
        .collect()
}
