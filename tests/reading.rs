//! Reading what is in a bucket: how often it is asked, how long anybody waits, and that nothing wrong is read.

mod common;
mod far_bucket;

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{day, names, quiet_spool, services_in, skip, until};
use far_bucket::{FarBucket, Mood, Moody, far_bucket, made_bytes};
use scribefs::fs::{FsContext, Mount, MountOptions};
use scribefs::model::{FileName, Key, Object, Recording};
use scribefs::store::{
    BlockCache, CacheOptions, LocalStore, ReadOptions, Store, StoreError, TieredStore,
};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

/// Far more than a read from memory takes on a slow machine, and far less than the usual deadline.
const AT_ONCE: Duration = Duration::from_secs(4);

/// How long a bucket is left alone that has not answered, at first.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// A store with a bucket behind it, over one folder.
struct Place {
    dir: TempDir,
    bucket: Arc<FarBucket>,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), bucket: Arc::new(far_bucket()) }
    }

    fn remote(&self) -> &Moody {
        self.bucket.interceptor()
    }

    fn open(&self) -> TieredStore {
        self.open_with(ReadOptions::default())
    }

    fn open_with(&self, options: ReadOptions) -> TieredStore {
        self.open_limited(1 << 30, options)
    }

    fn open_limited(&self, limit_bytes: u64, options: ReadOptions) -> TieredStore {
        let local = LocalStore::open(&self.dir.path().join("uploads")).unwrap();
        let limits = CacheOptions { limit_bytes, keep_free_bytes: 0 };
        let cache = BlockCache::open(&self.cache(), limits).unwrap();
        TieredStore::with_bucket(local, self.bucket.clone(), cache, options)
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn blocks(&self) -> Vec<PathBuf> {
        let fans = names(self.cache()).into_iter().filter(|name| name.len() == 2);
        let fans = fans.map(|fan| self.cache().join(fan));
        fans.flat_map(|fan| names(&fan).into_iter().map(move |name| fan.join(name))).collect()
    }
}

/// Reads `range` in pieces, as the kernel does, and compares.
fn read_on(store: &TieredStore, object: &Object, range: Range<u64>, piece: u64) {
    let starts = (range.start..range.end).step_by(usize::try_from(piece).unwrap());
    for start in starts {
        let end = range.end.min(start + piece);
        let bytes = store.read(object, start..end).unwrap();
        assert!(bytes == made_bytes(start..end), "at {start}");
    }
}

/// All of it, into the cache.
fn warm(store: &TieredStore, object: &Object) -> Result<(), StoreError> {
    let starts = (0..object.bytes).step_by(MIB as usize);
    starts.map(|start| store.read(object, start..start + MIB)).try_for_each(|read| read.map(drop))
}

fn is_unavailable<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable { .. }))
}

fn is_refused<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Refused { .. }))
}

#[test]
fn opening_at_a_random_place_of_a_large_object_needs_two_requests_at_most() {
    let place = Place::new();
    let object = place.remote().make_unhashed("a/2024/01/15/long.wav", 1 << 30);
    let store = place.open();
    read_on(&store, &object, 700 * MIB + 5..700 * MIB + 5 + 512 * KIB, 128 * KIB);
    assert!(place.remote().requests() <= 2, "{}", place.remote().requests());
}

#[test]
fn reading_on_needs_few_requests() {
    for piece in [128 * KIB, MIB, MIB + 100] {
        let place = Place::new();
        let object = place.remote().make("a/2024/01/15/long.wav", 64 * MIB + 5);
        read_on(&place.open(), &object, 0..object.bytes, piece);
        assert!(place.remote().requests() <= 8, "{} of {piece}", place.remote().requests());
    }
}

#[test]
fn what_was_read_once_is_not_fetched_again() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", 3 * MIB + 5);
    let store = place.open();
    read_on(&store, &object, 0..object.bytes, MIB);
    let requests = place.remote().requests();
    read_on(&store, &object, 0..object.bytes, 100 * KIB);
    assert_eq!(place.remote().requests(), requests);
    assert_eq!(store.read(&object, object.bytes..object.bytes + 9).unwrap(), "");
}

#[test]
fn many_readers_of_a_block_wait_for_one_request() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", MIB);
    let store = place.open();
    place.remote().set_mood(Mood::Silent);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| read_on(&store, &object, 0..MIB, MIB));
        }
        until("somebody asks", || (0 < place.remote().requests()).then_some(()));
        place.remote().set_mood(Mood::Well);
    });
    assert_eq!(place.remote().requests(), 1);
}

