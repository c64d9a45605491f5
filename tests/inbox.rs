//! The inbox takes whatever programs do with files, and gives it back.

mod common;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::Receiver;

use common::{
    World, c_path, errno_of, getxattr, is_root, names, quiet_spool, setxattr, skip, until,
};
use scribefs::model::{Failure, FailureCause};
use scribefs::spool::{SpoolEvent, SpoolOptions};

fn inbox(world: &World, name: &str) -> PathBuf {
    world.path("inbox").join(name)
}

#[test]
fn a_file_reads_back_as_written_in_any_order() {
    let Some(world) = World::new("a_file_reads_back_as_written_in_any_order") else { return };
    let path = inbox(&world, "a.wav");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    let mut expected = vec![0u8; 1 << 20];
    for step in 0..64usize {
        // Pieces of odd sizes, from the end to the start and over each other.
        let at = (63 - step) * 16_000;
        let piece = vec![u8::try_from(step).unwrap(); 17_001];
        file.write_all_at(&piece, at as u64).unwrap();
        expected[at..at + piece.len()].copy_from_slice(&piece);
        let mut back = [0u8; 100];
        file.read_exact_at(&mut back, at as u64 + 50).unwrap();
        assert_eq!(back[..], expected[at + 50..at + 150]);
    }
    let written = 63 * 16_000 + 17_001;
    assert_eq!(file.metadata().unwrap().len(), written);
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), expected[..usize::try_from(written).unwrap()]);
}

#[test]
fn a_file_can_be_read_while_it_is_written() {
    let Some(world) = World::new("a_file_can_be_read_while_it_is_written") else { return };
    let path = inbox(&world, "growing.m4a");
    let mut writer = File::create(&path).unwrap();
    let mut reader = File::open(&path).unwrap();
    let mut read = Vec::new();
    for step in 0..20u8 {
        writer.write_all(&[step; 5000]).unwrap();
        assert_eq!(reader.metadata().unwrap().len(), (u64::from(step) + 1) * 5000);
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), (usize::from(step) + 1) * 5000);
        assert_eq!(read.last(), Some(&step));
    }
    // As `+faststart` does: the head is written last.
    writer.seek(SeekFrom::Start(28)).unwrap();
    writer.write_all(b"moov").unwrap();
    let mut head = [0u8; 4];
    reader.read_exact_at(&mut head, 28).unwrap();
    assert_eq!(&head, b"moov");
}

#[test]
fn truncating_and_growing_is_seen_by_all() {
    let Some(world) = World::new("truncating_and_growing_is_seen_by_all") else { return };
    let path = inbox(&world, "a.wav");
    fs::write(&path, [7u8; 10_000]).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.set_len(100).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [7u8; 100]);
    file.set_len(5000).unwrap();
    let whole = fs::read(&path).unwrap();
    assert_eq!((whole.len(), whole[99], whole[100], whole[4999]), (5000, 7, 0, 0));
    drop(file);
    fs::write(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().len(), 3);
    let mut more = OpenOptions::new().append(true).open(&path).unwrap();
    more.write_all(b"er").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"newer");
}

#[test]
fn renames_replace_keep_or_exchange_as_asked() {
    let Some(world) = World::new("renames_replace_keep_or_exchange_as_asked") else { return };
    let path = |name: &str| inbox(&world, name);
    fs::write(path("one"), "1").unwrap();
    fs::write(path("two"), "2").unwrap();
    let rename = |from: &str, to: &str, flags| {
        let (from, to) = (c_path(&path(from)), c_path(&path(to)));
        let here = libc::AT_FDCWD;
        // SAFETY: two strings that end in NUL.
        errno_of(unsafe { libc::renameat2(here, from.as_ptr(), here, to.as_ptr(), flags) })
    };
    assert_eq!(rename("one", "two", libc::RENAME_NOREPLACE), libc::EEXIST);
    assert_eq!(rename("one", "two", libc::RENAME_EXCHANGE), 0);
    assert_eq!(fs::read(path("one")).unwrap(), b"2");
    assert_eq!(rename("one", "three", libc::RENAME_NOREPLACE), 0);
    assert_eq!(rename("three", "two", 0), 0);
    assert_eq!(names(path("")), ["two"]);
    assert_eq!(fs::read(path("two")).unwrap(), b"2");
    fs::create_dir_all(path("folder/inner")).unwrap();
    assert_eq!(rename("two", "folder/inner/deep", 0), 0);
    assert_eq!(rename("folder", "moved", 0), 0);
    assert_eq!(fs::read(path("moved/inner/deep")).unwrap(), b"2");
    assert_eq!(rename("moved", "moved/inner/itself", 0), libc::EINVAL);
    assert_eq!(rename("two", "moved", libc::RENAME_WHITEOUT), libc::ENOENT);
    let out = c_path(&world.path("conversations/two"));
    let from = c_path(&path("moved/inner/deep"));
    // SAFETY: two strings that end in NUL.
    assert_eq!(errno_of(unsafe { libc::rename(from.as_ptr(), out.as_ptr()) }), libc::EROFS);
}

