//! What is published, as users see it: listing, reading, renaming, removing, and nothing else.

mod common;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use common::{
    World, c_path, content, day, errno_of, getxattr, is_root, names, publish_at, setxattr, until,
};
use scribefs::index;
use scribefs::model::{ConversationId, ConversationSeq, PageKind};

const DAY: &str = "conversations/standup/2024/01/15";

/// A mount with one recording in `standup`, listed once so that the kernel knows all of it.
fn with_one(test: &str) -> Option<World> {
    let world = World::new(test)?;
    world.publish("standup", day(2024, 1, 15), "monday.wav");
    let found = Command::new("find").arg(world.path("conversations")).output().unwrap();
    assert_eq!(found.stdout.iter().filter(|byte| **byte == b'\n').count(), 11);
    Some(world)
}

#[test]
fn a_day_holds_the_recording_and_its_pages() {
    let Some(world) = with_one("a_day_holds_the_recording_and_its_pages") else { return };
    let expected = [
        "monday.json",
        "monday.srt",
        "monday.vtt",
        "monday.wav",
        "monday_metadata.json",
        "standup_transcript.txt",
    ];
    assert_eq!(names(world.path(DAY)), expected);
    for name in expected {
        let path = world.path(DAY).join(name);
        let text = fs::read(&path).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert!(String::from_utf8_lossy(&text).starts_with("this is standup/2024/01/15/"));
        assert_eq!(metadata.len(), text.len() as u64);
        assert_eq!(metadata.permissions().mode(), 0o100_444);
        assert_eq!(metadata.nlink(), 1);
        assert_eq!(metadata.mtime(), 1_705_312_920);
    }
    assert!(!world.path(DAY).join("monday.html").exists());
    assert!(!world.path("conversations/standup/2024/1").exists());
    assert!(!world.path("conversations/standup/2023").exists());
}

#[test]
fn folders_have_the_time_of_their_newest_recording_and_pages_their_own() {
    let name = "folders_have_the_time_of_their_newest_recording_and_pages_their_own";
    let Some(world) = with_one(name) else { return };
    world.publish("standup", day(2024, 2, 1), "older.wav");
    let modified = |below: &str| fs::metadata(world.path(below)).unwrap().modified().unwrap();
    let way = [DAY, "conversations/standup/2024/01", "conversations/standup/2024"];
    let way = way.into_iter().chain(["conversations/standup"]);
    let first = modified(DAY);
    assert!(way.clone().all(|folder| modified(folder) == first));
    let later: jiff::Timestamp = "2024-03-01T12:00:00Z".parse().unwrap();
    let newest = publish_at(&world.services, "standup", day(2024, 1, 15), "newest.wav", later);
    for folder in way {
        until(folder, || (modified(folder) == SystemTime::from(later)).then_some(()));
    }
    assert_eq!(modified("conversations/standup/2024/02"), first);

    // A page of the same size is told from the one before by its time.
    let again: jiff::Timestamp = "2024-03-02T12:00:00Z".parse().unwrap();
    let page = format!("{DAY}/newest.srt");
    assert_eq!(modified(&page), SystemTime::from(later));
    let mut rewritten = newest.clone();
    let kept = rewritten.pages.iter_mut().filter(|page| page.kind == PageKind::Srt);
    kept.for_each(|page| page.written_at = Some(again));
    let (seq, day) = (newest.id.conversation, newest.id.day);
    let transcript = world.services.index.day_transcript(seq, day).unwrap().unwrap();
    world.services.index.replace(rewritten, transcript).unwrap();
    until("its time", || (modified(&page) == SystemTime::from(again)).then_some(()));
    assert_eq!(modified(&format!("{DAY}/newest.vtt")), SystemTime::from(later));
}

#[test]
fn inode_numbers_hold_over_a_remount() {
    let Some(mut world) = with_one("inode_numbers_hold_over_a_remount") else { return };
    let number = |world: &World| fs::metadata(world.path(DAY).join("monday.srt")).unwrap().ino();
    let before = number(&world);
    world.remount();
    assert_eq!(number(&world), before);
}

