//! A mount that answers whatever its disk, its bucket and its users are up to.

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::{PATIENCE, World, day, names, quiet_spool, services_in, skip, until};
use scribefs::fs::{FsContext, Mount, MountOptions};
use scribefs::model::{Key, Object};
use scribefs::store::{Bytes, Found, LocalStore, ObjectFacts, Store, StoreError};

/// A store whose audio is far away: reads of names with `slow` in them wait until they are let go, all others take
/// a while.
struct FarStore {
    local: LocalStore,
    pace: Duration,
    is_held: Mutex<bool>,
    let_go: Condvar,
    waiting: AtomicUsize,
    /// What it had of pages is gone.
    is_empty: AtomicBool,
}

impl FarStore {
    fn let_go(&self) {
        *self.is_held.lock().unwrap() = false;
        self.let_go.notify_all();
    }
}

impl Store for FarStore {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.local.put(key, bytes)
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.local.put_file(key, file)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.local.get_range(key, range)
    }

    fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        if object.key.as_str().contains("slow") {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let held = self.is_held.lock().unwrap();
            drop(self.let_go.wait_while(held, |is_held| *is_held).unwrap());
        } else {
            std::thread::sleep(self.pace);
        }
        if self.is_empty.load(Ordering::SeqCst) {
            return Err(StoreError::Missing { key: object.key.clone() });
        }
        Ok(self.local.get_range(&object.key, range)?.into())
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.local.head(key)
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.local.is_taken(place)
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        self.local.facts(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.local.list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.local.delete(key)
    }

    /// Nothing is here.
    fn open_local(&self, _: &Key) -> Result<Option<File>, StoreError> {
        Ok(None)
    }
}

/// A mount over such a store.
struct FarWorld {
    dir: tempfile::TempDir,
    store: Arc<FarStore>,
    services: FsContext,
    mount: Mount,
}

impl FarWorld {
    fn new(test: &str, pace: Duration) -> Option<Self> {
        if File::options().read(true).write(true).open("/dev/fuse").is_err() {
            skip(test, "/dev/fuse cannot be opened");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let services = services_in(dir.path(), quiet_spool());
        let store = Arc::new(FarStore {
            local: LocalStore::open(&dir.path().join("far")).unwrap(),
            pace,
            is_held: Mutex::new(true),
            let_go: Condvar::new(),
            waiting: AtomicUsize::new(0),
            is_empty: AtomicBool::new(false),
        });
        let services = FsContext { store: store.clone(), ..services };
        let options = MountOptions::new(dir.path().join("mount"));
        fs::create_dir(&options.mountpoint).unwrap();
        let mount = Mount::start(&options, &services).unwrap();
        Some(Self { dir, store, services, mount })
    }

    fn publish(&self, name: &str) -> PathBuf {
        common::publish(&self.services, "standup", day(2024, 1, 15), name);
        self.dir.path().join("mount/conversations/standup/2024/01/15").join(name)
    }
}

impl Drop for FarWorld {
    fn drop(&mut self) {
        self.store.let_go();
        self.mount.stop();
    }
}

fn first_bytes(path: &Path) -> io::Result<[u8; 7]> {
    let mut bytes = [0; 7];
    File::open(path)?.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[test]
fn reads_that_hang_do_not_fail_others() {
    let Some(world) = FarWorld::new("reads_that_hang_do_not_fail_others", Duration::ZERO) else {
        return;
    };
    let hanging: Vec<PathBuf> =
        (0..100).map(|at| world.publish(&format!("slow-{at}.wav"))).collect();
    let healthy = world.publish("monday.wav");
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            hanging.iter().map(|path| scope.spawn(|| first_bytes(path).unwrap())).collect();
        until("they hang", || {
            (hanging.len() <= world.store.waiting.load(Ordering::SeqCst)).then_some(())
        });
        for _ in 0..10 {
            assert_eq!(&first_bytes(&healthy.with_extension("srt")).unwrap(), b"this is");
            assert_eq!(&first_bytes(&healthy).unwrap(), b"this is");
        }
        world.store.let_go();
        for reader in readers {
            assert_eq!(&reader.join().unwrap(), b"this is");
        }
    });
}

#[test]
fn many_cold_reads_at_once_wait_for_each_other_and_none_fails() {
    let test = "many_cold_reads_at_once_wait_for_each_other_and_none_fails";
    let Some(world) = FarWorld::new(test, Duration::from_millis(100)) else { return };
    let paths: Vec<PathBuf> = (0..300).map(|at| world.publish(&format!("day-{at}.wav"))).collect();
    std::thread::scope(|scope| {
        let readers: Vec<_> = paths.iter().map(|path| scope.spawn(|| first_bytes(path))).collect();
        for reader in readers {
            assert_eq!(&reader.join().unwrap().unwrap(), b"this is");
        }
    });
}

