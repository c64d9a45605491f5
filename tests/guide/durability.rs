//! What `STORAGE_GUIDE.md` promises under "What is durable when", sentence by sentence, on a real daemon whose state
//! lies on a disk without power.

use std::fs;

use crate::crash_world::{self, World, state_of};
use crate::guide;
use crate::pieces::public_speech;
use crate::power_fs::{Cut, PowerFs};
use crate::running::{looks_broken, obstacle, skip};

/// The numbered promises of the guide, as it has them.
fn promises() -> Vec<String> {
    let guide = guide();
    let section = guide.split("## What is durable when").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut promises: Vec<String> = Vec::new();
    for line in section.lines() {
        match line.split_once(". ") {
            Some((number, text)) if number.parse::<u32>().is_ok() => promises.push(text.to_owned()),
            _ if line.starts_with("   ") => {
                let last = promises.last_mut().unwrap();
                *last = format!("{last} {}", line.trim());
            }
            _ => {}
        }
    }
    promises
}

/// Fails where the guide promises something else than what the test tries.
fn promise(number: usize, begins: &str) {
    let promises = promises();
    let text = &promises[number - 1];
    assert!(text.starts_with(begins), "promise {number} is now: {text}");
}

/// A daemon on a disk without power, and speech to drop. `None`, said aloud, where that cannot be had.
struct Stage {
    /// Ends before the disk below it does.
    world: World,
    power: PowerFs,
    speech: Vec<u8>,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn set(test: &str, flags: &[&str]) -> Option<Self> {
        let speech = public_speech();
        let why = obstacle().or_else(|| {
            speech
                .is_none()
                .then(|| "native/recordings is not there; scripts/setup brings it".to_owned())
        });
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let power = PowerFs::mount(&disk).map_err(|err| err.to_string());
        let (power, speech) = match (why, power, speech) {
            (None, Ok(power), Some(speech)) => (power, speech),
            (why, power, _) => {
                skip(test, &why.or(power.err()).unwrap_or_default());
                return None;
            }
        };
        fs::create_dir(disk.join("state")).unwrap();
        fs::File::open(&disk).unwrap().sync_all().unwrap();
        let world = World::new(dir.path(), disk.join("state"), flags);
        let mut stage = Self { power, world, speech, _dir: dir };
        stage.start();
        Some(stage)
    }

    fn start(&mut self) {
        assert!(self.world.start(""), "{}", self.world.log_tail());
    }

    fn drop_one(&mut self, synced: bool) {
        self.world.drop_one(&self.speech, "talk", synced).unwrap();
    }

    fn cut_power(&mut self, how: Cut) {
        self.world.kill();
        self.world.detach(libc::MNT_FORCE | libc::MNT_DETACH);
        self.power.cut(how);
        self.start();
    }

    /// Whether each drop is in the inbox as it was written, by path.
    fn is_whole(&self) -> Vec<bool> {
        let whole = |(hash, dropped): (&String, &crash_world::Dropped)| {
            let bytes = fs::read(self.world.inbox().join(&dropped.path)).unwrap_or_default();
            blake3::hash(&bytes).to_hex().as_str() == hash
        };
        self.world.manifest.iter().map(whole).collect()
    }
}

/// Nothing is taken meanwhile.
const QUIET: [&str; 2] = ["--settle", "600m"];

/// What is complete waits for a model.
const NO_MODEL: [&str; 2] = ["--recognizer", "whisper-large-v3"];

#[test]
fn promise_1_what_was_closed_outlives_a_crash() {
    promise(
        1,
        "After `close` returns, the bytes of a drop are in the spool: a crash of scribefs does not lose them.",
    );
    let Some(mut stage) = Stage::set("promise_1", &QUIET) else { return };
    stage.drop_one(false);
    stage.world.kill();
    // And the mount never looks empty.
    assert!(looks_broken(&stage.world.root));
    stage.start();
    assert_eq!(stage.is_whole(), [true]);
}

