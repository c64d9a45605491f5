//! Removing what is published: it is gone at once, whatever program removes it and in whatever order, and all of it
//! comes back.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{World, day, getxattr, names, setxattr, skip, until};
use scribefs::model::ConversationSeq;

const DAY: &str = "conversations/standup/2024/01/15";

/// Names of all files that a day with `monday.wav` shows.
const ALL: [&str; 6] = [
    "monday.json",
    "monday.srt",
    "monday.vtt",
    "monday.wav",
    "monday_metadata.json",
    "standup_transcript.txt",
];

fn with_one(test: &str) -> Option<World> {
    let world = World::new(test)?;
    world.publish("standup", day(2024, 1, 15), "monday.wav");
    assert_eq!(names(world.path(DAY)), ALL);
    Some(world)
}

#[test]
fn a_removed_page_stays_away_and_can_be_brought_back() {
    let Some(mut world) = with_one("a_removed_page_stays_away_and_can_be_brought_back") else {
        return;
    };
    for name in ["monday.srt", "standup_transcript.txt"] {
        let path = world.path(DAY).join(name);
        fs::remove_file(&path).unwrap();
        assert!(!path.exists(), "{name}");
        assert_eq!(fs::remove_file(&path).unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
    let rest: Vec<&str> = ALL
        .into_iter()
        .filter(|name| !matches!(*name, "monday.srt" | "standup_transcript.txt"))
        .collect();
    assert_eq!(names(world.path(DAY)), rest);
    world.remount();
    assert_eq!(names(world.path(DAY)), rest);
    assert!(names(world.path(".scribefs/trash")).is_empty());
    setxattr(&world.path(DAY), "user.scribefs.restore", b"1").unwrap();
    until("all pages are back", || (names(world.path(DAY)) == ALL).then_some(()));
    let text = fs::read_to_string(world.path(DAY).join("monday.srt")).unwrap();
    assert!(text.starts_with("this is standup/"));
}

#[test]
fn removing_the_original_takes_its_recording_to_the_trash() {
    let test = "removing_the_original_takes_its_recording_to_the_trash";
    let Some(mut world) = with_one(test) else { return };
    world.publish("standup", day(2024, 1, 15), "tuesday.wav");
    until("both are there", || (names(world.path(DAY)).len() == 11).then_some(()));
    fs::remove_file(world.path(DAY).join("monday.srt")).unwrap();
    fs::remove_file(world.path(DAY).join("monday.wav")).unwrap();
    let left = |world: &World| {
        let names = names(world.path(DAY));
        assert!(names.iter().all(|name| !name.starts_with("monday")), "{names:?}");
        assert_eq!(names.len(), 6);
    };
    left(&world);
    // Nothing of it can be read, whatever the kernel still knows.
    assert!(fs::read(world.path(DAY).join("monday.json")).is_err());
    until("its names are gone", || (!world.path(DAY).join("monday.json").exists()).then_some(()));
    let trashed = world.path(".scribefs/trash/standup 2024-01-15 monday.wav");
    let mut expected = ALL.to_vec();
    expected.pop();
    assert_eq!(names(&trashed), expected);
    assert!(
        fs::read_to_string(trashed.join("monday.wav")).unwrap().starts_with("this is standup/")
    );
    assert_eq!(
        getxattr(&trashed, "user.scribefs.origin").unwrap(),
        "standup/2024/01/15/monday.wav"
    );
    assert!(getxattr(&trashed, "user.scribefs.trashed_at").unwrap().starts_with("20"));
    let err = fs::remove_file(trashed.join("monday.wav")).unwrap_err();
    assert_eq!(err.raw_os_error(), Some(libc::EROFS));
    world.remount();
    left(&world);
    assert_eq!(names(&trashed), expected);
    assert_eq!(world.services.index.totals().unwrap().recordings, 1);
    let elsewhere = fs::rename(&trashed, world.path("conversations/other")).unwrap_err();
    assert_eq!(elsewhere.raw_os_error(), Some(libc::EINVAL));
    let moved =
        Command::new("mv").arg(&trashed).arg(world.path("conversations/")).output().unwrap();
    assert!(moved.status.success(), "{moved:?}");
    until("it is back, the page too", || (names(world.path(DAY)).len() == 11).then_some(()));
    assert_eq!(names(world.path("conversations")), ["standup"]);
    assert!(names(world.path(".scribefs/trash")).is_empty());
}

#[test]
fn removing_a_day_leaves_the_others() {
    let Some(world) = with_one("removing_a_day_leaves_the_others") else { return };
    world.publish("standup", day(2024, 2, 1), "february.wav");
    until("both are there", || {
        (names(world.path("conversations/standup/2024")).len() == 2).then_some(())
    });
    let err = fs::remove_dir(world.path(DAY)).unwrap_err();
    assert_eq!(err.raw_os_error(), Some(libc::ENOTEMPTY));
    let output = Command::new("rm").arg("-r").arg(world.path(DAY)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!world.path(DAY).exists());
    until("its month is gone", || {
        (names(world.path("conversations/standup/2024")) == ["02"]).then_some(())
    });
    assert_eq!(names(world.path(".scribefs/trash")), ["standup 2024-01-15 monday.wav"]);
    assert_eq!(world.services.index.days(ConversationSeq(1)).unwrap().len(), 2);
}

/// A program that removes everything in a conversation's folder, and the folder.
type Remover = (&'static str, fn(&Path, &Path) -> Command);

const PYTHON: &str = "
import os, sys
root, order = sys.argv[1:]
seen = [(place, sorted(folders), sorted(files)) for place, folders, files in os.walk(root)]
for place, folders, files in reversed(seen):
    for name in (files if order == 'up' else reversed(files)):
        os.unlink(os.path.join(place, name))
    os.rmdir(place)
";

fn python(folder: &Path, order: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON]).arg(folder).arg(order);
    command
}

const REMOVERS: [Remover; 6] = [
    ("rm", |folder, _| {
        let mut command = Command::new("rm");
        command.arg("-r").arg(folder);
        command
    }),
    ("find", |folder, _| {
        let mut command = Command::new("find");
        command.arg(folder).arg("-delete");
        command
    }),
    ("python3", |folder, _| python(folder, "up")),
    ("python3", |folder, _| python(folder, "down")),
    ("python3", |folder, _| {
        let mut command = Command::new("python3");
        command.args(["-c", "import shutil, sys; shutil.rmtree(sys.argv[1])"]).arg(folder);
        command
    }),
    ("rsync", |folder, empty| {
        let mut command = Command::new("rsync");
        command.args(["-r", "--delete"]).arg(empty.join("")).arg(folder.join(""));
        command
    }),
];

#[test]
fn whatever_removes_a_conversation_takes_it_to_the_trash_whole() {
    let test = "whatever_removes_a_conversation_takes_it_to_the_trash_whole";
    for (at, (program, remover)) in REMOVERS.into_iter().enumerate() {
        let Some(world) = World::new(test) else { return };
        if Command::new(program).arg("--version").output().is_err() {
            skip(test, &format!("there is no {program}"));
            continue;
        }
        for (name, day) in
            [("a.wav", day(2024, 1, 15)), ("b.wav", day(2024, 1, 15)), ("c.wav", day(2024, 2, 1))]
        {
            world.publish("standup", day, name);
        }
        world.publish("retro", day(2024, 1, 15), "first.wav");
        let folder = world.path("conversations/standup");
        until("all is there", || folder.join("2024/02/01/c.wav").exists().then_some(()));
        let empty = tempfile::tempdir().unwrap();
        let output = remover(&folder, empty.path()).output().unwrap();
        assert!(output.status.success(), "{at} {program}: {output:?}");
        assert_eq!(names(world.path("conversations")), ["retro"], "{at} {program}");
        let trash = world.path(".scribefs/trash");
        assert_eq!(names(&trash), ["standup"], "{at} {program}");
        until("it is out of reach", || (!folder.exists()).then_some(()));
        fs::rename(trash.join("standup"), &folder).unwrap();
        until("all of it is back", || {
            let all = folder.join("2024/01/15").is_dir()
                && names(folder.join("2024/01/15")).len() == 11
                && names(folder.join("2024/02/01")).len() == 6;
            all.then_some(())
        });
    }
}

#[test]
fn removing_the_last_recording_takes_the_conversation_to_the_trash() {
    let test = "removing_the_last_recording_takes_the_conversation_to_the_trash";
    let Some(world) = with_one(test) else { return };
    fs::remove_file(world.path(DAY).join("monday.wav")).unwrap();
    assert_eq!(names(world.path(".scribefs/trash")), ["standup"]);
    until("it is gone", || {
        (names(world.path("conversations")).is_empty()
            && !world.path("conversations/standup").exists())
        .then_some(())
    });
    assert_eq!(names(world.path(".scribefs/trash/standup/2024/01/15")), ALL);
}

#[test]
fn what_was_removed_can_be_brought_back_and_removed_again_at_once() {
    let test = "what_was_removed_can_be_brought_back_and_removed_again_at_once";
    let Some(world) = with_one(test) else { return };
    let (day, trash) = (world.path(DAY), world.path(".scribefs/trash"));
    let remove = |path: &Path| {
        let output = Command::new("rm").arg("-r").arg(path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        until("it is in the trash", || (names(&trash) == ["standup"]).then_some(()));
    };
    for round in 0..4 {
        // A folder below the conversation: those above it are still there for a moment, and may be removed too.
        remove(if round % 2 == 0 { &day } else { day.parent().unwrap() });
        if round == 2 && world.path("conversations/standup").exists() {
            remove(&world.path("conversations/standup"));
        }
        setxattr(&trash.join("standup"), "user.scribefs.restore", b"").unwrap();
        until("it is back", || (names(&day) == ALL).then_some(()));
        until("it is out of the trash", || names(&trash).is_empty().then_some(()));
    }
    // The same where the original goes first, and then the program comes for what is left.
    fs::remove_file(day.join("monday.wav")).unwrap();
    fs::remove_file(day.join("monday.srt")).unwrap();
    setxattr(&trash.join("standup"), "user.scribefs.restore", b"other").unwrap();
    let renamed = world.path("conversations/other/2024/01/15");
    until("it is back under the other name", || {
        (renamed.is_dir() && names(&renamed).len() == ALL.len()).then_some(())
    });
    fs::remove_file(renamed.join("monday.wav")).unwrap();
    fs::remove_file(renamed.join("monday.srt")).unwrap();
    world.publish("other", common::day(2024, 1, 15), "tuesday.wav");
    let taken = setxattr(&trash.join("other"), "user.scribefs.restore", b"").unwrap_err();
    assert_eq!(taken.raw_os_error(), Some(libc::EEXIST));
}

#[test]
fn a_transcript_that_is_removed_after_its_recordings_comes_back_with_them() {
    let test = "a_transcript_that_is_removed_after_its_recordings_comes_back_with_them";
    let Some(world) = with_one(test) else { return };
    world.publish("standup", day(2024, 2, 1), "february.wav");
    let folder = world.path(DAY);
    for name in ["monday.wav", "monday.srt", "standup_transcript.txt"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    let trashed = world.path(".scribefs/trash/standup 2024-01-15 monday.wav");
    setxattr(&trashed, "user.scribefs.restore", b"").unwrap();
    until("all of it is back", || (folder.is_dir() && names(&folder) == ALL).then_some(()));
}

#[test]
fn a_file_manager_is_told_that_it_has_no_trash_here_and_can_remove() {
    let test = "a_file_manager_is_told_that_it_has_no_trash_here_and_can_remove";
    let Some(world) = with_one(test) else { return };
    for name in [".Trash", ".Trash-0", ".Trash-1000"] {
        let err = fs::create_dir(world.path(name)).unwrap_err();
        assert_eq!(err.raw_os_error(), Some(libc::EPERM), "{name}");
    }
    let other = fs::create_dir(world.path("folder")).unwrap_err();
    assert_eq!(other.raw_os_error(), Some(libc::EROFS));
    if Command::new("gio").arg("--version").output().is_err() {
        return skip(test, "there is no gio");
    }
    let file = world.path(DAY).join("monday.wav");
    let gio = |verb: &str| Command::new("gio").arg(verb).arg(&file).output().unwrap();
    let refused = gio("trash");
    assert!(!refused.status.success() && file.exists(), "{refused:?}");
    let removed = gio("remove");
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(names(world.path(".scribefs/trash")), ["standup"]);
}

#[test]
fn a_conversation_can_be_moved_to_the_trash() {
    let Some(world) = with_one("a_conversation_can_be_moved_to_the_trash") else { return };
    let trash = world.path(".scribefs/trash");
    let moved =
        Command::new("mv").arg(world.path("conversations/standup")).arg(&trash).output().unwrap();
    assert!(moved.status.success(), "{moved:?}");
    until("it is in the trash", || (names(&trash) == ["standup"]).then_some(()));
    assert!(names(world.path("conversations")).is_empty());
}