#[test]
fn a_new_recording_appears_at_once() {
    let Some(world) = with_one("a_new_recording_appears_at_once") else { return };
    let missing = world.path(DAY).join("tuesday.srt");
    assert!(!missing.exists());
    assert!(!world.path("conversations/retro").exists());
    // All answers from here on must come long before the kernel's own memory would fade.
    world.publish("standup", day(2024, 1, 15), "tuesday.wav");
    world.publish("standup", day(2024, 2, 1), "february.wav");
    world.publish("standup", day(2025, 1, 1), "year.wav");
    world.publish("retro", day(2024, 1, 15), "first.wav");
    until("the new ones are listed", || {
        let all = names(world.path("conversations")) == ["retro", "standup"]
            && names(world.path("conversations/standup")) == ["2024", "2025"]
            && names(world.path("conversations/standup/2024")) == ["01", "02"]
            && names(world.path(DAY)).len() == 11
            && missing.exists();
        all.then_some(())
    });
}

#[test]
fn a_transcript_that_was_read_is_read_anew_when_it_changes() {
    let Some(world) = with_one("a_transcript_that_was_read_is_read_anew_when_it_changes") else {
        return;
    };
    let path = world.path(DAY).join("standup_transcript.txt");
    let old = fs::read(&path).unwrap();
    let seq = ConversationSeq(1);
    let mut transcript =
        world.services.index.day_transcript(seq, day(2024, 1, 15)).unwrap().unwrap();
    let recording = world.services.index.recordings(seq, day(2024, 1, 15)).unwrap().pop().unwrap();
    let new = [&old[..], b"and more of it\n"].concat();
    world.services.store.put(&transcript.object.key, &new).unwrap();
    transcript.object.bytes = new.len() as u64;
    world.services.index.replace(recording, transcript).unwrap();
    until("the new text is read", || (fs::read(&path).unwrap() == new).then_some(()));
    assert_eq!(fs::metadata(&path).unwrap().len(), new.len() as u64);
}

#[test]
fn attributes_tell_what_is_known() {
    let Some(world) = with_one("attributes_tell_what_is_known") else { return };
    let audio = world.path(DAY).join("monday.wav");
    let told = |name: &str| getxattr(&audio, &format!("user.scribefs.{name}")).unwrap();
    assert_eq!(told("state"), "done");
    assert_eq!(told("conversation"), "standup");
    assert_eq!(told("duration"), "12.500");
    assert_eq!(told("speakers"), "2");
    assert_eq!(told("language"), "en");
    assert_eq!(told("model"), "moonshine-tiny-en");
    assert_eq!(told("blake3"), blake3::hash(&fs::read(&audio).unwrap()).to_hex().to_string());
    assert_eq!(getxattr(&audio, "user.mime_type").unwrap(), "audio/wav");
    let json = world.path(DAY).join("monday.json");
    assert_eq!(getxattr(&json, "user.mime_type").unwrap(), "application/json");
    let none = getxattr(&audio, "user.color").unwrap_err();
    assert_eq!(none.raw_os_error(), Some(libc::ENODATA));
    let foreign = getxattr(&audio, "system.posix_acl_access").unwrap_err();
    assert_eq!(foreign.raw_os_error(), Some(libc::EOPNOTSUPP));
}

#[test]
fn an_audio_file_can_be_mapped_and_read_anywhere() {
    let Some(world) = with_one("an_audio_file_can_be_mapped_and_read_anywhere") else { return };
    for name in ["monday.wav", "monday.json"] {
        let file = File::open(world.path(DAY).join(name)).unwrap();
        let whole = fs::read(world.path(DAY).join(name)).unwrap();
        let mut some = [0u8; 6];
        file.read_exact_at(&mut some, 5).unwrap();
        assert_eq!(some, whole[5..11]);
        // SAFETY: nobody changes what is published.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        assert_eq!(map[..], whole[..]);
        // SAFETY: the descriptor is open.
        let end = unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_HOLE) };
        assert_eq!(end, i64::try_from(whole.len()).unwrap());
    }
}

