//! The crash oracle: the daemon, or a worker, is killed at random and at every named fail point, and nothing is
//! lost, nothing comes twice, and what is left is in order.
//!
//! Some 40 kills in the short run, 1,000 and 100 with `scripts/test --full`; `SCRIBEFS_KILLS` asks for another
//! number.

mod crash_world;
mod pieces;
#[path = "oracle/points.rs"]
mod points;
mod running;
#[cfg(feature = "s3")]
mod servers;

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use crash_world::{Random, World};
use jiff::Timestamp;
use pieces::public_speech;
use points::{Action, POINTS};
use running::{obstacle, skip};
use scribefs::index::Index;
use scribefs::store::LocalStore;

/// Starts that one point is given to be reached for the first time: what leads to it is done by other processes.
const ATTEMPTS: usize = 3;

/// How often the daemon is killed, and how often of that at no point in particular: in the short run each point is
/// tried once.
fn kills(points: usize, full: usize) -> usize {
    let asked = std::env::var("SCRIBEFS_KILLS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if running::is_full() { full } else { points + 4 })
}

/// What is killed, and where it was.
struct Oracle {
    world: World,
    random: Random,
    speech: Vec<u8>,
    points: &'static [(&'static str, Action)],
    /// Places in `points`.
    reached: BTreeSet<usize>,
    kills: usize,
}

