//! The spool in many orders of its threads: real files and timers, and those who write, rename, take and finish.

use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::*;
use crate::concurrency::orders::{folder, try_orders};
use crate::concurrency::thread;
use crate::model::InboxId;

const ROOT: InboxId = InboxId::ROOT;

/// A spool without a settle time, since nobody has a clock here.
struct Fixture {
    spool: Arc<Spool>,
    events: Receiver<SpoolEvent>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = folder();
        let options = SpoolOptions {
            settle: Duration::ZERO,
            settle_after_rename: Duration::ZERO,
            max_upload_bytes: None,
            keep_free_bytes: 0,
            sync_on_close: false,
        };
        let spool = Arc::new(Spool::open(dir.path(), options).unwrap());
        let events = spool.subscribe();
        Self { spool, events, _dir: dir }
    }

    /// The next offer that stands; what was offered before a change must not be had any more.
    fn next_offer(&self) -> Dropped {
        loop {
            match self.events.try_recv() {
                Ok(SpoolEvent::Ready(dropped)) => {
                    if self.spool.is_current(dropped.id, dropped.generation) {
                        return dropped;
                    }
                    assert!(self.spool.take(dropped.id, dropped.generation).is_err());
                }
                Ok(_) => {}
                Err(_) => thread::yield_now(),
            }
        }
    }

    /// Takes the next one and lets it leave. What a timer saw before a rename is not what is there now: then it
    /// stays, and is offered again.
    fn take_next(&self) -> (Dropped, Vec<u8>) {
        loop {
            let dropped = self.next_offer();
            let (id, generation) = (dropped.id, dropped.generation);
            match self.spool.take(id, generation).map(|file| Self::bytes_of(&file)) {
                Ok(bytes) if self.spool.finish(id, generation).is_ok() => return (dropped, bytes),
                Ok(_) | Err(SpoolError::Changed) => {}
                Err(err) => panic!("{err}"),
            }
        }
    }

    fn bytes_of(file: &std::fs::File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }
}

fn create(spool: &Spool, name: &str, bytes: &[u8]) -> InboxId {
    let creator = Creator { uid: 0, gid: 0, mode: 0o644, thread: 0 };
    let flags = libc::O_WRONLY | libc::O_CREAT;
    let (made, open) = spool.create(ROOT, OsStr::new(name), creator, flags).unwrap();
    open.file.write_all_at(bytes, 0).unwrap();
    spool.release(&open);
    made.id
}

/// Whether it could be opened, and then has these bytes at its end.
fn append(spool: &Spool, id: InboxId, bytes: &[u8]) -> bool {
    let Ok(open) = spool.open_file(id, libc::O_WRONLY) else { return false };
    let end = open.file.metadata().unwrap().len();
    open.file.write_all_at(bytes, end).unwrap();
    spool.release(&open);
    true
}

#[test]
fn shuttle_what_is_offered_is_whole_whoever_else_writes() {
    try_orders(|| {
        let fixture = Fixture::new();
        let id = create(&fixture.spool, "a.wav", b"sound");
        let writers = [b"1", b"2"].map(|bytes| {
            let spool = fixture.spool.clone();
            thread::spawn(move || assert!(append(&spool, id, bytes)))
        });
        let renamer = fixture.spool.clone();
        let renamer = thread::spawn(move || {
            let (from, to) = ((ROOT, OsStr::new("a.wav")), (ROOT, OsStr::new("b.wav")));
            renamer.rename(from, to, RenameMode::NoReplace).unwrap();
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        renamer.join().unwrap();
        let (dropped, bytes) = fixture.take_next();
        assert_eq!(dropped.path[0].display(), "b.wav");
        // Both may have found the same end.
        assert!(bytes.len() == 6 || bytes.len() == 7, "{bytes:?}");
        assert_eq!(dropped.bytes, bytes.len() as u64);
        assert!(fixture.spool.find(Path::new("b.wav")).is_err());
    });
}

#[test]
fn shuttle_what_somebody_writes_while_it_leaves_stays() {
    try_orders(|| {
        let fixture = Fixture::new();
        let id = create(&fixture.spool, "a.wav", b"sound");
        let dropped = fixture.next_offer();
        let spool = fixture.spool.clone();
        let writer = thread::spawn(move || append(&spool, id, b" and more"));
        let has_left = fixture.spool.finish(dropped.id, dropped.generation).is_ok();
        let has_written = writer.join().unwrap();
        assert_ne!(has_left, has_written, "removed under a writer, or refused to both");
        if has_written {
            assert_eq!(fixture.take_next().1, b"sound and more");
        }
    });
}

#[test]
fn shuttle_a_note_is_there_as_long_as_its_recording_has_failed() {
    try_orders(|| {
        let fixture = Fixture::new();
        let id = create(&fixture.spool, "a.wav", b"sound");
        let dropped = fixture.next_offer();
        let spool = fixture.spool.clone();
        let writer = thread::spawn(move || assert!(append(&spool, id, b"!")));
        let failure = crate::model::Failure {
            cause: crate::model::FailureCause::NotAudio,
            message: "there is no sound in it".to_owned(),
            remedy: "Record it again.".to_owned(),
        };
        // Refused where it has changed already.
        let _ = fixture.spool.fail(dropped.id, dropped.generation, &failure);
        writer.join().unwrap();
        // Written to after it had failed, or before: in the end it is offered again, and nobody accuses it.
        let again = fixture.next_offer();
        assert_eq!(again.bytes, 6);
        let names = fixture.spool.list(ROOT, 0, 10).unwrap();
        let names: Vec<String> = names.iter().map(|entry| entry.name.display()).collect();
        assert_eq!(names, ["a.wav"]);
    });
}

#[test]
fn shuttle_closing_joins_the_timers_whatever_they_do() {
    try_orders(|| {
        let fixture = Fixture::new();
        let spool = fixture.spool.clone();
        let writer = thread::spawn(move || {
            for name in ["a.wav", "b.wav"] {
                let creator = Creator { uid: 0, gid: 0, mode: 0o644, thread: 0 };
                let flags = libc::O_WRONLY | libc::O_CREAT;
                // Refused once it is closed.
                if let Ok((_, open)) = spool.create(ROOT, OsStr::new(name), creator, flags) {
                    open.file.write_all_at(b"sound", 0).unwrap();
                    spool.release(&open);
                }
            }
        });
        fixture.spool.close();
        writer.join().unwrap();
    });
}