#[test]
fn two_readers_of_one_audio_file_do_not_meet() {
    let Some(world) = with_one("two_readers_of_one_audio_file_do_not_meet") else { return };
    let path = world.path(DAY).join("monday.wav");
    let first = File::open(&path).unwrap();
    let second = File::open(&path).unwrap();
    drop(first);
    let third = File::open(&path).unwrap();
    for file in [&second, &third] {
        let mut some = [0u8; 7];
        file.read_exact_at(&mut some, 0).unwrap();
        assert_eq!(&some, b"this is");
    }
}

#[test]
fn a_conversation_can_be_renamed() {
    let Some(world) = with_one("a_conversation_can_be_renamed") else { return };
    world.publish("retro", day(2024, 1, 15), "first.wav");
    let folder = |name: &str| world.path("conversations").join(name);
    until("retro is there", || folder("retro").exists().then_some(()));
    fs::rename(folder("standup"), folder("daily")).unwrap();
    until("names follow", || {
        (names(folder("daily/2024/01/15")).first().unwrap() == "daily_transcript.txt").then_some(())
    });
    assert!(!folder("standup").exists());
    let audio = fs::read(folder("daily/2024/01/15/monday.wav")).unwrap();
    assert!(audio.starts_with(b"this is standup/"));
    // Onto another: never.
    let err = fs::rename(folder("daily"), folder("retro")).unwrap_err();
    assert_eq!(err.raw_os_error(), Some(libc::ENOTEMPTY));
    let rename = |from: &str, to: &str, flags| {
        let (from, to) = (c_path(&folder(from)), c_path(&folder(to)));
        let here = libc::AT_FDCWD;
        // SAFETY: two strings that end in NUL.
        errno_of(unsafe { libc::renameat2(here, from.as_ptr(), here, to.as_ptr(), flags) })
    };
    assert_eq!(rename("daily", "retro", libc::RENAME_NOREPLACE), libc::EEXIST);
    assert_eq!(rename("daily", "retro", libc::RENAME_EXCHANGE), libc::EINVAL);
    assert_eq!(rename("daily", &"x".repeat(65), 0), libc::ENAMETOOLONG);
    assert_eq!(rename("daily", "daily/2024/inner", 0), libc::EINVAL);
    assert_eq!(names(world.path("conversations")), ["daily", "retro"]);
}

#[test]
fn removing_a_whole_conversation_moves_it_to_the_trash() {
    let Some(world) = with_one("removing_a_whole_conversation_moves_it_to_the_trash") else {
        return;
    };
    world.publish("standup", day(2024, 2, 1), "february.wav");
    world.publish("retro", day(2024, 1, 15), "first.wav");
    // Listings are the kernel's, which is told a moment later than lookups find what is there.
    until("all is there", || {
        let is_listed = names(world.path("conversations/standup/2024")) == ["01", "02"]
            && names(world.path("conversations")) == ["retro", "standup"];
        is_listed.then_some(())
    });
    let output =
        Command::new("rm").arg("-r").arg(world.path("conversations/standup")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names(world.path("conversations")), ["retro"]);
    let trashed = world.services.index.trashed_conversations().unwrap();
    assert_eq!(trashed[0].id.as_str(), "standup");
    world.services.index.restore_conversation(trashed[0].seq).unwrap();
    until("it is back", || {
        (names(world.path("conversations")) == ["retro", "standup"]).then_some(())
    });
    assert_eq!(names(world.path(DAY)).len(), 6);
}

