//! A process that has no descriptors left: what is open goes on, and recordings wait. Alone in its file, because
//! the limit is the whole process's.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use scribefs::model::InboxId;
use scribefs::spool::{Creator, Spool, SpoolEvent, SpoolOptions};

/// Opens something harmless until nothing can be opened any more.
fn exhaust_descriptors() -> Vec<File> {
    let limit = libc::rlimit { rlim_cur: 256, rlim_max: 256 };
    // SAFETY: the call only reads the limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    open_what_is_left()
}

fn open_what_is_left() -> Vec<File> {
    let mut open = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(err) => {
                assert_eq!(err.raw_os_error(), Some(libc::EMFILE));
                return open;
            }
        }
    }
}

#[test]
fn without_descriptors_open_files_go_on_and_recordings_wait() {
    let dir = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        settle: Duration::from_millis(50),
        settle_after_rename: Duration::from_millis(10),
        max_upload_bytes: None,
        keep_free_bytes: 0,
        sync_on_close: false,
    };
    let spool = Spool::open(dir.path(), options).unwrap();
    let events = spool.subscribe();
    let creator = Creator { uid: 0, gid: 0, mode: 0o755, thread: 0 };
    let folder = spool.make_directory(InboxId::ROOT, OsStr::new("folder"), creator).unwrap().id;
    let flags = libc::O_CREAT | libc::O_RDWR;
    let (made, open) = spool.create(folder, OsStr::new("a.wav"), creator, flags).unwrap();
    let (_, other) = spool.create(folder, OsStr::new("b.wav"), creator, flags).unwrap();
    let exhausted = exhaust_descriptors();

    open.file.write_all_at(b"sound", 0).unwrap();
    spool.sync(&open, false).unwrap();
    spool.sync_directory(folder).unwrap();
    for _ in 0..1000 {
        spool.open_file(made.id, libc::O_RDONLY).unwrap();
    }
    other.file.write_all_at(b"sound", 0).unwrap();
    spool.release(&other);
    // `b.wav` is complete, and cannot be brought to the disk as long as nothing can be opened.
    let held: Vec<File> = exhausted.into_iter().chain(open_what_is_left()).collect();
    // Nothing can be waited for where nothing may happen: many times what it would take.
    std::thread::sleep(Duration::from_secs(2));
    assert!(!events.try_iter().any(|event| matches!(event, SpoolEvent::Ready(_))));
    drop(held);
    loop {
        match events.recv_timeout(Duration::from_secs(60)).unwrap() {
            SpoolEvent::Ready(dropped) => {
                assert_eq!(dropped.path.last().unwrap().display(), "b.wav");
                break;
            }
            _ => continue,
        }
    }
    let names: Vec<String> =
        spool.list(folder, 0, 10).unwrap().iter().map(|entry| entry.name.display()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".error.txt")), "{names:?}");
}
