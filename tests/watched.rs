//! Watched folders: recordings that settle elsewhere are copied into the inbox, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, UNIX_EPOCH};

use scribefs::spool::{Dropped, Spool, SpoolError, SpoolEvent, SpoolOptions};

const WAV: &[u8] = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0";
/// Longer than anything here takes on a slow machine that does other things too.
const DEADLINE: Duration = Duration::from_secs(60);

fn open(dir: &Path) -> Spool {
    open_settling(dir, Duration::from_millis(60))
}

fn open_settling(dir: &Path, settle: Duration) -> Spool {
    let options = SpoolOptions {
        settle,
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
    let settle = Duration::from_millis(500);
    let spool = open_settling(state.path(), settle);
    let events = spool.subscribe();
    let _watch = spool.watch(vec![elsewhere.path().to_owned()]).unwrap();
    // Whoever holds us up for the settle time makes the recording come to rest too early: then once more.
    for attempt in 0.. {
        let source = elsewhere.path().join(format!("a{attempt}.wav"));
        let (begun, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
        let mut length = 0;
        // For several settle times.
        while begun.elapsed() < 3 * settle || length < WAV.len() {
            length = WAV.len().min(length + 1);
            // Each write makes it another file, by its time if not by its size.
            fs::write(&source, &WAV[..length]).unwrap();
            longest = longest.max(last.elapsed());
            last = Instant::now();
            std::thread::sleep(settle / 50);
        }
        let dropped = expect_ready(&events);
        if longest < settle / 2 {
            assert_eq!(path_of(&dropped), format!("a{attempt}.wav"));
            assert_eq!(dropped.bytes, WAV.len() as u64);
            break;
        }
        spool.finish(dropped.id, dropped.generation).unwrap();
    }
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
fn a_folder_that_has_to_do_with_ours_is_not_watched() {
    let (state, elsewhere) = places();
    let spool = open(state.path());
    let mountpoint = elsewhere.path().join("Recordings");
    fs::create_dir_all(mountpoint.join("inbox")).unwrap();
    let overlaps = |folder: PathBuf| {
        let watch = spool.watch_apart_from(vec![folder], vec![mountpoint.clone()]);
        matches!(watch, Err(SpoolError::Overlap { .. }))
    };
    assert!(overlaps(state.path().join("inbox")), "in the spool");
    assert!(overlaps(state.path().parent().unwrap().to_owned()), "around the spool");
    assert!(overlaps(mountpoint.join("inbox")), "in the mountpoint");
    assert!(overlaps(elsewhere.path().to_owned()), "around the mountpoint");
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(&mountpoint, &link).unwrap();
    assert!(overlaps(link), "by another name");
    let beside = elsewhere.path().join("Recordings of others");
    fs::create_dir(&beside).unwrap();
    assert!(!overlaps(beside));
}

#[test]
fn a_folder_that_is_not_there_yet_is_watched_when_it_comes() {
    let (state, elsewhere) = places();
    let spool = open(state.path());
    let events = spool.subscribe();
    let absent = elsewhere.path().join("stick");
    let _watch = spool.watch(vec![absent.clone()]).unwrap();
    // Made elsewhere and moved here, as a disk is mounted: all at once.
    let ready = elsewhere.path().join("ready");
    write_at(ready.join("standup/a.wav"), WAV, 1);
    fs::rename(ready, absent).unwrap();
    assert_eq!(path_of(&expect_ready(&events)), "standup/a.wav");
}

#[test]
fn a_folder_that_comes_and_has_to_do_with_ours_is_not_watched() {
    let (state, elsewhere) = places();
    let spool = open(state.path());
    let events = spool.subscribe();
    let (ours, bad) = (elsewhere.path().join("ours"), elsewhere.path().join("bad"));
    write_at(ours.join("never.wav"), WAV, 1);
    let good = elsewhere.path().join("good");
    let _watch =
        spool.watch_apart_from(vec![bad.clone(), good.clone()], vec![ours.clone()]).unwrap();
    std::os::unix::fs::symlink(&ours, &bad).unwrap();
    write_at(good.join("a.wav"), WAV, 1);
    assert_eq!(path_of(&expect_ready(&events)), "a.wav");
    assert_eq!(fs::read_dir(state.path().join("inbox")).unwrap().count(), 1);
}

#[test]
fn a_recording_whose_header_declares_more_is_given_time() {
    let (state, elsewhere) = places();
    // An unfinished one is given sixty times as long.
    let spool = open_settling(state.path(), Duration::from_secs(1));
    let events = spool.subscribe();
    let _watch = spool.watch(vec![elsewhere.path().to_owned()]).unwrap();
    let mut wave = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\x08\0\0\0".to_vec();
    wave.extend(b"half");
    let source = elsewhere.path().join("a.wav");
    fs::write(&source, &wave).unwrap();
    // Came after it, and is offered before it.
    write_at(elsewhere.path().join("fence.wav"), WAV, 2);
    assert_eq!(path_of(&expect_ready(&events)), "fence.wav");
    wave.extend(b"rest");
    fs::write(&source, &wave).unwrap();
    let dropped = expect_ready(&events);
    assert_eq!((path_of(&dropped), dropped.bytes), ("a.wav".to_owned(), wave.len() as u64));
}

#[test]
fn a_folder_that_comes_by_a_rename_is_looked_into() {
    let (state, elsewhere) = places();
    let (watched, beside) = (elsewhere.path().join("watched"), elsewhere.path().join("beside"));
    fs::create_dir(&watched).unwrap();
    let spool = open(state.path());
    let events = spool.subscribe();
    let _watch = spool.watch(vec![watched.clone()]).unwrap();
    write_at(watched.join("fence.wav"), WAV, 1);
    assert_eq!(path_of(&expect_ready(&events)), "fence.wav");
    write_at(beside.join("deep/a.wav"), WAV, 1);
    fs::rename(&beside, watched.join("moved")).unwrap();
    assert_eq!(path_of(&expect_ready(&events)), "moved/deep/a.wav");
}