#[test]
fn the_cache_outlives_the_process() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", 5 * MIB + 5);
    warm(&place.open(), &object).unwrap();
    place.remote().set_mood(Mood::Dead);
    let store = place.open();
    read_on(&store, &object, 0..object.bytes, 128 * KIB);
    assert_eq!(store.cache_use().unwrap().hits, 6);
    assert_eq!(store.cached(), std::slice::from_ref(&object.blake3));
    store.forget(&object);
    assert!(is_unavailable(store.read(&object, 0..1)));
    assert!(place.blocks().is_empty());
}

#[test]
fn a_damaged_block_is_fetched_again() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", 3 * MIB);
    warm(&place.open(), &object).unwrap();
    let block = place.blocks().remove(1);
    let mut bytes = fs::read(&block).unwrap();
    bytes[1000] ^= 1;
    fs::write(&block, bytes).unwrap();
    let requests = place.remote().requests();
    read_on(&place.open(), &object, 0..object.bytes, MIB);
    assert_eq!(place.remote().requests(), requests + 1);
}

#[test]
fn a_dead_endpoint_is_known_in_milliseconds() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", 30 * MIB);
    let store = place.open();
    place.remote().set_mood(Mood::Dead);
    let fails = |number: u64| is_unavailable(store.read(&object, number * MIB..number * MIB + 9));
    (0..3).for_each(|number| assert!(fails(number)));
    // Whoever holds us up until the pause is over sees it asked again: then once more, in the next one.
    loop {
        let (requests, begun) = (place.remote().requests(), Instant::now());
        (0..30).for_each(|number| assert!(fails(number)));
        if place.remote().requests() == requests {
            break;
        }
        assert!(FIRST_PAUSE / 2 < begun.elapsed(), "it is asked again after {:?}", begun.elapsed());
    }
}

#[test]
fn what_is_cached_is_read_while_the_endpoint_is_dead() {
    let place = Place::new();
    let (one, other) = (
        place.remote().make("a/2024/01/15/x.wav", MIB),
        place.remote().make("a/2024/01/15/y.wav", 9),
    );
    let store = place.open();
    warm(&store, &one).unwrap();
    place.remote().set_mood(Mood::Dead);
    (0..5).for_each(|_| assert!(is_unavailable(store.read(&other, 0..9))));
    read_on(&store, &one, 0..MIB, 128 * KIB);
}

#[test]
fn an_endpoint_that_comes_back_is_used_again() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", 9);
    let store = place.open();
    place.remote().set_mood(Mood::Dead);
    (0..4).for_each(|_| assert!(is_unavailable(store.read(&object, 0..9))));
    place.remote().set_mood(Mood::Well);
    until("the bucket is asked again", || store.read(&object, 0..9).ok());
}

#[test]
fn nobody_waits_longer_than_the_deadline() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", 9);
    let deadline = Duration::from_millis(100);
    let store = place.open_with(ReadOptions { deadline, ..ReadOptions::default() });
    place.remote().set_mood(Mood::Silent);
    let begun = Instant::now();
    assert!(is_unavailable(store.read(&object, 0..9)));
    assert!((deadline..deadline + AT_ONCE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    place.remote().set_mood(Mood::Well);
}

#[test]
fn refused_credentials_are_told_as_what_they_are() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", 9);
    place.remote().set_mood(Mood::Refusing);
    assert!(is_refused(place.open().read(&object, 0..9)));
}

#[test]
fn objects_that_are_refused_keep_nobody_from_others() {
    let place = Place::new();
    let store = place.open();
    let archived: Vec<Object> =
        (0..9).map(|it| place.remote().make(&format!("a/2024/01/15/{it}.wav"), MIB + it)).collect();
    let other = place.remote().make("a/2024/01/15/x.wav", MIB);
    place.remote().set_mood(Mood::Refusing);
    for object in &archived {
        let read = store.read(object, 0..9);
        assert!(matches!(read, Err(StoreError::Refused { .. })), "{read:?}");
    }
    place.remote().set_mood(Mood::Well);
    assert_eq!(store.read(&other, 0..9).unwrap(), made_bytes(0..9));
}

#[test]
fn an_answer_that_is_cut_off_is_asked_for_again() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", 2 * MIB);
    place.remote().set_mood(Mood::CutOff(MIB + 77));
    read_on(&place.open(), &object, 0..object.bytes, object.bytes);
}

