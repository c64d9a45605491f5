//! Watched folders: recordings that settle elsewhere are copied into the inbox, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, UNIX_EPOCH};

use scribefs::spool::{Dropped, Spool, SpoolError, SpoolEvent, SpoolOptions};

const WAV: &[u8] = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0";
const DEADLINE: Duration = Duration::from_secs(20);

fn open(dir: &Path) -> Spool {
    let options = SpoolOptions {
        settle: Duration::from_millis(60),
        settle_after_rename: Duration::from_millis(10),
        max_upload_bytes: Some(1000),
        keep_free_bytes: 0,
        sync_on_close: false,
    };
    Spool::open(dir, options).unwrap()
}

fn expect_ready(events: &Receiver<SpoolEvent>) -> Dropped {
    let until = Instant::now() + DEADLINE;
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        match events.recv_timeout(rest).expect("nothing was offered") {
            SpoolEvent::Ready(dropped) => return dropped,
            _ => continue,
        }
    }
}

fn path_of(dropped: &Dropped) -> String {
    let parts: Vec<String> = dropped.path.iter().map(|name| name.display()).collect();
    parts.join("/")
}

/// A place for the spool, and a folder elsewhere.
fn places() -> (tempfile::TempDir, tempfile::TempDir) {
    (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
}

fn write_at(path: PathBuf, bytes: &[u8], seconds: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    let modified = UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_recording_is_copied_with_its_folder_and_time_and_left_where_it_is() {
    let (state, elsewhere) = places();
    let spool = open(state.path());
    let events = spool.subscribe();
    let _watch = spool.watch(vec![elsewhere.path().to_owned()]).unwrap();
    let source = elsewhere.path().join("standup/monday.wav");
    write_at(source.clone(), WAV, 1_600_000_000);
    let dropped = expect_ready(&events);
    assert_eq!(path_of(&dropped), "standup/monday.wav");
    assert_eq!(dropped.modified_ns, 1_600_000_000_000_000_000);
    assert_eq!(fs::read(state.path().join("inbox/standup/monday.wav")).unwrap(), WAV);
    assert_eq!(fs::read(source).unwrap(), WAV);
}

#[test]
fn nothing_is_copied_twice_not_even_after_a_restart() {
    let (state, elsewhere) = places();
    write_at(elsewhere.path().join("a.wav"), WAV, 1);
    for _ in 0..2 {
        let spool = open(state.path());
        let events = spool.subscribe();
        let watch = spool.watch(vec![elsewhere.path().to_owned()]).unwrap();
        let name = format!("fence-{}.wav", fs::read_dir(elsewhere.path()).unwrap().count());
        let mut seen = Vec::new();
        // The fence appears when everything before it has been looked at.
        write_at(elsewhere.path().join(&name), WAV, 2);
        while !seen.contains(&name) {
            let dropped = expect_ready(&events);
            spool.finish(dropped.id, dropped.generation).unwrap();
            seen.push(path_of(&dropped));
        }
        drop(watch);
    }
    let spool = open(state.path());
    let events = spool.subscribe();
    let _watch = spool.watch(vec![elsewhere.path().to_owned()]).unwrap();
    write_at(elsewhere.path().join("last.wav"), WAV, 3);
    assert_eq!(path_of(&expect_ready(&events)), "last.wav");
    assert!(spool.works().len() == 1, "{:?}", spool.works());
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let (state, elsewhere) = places();
    let spool = open(state.path());
    fs::write(state.path().join("inbox/a.wav"), "").unwrap();
    let events = spool.subscribe();
    let _watch = spool.watch(vec![elsewhere.path().to_owned()]).unwrap();
    write_at(elsewhere.path().join("a.wav"), WAV, 1);
    assert_eq!(path_of(&expect_ready(&events)), "a-2.wav");
}

#[test]
fn a_recording_that_grows_is_copied_when_it_has_come_to_rest() {
    let (state, elsewhere) = places();
    let spool = open(state.path());
    let events = spool.subscribe();
    let _watch = spool.watch(vec![elsewhere.path().to_owned()]).unwrap();
    let source = elsewhere.path().join("a.wav");
    for length in 1..=WAV.len() {
        fs::write(&source, &WAV[..length]).unwrap();
        std::thread::sleep(Duration::from_millis(8));
    }
    assert_eq!(expect_ready(&events).bytes, WAV.len() as u64);
}

#[test]
fn only_recordings_of_a_fitting_size_are_copied() {
    let (state, elsewhere) = places();
    let at = |name: &str| elsewhere.path().join(name);
    write_at(at("notes.txt"), b"words", 1);
    write_at(at("a.wav.part"), WAV, 1);
    write_at(at(".hidden/a.wav"), WAV, 1);
    write_at(at("empty.wav"), b"", 1);
    write_at(at("large.wav"), &[0; 1001], 1);
    std::os::unix::fs::symlink(at("large.wav"), at("link.wav")).unwrap();
    let spool = open(state.path());
    let events = spool.subscribe();
    let _watch = spool.watch(vec![elsewhere.path().to_owned()]).unwrap();
    write_at(at("without extension"), WAV, 1);
    assert_eq!(path_of(&expect_ready(&events)), "without extension");
    assert_eq!(fs::read_dir(state.path().join("inbox")).unwrap().count(), 1);
}

#[test]
fn the_spool_cannot_watch_itself() {
    let (state, elsewhere) = places();
    let spool = open(state.path());
    let refused = spool.watch(vec![state.path().join("inbox")]);
    assert!(matches!(refused, Err(SpoolError::Disk(_))));
    let refused = spool.watch(vec![elsewhere.path().join("absent")]);
    assert!(matches!(refused, Err(SpoolError::Disk(_))));
}
