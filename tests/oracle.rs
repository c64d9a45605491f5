//! The crash oracle: the daemon, or a worker, is killed at random and at every named fail point, and nothing is
//! lost, nothing comes twice, and what is left is in order.
//!
//! 25 kills in the short run, 1,000 with `scripts/test --full`; `SCRIBEFS_KILLS` asks for another number.

mod crash_world;
mod pieces;
mod running;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use crash_world::{Random, World};
use pieces::public_speech;
use running::{obstacle, skip};

/// What is done while the daemon may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Drop,
    DropSynced,
    DropBroken,
    RenameInInbox,
    NameSpeaker,
    RenameConversation,
    Trash,
    Restore,
}

/// Every fail point that is reached without a bucket, and what leads to it.
const POINTS: [(&str, Action); 28] = [
    ("spool-before-mark", Action::Drop),
    ("spool-file-synced", Action::DropSynced),
    ("spool-mark-removed", Action::Drop),
    ("spool-renamed", Action::RenameInInbox),
    ("spool-before-note", Action::DropBroken),
    ("job-taken", Action::Drop),
    ("job-heard", Action::Drop),
    ("publish-before-audio", Action::Drop),
    ("store-file-staged", Action::Drop),
    ("publish-audio-stored", Action::Drop),
    ("publish-before-page", Action::Drop),
    ("publish-transcript-written", Action::Drop),
    ("publish-before-index", Action::Drop),
    ("publish-before-install", Action::Drop),
    ("index-before-commit", Action::Drop),
    ("index-committed", Action::Drop),
    ("job-published", Action::Drop),
    ("spool-before-finish", Action::Drop),
    ("spool-finished", Action::Drop),
    ("name-before-pages", Action::NameSpeaker),
    ("publish-before-page", Action::NameSpeaker),
    ("publish-transcript-written", Action::NameSpeaker),
    ("rewrite-before-index", Action::NameSpeaker),
    ("rewrite-before-install", Action::NameSpeaker),
    ("rename-before-pages", Action::RenameConversation),
    ("rewrite-before-index", Action::RenameConversation),
    ("rename-before-pages", Action::Trash),
    ("rename-before-pages", Action::Restore),
];

fn kills() -> usize {
    let asked = std::env::var("SCRIBEFS_KILLS").ok().and_then(|text| text.parse().ok());
    let full = std::env::var_os("SCRIBEFS_FULL").is_some();
    asked.unwrap_or(if full { 1_000 } else { POINTS.len() + 4 })
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
    let mut world = World::new(dir.path(), dir.path().join("state"), &[]);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut reached: BTreeMap<usize, u32> = BTreeMap::new();

    // Something to rename, to trash and to name.
    for number in 0..6 {
        if number == 0 {
            assert!(world.start(""), "{}", world.log_tail());
        }
        world.drop_one(&speech, &format!("first{}", number % 3), true).unwrap();
    }
    world.wait_until_idle();
    world.kill();

    for kill in 0..kills() {
        let is_first_time = kill < POINTS.len();
        let point = match random.below(4) {
            _ if is_first_time => Some(kill),
            0 => None,
            _ => Some(usize::try_from(random.below(POINTS.len() as u64)).unwrap()),
        };
        // The first time each point ends the daemon when it is first reached, later also after that.
        let spared = if is_first_time { 0 } else { random.below(4) };
        match point {
            Some(point) => {
                let (name, action) = POINTS[point];
                let armed = format!("{name}={}1*return", spared_term(spared));
                // Starting alone may lead to it.
                if world.start(&armed) {
                    act(&mut world, &mut random, &speech, action);
                    world.wait_until_idle();
                }
                if world.has_aborted() {
                    *reached.entry(point).or_default() += 1;
                }
            }
            None => {
                world.start("");
                act(&mut world, &mut random, &speech, Action::Drop);
                thread::sleep(Duration::from_millis(random.below(700)));
                if random.below(3) == 0 {
                    world.kill_a_worker();
                    thread::sleep(Duration::from_millis(random.below(300)));
                }
            }
        }
        world.kill();
    }

    // What was synced or closed when the daemon died is with the kernel, whatever becomes of the daemon.
    world.verify(|dropped| dropped.is_synced || dropped.is_closed);
    let tried = 0..POINTS.len().min(kills());
    let missed: Vec<_> =
        tried.filter(|it| !reached.contains_key(it)).map(|it| POINTS[it]).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
    let (kills, recordings) = (kills(), world.manifest.len());
    eprintln!("{kills} kills, {recordings} recordings: each there once");
    if 0 < world.forced {
        eprintln!("after {} of them the connection had to be aborted (`umount -f`)", world.forced);
    }
}

fn spared_term(spared: u64) -> String {
    if spared == 0 { String::new() } else { format!("{spared}*off->") }
}

/// Errors mean that the daemon has died, which is what is tried.
fn act(world: &mut World, random: &mut Random, speech: &[u8], action: Action) {
    let folder = format!("talk-{}", world.manifest.len() / 12);
    let recording = world.any_recording(random);
    let conversations = world.conversations("conversations");
    let any = |random: &mut Random, names: &[String]| {
        let count = u64::try_from(names.len()).unwrap();
        (0 < count).then(|| names[usize::try_from(random.below(count)).unwrap()].clone())
    };
    match action {
        Action::Drop => drop(world.drop_one(speech, &folder, random.below(2) == 0)),
        Action::DropSynced => drop(world.drop_one(speech, &folder, true)),
        Action::DropBroken => drop(world.drop_broken()),
        Action::RenameInInbox => {
            if world.drop_one(speech, ".arriving", true).is_ok() {
                rename_last(world);
            }
        }
        Action::NameSpeaker => {
            if let Some(recording) = recording {
                let name = format!("S1=Anna {}", random.below(1_000));
                let mut command = world.command();
                command.arg("name").arg(recording).arg(name);
                // It fails where the daemon dies.
                drop(command.output());
            }
        }
        Action::RenameConversation => {
            if let Some(from) = any(random, &conversations) {
                let folder = world.root.join("conversations");
                let to = format!("renamed-{}", random.below(1_000_000));
                drop(std::fs::rename(folder.join(from), folder.join(to)));
            }
        }
        Action::Trash => {
            if let Some(from) = any(random, &conversations) {
                drop(std::fs::remove_dir_all(world.root.join("conversations").join(from)));
            }
        }
        Action::Restore => {
            if let Some(from) = any(random, &world.conversations(".scribefs/trash")) {
                let to = format!("restored-{}", random.below(1_000_000));
                let trash = world.root.join(".scribefs/trash");
                drop(std::fs::rename(trash.join(from), world.root.join("conversations").join(to)));
            }
        }
    }
    if !matches!(action, Action::Drop | Action::DropSynced) {
        // The pages follow by themselves: something new comes after them.
        drop(world.drop_one(speech, &folder, true));
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
    drop(std::fs::create_dir_all(inbox.join("arrived")));
    if std::fs::rename(from, inbox.join(&to)).is_ok() {
        last.path = to;
    }
}