#[test]
fn wrong_content_is_found_before_the_last_byte_is_read() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", 20 * MIB);
    let store = place.open();
    place.remote().set_mood(Mood::Lying(3 * MIB + 3));
    let reads = (0..20).map(|number| store.read(&object, number * MIB..(number + 1) * MIB));
    let failed = reads.filter(|read| is_refused(read.as_ref().map_err(clone_of))).count();
    assert!(0 < failed);
    assert!(place.blocks().is_empty());
    let requests = place.remote().requests();
    assert!(is_refused(store.read(&object, 0..9)));
    assert_eq!(place.remote().requests(), requests);
    place.remote().set_mood(Mood::Well);
    store.forget(&object);
    read_on(&store, &object, 0..object.bytes, MIB);
}

#[test]
fn wrong_objects_do_not_keep_anybody_from_the_right_ones() {
    let place = Place::new();
    let store = place.open();
    place.remote().set_mood(Mood::Lying(3));
    for name in ["x", "y", "z", "w"] {
        let object = place.remote().make(&format!("a/2024/01/15/{name}.wav"), 9);
        assert!(is_refused(store.read(&object, 0..9)));
    }
    let object = place.remote().make("a/2024/01/15/short.wav", 3);
    assert_eq!(store.read(&object, 0..9).unwrap(), made_bytes(0..3));
}

fn clone_of(err: &StoreError) -> StoreError {
    let at = String::new();
    match err {
        StoreError::Missing { key } => StoreError::Missing { key: key.clone() },
        StoreError::Unavailable { .. } => StoreError::Unavailable { at, source: "".into() },
        StoreError::Refused { .. } => StoreError::Refused { at, source: "".into() },
    }
}

#[test]
fn wrong_content_is_found_over_restarts() {
    let place = Place::new();
    let object = place.remote().make("a/2024/01/15/x.wav", 3 * MIB);
    place.remote().set_mood(Mood::Lying(3));
    place.open().read(&object, 0..9).unwrap();
    place.remote().set_mood(Mood::Well);
    assert!(is_refused(warm(&place.open(), &object)));
}

#[test]
fn an_object_of_another_size_is_refused() {
    for bytes in [MIB - 1, MIB + 1, 3 * MIB] {
        let place = Place::new();
        let object = place.remote().make("a/2024/01/15/x.wav", bytes);
        let told = Object { bytes: MIB, ..object };
        assert!(is_refused(place.open().read(&told, 0..MIB)), "{bytes}");
    }
}

#[test]
fn what_is_nowhere_is_missing() {
    let place = Place::new();
    let object = place.remote().make_unhashed("a/2024/01/15/x.wav", MIB);
    let gone = Object { key: Key::new("a/2024/01/15/gone.wav").unwrap(), ..object };
    let store = place.open();
    for _ in 0..5 {
        assert!(matches!(store.read(&gone, 0..9), Err(StoreError::Missing { .. })));
    }
}

#[test]
fn a_page_is_fetched_once_and_stays_in_the_cache() {
    let place = Place::new();
    let page = place.remote().make("a/2024/01/15/x.json", 2 * MIB + 5);
    let store = place.open();
    assert_eq!(store.read(&page, 0..page.bytes).unwrap(), made_bytes(0..page.bytes));
    // Only the cache has a limit and makes room: what is published here is not the place for copies.
    assert!(!store.has_local(&page.key).unwrap());
    place.remote().set_mood(Mood::Dead);
    assert_eq!(store.read(&page, 0..page.bytes).unwrap(), made_bytes(0..page.bytes));
}

#[test]
fn reading_any_number_of_pages_takes_no_more_room_than_the_cache_may() {
    let place = Place::new();
    let limit = 3 * MIB;
    let store = place.open_limited(limit, ReadOptions::default());
    for number in 0..40 {
        let page = place.remote().make(&format!("a/2024/01/15/{number}.json"), MIB / 2 + number);
        store.read(&page, 0..page.bytes).unwrap();
    }
    let used: u64 = store.cache_use().unwrap().bytes;
    assert!(0 < used && used <= limit, "{used}");
    assert_eq!(store.local().list("").unwrap(), []);
}

#[test]
fn a_wrong_page_is_refused_and_not_kept() {
    let place = Place::new();
    let page = place.remote().make("a/2024/01/15/x.json", 5000);
    place.remote().set_mood(Mood::Lying(7));
    let store = place.open();
    assert!(is_refused(store.read(&page, 0..9)));
    assert!(place.blocks().is_empty());
}

