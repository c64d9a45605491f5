//! Reading from a bucket in many orders of its threads: real readers and fetching threads, a real cache, and a bucket
//! in memory.

use std::sync::LazyLock;

use crate::concurrency::orders::{folder, try_orders};
use crate::concurrency::thread;
use crate::model::Key;
use crate::store::cache::CacheOptions;
use crate::store::{FlakyStore, MemoryStore, Store};

use super::*;

const MIB: u64 = 1 << 20;

/// A bucket with one object behind the queue of fetches.
struct Fixture {
    remote: Arc<RemoteReader>,
    bucket: Arc<FlakyStore<MemoryStore>>,
    object: Object,
    bytes: &'static [u8],
    _cache: tempfile::TempDir,
}

impl Fixture {
    fn new(bytes: u64, flaky: impl FnOnce(Arc<MemoryStore>) -> FlakyStore<MemoryStore>) -> Self {
        let key = Key::new("a/2024/01/15/x.wav").unwrap();
        static BYTES: LazyLock<Vec<u8>> =
            LazyLock::new(|| (0..4 * MIB).map(|at| (at % 251) as u8).collect());
        let bytes = &BYTES[..usize::try_from(bytes).unwrap()];
        let blake3 = blake3::hash(bytes).to_hex().to_string();
        let object = Object { key, bytes: bytes.len() as u64, blake3 };
        let memory = MemoryStore::default();
        memory.put(&object.key, bytes).unwrap();
        let bucket = Arc::new(flaky(Arc::new(memory)));
        let dir = folder();
        let limits = CacheOptions { limit_bytes: 1 << 30, keep_free_bytes: 0 };
        let cache = BlockCache::open(dir.path(), limits).unwrap();
        let remote = Arc::new(RemoteReader::new(bucket.clone(), cache, ReadOptions::default()));
        Self { remote, bucket, object, bytes, _cache: dir }
    }

    fn well(bytes: u64) -> Self {
        Self::new(bytes, |memory| FlakyStore::failing_after(u64::MAX, memory))
    }

    /// A reader on a thread of its own; `Err`: the bucket, or we, would not.
    fn reader(&self, ranges: &'static [Range<u64>]) -> thread::JoinHandle<Result<(), StoreError>> {
        let (remote, object, bytes) = (self.remote.clone(), self.object.clone(), self.bytes);
        thread::spawn(move || {
            for range in ranges {
                let read = remote.read(&object, range.clone())?;
                let (from, to) = (range.start as usize, (range.end as usize).min(bytes.len()));
                assert!(read[..] == bytes[from..to], "other bytes at {range:?}");
            }
            Ok(())
        })
    }
}

#[test]
fn shuttle_readers_of_one_block_send_for_it_once() {
    try_orders(|| {
        let fixture = Fixture::well(MIB / 4);
        let readers = [&[0..10_u64][..], &[5..200_000][..], &[9..10, 0..MIB][..]]
            .map(|ranges| fixture.reader(ranges));
        for reader in readers {
            reader.join().unwrap().unwrap();
        }
        assert_eq!(fixture.bucket.calls(), 1);
    });
}

#[test]
fn shuttle_a_seek_calls_nothing_off_that_somebody_waits_for() {
    try_orders(|| {
        let fixture = Fixture::well(4 * MIB);
        let readers = [
            // Reads on, so that more is sent for ahead, and goes elsewhere.
            &[0..9_u64, 9..MIB / 2, 3 * MIB..3 * MIB + 9][..],
            // Comes for what was sent for ahead.
            &[MIB..MIB + 9][..],
            &[2 * MIB..2 * MIB + 9, MIB + 5..MIB + 7][..],
        ]
        .map(|ranges| fixture.reader(ranges));
        for reader in readers {
            reader.join().unwrap().unwrap();
        }
    });
}

#[test]
fn shuttle_a_bucket_that_fails_leaves_no_reader_waiting_and_nothing_under_way() {
    try_orders(|| {
        let fixture = Fixture::new(2 * MIB, |memory| FlakyStore::failing_every(2, memory));
        let readers = [&[0..9_u64, MIB..MIB + 9][..], &[0..2 * MIB][..], &[MIB + 5..MIB + 9][..]]
            .map(|ranges| fixture.reader(ranges));
        for reader in readers {
            if let Err(err) = reader.join().unwrap() {
                assert!(matches!(err, StoreError::Unavailable { .. }), "{err:?}");
            }
        }
        while !fixture.remote.context.queue.is_idle() {
            thread::yield_now();
        }
    });
}

#[test]
fn shuttle_closing_lets_all_readers_and_threads_go() {
    try_orders(|| {
        let fixture = Fixture::well(2 * MIB);
        let readers =
            [&[0..9_u64, MIB..MIB + 9][..], &[0..2 * MIB][..]].map(|ranges| fixture.reader(ranges));
        fixture.remote.context.queue.close();
        for reader in readers {
            if let Err(err) = reader.join().unwrap() {
                assert!(matches!(err, StoreError::Unavailable { .. }), "{err:?}");
            }
        }
    });
}