#[test]
fn an_open_page_that_is_written_anew_is_stale_and_never_half_of_each() {
    let test = "an_open_page_that_is_written_anew_is_stale_and_never_half_of_each";
    let Some(world) = FarWorld::new(test, Duration::ZERO) else { return };
    let page = world.publish("monday.wav").with_extension("srt");
    let index = &world.services.index;
    let seq = scribefs::model::ConversationSeq(1);
    let rewrite = |text: &[u8]| {
        let mut recording = index.recordings(seq, day(2024, 1, 15)).unwrap().remove(0);
        let transcript = index.day_transcript(seq, day(2024, 1, 15)).unwrap().unwrap();
        let place =
            recording.pages.iter().position(|page| page.object.key.as_str().ends_with(".srt"));
        let object = &mut recording.pages[place.unwrap()].object;
        world.store.put(&object.key, text).unwrap();
        object.bytes = text.len() as u64;
        object.blake3 = blake3::hash(text).to_hex().to_string();
        index.replace(recording, transcript).unwrap();
    };
    let old = vec![b'o'; 600_000];
    rewrite(&old);
    until("the kernel knows of it", || {
        (fs::metadata(&page).unwrap().len() == 600_000).then_some(())
    });
    let open = File::open(&page).unwrap();
    let mut some = [0; 10];
    open.read_exact_at(&mut some, 0).unwrap();
    assert_eq!(some, [b'o'; 10]);
    let new = vec![b'n'; 600_000];
    rewrite(&new);
    let err = until("it is stale", || open.read_exact_at(&mut [0; 10], 500_000).err());
    assert_eq!(err.raw_os_error(), Some(libc::ESTALE));
    // Whoever opens it now gets all of the new one.
    let text = fs::read(&page).unwrap();
    assert!(
        text == new,
        "{} bytes, {} of them old",
        text.len(),
        text.iter().filter(|byte| **byte == b'o').count()
    );
    // And what is nowhere any more is not made up for by something else.
    let open = File::open(&page).unwrap();
    world.store.is_empty.store(true, Ordering::SeqCst);
    rewrite(&old);
    let err = until("it is stale", || open.read_exact_at(&mut [0; 10], 0).err());
    assert_eq!(err.raw_os_error(), Some(libc::ESTALE));
}

#[test]
fn events_do_not_wait_for_a_page_that_is_being_read() {
    let test = "events_do_not_wait_for_a_page_that_is_being_read";
    let Some(world) = FarWorld::new(test, Duration::ZERO) else { return };
    let page = world.publish("slow.wav").with_extension("srt");
    let events = world.dir.path().join("mount/.scribefs/events");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| first_bytes(&page));
        until("it hangs", || (0 < world.store.waiting.load(Ordering::SeqCst)).then_some(()));
        // The kernel has a page of it locked, and is to forget it.
        let index = &world.services.index;
        let seq = scribefs::model::ConversationSeq(1);
        let recording = index.recordings(seq, day(2024, 1, 15)).unwrap().remove(0);
        let transcript = index.day_transcript(seq, day(2024, 1, 15)).unwrap().unwrap();
        index.replace(recording, transcript).unwrap();
        let next = world.publish("tuesday.wav");
        until("the event is there", || {
            fs::read_to_string(&events).unwrap().contains("tuesday.wav").then_some(())
        });
        assert!(names(next.parent().unwrap()).contains(&"tuesday.wav".to_owned()));
        world.store.let_go();
        reader.join().unwrap().unwrap();
    });
}

#[test]
fn a_busy_folder_is_listed_to_its_end_without_repetitions() {
    let test = "a_busy_folder_is_listed_to_its_end_without_repetitions";
    const WRITERS: usize = 64;
    const NAMES: usize = 20;
    let Some(world) = World::new(test) else { return };
    let folder = world.path("inbox/busy");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("that stays"), "x").unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (folder, is_over) = (&folder, &is_over);
            scope.spawn(move || {
                let path = |name: usize| folder.join(format!("{writer}-{name}"));
                for round in 0.. {
                    for name in 0..NAMES {
                        if is_over.load(Ordering::Relaxed) {
                            return;
                        }
                        // Each of these fails where the one before has left nothing to do it with.
                        let _ = match (round + name) % 4 {
                            0 | 1 => fs::write(path(name), "x"),
                            2 => fs::rename(path(name), path(name).with_extension("moved")),
                            _ => fs::remove_file(path(name).with_extension("moved")),
                        };
                    }
                }
            });
        }
        for _ in 0..20 {
            let begun = std::time::Instant::now();
            let mut seen = BTreeSet::new();
            for entry in fs::read_dir(&folder).unwrap() {
                let name = entry.unwrap().file_name();
                assert!(seen.insert(name.clone()), "{name:?} was listed twice");
                assert!(begun.elapsed() < PATIENCE, "a listing has no end");
            }
            assert!(seen.len() <= 2 * WRITERS * NAMES + 1);
            assert!(seen.contains(std::ffi::OsStr::new("that stays")));
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_the_daemon_changes_in_the_inbox_is_listed_at_once() {
    let test = "what_the_daemon_changes_in_the_inbox_is_listed_at_once";
    let options =
        scribefs::spool::SpoolOptions { settle: Duration::from_millis(50), ..quiet_spool() };
    let Some(world) = World::with_spool(test, options) else { return };
    let spool = &world.services.spool;
    let events = spool.subscribe();
    let ready = || loop {
        if let scribefs::spool::SpoolEvent::Ready(dropped) = events.recv_timeout(PATIENCE).unwrap()
        {
            break dropped;
        }
    };
    let listed = |expected: &[&str]| {
        until("it is listed", || (names(world.path("inbox")) == expected).then_some(()));
    };
    fs::write(world.path("inbox/a.wav"), b"RIFF\x24\0\0\0WAVEfmt ").unwrap();
    let dropped = ready();
    listed(&["a.wav"]);
    let failure = scribefs::model::Failure {
        cause: scribefs::model::FailureCause::Storage,
        message: "no".to_owned(),
        remedy: "yes".to_owned(),
    };
    spool.fail(dropped.id, dropped.generation, &failure).unwrap();
    listed(&["a.wav", "a.wav.error.txt"]);
    File::options()
        .write(true)
        .open(world.path("inbox/a.wav"))
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    let dropped = ready();
    listed(&["a.wav"]);
    spool.finish(dropped.id, dropped.generation).unwrap();
    listed(&[]);
}
