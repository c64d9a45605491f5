//! Writers, marks, timers and workers of the spool at the same moment.
//!
//! Real threads that meet at a barrier, over and over: the spool works on real files and descriptors, whose
//! calls a model checker (loom, shuttle) cannot interleave. 500 meetings of each kind, and twenty times as many with
//! `scripts/test --full`.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use scribefs::model::InboxId;
use scribefs::spool::{Creator, Dropped, Spool, SpoolError, SpoolEvent, SpoolOptions};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    dir: TempDir,
    spool: Spool,
    events: Receiver<SpoolEvent>,
}

fn bench(settle: Duration) -> Bench {
    // In memory, where there is any: nothing here is about the disk.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.unwrap();
    let options = SpoolOptions {
        settle,
        settle_after_rename: settle,
        max_upload_bytes: None,
        keep_free_bytes: 0,
        sync_on_close: false,
    };
    let spool = Spool::open(dir.path(), options).unwrap();
    let events = spool.subscribe();
    Bench { dir, spool, events }
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("inbox").join(name)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> InboxId {
        let here = fs::metadata("/proc/self").unwrap();
        let creator = Creator { uid: here.uid(), gid: here.gid(), mode: 0o644, thread: 0 };
        let flags = libc::O_WRONLY | libc::O_CREAT;
        let made = self.spool.create(InboxId::ROOT, OsStr::new(name), creator, flags);
        let (attributes, open) = made.unwrap();
        self.spool.before_write(&open, bytes.len() as u64).unwrap();
        open.file.write_all_at(bytes, 0).unwrap();
        self.spool.release(&open);
        attributes.id
    }

    /// Whether a crash now would leave the file half written.
    fn is_marked(&self, name: &str) -> bool {
        let path = std::ffi::CString::new(self.path(name).into_os_string().into_encoded_bytes());
        let path = path.unwrap();
        let attribute = c"user.scribefs.mark";
        // SAFETY: both names end in NUL, and no byte is asked for.
        let length =
            unsafe { libc::getxattr(path.as_ptr(), attribute.as_ptr(), std::ptr::null_mut(), 0) };
        let stand_ins = fs::read_dir(self.dir.path().join("marks"));
        0 <= length || stand_ins.into_iter().flatten().count() != 0
    }

    /// The next one that stands: what was offered before a change is worth nothing, and must be said so.
    fn next_offer(&self, name: &str) -> Dropped {
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(SpoolEvent::Ready(dropped))
                    if self.spool.is_current(dropped.id, dropped.generation) =>
                {
                    assert_eq!(dropped.path[0].display(), name);
                    return dropped;
                }
                Ok(SpoolEvent::Ready(dropped)) => {
                    assert!(self.spool.take(dropped.id, dropped.generation).is_err());
                }
                Ok(_) => {}
                Err(err) => panic!("{name} was not offered: {err}"),
            }
        }
    }
}

fn rounds() -> usize {
    if std::env::var_os("SCRIBEFS_FULL").is_some() { 10_000 } else { 500 }
}

#[test]
fn two_writers_that_close_at_one_moment_leave_no_mark() {
    let bench = bench(Duration::from_millis(1));
    for round in 0..rounds() {
        let name = format!("{round}.wav");
        let id = bench.create(&name, b"sound");
        let meeting = Barrier::new(2);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let open = bench.spool.open_file(id, libc::O_WRONLY).unwrap();
                    open.file.write_all_at(b"more sound", 0).unwrap();
                    meeting.wait();
                    bench.spool.release(&open);
                });
            }
        });
        let dropped = bench.next_offer(&name);
        // It goes when the bytes are on disk, and before anybody is told.
        assert!(!bench.is_marked(&name), "round {round}: nobody writes, and the mark says so");
        bench.spool.finish(dropped.id, dropped.generation).unwrap();
    }
}

#[test]
fn a_writer_that_comes_while_another_goes_keeps_its_mark() {
    let bench = bench(Duration::from_millis(1));
    for round in 0..rounds() {
        let name = format!("{round}.wav");
        let id = bench.create(&name, b"sound");
        let first = bench.spool.open_file(id, libc::O_WRONLY).unwrap();
        let meeting = Barrier::new(2);
        let second = thread::scope(|scope| {
            let coming = scope.spawn(|| {
                meeting.wait();
                bench.spool.open_file(id, libc::O_WRONLY).unwrap()
            });
            meeting.wait();
            bench.spool.release(&first);
            coming.join().unwrap()
        });
        assert!(bench.is_marked(&name), "round {round}: a crash now would take half a file");
        bench.spool.release(&second);
        let dropped = bench.next_offer(&name);
        assert!(!bench.is_marked(&name), "round {round}");
        bench.spool.finish(dropped.id, dropped.generation).unwrap();
    }
}

#[test]
fn what_is_written_while_a_recording_leaves_is_never_lost() {
    let bench = bench(Duration::ZERO);
    let (mut left, mut stayed) = (0, 0);
    for round in 0..rounds() {
        let name = format!("{round}.wav");
        let id = bench.create(&name, b"sound");
        let dropped = bench.next_offer(&name);
        let meeting = Barrier::new(2);
        let (has_left, has_written) = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                meeting.wait();
                let Ok(open) = bench.spool.open_file(id, libc::O_WRONLY) else { return false };
                bench.spool.before_write(&open, 11).unwrap();
                open.file.write_all_at(b"later sound", 0).unwrap();
                bench.spool.release(&open);
                true
            });
            meeting.wait();
            let has_left = bench.spool.finish(dropped.id, dropped.generation).is_ok();
            (has_left, writer.join().unwrap())
        });
        // Either the writer was told that there is no such file, or its bytes are there and will be taken.
        assert!(has_left != has_written, "round {round}: left {has_left}, written {has_written}");
        if has_written {
            let again = bench.next_offer(&name);
            let mut bytes = String::new();
            let mut taken = bench.spool.take(again.id, again.generation).unwrap();
            taken.read_to_string(&mut bytes).unwrap();
            assert_eq!(bytes, "later sound");
            bench.spool.finish(again.id, again.generation).unwrap();
            stayed += 1;
        } else {
            left += 1;
        }
    }
    eprintln!("{left} left before the writer came, {stayed} stayed for it");
}

#[test]
fn renames_and_timers_never_offer_a_path_that_is_gone() {
    let bench = bench(Duration::ZERO);
    for round in 0..rounds() / 3 {
        let (from, to) = (format!("{round}-a.wav"), format!("{round}-b.wav"));
        bench.create(&from, b"sound");
        let meeting = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                meeting.wait();
                let root = InboxId::ROOT;
                let mode = scribefs::spool::RenameMode::Replace;
                bench
                    .spool
                    .rename((root, OsStr::new(&from)), (root, OsStr::new(&to)), mode)
                    .unwrap();
            });
            meeting.wait();
        });
        // What the timer saw before the rename is not what is there now: it stays, and is offered again.
        let mut dropped = bench.next_offer(&to);
        while let Err(err) = bench.spool.finish(dropped.id, dropped.generation) {
            assert!(matches!(err, SpoolError::Changed), "{err}");
            dropped = bench.next_offer(&to);
        }
        assert!(!bench.path(&from).exists() && !bench.path(&to).exists());
    }
}
