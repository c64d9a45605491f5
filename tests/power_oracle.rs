//! The power goes: what was promised to be on disk is there, what was not may be gone, and nothing is wrong.
//!
//! The state folder lies on a filesystem of our own (`power_fs`), which loses at a cut what was not synced.

mod crash_world;
mod pieces;
mod power_fs;
mod running;

use std::fs;
use std::thread;
use std::time::Duration;

use crash_world::{Random, World, state_of};
use pieces::public_speech;
use power_fs::{Cut, PowerFs};
use running::{is_full, obstacle, skip};

/// A world on a disk without power, and speech to drop. `None`, said aloud, where that cannot be had.
fn world(test: &str, dir: &std::path::Path, flags: &[&str]) -> Option<(PowerFs, World, Vec<u8>)> {
    let Some(speech) = public_speech() else {
        skip(test, "native/recordings is not there; scripts/setup brings it");
        return None;
    };
    if let Some(why) = obstacle() {
        skip(test, &why);
        return None;
    }
    let disk = dir.join("disk");
    fs::create_dir(&disk).unwrap();
    let power = match PowerFs::mount(&disk) {
        Ok(power) => power,
        Err(err) => {
            skip(test, &format!("a filesystem for the state cannot be mounted: {err}"));
            return None;
        }
    };
    // The folder itself was there long before.
    fs::create_dir(disk.join("state")).unwrap();
    fs::File::open(&disk).unwrap().sync_all().unwrap();
    Some((power, World::new(dir, disk.join("state"), flags), speech))
}

fn cut(power: &mut PowerFs, world: &mut World, how: Cut) {
    world.kill();
    world.detach(libc::MNT_FORCE | libc::MNT_DETACH);
    power.cut(how);
}

#[test]
fn what_was_synced_survives_a_power_cut_at_any_moment() {
    let test = "what_was_synced_survives_a_power_cut_at_any_moment";
    let dir = tempfile::tempdir().unwrap();
    let Some((mut power, mut world, speech)) = world(test, dir.path(), &[]) else { return };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let cuts = if is_full() { 200 } else { 8 };
    for number in 0..cuts {
        assert!(world.start(""), "{}", world.log_tail());
        world.note_what_is_published();
        for _ in 0..2 {
            let folder = format!("talk-{}", world.manifest.len() / 12);
            world.drop_one(&speech, &folder, true).unwrap();
        }
        thread::sleep(Duration::from_millis(random.below(3_000)));
        world.note_what_is_published();
        let how = if number % 2 == 0 { Cut::Strict } else { Cut::Random(number + 1) };
        cut(&mut power, &mut world, how);
    }
    assert!(0 < power.syncs());
    world.verify(|dropped| dropped.is_synced || dropped.was_published);
    eprintln!("{cuts} power cuts, {} recordings: each there once", world.manifest.len());
}

#[test]
fn what_mv_brought_survives_a_power_cut_once_its_settle_time_is_over() {
    let test = "what_mv_brought_survives_a_power_cut_once_its_settle_time_is_over";
    let dir = tempfile::tempdir().unwrap();
    // Without a recognizer nothing is published: what is left of a drop is its file in the spool.
    let flags = ["--recognizer", "whisper-large-v3"];
    let Some((mut power, mut world, speech)) = world(test, dir.path(), &flags) else { return };
    for how in [Cut::Strict, Cut::Random(7), Cut::Random(8)] {
        assert!(world.start(""), "{}", world.log_tail());
        for _ in 0..3 {
            // Written and closed, and never synced, as `mv` does before it removes its source.
            world.drop_one(&speech, "moved", false).unwrap();
        }
        let waiting: Vec<_> =
            world.manifest.values().map(|it| world.inbox().join(&it.path)).collect();
        world.wait_for("the settle time to be over", |_| {
            waiting.iter().all(|path| state_of(path) == "queued")
        });
        cut(&mut power, &mut world, how);
        assert!(world.start(""), "{}", world.log_tail());
        for (hash, dropped) in &world.manifest {
            let path = world.inbox().join(&dropped.path);
            let bytes = fs::read(&path).unwrap_or_default();
            let found = blake3::hash(&bytes).to_hex().to_string();
            assert_eq!(&found, hash, "{how:?}: {} has {} bytes", path.display(), bytes.len());
        }
        world.wait_for("it to be offered again", |_| {
            waiting.iter().all(|path| state_of(path) == "queued")
        });
        world.kill();
    }
}