#[test]
fn the_trash_shows_what_is_in_it_and_gives_it_back_by_mv() {
    let test = "the_trash_shows_what_is_in_it_and_gives_it_back_by_mv";
    let Some(world) = with_one(test) else { return };
    let trash = |name: &str| world.path(".scribefs/trash").join(name);
    let folder = |name: &str| world.path("conversations").join(name);
    let number = fs::metadata(folder("standup")).unwrap().ino();
    assert!(names(trash("")).is_empty());
    let removed = Command::new("rm").arg("-r").arg(folder("standup")).output().unwrap();
    assert!(removed.status.success(), "{removed:?}");
    until("it is in the trash", || (names(trash("")) == ["standup"]).then_some(()));
    assert_eq!(fs::metadata(trash("standup")).unwrap().ino(), number);
    assert_eq!(names(trash("standup/2024/01/15")).len(), 6);
    let audio = fs::read(trash("standup/2024/01/15/monday.wav")).unwrap();
    assert!(audio.starts_with(b"this is standup/"));
    assert!(getxattr(&trash("standup"), "user.scribefs.trashed_at").unwrap().starts_with("20"));

    // The name is taken by now: it comes back under another.
    world.publish("standup", day(2024, 2, 1), "new.wav");
    until("the new one is there", || folder("standup").exists().then_some(()));
    let err = fs::rename(trash("standup"), folder("standup")).unwrap_err();
    assert_eq!(err.raw_os_error(), Some(libc::ENOTEMPTY));
    fs::rename(trash("standup"), folder("first")).unwrap();
    until("it is back", || (names(folder("")) == ["first", "standup"]).then_some(()));
    until("the trash is empty", || names(trash("")).is_empty().then_some(()));
    assert!(!trash("standup").exists());
    let expected = "first_transcript.txt";
    until("its transcript has its name", || {
        folder("first/2024/01/15").join(expected).exists().then_some(())
    });
    assert_eq!(fs::metadata(folder("first")).unwrap().ino(), number);
}

#[test]
fn two_of_one_name_are_told_apart_in_the_trash() {
    let Some(world) = with_one("two_of_one_name_are_told_apart_in_the_trash") else { return };
    let index = &world.services.index;
    index.trash_conversation(ConversationSeq(1), jiff::Timestamp::UNIX_EPOCH).unwrap();
    world.publish("standup", day(2024, 2, 1), "second.wav");
    index.trash_conversation(ConversationSeq(2), jiff::Timestamp::UNIX_EPOCH).unwrap();
    let trash = world.path(".scribefs/trash");
    until("both are there", || (names(&trash) == ["standup", "standup-2"]).then_some(()));
    assert!(trash.join("standup-2/2024/02/01/second.wav").exists());
    let moved = Command::new("mv")
        .args([trash.join("standup"), world.path("conversations/")])
        .output()
        .unwrap();
    assert!(moved.status.success(), "{moved:?}");
    until("the other keeps the name it has there", || {
        (names(&trash) == ["standup-2"] && trash.join("standup-2/2024/02").exists()).then_some(())
    });
    assert!(world.path(DAY).join("monday.wav").exists());
}

#[test]
fn what_is_in_the_trash_cannot_be_removed_by_hand() {
    let Some(world) = with_one("what_is_in_the_trash_cannot_be_removed_by_hand") else { return };
    let at = jiff::Timestamp::UNIX_EPOCH;
    world.services.index.trash_conversation(ConversationSeq(1), at).unwrap();
    let trashed = world.path(".scribefs/trash/standup");
    let output = Command::new("rm").arg("-r").arg(&trashed).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Read-only file system"), "{said}");
    assert_eq!(names(trashed.join("2024/01/15")).len(), 6);
    let from_conversations = fs::rename(&trashed, world.path(".scribefs/trash/other"));
    assert_eq!(from_conversations.unwrap_err().raw_os_error(), Some(libc::EROFS));
}

#[test]
fn a_long_day_is_listed_once_each_from_any_place() {
    let Some(world) = World::new("a_long_day_is_listed_once_each_from_any_place") else { return };
    for number in 0..150 {
        world.publish("long", day(2024, 1, 15), &format!("recording-{number}.wav"));
    }
    let folder = world.path("conversations/long/2024/01/15");
    let first = names(&folder);
    assert_eq!(first.len(), 150 * 5 + 1);
    let mut deduplicated = first.clone();
    deduplicated.dedup();
    assert_eq!(deduplicated, first);
    let c_folder = c_path(&folder);
    // SAFETY: the folder's name ends in NUL; the stream is used by this thread only, and not after close.
    unsafe {
        let stream = libc::opendir(c_folder.as_ptr());
        assert!(!stream.is_null());
        let mut seen = Vec::new();
        loop {
            let place = libc::telldir(stream);
            let entry = libc::readdir(stream);
            if entry.is_null() {
                break;
            }
            let name = std::ffi::CStr::from_ptr((*entry).d_name.as_ptr()).to_owned();
            seen.push((place, name));
        }
        assert_eq!(seen.len(), first.len() + 2);
        for (place, name) in seen.iter().rev().step_by(37) {
            libc::seekdir(stream, *place);
            let entry = libc::readdir(stream);
            assert_eq!(std::ffi::CStr::from_ptr((*entry).d_name.as_ptr()), name.as_c_str());
        }
        libc::closedir(stream);
    }
}

