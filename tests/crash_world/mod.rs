//! A daemon that may die at any moment, and a manifest of what it owes us.
//!
//! The manifest says of each recording whether its bytes were synced and whether its writer had closed it. What it
//! is held against is what a user sees after the next start: bytes by hash, in the inbox and in the conversations.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::pieces::piece;
use crate::running::{models_dir, note_of, signal};
use scribefs::index::Index;

/// Longer than anything here takes on a slow machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(180);

/// Far longer than the kernel shows what was, once the daemon has told it.
const BEHIND: Duration = Duration::from_secs(15);

/// Numbers that look random, the same in each run.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// What we know of a recording that we have dropped.
#[derive(Debug, Clone)]
pub(crate) struct Dropped {
    /// Below the inbox.
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// `fsync` of it has returned 0.
    pub(crate) is_synced: bool,
    /// `close` has returned 0.
    pub(crate) is_closed: bool,
    /// There is no sound in it: it must stay, with a note.
    pub(crate) is_broken: bool,
    /// It was in a conversation.
    pub(crate) was_published: bool,
    /// It was in the trash when that was emptied.
    pub(crate) may_be_gone: bool,
}

pub(crate) struct World {
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    log: PathBuf,
    daemon: Option<Child>,
    /// By BLAKE3.
    pub(crate) manifest: BTreeMap<String, Dropped>,
    dropped: usize,
    /// Kills after which the connection had to be aborted.
    pub(crate) forced: u32,
    flags: Vec<String>,
    /// More in the environment of the daemon and of all commands.
    pub(crate) variables: Vec<(String, String)>,
}

