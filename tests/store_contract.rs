//! What the doc of `Store` promises, asked of every implementor.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use scribefs::model::Key;
use scribefs::store::{FlakyStore, Found, LocalStore, MemoryStore, Store, StoreError};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Runs the contract against a fresh store for each promise.
fn contract(fresh: &dyn Fn() -> Arc<dyn Store>) {
    let promises: [fn(&dyn Store); 10] = [
        what_is_put_comes_back,
        a_put_takes_the_place_of_what_was_there,
        ranges_are_cut_short_at_the_end,
        a_file_is_put_whole_from_its_start,
        what_is_missing_is_missing,
        head_gives_the_size,
        listings_go_by_whole_parts,
        deleting_twice_is_fine,
        a_deleted_folder_can_be_filled_again,
        many_can_put_at_once,
    ];
    for promise in promises {
        promise(&*fresh());
    }
}

fn what_is_put_comes_back(store: &dyn Store) {
    for (name, bytes) in
        [("a/2024/01/15/x.wav", &b"sound"[..]), ("empty", b""), ("A.-_9/b", b"\0\xff")]
    {
        store.put(&key(name), bytes).unwrap();
        assert_eq!(store.get_range(&key(name), 0..u64::MAX).unwrap(), bytes);
    }
}

fn a_put_takes_the_place_of_what_was_there(store: &dyn Store) {
    let key = key("a/b");
    store.put(&key, b"longer than the next").unwrap();
    store.put(&key, b"short").unwrap();
    assert_eq!(store.get_range(&key, 0..99).unwrap(), b"short");
    store.put_file(&key, &file_of(b"from a file")).unwrap();
    assert_eq!(store.get_range(&key, 0..99).unwrap(), b"from a file");
    assert_eq!(store.list("").unwrap().len(), 1);
}

fn ranges_are_cut_short_at_the_end(store: &dyn Store) {
    let key = key("a/b");
    store.put(&key, b"0123456789").unwrap();
    for (range, bytes) in
        [(0..4, "0123"), (4..10, "456789"), (8..99, "89"), (10..12, ""), (99..100, ""), (3..3, "")]
    {
        assert_eq!(store.get_range(&key, range).unwrap(), bytes.as_bytes());
    }
}

fn a_file_is_put_whole_from_its_start(store: &dyn Store) {
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|place| (place % 251) as u8).collect();
    let mut file = file_of(&bytes);
    file.seek(SeekFrom::Start(1_000)).unwrap();
    store.put_file(&key("a/big"), &file).unwrap();
    assert!(store.get_range(&key("a/big"), 0..u64::MAX).unwrap() == bytes);
    assert_eq!(file.stream_position().unwrap(), 1_000);
    store.put_file(&key("a/empty"), &file_of(b"")).unwrap();
    assert_eq!(store.head(&key("a/empty")).unwrap().bytes, 0);
}

fn what_is_missing_is_missing(store: &dyn Store) {
    store.put(&key("a/b/c"), b"x").unwrap();
    for name in ["a/b/d", "a/x/c", "zzz"] {
        let key = key(name);
        assert!(matches!(store.get_range(&key, 0..1), Err(StoreError::Missing { .. })));
        assert!(matches!(store.head(&key), Err(StoreError::Missing { .. })));
        assert!(matches!(store.open_local(&key), Err(StoreError::Missing { .. }) | Ok(None)));
    }
}

fn head_gives_the_size(store: &dyn Store) {
    let key = key("a/b");
    store.put(&key, b"12345").unwrap();
    assert_eq!(store.head(&key).unwrap(), Found { key: key.clone(), bytes: 5 });
}

fn listings_go_by_whole_parts(store: &dyn Store) {
    assert_eq!(store.list("").unwrap(), []);
    for name in ["a/1/x", "a/2/y", "ab/1/z"] {
        store.put(&key(name), b"1").unwrap();
    }
    let names = |prefix| -> BTreeSet<String> {
        store.list(prefix).unwrap().iter().map(|found| found.key.to_string()).collect()
    };
    assert_eq!(names(""), ["a/1/x", "a/2/y", "ab/1/z"].map(String::from).into());
    assert_eq!(names("a/"), ["a/1/x", "a/2/y"].map(String::from).into());
    assert_eq!(names("a/2/"), ["a/2/y"].map(String::from).into());
    assert_eq!(names("b/"), BTreeSet::new());
}

fn deleting_twice_is_fine(store: &dyn Store) {
    let key = key("a/b");
    store.put(&key, b"x").unwrap();
    store.delete(&key).unwrap();
    store.delete(&key).unwrap();
    assert!(matches!(store.head(&key), Err(StoreError::Missing { .. })));
    assert_eq!(store.list("").unwrap(), []);
}

fn a_deleted_folder_can_be_filled_again(store: &dyn Store) {
    for _ in 0..2 {
        store.put(&key("a/2024/01/15/x"), b"x").unwrap();
        store.put_file(&key("a/2024/01/15/y"), &file_of(b"y")).unwrap();
        store.delete(&key("a/2024/01/15/x")).unwrap();
        store.delete(&key("a/2024/01/15/y")).unwrap();
        assert_eq!(store.list("").unwrap(), []);
        store.put_file(&key("a/2024/01/15/y"), &file_of(b"y")).unwrap();
    }
}

fn many_can_put_at_once(store: &dyn Store) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for count in 0..5 {
                    store.put(&key(&format!("t{}/{count}/x", thread % 3)), b"same").unwrap();
                    let own = key(&format!("t/{thread}-{count}"));
                    store.put_file(&own, &file_of(own.as_str().as_bytes())).unwrap();
                    store.delete(&key(&format!("none/{thread}"))).unwrap();
                }
            });
        }
    });
    let found = store.list("").unwrap();
    assert_eq!(found.len(), 3 * 5 + 8 * 5);
    for found in found.iter().filter(|found| found.key.as_str().starts_with("t/")) {
        let bytes = store.get_range(&found.key, 0..99).unwrap();
        assert_eq!(bytes, found.key.as_str().as_bytes());
    }
}

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