#[test]
fn an_open_file_outlives_its_name() {
    let Some(world) = World::new("an_open_file_outlives_its_name") else { return };
    let path = inbox(&world, "a.wav");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all(b"before").unwrap();
    fs::remove_file(&path).unwrap();
    assert!(names(world.path("inbox")).is_empty());
    file.write_all(b" and after").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before and after");
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    // The name is free for another.
    fs::write(&path, "another").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"another");
}

#[test]
fn modes_owners_times_and_attributes_are_kept() {
    let Some(mut world) = World::new("modes_owners_times_and_attributes_are_kept") else { return };
    let path = inbox(&world, "größe ☃.wav");
    fs::write(&path, "sound").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let owner = if is_root() { (1234, 5678) } else { (fs::metadata(&path).unwrap().uid(), 0) };
    if is_root() {
        std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).unwrap();
    }
    let times = [
        libc::timespec { tv_sec: 1_000_000_000, tv_nsec: 123_456_789 },
        libc::timespec { tv_sec: 1_100_000_000, tv_nsec: 987_654_321 },
    ];
    let c = c_path(&path);
    // SAFETY: a string that ends in NUL, and two times.
    let set = unsafe { libc::utimensat(libc::AT_FDCWD, c.as_ptr(), times.as_ptr(), 0) };
    assert_eq!(set, 0);
    setxattr(&path, "user.color", b"red").unwrap();
    fs::create_dir(inbox(&world, "folder")).unwrap();
    symlink("größe ☃.wav", inbox(&world, "link")).unwrap();
    let check = |world: &World| {
        let path = inbox(world, "größe ☃.wav");
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
        if is_root() {
            assert_eq!((metadata.uid(), metadata.gid()), owner);
        }
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_100_000_000, 987_654_321));
        assert_eq!(getxattr(&path, "user.color").unwrap(), "red");
        assert_eq!(fs::read_link(inbox(world, "link")).unwrap(), PathBuf::from("größe ☃.wav"));
        assert_eq!(fs::read(inbox(world, "link")).unwrap(), b"sound");
        assert_eq!(names(world.path("inbox")), ["folder", "größe ☃.wav", "link"]);
    };
    check(&world);
    world.remount();
    check(&world);
}

#[test]
fn a_set_id_bit_is_not_taken() {
    let Some(world) = World::new("a_set_id_bit_is_not_taken") else { return };
    let path = inbox(&world, "a.wav");
    fs::write(&path, "sound").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn what_has_no_place_here_is_refused() {
    let Some(world) = World::new("what_has_no_place_here_is_refused") else { return };
    let file = inbox(&world, "a.wav");
    fs::write(&file, "sound").unwrap();
    let raw = |result: std::io::Result<()>| result.unwrap_err().raw_os_error().unwrap();
    assert_eq!(raw(fs::hard_link(&file, inbox(&world, "b.wav"))), libc::EPERM);
    let fifo = c_path(&inbox(&world, "fifo"));
    // SAFETY: a string that ends in NUL.
    assert_eq!(errno_of(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }), libc::EPERM);
    let node = c_path(&inbox(&world, "node"));
    // SAFETY: as above.
    assert_eq!(errno_of(unsafe { libc::mknod(node.as_ptr(), libc::S_IFREG | 0o600, 0) }), 0);
    assert_eq!(fs::metadata(inbox(&world, "node")).unwrap().len(), 0);
    assert_eq!(raw(File::create(inbox(&world, &"x".repeat(256))).map(drop)), libc::ENAMETOOLONG);
    let list = raw(setxattr(&file, "system.posix_acl_access", b"\x02\0\0\0"));
    assert!(list == libc::EOPNOTSUPP || list == libc::EINVAL, "{list}");
    // A backup that brings ours back gets through, and changes nothing.
    setxattr(&file, "user.scribefs.state", b"done").unwrap();
    assert_ne!(getxattr(&file, "user.scribefs.state").unwrap(), "done");
    let open = File::open(&file).unwrap();
    let mut answer = 0i32;
    // SAFETY: the descriptor is open, and the request writes one number at most.
    let asked = unsafe { libc::ioctl(open.as_raw_fd(), libc::TIOCGWINSZ, &raw mut answer) };
    assert_eq!(errno_of(asked), libc::ENOTTY);
    assert_eq!(raw(fs::remove_dir(&file)), libc::ENOTDIR);
    fs::create_dir_all(inbox(&world, "full/inner")).unwrap();
    assert_eq!(raw(fs::remove_dir(inbox(&world, "full"))), libc::ENOTEMPTY);
}