/// Fails where nothing is mounted, which is what we want.
fn unmount(root: &Path, flags: i32) {
    let root = std::ffi::CString::new(root.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: `root` ends in NUL.
    unsafe { libc::umount2(root.as_ptr(), flags) };
}

/// What the supervisor does where there is one. A thread of a daemon that has died may wait in the kernel for the lock of
/// a folder, which the test itself has while it waits for that daemon: neither ends before the connection does.
fn end_silent_connection(daemon: u32, root: &Path) {
    let tasks = PathBuf::from(format!("/proc/{daemon}/task"));
    let mut stuck = 0;
    while let Ok(threads) = fs::read_dir(&tasks).map(Iterator::count) {
        let stat = fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap_or_default();
        let is_zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z'));
        stuck = if is_zombie && 1 < threads { stuck + 1 } else { 0 };
        if 20 < stuck {
            return unmount(root, libc::MNT_FORCE);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

impl World {
    /// `state` may lie anywhere; mountpoint and log are in `dir`.
    pub(crate) fn new(dir: &Path, state: PathBuf, flags: &[&str]) -> Self {
        fs::create_dir_all(dir.join("mount")).unwrap();
        Self {
            root: dir.join("mount"),
            state,
            log: dir.join("log"),
            daemon: None,
            manifest: BTreeMap::new(),
            dropped: 0,
            forced: 0,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            variables: Vec::new(),
        }
    }

    pub(crate) fn inbox(&self) -> PathBuf {
        self.root.join("inbox")
    }

    /// Starts the daemon with fail points armed. `false`: it died before the mount answered.
    pub(crate) fn start(&mut self, failpoints: &str) -> bool {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.command();
        command.env("FAILPOINTS", failpoints);
        command.arg("mount").arg(&self.root).arg("--foreground");
        if !self.flags.iter().any(|flag| flag == "--settle") {
            command.args(["--settle", "100ms"]);
        }
        command.arg("--state").arg(&self.state).arg("--models").arg(models_dir());
        command.args(["--log-level", "debug"]).args(&self.flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let daemon = command.spawn().unwrap();
        let (id, root) = (daemon.id(), self.root.clone());
        thread::spawn(move || end_silent_connection(id, &root));
        self.daemon = Some(daemon);
        let status = self.root.join(".scribefs/status.json");
        self.wait_for("the mount to answer", |world| world.has_died() || status.exists());
        !self.has_died()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scribefs"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AWS_") || text.starts_with("S3_") || text == "NOTIFY_SOCKET" {
                command.env_remove(name);
            }
        }
        // Ours, and no setting.
        command
            .env_remove("SCRIBEFS_KILLS")
            .envs(self.variables.iter().cloned())
            .current_dir(self.root.parent().unwrap());
        command
    }

    pub(crate) fn has_died(&mut self) -> bool {
        self.daemon.as_mut().is_none_or(|daemon| daemon.try_wait().unwrap().is_some())
    }

    /// Whether it died at a fail point, which aborts.
    pub(crate) fn has_aborted(&mut self) -> bool {
        let ended = self.daemon.as_mut().and_then(|daemon| daemon.try_wait().unwrap());
        ended.and_then(|status: ExitStatus| status.signal()) == Some(libc::SIGABRT)
    }

    /// `kill -9`, if it still lives.
    ///
    /// A thread of it may wait in the kernel for the lock of a folder in which somebody waits for its answer: then it
    /// cannot end before the connection is aborted, which `umount -f` does. How often that happened is counted.
    pub(crate) fn kill(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        // It may have died by itself.
        let _ = daemon.kill();
        let begun = Instant::now();
        while daemon.try_wait().unwrap().is_none() {
            if Duration::from_secs(10) < begun.elapsed() {
                self.forced += 1;
                self.detach(libc::MNT_FORCE);
                daemon.wait().unwrap();
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes the dead mount away, so that nothing holds the disk below it.
    pub(crate) fn detach(&self, flags: i32) {
        unmount(&self.root, flags);
    }

    pub(crate) fn kill_a_worker(&self) {
        let Some(daemon) = &self.daemon else { return };
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.id())).into_iter().flatten();
        let lists =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
        for id in lists.flat_map(|it| it.split(' ').map(str::to_owned).collect::<Vec<_>>()) {
            if let Ok(id) = id.trim().parse() {
                signal(id, libc::SIGKILL);
            }
        }
    }

    /// SIGTERM, and the end of it.
    pub(crate) fn stop(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        signal(i32::try_from(daemon.id()).unwrap(), libc::SIGTERM);
        daemon.wait().unwrap();
    }

    /// Runs a command that needs the state and no mount.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(arguments).arg("--state").arg(&self.state);
        command.output().unwrap()
    }

    /// Drops a recording that there was never before. An error means that the daemon died meanwhile.
    pub(crate) fn drop_one(&mut self, speech: &[u8], folder: &str, synced: bool) -> io::Result<()> {
        let bytes = self.next_recording(speech);
        let name = format!("talk{}.wav", self.dropped);
        self.drop_bytes(&Path::new(folder).join(name), &bytes, synced, false)
    }

    /// Drops something that no sound can be got out of.
    pub(crate) fn drop_broken(&mut self) -> io::Result<()> {
        self.dropped += 1;
        let name = format!("broken{}.wav", self.dropped);
        let bytes = [b"RIFF....no sound at all ", name.as_bytes()].concat();
        self.drop_bytes(Path::new(&name), &bytes, true, true)
    }

    fn drop_bytes(
        &mut self,
        path: &Path,
        bytes: &[u8],
        synced: bool,
        broken: bool,
    ) -> io::Result<()> {
        let full = self.inbox().join(path);
        fs::create_dir_all(full.parent().unwrap())?;
        let mut file = File::create(&full)?;
        file.write_all(bytes)?;
        let hash = blake3::hash(bytes).to_hex().to_string();
        let entry = self.manifest.entry(hash).or_insert(Dropped {
            path: path.to_owned(),
            bytes: bytes.len() as u64,
            is_synced: false,
            is_closed: false,
            is_broken: broken,
            was_published: false,
            may_be_gone: false,
        });
        if synced {
            file.sync_all()?;
            entry.is_synced = true;
        }
        close(file)?;
        entry.is_closed = true;
        Ok(())
    }

    fn next_recording(&mut self, speech: &[u8]) -> Vec<u8> {
        self.dropped += 1;
        piece(speech, self.dropped)
    }

    /// Waits until nothing in the inbox is left to be done, or the daemon has died.
    pub(crate) fn wait_until_idle(&mut self) {
        self.wait_for("the inbox to be worked off", |world| {
            // A daemon that is dying lists nothing any more.
            let answers = fs::read(world.root.join(".scribefs/status.json")).is_ok();
            let is_done = || world.waiting().is_empty() && world.is_placed();
            let is_done = answers && is_done();
            world.has_died() || (is_done && !world.has_died())
        });
    }

    fn storage(&self) -> Option<serde_json::Value> {
        let text = fs::read(self.root.join(".scribefs/storage.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Whether all that was published is where it is to be. `true` without a bucket.
    fn is_placed(&self) -> bool {
        let is_over = |placement: &serde_json::Value| {
            placement.is_null() || (placement["pending"] == 0 && placement["paused"] == 0)
        };
        self.variables.is_empty() || self.storage().is_some_and(|it| is_over(&it["placement"]))
    }

    /// Audio that is both here and in the bucket. `None`: the daemon does not say.
    pub(crate) fn copied_bytes(&self) -> Option<u64> {
        self.storage()?["local_copies"]["audio_bytes"].as_u64()
    }

    /// What is in the trash now will not be looked for any more. Nothing may be mounted: the index is asked, since
    /// a listing that the kernel keeps may be a moment behind.
    pub(crate) fn give_up_the_trash(&mut self) {
        let index = Index::open(&self.state.join("index.redb")).unwrap();
        for recording in index.every_recording(None, usize::MAX).unwrap() {
            let conversation = index.filed_conversation(recording.id.conversation).unwrap();
            let is_trashed = recording.overlay.trashed_at.is_some()
                || conversation.is_none_or(|it| it.trashed_at.is_some());
            if is_trashed && let Some(dropped) = self.manifest.get_mut(&recording.audio.blake3) {
                dropped.may_be_gone = true;
            }
        }
    }

    /// Removes for good what is in the trash, in a process of its own. Whether that has died at a fail point.
    pub(crate) fn purge(&self, failpoints: &str) -> bool {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "removes_for_good_what_is_in_the_trash", "--ignored"]);
        command.env("FAILPOINTS", failpoints).env("ORACLE_STATE", &self.state);
        let output = command.output().unwrap();
        let has_aborted = output.status.signal() == Some(libc::SIGABRT);
        assert!(has_aborted || output.status.success(), "{output:?}");
        has_aborted
    }

    /// Recordings in the inbox that something is still to be done with by itself.
    fn waiting(&self) -> Vec<PathBuf> {
        self.in_state(|state| {
            let at_work = ["receiving", "settling", "queued", "decoding", "diarizing"];
            at_work.contains(&state) || ["transcribing", "publishing"].contains(&state)
        })
    }

    fn in_state(&self, is_meant: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.inbox(), &mut |path| {
            if is_meant(&state_of(path)) {
                found.push(path.to_owned());
            }
        });
        found
    }

    /// How often the audio of each hash is in the conversations and in the trash. `None`: the daemon died.
    pub(crate) fn published(&mut self) -> Option<BTreeMap<String, u32>> {
        let mut found = self.hashes_in("conversations");
        for (hash, count) in self.hashes_in(".scribefs/trash") {
            *found.entry(hash).or_default() += count;
        }
        (!self.has_died()).then_some(found)
    }

    /// How often the audio of each hash is in that folder of the mount.
    fn hashes_in(&self, folder: &str) -> BTreeMap<String, u32> {
        let mut found = BTreeMap::new();
        walk(&self.root.join(folder), &mut |path| {
            if path.extension().is_some_and(|it| it == "wav")
                && let Ok(bytes) = fs::read(path)
            {
                *found.entry(blake3::hash(&bytes).to_hex().to_string()).or_default() += 1;
            }
        });
        found
    }

    /// What is seen in the conversations now must be there for ever.
    pub(crate) fn note_what_is_published(&mut self) {
        for hash in self.published().unwrap_or_default().into_keys() {
            if let Some(dropped) = self.manifest.get_mut(&hash) {
                dropped.was_published = true;
            }
        }
    }

    /// The names of all conversations, as far as they can be listed.
    pub(crate) fn conversations(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(folder)).into_iter().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// A published audio file, drawn from all.
    pub(crate) fn any_recording(&self, random: &mut Random) -> Option<PathBuf> {
        let mut found = Vec::new();
        walk(&self.root.join("conversations"), &mut |path| {
            if path.extension().is_some_and(|it| it == "wav") {
                found.push(path.to_owned());
            }
        });
        let count = u64::try_from(found.len()).unwrap();
        (0 < count).then(|| found.swap_remove(usize::try_from(random.below(count)).unwrap()))
    }

    /// Starts once more, lets everything come to its end, and holds it against the manifest.
    ///
    /// `must_be_there`: what no crash of the kind that was tried may lose.
    pub(crate) fn verify(&mut self, must_be_there: impl Fn(&Dropped) -> bool) {
        assert!(self.start(""), "the daemon does not start any more: {}", self.log_tail());
        self.take_interrupted();
        self.wait_until_idle();
        let before = self.compare(&must_be_there);
        self.check_pages();
        self.stop();
        let checked = self.tool(&["fsck", "--deep"]);
        assert!(checked.status.success(), "fsck: {checked:?}\n{}", self.log_tail());
        let rebuilt = self.tool(&["reindex"]);
        assert!(rebuilt.status.success(), "reindex: {rebuilt:?}");
        assert!(self.start(""), "the daemon does not start after a reindex");
        let after = self.compare(&must_be_there);
        assert_eq!(before, after, "reindex has changed what there is");
        self.stop();
    }

    /// Where the writer died with the daemon, nothing is taken by itself: a user touches it.
    fn take_interrupted(&self) {
        for path in self.in_state(|state| state == "interrupted") {
            let file = File::open(&path);
            file.and_then(|file| file.set_modified(SystemTime::now())).unwrap();
        }
    }

    /// Listings that the kernel keeps may be a moment behind: a fault is one that stays.
    fn compare(&mut self, must_be_there: &impl Fn(&Dropped) -> bool) -> BTreeMap<String, u32> {
        let begun = Instant::now();
        loop {
            let published = self.published();
            let published = published
                .unwrap_or_else(|| panic!("the daemon died by itself\n{}", self.log_tail()));
            let faults = self.faults(&published, must_be_there);
            if faults.is_empty() {
                return published;
            }
            let is_final = BEHIND < begun.elapsed();
            assert!(!is_final, "{}\n{}", faults.join("\n"), self.log_tail());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What is not as the manifest has it.
    fn faults(
        &self,
        published: &BTreeMap<String, u32>,
        must_be_there: &impl Fn(&Dropped) -> bool,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        for (hash, dropped) in &self.manifest {
            let path = dropped.path.display();
            let times = published.get(hash).copied().unwrap_or(0);
            if 1 < times {
                faults.push(format!("{path}: published {times} times"));
            }
            if dropped.is_broken {
                let full = self.inbox().join(&dropped.path);
                // Killed between the two, it is failed and says why in its attribute only: a note that is not
                // there may have been removed by somebody, and is not written again.
                let is_told = note_of(&full).exists() || state_of(&full) == "failed";
                if dropped.is_closed && !is_told {
                    faults.push(format!("{path}: has no sound, and no note says so"));
                }
            } else if dropped.may_be_gone {
                continue;
            } else if times == 0 && must_be_there(dropped) && !self.is_set_aside(hash, dropped) {
                faults.push(format!("{path}: lost ({dropped:?})"));
            }
        }
        let strangers: BTreeSet<&String> =
            published.keys().filter(|hash| !self.manifest.contains_key(*hash)).collect();
        if !strangers.is_empty() {
            faults.push(format!("{} recordings have bytes that nobody dropped", strangers.len()));
        }
        faults
    }

    /// Whether it lies whole in a hidden folder, where nothing is ever taken.
    fn is_set_aside(&self, hash: &str, dropped: &Dropped) -> bool {
        let bytes = fs::read(self.inbox().join(&dropped.path)).unwrap_or_default();
        dropped.path.to_string_lossy().starts_with('.')
            && blake3::hash(&bytes).to_hex().as_str() == hash
    }

    /// Every page is whole.
    fn check_pages(&self) {
        walk(&self.root.join("conversations"), &mut |path| {
            // One that is written again while it is read is stale, and whole when it is read again.
            if path.extension().is_some_and(|it| it == "json") {
                let text = fs::read(path).or_else(|_| fs::read(path)).unwrap();
                let parsed = serde_json::from_slice::<serde_json::Value>(&text);
                assert!(parsed.is_ok(), "{}: {parsed:?}", path.display());
            }
        });
    }

    pub(crate) fn wait_for(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < PATIENCE, "in vain: {what}\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        self.detach(libc::MNT_FORCE | libc::MNT_DETACH);
    }
}

/// `close(2)`, with its answer: a `File` that is dropped keeps it to itself.
fn close(file: File) -> io::Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: the descriptor is ours, and nobody uses it afterwards.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Where scribefs says that a file of the inbox is; empty for one that it leaves alone.
pub(crate) fn state_of(path: &Path) -> String {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()) else {
        return String::new();
    };
    let mut value = [0_u8; 64];
    let name = c"user.scribefs.state";
    // SAFETY: both names end in NUL, and `value` is as long as said.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    String::from_utf8_lossy(&value[..usize::try_from(length).unwrap_or(0)]).into_owned()
}

/// Everything below a folder, as far as it can be read: the daemon may die meanwhile.
pub(crate) fn walk(folder: &Path, found: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, found);
        } else {
            found(&path);
        }
    }
}
