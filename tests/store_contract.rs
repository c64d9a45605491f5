//! What the doc of `Store` promises, asked of every implementor.

mod contract;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use scribefs::store::{
    BlockCache, CacheOptions, FlakyStore, LocalStore, MemoryStore, ReadOptions, Store, StoreError,
    TieredStore,
};

use contract::{contract, file_of, key};

#[test]
fn memory_keeps_the_contract() {
    contract(&|| Arc::new(MemoryStore::default()));
}

#[test]
fn a_local_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    contract(&|| {
        count.set(count.get() + 1);
        let root = folder.path().join(format!("uploads {}", count.get()));
        Arc::new(LocalStore::open(&root).unwrap())
    });
}

#[test]
fn local_disk_with_a_bucket_behind_it_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    contract(&|| {
        count.set(count.get() + 1);
        let state = folder.path().join(count.get().to_string());
        let local = LocalStore::open(&state.join("uploads")).unwrap();
        let limits = CacheOptions { limit_bytes: 1 << 20, keep_free_bytes: 0 };
        let cache = BlockCache::open(&state.join("cache"), limits).unwrap();
        let bucket = Arc::new(MemoryStore::default());
        Arc::new(TieredStore::with_bucket(local, bucket, cache, ReadOptions::default()))
    });
}

#[test]
fn a_flaky_store_that_is_not_on_cue_keeps_the_contract() {
    contract(&|| Arc::new(FlakyStore::failing_after(u64::MAX, Arc::new(MemoryStore::default()))));
}

#[test]
fn a_flaky_store_fails_when_it_is_told_to() {
    let shelf = Arc::new(MemoryStore::default());
    let puts = |store: &FlakyStore<MemoryStore>| -> Vec<bool> {
        (0..4).map(|count| store.put(&key(&format!("{count}")), b"x").is_ok()).collect()
    };
    let after = FlakyStore::failing_after(2, shelf.clone());
    assert_eq!(puts(&after), [true, true, false, false]);
    assert_eq!(after.calls(), 4);
    assert_eq!(shelf.list("").unwrap().len(), 2);
    let every = FlakyStore::failing_every(3, shelf.clone());
    assert_eq!(puts(&every), [true, true, false, true]);
    assert_eq!(shelf.list("").unwrap().len(), 3);
    let losing = FlakyStore::losing_every(3, shelf.clone());
    assert_eq!(puts(&losing), [true, true, false, true]);
    assert_eq!(shelf.list("").unwrap().len(), 4);
}

#[test]
fn a_local_object_can_be_had_as_an_open_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    store.put(&key("a/b"), b"sound").unwrap();
    let mut text = String::new();
    store.open_local(&key("a/b")).unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "sound");
    assert_eq!(fs::read(folder.path().join("a/b")).unwrap(), b"sound");
}

#[test]
fn what_a_dead_process_left_half_written_is_swept_and_never_listed() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    store.put_file(&key("a/b"), &file_of(b"x")).unwrap();
    assert!(staged_files(folder.path()).is_empty());
    drop(store);
    let left = fs::File::create(folder.path().join(".staging/7")).unwrap();
    left.set_modified(SystemTime::now() - Duration::from_hours(2)).unwrap();
    fs::write(folder.path().join(".staging/8"), b"of a process that is at work").unwrap();
    fs::write(folder.path().join("a/b#1"), b"half").unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    assert_eq!(store.list("").unwrap().len(), 1);
    assert_eq!(staged_files(folder.path()), ["8"]);
    store.put(&key("a/b"), b"y").unwrap();
    assert_eq!(store.get_range(&key("a/b"), 0..9).unwrap(), b"y");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    fs::write(folder.path().join("a"), b"a file in the way").unwrap();
    let refused = |result| matches!(result, Err(StoreError::Refused { .. }));
    assert!(refused(store.put(&key("a/b"), b"x")));
    assert!(refused(store.put_file(&key("a/b"), &file_of(b"x"))));
    assert!(staged_files(folder.path()).is_empty());
}

#[test]
fn nobody_else_can_read_what_a_local_folder_keeps() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("uploads");
    let store = LocalStore::open(&root).unwrap();
    store.put(&key("a/b/page"), b"x").unwrap();
    store.put_file(&key("a/b/sound"), &file_of(b"x")).unwrap();
    assert!(store.put_file_new(&key("a/c/sound"), &file_of(b"x")).unwrap());
    let mode = |below: &str| fs::metadata(root.join(below)).unwrap().permissions().mode() & 0o777;
    for below in ["", "a", "a/b", "a/c", ".staging"] {
        assert_eq!(mode(below), 0o700, "{below}");
    }
    for below in ["a/b/page", "a/b/sound", "a/c/sound"] {
        assert_eq!(mode(below), 0o600, "{below}");
    }
}

#[test]
fn a_local_folder_knows_its_own_files_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    store.put_file(&key("a/sound"), &file_of(b"x")).unwrap();
    store.put(&key("a/page"), b"x").unwrap();
    fs::write(folder.path().join("a/other"), b"x").unwrap();
    let is_ours = |name| store.facts(&key(name)).unwrap().is_ours;
    if xattr::SUPPORTED_PLATFORM && xattr::get(folder.path().join("a/page"), "user.x").is_ok() {
        assert!(is_ours("a/sound") && is_ours("a/page"));
    }
    assert!(!is_ours("a/other"));
    // Its bytes may be another's now, but the file is ours.
    store.put(&key("a/other"), b"ours").unwrap();
    assert_eq!(is_ours("a/other"), is_ours("a/page"));
}

#[test]
fn of_many_who_put_at_one_key_of_a_folder_exactly_one_has_put() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    for round in 0..20 {
        let key = key(&format!("a/{round}"));
        let put = |number: u8| store.put_file_new(&key, &file_of(&[number])).unwrap();
        let won = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || put(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let first = won.iter().position(|won| *won).unwrap();
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        assert_eq!(store.get_range(&key, 0..9).unwrap(), [first as u8]);
    }
    assert!(staged_files(folder.path()).is_empty());
}

#[test]
fn a_staged_folder_is_swept_when_nothing_in_it_is_written_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    let long_ago = SystemTime::now() - Duration::from_hours(2);
    for (name, is_old) in [("dead", true), ("alive", false)] {
        let below = store.staging().join(name);
        fs::create_dir(&below).unwrap();
        let file = fs::File::create(below.join("day")).unwrap();
        if is_old {
            file.set_modified(long_ago).unwrap();
        }
        fs::File::open(&below).unwrap().set_modified(long_ago).unwrap();
    }
    drop(store);
    LocalStore::open(folder.path()).unwrap();
    assert_eq!(staged_files(folder.path()), ["alive"]);
}

fn staged_files(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(".staging")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn what_a_dead_process_has_staged_is_swept_at_the_next_start_and_what_a_living_one_has_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    let staged = store.stage_file(&file_of(b"sound"), &|| true).unwrap().unwrap();
    let left = store.staging().join("1-1");
    fs::write(&left, b"of a dead process").unwrap();
    let earlier = SystemTime::now() - Duration::from_secs(120);
    let all = || fs::read_dir(store.staging()).unwrap().map(|entry| entry.unwrap().path());
    for path in all() {
        fs::File::options().write(true).open(path).unwrap().set_modified(earlier).unwrap();
    }
    LocalStore::open(folder.path()).unwrap();
    assert!(!left.exists());
    assert_eq!(all().count(), 1);
    store.put_staged(&key("a/b"), staged).unwrap();
    assert_eq!(store.get_range(&key("a/b"), 0..99).unwrap(), b"sound");
    assert_eq!(all().count(), 0);
}