#[test]
fn space_can_be_laid_out_and_holes_be_found() {
    let Some(world) = World::new("space_can_be_laid_out_and_holes_be_found") else { return };
    let path = inbox(&world, "a.wav");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, 1 << 20) }, 0);
    assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    assert!(file.metadata().unwrap().blocks() * 512 >= 1 << 20);
    file.set_len(0).unwrap();
    file.write_all_at(b"data", 1 << 20).unwrap();
    file.sync_all().unwrap();
    // SAFETY: the descriptor is open.
    let found = unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_DATA) };
    assert!((0..=1 << 20).contains(&found), "{found}");
}

#[test]
fn a_mapped_file_is_the_file() {
    let Some(world) = World::new("a_mapped_file_is_the_file") else { return };
    let path = inbox(&world, "a.wav");
    fs::write(&path, vec![1u8; 10_000]).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // SAFETY: only this test has the file.
    let mut map = unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap();
    map[5000] = 42;
    map.flush().unwrap();
    drop((map, file));
    assert_eq!(fs::read(&path).unwrap()[4999..5002], [1, 42, 1]);
}

#[test]
fn what_is_synced_is_on_the_disk_behind() {
    let Some(world) = World::new("what_is_synced_is_on_the_disk_behind") else { return };
    let mut file = File::create(inbox(&world, "a.wav")).unwrap();
    file.write_all(b"sound").unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    File::open(world.path("inbox")).unwrap().sync_all().unwrap();
    File::open(world.path("conversations")).unwrap().sync_all().unwrap();
    assert_eq!(fs::read(world.dir.path().join("spool/inbox/a.wav")).unwrap(), b"sound");
}

#[test]
fn a_full_disk_says_so_before_it_is() {
    let test = "a_full_disk_says_so_before_it_is";
    let all = SpoolOptions { keep_free_bytes: u64::MAX / 2, ..quiet_spool() };
    let Some(world) = World::with_spool(test, all) else { return };
    let result = File::create(inbox(&world, "a.wav")).and_then(|mut file| file.write_all(b"sound"));
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    let path = CString::new(world.path("inbox").to_str().unwrap()).unwrap();
    // SAFETY: all zero is a valid statvfs, and the path ends in NUL.
    let space = unsafe {
        let mut space: libc::statvfs = std::mem::zeroed();
        assert_eq!(libc::statvfs(path.as_ptr(), &raw mut space), 0);
        space
    };
    assert_eq!(space.f_bavail, 0);
}