#[test]
fn both_places_are_one_store() {
    let place = Place::new();
    let store = place.open();
    let key = |name: &str| Key::new(name).unwrap();
    store.put(&key("a/near"), b"near").unwrap();
    store.put(&key("a/both"), b"newer").unwrap();
    place.bucket.put(&key("a/both"), b"old").unwrap();
    place.bucket.put(&key("a/far"), b"far away").unwrap();
    let mut found: Vec<(String, u64)> =
        store.list("a/").unwrap().iter().map(|it| (it.key.to_string(), it.bytes)).collect();
    found.sort();
    assert_eq!(found, [("a/both".into(), 5), ("a/far".into(), 8), ("a/near".into(), 4)]);
    assert_eq!(store.get_range(&key("a/far"), 0..3).unwrap(), b"far");
    assert_eq!(store.head(&key("a/far")).unwrap().bytes, 8);
    assert!(store.open_local(&key("a/far")).unwrap().is_none());
    store.drop_local(&key("a/both")).unwrap();
    assert_eq!(store.get_range(&key("a/both"), 0..9).unwrap(), b"old");
}

/// A mount over a store with a bucket behind it.
struct World {
    place: Place,
    store: Arc<TieredStore>,
    services: FsContext,
    options: MountOptions,
    mount: Mount,
}

impl World {
    /// `None`, said aloud, where nothing can be mounted.
    fn new(test: &str) -> Option<Self> {
        if File::options().read(true).write(true).open("/dev/fuse").is_err() {
            skip(test, "/dev/fuse cannot be opened");
            return None;
        }
        let place = Place::new();
        let store = Arc::new(place.open());
        let services = services_in(place.dir.path(), quiet_spool());
        let services = FsContext { store: store.clone(), ..services };
        let options = MountOptions::new(place.dir.path().join("mount"));
        fs::create_dir(&options.mountpoint).unwrap();
        let mount = Mount::start(&options, &services).unwrap();
        Some(Self { place, store, services, options, mount })
    }

    /// A recording whose audio is `bytes` long and in the bucket alone.
    fn publish(&self, name: &str, bytes: u64) -> (Recording, PathBuf) {
        let day = day(2024, 1, 15);
        let mut recording = common::publish(&self.services, "standup", day, name);
        let audio = self.place.remote().make(recording.audio.key.as_str(), bytes);
        self.store.drop_local(&audio.key).unwrap();
        recording.audio = audio;
        self.adopt(vec![recording.clone()]);
        (recording, self.folder().join(name))
    }

    fn adopt(&self, recordings: Vec<Recording>) {
        let index = &self.services.index;
        let rows = recordings.into_iter().map(|recording| {
            let seq = recording.id.conversation;
            let conversation = index.conversation(seq).unwrap().unwrap();
            let transcript = index.day_transcript(seq, recording.id.day).unwrap().unwrap();
            (conversation, recording, transcript)
        });
        index.adopt(rows.collect()).unwrap();
    }

    fn folder(&self) -> PathBuf {
        self.options.mountpoint.join("conversations/standup/2024/01/15")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.mount.stop();
    }
}

fn read_at(path: &Path, place: u64, bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    File::open(path)?.read_exact_at(&mut buffer, place)?;
    Ok(buffer)
}

#[test]
fn a_player_that_opens_a_large_file_at_a_random_place_costs_two_requests_at_most() {
    let test = "a_player_that_opens_a_large_file_at_a_random_place_costs_two_requests_at_most";
    let Some(world) = World::new(test) else { return };
    let (mut recording, path) = world.publish("long.wav", 10);
    let large = world.place.remote().make_unhashed(recording.audio.key.as_str(), 1 << 30);
    recording.audio = large;
    world.adopt(vec![recording]);
    let bytes = read_at(&path, 700 * MIB + 12_345, 4096).unwrap();
    assert_eq!(bytes, made_bytes(700 * MIB + 12_345..700 * MIB + 12_345 + 4096));
    assert!(world.place.remote().requests() <= 2, "{}", world.place.remote().requests());
}

#[test]
fn a_file_in_the_bucket_is_read_as_if_it_were_here() {
    let Some(world) = World::new("a_file_in_the_bucket_is_read_as_if_it_were_here") else { return };
    let (recording, path) = world.publish("monday.wav", 40 * MIB + 5);
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    assert!(bytes == made_bytes(0..recording.audio.bytes));
    assert!(world.place.remote().requests() <= 8, "{}", world.place.remote().requests());
}