/// One way to change something at a path.
type Change = (&'static str, fn(&Path) -> i32);

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Changes to what is there.
const CHANGES: [Change; 16] = [
    ("chmod", |path| {
        // SAFETY: a string that ends in NUL, as in all of these.
        errno_of(unsafe { libc::chmod(c_path(path).as_ptr(), 0o600) })
    }),
    ("chown", |path| {
        // SAFETY: as above.
        errno_of(unsafe { libc::lchown(c_path(path).as_ptr(), libc::getuid(), libc::getgid()) })
    }),
    ("utimensat", |path| {
        let times = [libc::timespec { tv_sec: 1, tv_nsec: 2 }; 2];
        // SAFETY: as above, and two times.
        errno_of(unsafe {
            libc::utimensat(libc::AT_FDCWD, c_path(path).as_ptr(), times.as_ptr(), 0)
        })
    }),
    ("setxattr", |path| raw(setxattr(path, "user.color", b"red"))),
    ("removexattr", |path| {
        // SAFETY: two strings that end in NUL.
        errno_of(unsafe {
            libc::removexattr(c_path(path).as_ptr(), c("user.scribefs.state").as_ptr())
        })
    }),
    ("truncate", |path| {
        // SAFETY: as above.
        errno_of(unsafe { libc::truncate(c_path(path).as_ptr(), 0) })
    }),
    ("open for writing", |path| raw(OpenOptions::new().write(true).open(path))),
    ("open for both", |path| raw(OpenOptions::new().read(true).write(true).open(path))),
    ("open for appending", |path| raw(OpenOptions::new().append(true).open(path))),
    ("open and truncate", |path| raw(OpenOptions::new().write(true).truncate(true).open(path))),
    ("create over", |path| raw(File::create(path))),
    ("unlink or rmdir", |path| {
        raw(if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) })
    }),
    ("rename", |path| raw(fs::rename(path, path.with_file_name("other")))),
    ("rename to the inbox", |path| {
        let root = path.ancestors().find(|above| above.join("README.txt").exists());
        raw(fs::rename(path, root.unwrap().join("inbox/stolen")))
    }),
    ("link", |path| raw(fs::hard_link(path, path.with_file_name("other")))),
    ("exchange", |path| {
        let root = path.ancestors().find(|above| above.join("README.txt").exists()).unwrap();
        let other = if path.ends_with("README.txt") { ".scribefs" } else { "README.txt" };
        let (from, to) = (c_path(path), c_path(&root.join(other)));
        let (here, flags) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
        // SAFETY: two strings that end in NUL.
        errno_of(unsafe { libc::renameat2(here, from.as_ptr(), here, to.as_ptr(), flags) })
    }),
];

/// New things at a path where there is nothing.
const CREATIONS: [Change; 6] = [
    ("create", |path| raw(File::create(path))),
    ("create alone", |path| raw(OpenOptions::new().write(true).create_new(true).open(path))),
    ("mkdir", |path| raw(fs::create_dir(path))),
    ("symlink", |path| raw(std::os::unix::fs::symlink("target", path))),
    ("mkfifo", |path| {
        // SAFETY: as above.
        errno_of(unsafe { libc::mkfifo(c_path(path).as_ptr(), 0o600) })
    }),
    ("mknod", |path| {
        // SAFETY: as above.
        errno_of(unsafe { libc::mknod(c_path(path).as_ptr(), libc::S_IFREG | 0o600, 0) })
    }),
];