impl Oracle {
    fn new(world: World, speech: Vec<u8>, points: &'static [(&'static str, Action)]) -> Self {
        let random = Random(0x2545_f491_4f6c_dd1d);
        let mut oracle = Self { world, random, speech, points, reached: BTreeSet::new(), kills: 0 };
        // Something to rename, to trash and to name.
        assert!(oracle.world.start(""), "{}", oracle.world.log_tail());
        for number in 0..6 {
            oracle.world.drop_one(&oracle.speech, &format!("first{}", number % 3), true).unwrap();
        }
        oracle.world.wait_until_idle();
        oracle.world.kill();
        oracle
    }

    /// First at each point when it is reached for the first time, then anywhere.
    fn kill(&mut self, kills: usize) {
        for point in 0..self.points.len().min(kills) {
            for _ in 0..ATTEMPTS {
                if !self.reached.contains(&point) {
                    self.kill_at(point, 0);
                }
            }
        }
        while self.kills < kills {
            match self.random.below(4) {
                0 => self.kill_anywhere(),
                _ => {
                    let point = self.random.below(self.points.len() as u64);
                    let spared = self.random.below(4);
                    self.kill_at(usize::try_from(point).unwrap(), spared);
                }
            }
        }
    }

    /// `spared`: so often the point is passed before.
    fn kill_at(&mut self, point: usize, spared: u64) {
        let (name, action) = self.points[point];
        let spared = if spared == 0 { String::new() } else { format!("{spared}*off->") };
        let armed = format!("{name}={spared}1*return");
        let is_reached = match action {
            Action::Purge => self.purge(&armed),
            action => {
                // Starting alone may lead to it.
                if self.world.start(&armed) {
                    self.act(action);
                    self.world.wait_until_idle();
                }
                self.world.has_aborted()
            }
        };
        if is_reached {
            self.reached.insert(point);
        }
        self.world.kill();
        self.kills += 1;
    }

    fn kill_anywhere(&mut self) {
        self.world.start("");
        self.act(Action::Drop);
        thread::sleep(Duration::from_millis(self.random.below(700)));
        if self.random.below(3) == 0 {
            self.world.kill_a_worker();
            thread::sleep(Duration::from_millis(self.random.below(300)));
        }
        self.world.kill();
        self.kills += 1;
    }

    /// Whether the process that removed what was in the trash has died at the point.
    fn purge(&mut self, armed: &str) -> bool {
        assert!(self.world.start(""), "{}", self.world.log_tail());
        self.act(Action::Trash);
        self.world.wait_until_idle();
        self.world.stop();
        self.world.give_up_the_trash();
        self.world.purge(armed)
    }

    /// Errors mean that the daemon has died, which is what is tried.
    fn act(&mut self, action: Action) {
        let folder = format!("talk-{}", self.world.manifest.len() / 12);
        let is_synced = self.random.below(2) == 0;
        match action {
            Action::Drop => drop(self.world.drop_one(&self.speech, &folder, is_synced)),
            Action::DropSynced => drop(self.world.drop_one(&self.speech, &folder, true)),
            Action::DropBroken => drop(self.world.drop_broken()),
            Action::RenameInInbox => {
                if self.world.drop_one(&self.speech, ".arriving", true).is_ok() {
                    rename_last(&mut self.world);
                }
            }
            Action::NameSpeaker => self.name_speaker(),
            Action::RenameConversation => {
                let conversations = self.world.conversations("conversations");
                self.move_one(&conversations, "conversations", "renamed");
            }
            Action::Trash | Action::Purge => {
                if let Some(from) = self.any(&self.world.conversations("conversations")) {
                    drop(fs::remove_dir_all(self.world.root.join("conversations").join(from)));
                }
            }
            Action::Restore => {
                let (conversations, _) = self.in_trash();
                self.move_one(&conversations, ".scribefs/trash", "restored");
            }
            Action::TrashRecording => {
                if let Some(recording) = self.world.any_recording(&mut self.random) {
                    drop(fs::remove_file(recording));
                }
            }
            Action::RestoreRecording => {
                let (_, recordings) = self.in_trash();
                if let Some(name) = self.any(&recordings) {
                    let from = self.world.root.join(".scribefs/trash").join(&name);
                    drop(fs::rename(from, self.world.root.join("conversations").join(&name)));
                }
            }
            Action::Evict => {
                drop(self.world.drop_one(&self.speech, &folder, true));
                self.world.wait_until_idle();
                self.world.wait_for("the copies to make room", |world| {
                    world.has_died() || world.copied_bytes() == Some(0)
                });
            }
        }
        if !matches!(action, Action::Drop | Action::DropSynced | Action::Evict) {
            // The pages follow by themselves: something new comes after them.
            drop(self.world.drop_one(&self.speech, &folder, true));
        }
    }

    /// Conversations in the trash, and recordings that are there by themselves.
    fn in_trash(&self) -> (Vec<String>, Vec<String>) {
        let names = self.world.conversations(".scribefs/trash");
        names.into_iter().partition(|name| !name.ends_with(".wav"))
    }

    fn name_speaker(&mut self) {
        let Some(recording) = self.world.any_recording(&mut self.random) else { return };
        let name = format!("S1=Anna {}", self.random.below(1_000));
        // It fails where the daemon dies.
        drop(self.world.command().arg("name").arg(recording).arg(name).output());
    }

    /// To the conversations, under a name of its own.
    fn move_one(&mut self, names: &[String], folder: &str, to: &str) {
        let Some(from) = self.any(names) else { return };
        let to = format!("{to}-{}", self.random.below(1_000_000));
        let from = self.world.root.join(folder).join(from);
        drop(fs::rename(from, self.world.root.join("conversations").join(to)));
    }

    fn any(&mut self, names: &[String]) -> Option<String> {
        let count = u64::try_from(names.len()).unwrap();
        (0 < count).then(|| names[usize::try_from(self.random.below(count)).unwrap()].clone())
    }

    /// What was synced or closed when the daemon died is with the kernel, whatever becomes of the daemon.
    fn verify(&mut self) {
        self.world.verify(|dropped| dropped.is_synced || dropped.is_closed);
        let tried = 0..self.points.len().min(self.kills);
        let missed: Vec<_> =
            tried.filter(|it| !self.reached.contains(it)).map(|it| self.points[it]).collect();
        assert!(missed.is_empty(), "never reached: {missed:?}");
        let (kills, recordings) = (self.kills, self.world.manifest.len());
        eprintln!("{kills} kills, {recordings} recordings: each there once");
        if 0 < self.world.forced {
            let forced = self.world.forced;
            eprintln!("after {forced} of them the connection had to be aborted (`umount -f`)");
        }
    }
}

