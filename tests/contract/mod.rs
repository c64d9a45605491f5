//! What the docs of `Store` and `Bucket` promise, asked of one implementor.
#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod bucket;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use scribefs::model::Key;
use scribefs::store::{Found, Store, StoreError};

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(crate) fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Runs the contract of `Store` against a fresh one for each promise.
pub(crate) fn contract(fresh: &dyn Fn() -> Arc<dyn Store>) {
    let promises: [fn(&dyn Store); 16] = [
        what_is_put_comes_back,
        a_put_takes_the_place_of_what_was_there,
        ranges_are_cut_short_at_the_end,
        a_file_is_put_whole_from_its_start,
        what_is_missing_is_missing,
        head_gives_the_size,
        listings_go_by_whole_parts,
        a_walk_comes_to_everything_in_the_order_of_keys,
        deleting_twice_is_fine,
        a_deleted_folder_can_be_filled_again,
        many_can_put_at_once,
        an_object_knows_when_it_was_put,
        what_is_new_takes_nobodys_place,
        a_place_is_taken_by_what_is_there,
        a_staged_file_is_named_where_it_may_be,
        what_gets_another_name_takes_the_place_of_what_was_there,
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

fn an_object_knows_when_it_was_put(store: &dyn Store) {
    store.put(&key("a/b"), b"now").unwrap();
    let age = Timestamp::now().duration_since(store.written_at(&key("a/b")).unwrap().unwrap());
    assert!(age.abs() < SignedDuration::from_mins(10), "{age:?}");
    let gone = store.written_at(&key("a/c"));
    assert!(matches!(gone, Err(StoreError::Missing { .. })), "{gone:?}");
}

fn what_is_new_takes_nobodys_place(store: &dyn Store) {
    let key = key("a/b");
    assert!(store.put_file_new(&key, &file_of(b"first")).unwrap());
    assert!(!store.put_file_new(&key, &file_of(b"second")).unwrap());
    assert_eq!(store.get_range(&key, 0..99).unwrap(), b"first");
    store.delete(&key).unwrap();
    assert!(store.put_file_new(&key, &file_of(b"third")).unwrap());
    assert_eq!(store.facts(&key).unwrap().bytes, 5);
}

fn a_staged_file_is_named_where_it_may_be(store: &dyn Store) {
    let stage = |bytes: &[u8]| store.stage_file(&file_of(bytes), &|| true).unwrap().unwrap();
    let key = key("a/b");
    let mut first = stage(b"first");
    assert!(matches!(store.head(&key), Err(StoreError::Missing { .. })));
    assert!(store.put_staged_new(&key, &mut first).unwrap());
    let mut second = stage(b"second");
    assert!(!store.put_staged_new(&key, &mut second).unwrap());
    assert_eq!(store.get_range(&key, 0..99).unwrap(), b"first");
    store.put_staged(&key, second).unwrap();
    assert_eq!(store.get_range(&key, 0..99).unwrap(), b"second");
    drop(stage(b"third"));
    let written = store.stage_new().unwrap();
    written.file().try_clone().unwrap().write_all(b"written").unwrap();
    store.put_staged(&key, written).unwrap();
    assert_eq!(store.get_range(&key, 0..99).unwrap(), b"written");
    drop(store.stage_new().unwrap());
    assert!(store.stage_file(&file_of(b"fourth"), &|| false).unwrap().is_none());
    assert_eq!(store.list("").unwrap().len(), 1);
}

fn what_gets_another_name_takes_the_place_of_what_was_there(store: &dyn Store) {
    store.put(&key("a/b"), b"new").unwrap();
    store.put(&key("c/d/e"), b"old").unwrap();
    store.rename(&key("a/b"), &key("c/d/e")).unwrap();
    assert_eq!(store.get_range(&key("c/d/e"), 0..99).unwrap(), b"new");
    assert_eq!(store.list("").unwrap().len(), 1);
    store.rename(&key("c/d/e"), &key("x/y")).unwrap();
    assert_eq!(store.get_range(&key("x/y"), 0..99).unwrap(), b"new");
    let gone = store.rename(&key("a/b"), &key("x/y"));
    assert!(matches!(gone, Err(StoreError::Missing { .. })), "{gone:?}");
    assert_eq!(store.get_range(&key("x/y"), 0..99).unwrap(), b"new");
}

fn a_place_is_taken_by_what_is_there(store: &dyn Store) {
    let is_taken = |place| store.is_taken(place).unwrap();
    for place in ["a/1/x.wav", "a/1/", "a/"] {
        assert!(!is_taken(place), "{place}");
    }
    store.put(&key("a/1/x.wav"), b"x").unwrap();
    for place in ["a/1/x.wav", "a/1/", "a/"] {
        assert!(is_taken(place), "{place}");
    }
    for place in ["a/1/x", "a/1/x.wa", "a/10/", "ab/", "b"] {
        assert!(!is_taken(place), "{place}");
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

fn a_walk_comes_to_everything_in_the_order_of_keys(store: &dyn Store) {
    let names = ["a-b/c", "a.b", "a/2024/01/15/x.wav", "a/b-c/d", "a/b/c", "a0/x", "a_b/c", "b"];
    for name in names.iter().rev() {
        store.put(&key(name), name.as_bytes()).unwrap();
    }
    let walked: Vec<Found> = store.walk().collect::<Result<_, _>>().unwrap();
    let found = |name: &&str| Found { key: key(name), bytes: name.len() as u64 };
    assert_eq!(walked, names.iter().map(found).collect::<Vec<_>>());
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