#[test]
fn a_file_that_is_evicted_while_it_is_open_can_be_read_on() {
    let test = "a_file_that_is_evicted_while_it_is_open_can_be_read_on";
    let Some(world) = World::new(test) else { return };
    let (recording, path) = world.publish("monday.wav", 3 * MIB);
    let key = &recording.audio.key;
    world.store.put(key, &made_bytes(0..3 * MIB)).unwrap();
    let here = File::open(&path).unwrap();
    let read = |file: &File, place| {
        let mut buffer = [0; 9];
        file.read_exact_at(&mut buffer, place).unwrap();
        assert_eq!(buffer, &made_bytes(place..place + 9)[..]);
    };
    read(&here, 5);
    world.store.drop_local(key).unwrap();
    read(&here, 2 * MIB);
    assert_eq!(world.place.remote().requests(), 0);
    // Opened while the other is: the kernel wants both to be treated alike.
    let there = File::open(&path).unwrap();
    read(&there, MIB);
    drop((here, there));
    let there = File::open(&path).unwrap();
    read(&there, 7);
    world.store.put(key, &made_bytes(0..3 * MIB)).unwrap();
    let here_again = File::open(&path).unwrap();
    read(&there, MIB + 7);
    read(&here_again, 2 * MIB + 7);
}

#[test]
fn a_dead_endpoint_is_no_reason_to_wait_in_a_mount() {
    let Some(world) = World::new("a_dead_endpoint_is_no_reason_to_wait_in_a_mount") else { return };
    let (_, path) = world.publish("monday.wav", 3 * MIB);
    world.place.remote().set_mood(Mood::Dead);
    let errno = |result: std::io::Result<Vec<u8>>| result.unwrap_err().raw_os_error();
    (0..3).for_each(|_| assert_eq!(errno(read_at(&path, 0, 9)), Some(libc::EIO)));
    let begun = Instant::now();
    (0..20).for_each(|_| assert_eq!(errno(read_at(&path, 0, 9)), Some(libc::EIO)));
    assert!(begun.elapsed() < 4 * AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(fs::metadata(&path).unwrap().len(), 3 * MIB);
    assert!(fs::read(path.with_extension("srt")).is_ok());
}

#[test]
fn opening_and_listing_do_not_wait_for_a_silent_endpoint() {
    let test = "opening_and_listing_do_not_wait_for_a_silent_endpoint";
    let Some(world) = World::new(test) else { return };
    let (_, path) = world.publish("monday.wav", 3 * MIB);
    world.place.remote().set_mood(Mood::Silent);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_at(&path, 0, 9).unwrap());
        until("the bucket is asked", || (0 < world.place.remote().requests()).then_some(()));
        let begun = Instant::now();
        File::open(&path).unwrap();
        assert!(names(world.folder()).contains(&"monday.wav".to_owned()));
        assert!(begun.elapsed() < 4 * AT_ONCE, "{:?}", begun.elapsed());
        world.place.remote().set_mood(Mood::Well);
        assert_eq!(reader.join().unwrap(), made_bytes(0..9));
    });
}

#[test]
fn a_page_that_is_only_in_the_bucket_comes_and_stays() {
    let test = "a_page_that_is_only_in_the_bucket_comes_and_stays";
    let Some(world) = World::new(test) else { return };
    let (recording, path) = world.publish("monday.wav", 10);
    for page in &recording.pages {
        let bytes = world.store.get_range(&page.object.key, 0..u64::MAX).unwrap();
        world.place.bucket.put(&page.object.key, &bytes).unwrap();
        world.store.drop_local(&page.object.key).unwrap();
    }
    let text = fs::read_to_string(path.with_extension("srt")).unwrap();
    assert!(text.contains("monday.srt"));
    world.place.remote().set_mood(Mood::Dead);
    assert_eq!(fs::read_to_string(path.with_extension("srt")).unwrap(), text);
}

#[test]
fn listing_ten_thousand_recordings_asks_the_bucket_nothing() {
    let test = "listing_ten_thousand_recordings_asks_the_bucket_nothing";
    let Some(world) = World::new(test) else { return };
    let (first, _) = world.publish("monday.wav", 10);
    let copy = |number: u16| {
        let mut recording = first.clone();
        recording.id.number = number;
        recording.stem = FileName::new(format!("m{number}")).unwrap();
        recording.audio_name = FileName::new(format!("m{number}.wav")).unwrap();
        recording
    };
    world.adopt((2..=10_000).map(copy).collect());
    let wavs = names(world.folder()).into_iter().filter(|name| name.ends_with(".wav"));
    assert_eq!(wavs.count(), 10_000);
    assert_eq!(fs::metadata(world.folder().join("m9000.wav")).unwrap().len(), 10);
    assert_eq!(world.place.remote().requests(), 0);
}