#[test]
fn ordinary_programs_work() {
    let Some(world) = World::new("ordinary_programs_work") else { return };
    let source = world.dir.path().join("source.wav");
    fs::write(&source, vec![3u8; 300_000]).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o604)).unwrap();
    let script = r#"
        set -e
        cp -p "$SOURCE" copied.wav
        cmp "$SOURCE" copied.wav
        test "$(stat -c '%a %Y' "$SOURCE")" = "$(stat -c '%a %Y' copied.wav)"
        cp "$SOURCE" moving.wav && mv moving.wav moved.wav
        dd if="$SOURCE" of=dd.wav bs=7001 conv=fsync status=none && cmp "$SOURCE" dd.wav
        dd if=/dev/zero of=dd.wav bs=1000 seek=10 count=1 conv=notrunc status=none
        test "$(stat -c %s dd.wav)" = 300000
        cat "$SOURCE" > shell.wav && cat "$SOURCE" >> shell.wav
        test "$(stat -c %s shell.wav)" = 600000
        umask 027; mkdir folder; touch folder/touched.wav
        test "$(stat -c %a folder)" = 750 && test "$(stat -c %a folder/touched.wav)" = 640
        cp -r folder copied-folder
        # As rsync does it.
        cp "$SOURCE" folder/.sync.wav.Xb3cAz && touch -d 2020-01-02 folder/.sync.wav.Xb3cAz
        mv folder/.sync.wav.Xb3cAz folder/sync.wav
        test "$(stat -c %Y folder/sync.wav)" = "$(date -d 2020-01-02 +%s)"
        tar cf - folder | tar xf - --one-top-level=untarred && diff -r folder untarred/folder
        sed -i 's/\x03/\x04/' dd.wav
        rm -r untarred copied-folder folder && rm -- *.wav && test -z "$(ls -A)"
    "#;
    let output = Command::new("bash")
        .args(["-xc", script])
        .current_dir(world.path("inbox"))
        .env("SOURCE", &source)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn rsync_finds_nothing_left_to_do() {
    let test = "rsync_finds_nothing_left_to_do";
    if Command::new("rsync").arg("--version").output().is_err() {
        skip(test, "rsync is not installed");
        return;
    }
    let Some(world) = World::new(test) else { return };
    let source = world.dir.path().join("source");
    fs::create_dir_all(source.join("standup")).unwrap();
    fs::write(source.join("standup/monday.wav"), vec![3u8; 300_000]).unwrap();
    let sync = || {
        let mut rsync = Command::new("rsync");
        let output = rsync.arg("-ai").arg(&source).arg(world.path("inbox")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout.len()
    };
    assert!(sync() > 0);
    assert_eq!(sync(), 0);
}

#[test]
fn many_at_once_do_not_meet() {
    let Some(world) = World::new("many_at_once_do_not_meet") else { return };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let world = &world;
            scope.spawn(move || {
                for number in 0..40 {
                    let path = inbox(world, &format!("{thread}-{number}.wav"));
                    let text = format!("{thread} {number}").repeat(500);
                    fs::write(&path, &text).unwrap();
                    assert_eq!(fs::read_to_string(&path).unwrap(), text);
                    if number % 2 == 0 {
                        fs::remove_file(&path).unwrap();
                    } else {
                        fs::rename(&path, inbox(world, &format!("{thread}.{number}"))).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(names(world.path("inbox")).len(), 8 * 20);
}

#[test]
fn what_the_daemon_takes_away_is_gone() {
    let test = "what_the_daemon_takes_away_is_gone";
    let quick = std::time::Duration::from_millis(50);
    let eager = SpoolOptions { settle: quick, settle_after_rename: quick, ..quiet_spool() };
    let Some(world) = World::with_spool(test, eager) else { return };
    let events = world.services.spool.subscribe();
    fs::write(inbox(&world, "a.wav"), "sound").unwrap();
    let dropped = loop {
        match events.recv_timeout(common::PATIENCE).unwrap() {
            scribefs::spool::SpoolEvent::Ready(dropped) => break dropped,
            _ => continue,
        }
    };
    assert_eq!(names(world.path("inbox")), ["a.wav"]);
    world.services.spool.finish(dropped.id, dropped.generation).unwrap();
    until("it is gone", || (!inbox(&world, "a.wav").exists()).then_some(()));
    until("it is listed no more", || names(world.path("inbox")).is_empty().then_some(()));
}

/// Drops a file and has it fail; its note.
fn fail(world: &World, events: &Receiver<SpoolEvent>, name: &str) -> PathBuf {
    let path = inbox(world, name);
    fs::write(&path, b"RIFF\x24\0\0\0WAVEfmt ").unwrap();
    setxattr(&path, "user.scribefs.commit", b"1").unwrap();
    let dropped = until("the recording is offered", || match events.try_recv() {
        Ok(SpoolEvent::Ready(dropped)) => Some(dropped),
        _ => None,
    });
    let failure = Failure {
        cause: FailureCause::NotAudio,
        message: "there is no sound in it".to_owned(),
        remedy: "Record it again.".to_owned(),
    };
    let folder = path.parent().unwrap();
    let before = names(folder);
    world.services.spool.fail(dropped.id, dropped.generation, &failure).unwrap();
    until("the note is seen", || {
        let new = names(folder).into_iter().find(|name| !before.contains(name))?;
        Some(folder.join(new))
    })
}

#[test]
fn a_failed_recording_takes_its_note_along() {
    let Some(world) = World::new("a_failed_recording_takes_its_note_along") else { return };
    let events = world.services.spool.subscribe();
    let fail = |name: &str| {
        let note = fail(&world, &events, name);
        assert_eq!(note, inbox(&world, &format!("{name}.error.txt")));
    };
    let succeeds = |program: &str, arguments: &[PathBuf]| {
        Command::new(program).args(arguments).status().unwrap().success()
    };
    fs::create_dir(inbox(&world, "folder")).unwrap();
    fail("folder/a.wav");
    fail("folder/b.wav");
    assert_eq!(names(inbox(&world, "folder")).len(), 4);
    assert!(succeeds("rm", &["-r".into(), inbox(&world, "folder")]));
    assert_eq!(names(world.path("inbox")), [""; 0]);
    fail("c.wav");
    let out = world.dir.path().join("out.wav");
    assert!(succeeds("mv", &[inbox(&world, "c.wav"), out.clone()]));
    assert!(out.exists());
    until("the note is gone", || names(world.path("inbox")).is_empty().then_some(()));
}

#[test]
fn a_note_is_gone_for_good_with_its_recording_also_over_a_restart() {
    let test = "a_note_is_gone_for_good_with_its_recording_also_over_a_restart";
    let Some(mut world) = World::new(test) else { return };
    let events = world.services.spool.subscribe();
    for name in ["a.wav", "b.wav", "c.wav", "d.wav"] {
        fail(&world, &events, name);
    }
    // Somebody's own file of such a name, and a note that somebody has written to.
    fs::write(inbox(&world, "mine.wav.error.txt"), "mine").unwrap();
    let mut noted = OpenOptions::new().append(true).open(inbox(&world, "d.wav.error.txt")).unwrap();
    noted.write_all(b"asked Anna about it\n").unwrap();
    drop(noted);
    fs::remove_file(inbox(&world, "a.wav")).unwrap();
    fs::remove_file(inbox(&world, "d.wav")).unwrap();
    // And one that is removed while nobody looks.
    fs::remove_file(world.dir.path().join("spool/inbox/b.wav")).unwrap();
    world.remount();
    let left = ["c.wav", "c.wav.error.txt", "d.wav.error.txt", "mine.wav.error.txt"];
    assert_eq!(names(world.path("inbox")), left);
}

#[test]
fn however_long_the_name_a_failed_recording_has_a_note_of_its_own() {
    let test = "however_long_the_name_a_failed_recording_has_a_note_of_its_own";
    let Some(world) = World::new(test) else { return };
    let events = world.services.spool.subscribe();
    let mut notes = std::collections::BTreeSet::new();
    for bytes in [244, 245, 246, 248, 250, 255] {
        for first in ["a", "b"] {
            let stem = format!("{}{first}", "x".repeat(bytes - 5));
            let note = fail(&world, &events, &format!("{stem}.wav"));
            assert!(notes.insert(note.clone()), "{}", note.display());
            assert!(fs::read_to_string(&note).unwrap().contains("there is no sound in it"));
            fs::remove_file(inbox(&world, &format!("{stem}.wav"))).unwrap();
            until("the note is gone", || names(world.path("inbox")).is_empty().then_some(()));
        }
    }
}

#[test]
fn errors_are_of_what_stands_failed() {
    let Some(world) = World::new("errors_are_of_what_stands_failed") else { return };
    let events = world.services.spool.subscribe();
    fail(&world, &events, "a.wav");
    fail(&world, &events, "b.wav");
    // One of them has failed twice.
    let jobs = [(1, "a.wav"), (2, "a.wav"), (3, "b.wav"), (4, "gone.wav")];
    let jobs = jobs.map(|(number, name)| common::failed_job(number, name));
    world.services.index.save_jobs(jobs.to_vec()).unwrap();
    let listed = || {
        let text = fs::read_to_string(world.path(".scribefs/errors")).unwrap();
        let lines =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .map(|line| (line["job"].as_u64().unwrap(), line["message"].clone()))
            .collect::<Vec<_>>()
    };
    let message = serde_json::Value::from("It cannot be read: No such file or directory.");
    assert_eq!(listed(), [(3, message.clone()), (2, message.clone())]);
    fs::remove_file(inbox(&world, "b.wav")).unwrap();
    until("one is left", || (listed() == [(2, message.clone())]).then_some(()));
    fs::File::open(inbox(&world, "a.wav"))
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    until("none is left", || listed().is_empty().then_some(()));
}

#[test]
fn recordings_in_hidden_folders_are_counted() {
    let Some(world) = World::new("recordings_in_hidden_folders_are_counted") else { return };
    let left_alone = || {
        let text = fs::read(world.path(".scribefs/status.json")).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&text).unwrap();
        (status["left_alone"].as_u64().unwrap(), status["left_alone_first"].clone())
    };
    fs::create_dir_all(inbox(&world, ".old/sub")).unwrap();
    fs::write(inbox(&world, ".old/sub/a.wav"), "sound").unwrap();
    fs::write(inbox(&world, ".old/notes.txt"), "text").unwrap();
    fs::write(inbox(&world, ".b.wav"), "sound").unwrap();
    until("it is counted", || (left_alone() == (1, ".old/sub/a.wav".into())).then_some(()));
    fs::rename(inbox(&world, ".old"), inbox(&world, "old")).unwrap();
    until("it is not any more", || (left_alone().0 == 0).then_some(()));
}
