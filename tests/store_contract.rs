//! What the doc of `Store` promises, asked of every implementor.

mod contract;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use scribefs::store::{
    BlockCache, CacheOptions, FlakyStore, LocalStore, MemoryStore, PlacedStore, ReadOptions, Store,
    StoreError,
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
        let near = LocalStore::open(&state.join("uploads")).unwrap();
        let limits = CacheOptions { limit_bytes: 1 << 20, keep_free_bytes: 0 };
        let cache = BlockCache::open(&state.join("cache"), limits).unwrap();
        let bucket = Arc::new(MemoryStore::default());
        Arc::new(PlacedStore::with_bucket(near, bucket, cache, ReadOptions::default()))
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

fn staged_files(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(".staging")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