fn raw<T>(result: std::io::Result<T>) -> i32 {
    result.err().map_or(0, |err| err.raw_os_error().unwrap())
}

/// What the kernel answers for itself: the caller may not write to a file of mode 0444 unless it is root, and
/// some calls make no sense on a folder whoever asks.
fn expected(call: &str, is_dir: bool) -> i32 {
    let needs_write = call.starts_with("open")
        || matches!(call, "truncate" | "create over" | "setxattr" | "removexattr");
    match call {
        "truncate" | "create over" if is_dir => libc::EISDIR,
        _ if call.starts_with("open") && is_dir => libc::EISDIR,
        "link" if is_dir => libc::EPERM,
        _ if needs_write && !is_dir && !is_root() => libc::EACCES,
        _ => libc::EROFS,
    }
}

#[test]
fn every_other_change_is_refused_at_once() {
    let Some(world) = with_one("every_other_change_is_refused_at_once") else { return };
    world.publish("old", day(2024, 1, 15), "friday.wav");
    let at = jiff::Timestamp::UNIX_EPOCH;
    world.services.index.trash_conversation(ConversationSeq(2), at).unwrap();
    let places = [
        DAY,
        ".scribefs/trash",
        ".scribefs/trash/old",
        ".scribefs/trash/old/2024/01/15",
        "conversations/standup/2024/01",
        "conversations/standup/2024",
        "conversations",
        ".scribefs",
    ];
    let files = [
        &format!("{DAY}/monday.wav"),
        &format!("{DAY}/monday.srt"),
        ".scribefs/trash/old/2024/01/15/friday.wav",
        "README.txt",
    ];
    let mut faults = Vec::new();
    for path in places.iter().copied().chain(files) {
        let path = world.path(path);
        for (call, change) in CHANGES {
            // Has tests of its own.
            if call == "unlink or rmdir" && path.starts_with(world.path("conversations/standup")) {
                continue;
            }
            let found = change(&path);
            if found != expected(call, path.is_dir()) {
                faults.push(format!("{call} of {}: {found}", path.display()));
            }
        }
    }
    for place in places.iter().copied().chain(["", "conversations/standup"]) {
        let path = world.path(place).join("new");
        for (call, create) in CREATIONS {
            let found = create(&path);
            if found != libc::EROFS {
                faults.push(format!("{call} in {place}: {found}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(names(world.path(DAY)).len(), 6);
    let key = &world.services.index.recordings(ConversationSeq(1), day(2024, 1, 15)).unwrap()[0];
    let audio = fs::read(world.path(DAY).join("monday.wav")).unwrap();
    assert_eq!(audio, content(&key.audio.key));
    assert!(names(world.path("inbox")).is_empty());
}

#[test]
fn more_changes_than_can_be_told_leave_no_old_name_and_no_old_listing() {
    let test = "more_changes_than_can_be_told_leave_no_old_name_and_no_old_listing";
    let Some(world) = with_one(test) else { return };
    let index = &world.services.index;
    let (folder, unread) = (world.path("conversations"), index.subscribe());
    // Whoever tells the kernel is held up while more happens than waits for it.
    fail::cfg("fs-changes-received", "pause").unwrap();
    index
        .save_jobs((0..20_000).map(|number| common::failed_job(number, "a.wav")).collect())
        .unwrap();
    index
        .rename_conversation(ConversationSeq(1), &ConversationId::new("renamed").unwrap())
        .unwrap();
    let recording = world.publish("renamed", day(2024, 2, 1), "february.wav");
    fail::remove("fs-changes-received");
    let audio = folder.join("renamed/2024/02/01").join(recording.audio_name.as_os_str());
    until("the kernel knows all of it", || {
        let is_new = names(&folder) == ["renamed"] && audio.exists();
        let day = audio.parent().filter(|_| is_new)?;
        let is_listed = names(day).contains(&recording.audio_name.display());
        (is_listed && !folder.join("standup").exists()).then_some(())
    });
    assert!(unread.try_iter().any(|change| matches!(change, index::Change::Missed)));
}