#[test]
fn promise_1_what_a_power_cut_has_cut_is_kept_and_never_transcribed() {
    let Some(mut stage) = Stage::set("promise_1_power", &QUIET) else { return };
    for seed in 1..8 {
        stage.drop_one(false);
        stage.cut_power(Cut::Random(seed));
        let cut: Vec<_> = stage
            .is_whole()
            .iter()
            .zip(stage.world.manifest.values())
            .filter(|(is_whole, _)| !**is_whole)
            .map(|(_, dropped)| stage.world.inbox().join(&dropped.path))
            .collect();
        for path in cut.into_iter().filter(|path| path.metadata().is_ok_and(|it| 0 < it.len())) {
            assert_eq!(state_of(&path), "interrupted", "seed {seed}: {}", path.display());
        }
    }
}

#[test]
fn promise_2_from_queued_on_no_power_cut_loses_it() {
    promise(
        2,
        "When the settle time has passed, scribefs syncs the drop and the names of its folders to disk",
    );
    let Some(mut stage) = Stage::set("promise_2", &NO_MODEL) else { return };
    stage.drop_one(false);
    let path = stage.world.manifest.values().next().unwrap().path.clone();
    stage
        .world
        .wait_for("it to be queued", |world| state_of(&world.inbox().join(&path)) == "queued");
    stage.cut_power(Cut::Strict);
    assert_eq!(stage.is_whole(), [true]);
}

#[test]
fn promise_3_what_was_synced_is_on_disk_file_and_folder() {
    promise(
        3,
        "After `fsync` returns, or with `sync_on_close` after every `close`, the drop is on disk, file and folder.",
    );
    let Some(mut stage) = Stage::set("promise_3", &QUIET) else { return };
    stage.drop_one(true);
    stage.cut_power(Cut::Strict);
    assert_eq!(stage.is_whole(), [true]);
}

#[test]
fn promise_3_with_sync_on_close_every_close_is_enough() {
    let flags = [QUIET[0], QUIET[1], "-o", "sync_on_close=true"];
    let Some(mut stage) = Stage::set("promise_3_on_close", &flags) else { return };
    stage.drop_one(false);
    stage.cut_power(Cut::Strict);
    assert_eq!(stage.is_whole(), [true]);
}

#[test]
fn promise_4_a_recording_leaves_the_spool_last() {
    promise(
        4,
        "A recording leaves the spool last: after the original, its pages, its metadata and the index entry are on disk.",
    );
    let Some(mut stage) = Stage::set("promise_4", &[]) else { return };
    stage.drop_one(false);
    let path = stage.world.manifest.values().next().unwrap().path.clone();
    stage.world.wait_for("it to leave", |world| !world.inbox().join(&path).exists());
    stage.cut_power(Cut::Strict);
    let published = stage.world.published().unwrap();
    assert_eq!(
        published.keys().collect::<Vec<_>>(),
        stage.world.manifest.keys().collect::<Vec<_>>()
    );
    stage.world.stop();
    stage.world.verify(|_| true);
}

#[test]
fn promise_5_a_publication_that_was_cut_off_is_done_again() {
    promise(5, "The metadata page is written after the pages it names.");
    let Some(mut stage) = Stage::set("promise_5", &[]) else { return };
    stage.world.stop();
    assert!(stage.world.start("publish-transcript-written=1*return"));
    stage.drop_one(true);
    stage.world.wait_for("the daemon to die", World::has_died);
    let uploads = stage.world.state.join("uploads");
    let mut names = Vec::new();
    crash_world::walk(&uploads, &mut |path| names.push(path.display().to_string()));
    assert!(names.iter().any(|name| name.ends_with(".wav")), "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with("_metadata.json")), "{names:?}");
    stage.cut_power(Cut::Strict);
    stage.world.wait_until_idle();
    stage.world.stop();
    stage.world.verify(|_| true);
}

#[test]
fn the_store_alone_is_enough_to_restore_everything() {
    let Some(mut stage) = Stage::set("the_store_alone", &[]) else { return };
    stage.drop_one(true);
    stage.drop_one(true);
    stage.world.wait_until_idle();
    let before = stage.world.published().unwrap();
    assert_eq!(before.len(), 2);
    stage.world.stop();
    // Everything else is lost with the machine.
    for entry in fs::read_dir(&stage.world.state).unwrap().flatten() {
        match entry.file_name().to_str() {
            Some("uploads") => {}
            _ if entry.path().is_dir() => fs::remove_dir_all(entry.path()).unwrap(),
            _ => fs::remove_file(entry.path()).unwrap(),
        }
    }
    stage.start();
    assert_eq!(stage.world.published().unwrap(), before);
}