#[test]
fn nothing_is_lost_or_doubled_wherever_the_daemon_is_killed() {
    let test = "nothing_is_lost_or_doubled_wherever_the_daemon_is_killed";
    let Some(speech) = public_speech() else {
        return skip(test, "native/recordings is not there; scripts/setup brings it");
    };
    if let Some(why) = obstacle() {
        return skip(test, &why);
    }
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), dir.path().join("state"), &[]);
    let mut oracle = Oracle::new(world, speech, &POINTS);
    oracle.kill(kills(POINTS.len(), 1_000));
    // What was to be removed for good is removed in the end, with all that has come into the trash since.
    oracle.world.give_up_the_trash();
    assert!(!oracle.world.purge(""));
    oracle.verify();
}

#[cfg(feature = "s3")]
#[test]
fn nothing_is_lost_or_doubled_wherever_a_daemon_with_a_bucket_is_killed() {
    use points::BUCKET_POINTS;
    use servers::Server;

    let test = "nothing_is_lost_or_doubled_wherever_a_daemon_with_a_bucket_is_killed";
    let Some(speech) = public_speech() else {
        return skip(test, "native/recordings is not there; scripts/setup brings it");
    };
    if let Some(why) = obstacle() {
        return skip(test, &why);
    }
    let Some(moto) = Server::moto(test) else { return };
    let options = moto.fresh_bucket();
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), dir.path().join("state"), &[]);
    // No room for copies: what is in the bucket is there only.
    world.variables = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("S3_BUCKET_NAME", options.bucket.as_str()),
        ("S3_REGION", "us-east-1"),
        ("S3_ENDPOINT_URL", options.endpoint.as_deref().unwrap()),
        ("SCRIBEFS_RETENTION_CACHE_BYTES", "1KB"),
        ("SCRIBEFS_KEEP_FREE_MB", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let mut oracle = Oracle::new(world, speech, &BUCKET_POINTS);
    oracle.kill(kills(BUCKET_POINTS.len(), 100));
    oracle.verify();
    let (there, manifest) = (in_bucket(&options), &oracle.world.manifest);
    let missing: Vec<_> =
        manifest.iter().filter(|(hash, it)| it.is_closed && !there.contains(*hash)).collect();
    assert!(missing.is_empty(), "not in the bucket: {missing:?}");
}

/// The hashes of all audio in it, each of which is there once.
#[cfg(feature = "s3")]
fn in_bucket(options: &scribefs::store::BucketOptions) -> BTreeSet<String> {
    use scribefs::store::{S3Bucket, Store};

    let bucket = S3Bucket::open(options).unwrap();
    let mut hashes = BTreeSet::new();
    for found in bucket.list("").unwrap() {
        if found.key.as_str().ends_with(".wav") {
            let bytes = bucket.get_range(&found.key, 0..found.bytes).unwrap();
            let hash = blake3::hash(&bytes).to_hex().to_string();
            assert!(hashes.insert(hash), "{} is in the bucket twice", found.key);
        }
    }
    hashes
}

/// Removes for good what is in the trash of a state folder, as the daemon does when its time has come.
#[test]
#[ignore = "is started by nothing_is_lost_or_doubled_wherever_the_daemon_is_killed"]
fn removes_for_good_what_is_in_the_trash() {
    let _armed = fail::FailScenario::setup();
    let state = std::path::PathBuf::from(std::env::var_os("ORACLE_STATE").unwrap());
    let local = LocalStore::open(&state.join("uploads")).unwrap();
    let index = Index::open(&state.join("index.redb")).unwrap();
    // The first time it is seen there, the second time it has been there for long.
    for _ in 0..2 {
        let (now, day) = (Timestamp::now(), Duration::from_hours(24));
        scribefs::sync::empty_trash(&local, &index, Duration::ZERO, now, day).unwrap();
    }
}

/// From a hidden folder, where nothing is taken, to a place where it is.
fn rename_last(world: &mut World) {
    let last = world.manifest.values_mut().find(|it| it.path.starts_with(".arriving"));
    let Some(last) = last else { return };
    let to = std::path::Path::new("arrived").join(last.path.file_name().unwrap());
    let inbox = world.root.join("inbox");
    let from = inbox.join(&last.path);
    // The name that holds is the one that is there after the next start: both are looked for by hash.
    drop(fs::create_dir_all(inbox.join("arrived")));
    if fs::rename(from, inbox.join(&to)).is_ok() {
        last.path = to;
    }
}
