//! The cache over a real folder: what it keeps, what it lets go, what it does not believe.

use std::fs;
use std::path::PathBuf;

use super::*;

const ROOMY: CacheOptions = CacheOptions { limit_bytes: 1 << 30, keep_free_bytes: 0 };

/// An object of that many blocks, each full of its number.
fn object(blocks: u8) -> (Content, Vec<Block>) {
    let parts: Vec<Vec<u8>> = (0..blocks).map(|number| vec![number; 1 << 20]).collect();
    let hash = *blake3::hash(&parts.concat()).as_bytes();
    let content = Content { hash, bytes: u64::from(blocks) << 20 };
    let block = |(number, bytes): (usize, Vec<u8>)| Block {
        sum: content.sum(number as u64, &bytes),
        bytes: bytes.into(),
    };
    (content, parts.into_iter().enumerate().map(block).collect())
}

fn files(root: &Path) -> Vec<PathBuf> {
    let fans = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let fans = fans.filter(|path| path.is_dir());
    fans.flat_map(|fan| fs::read_dir(fan).unwrap().map(|entry| entry.unwrap().path())).collect()
}

#[test]
fn what_was_kept_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (content, blocks) = object(2);
    let cache = BlockCache::open(dir.path(), ROOMY).unwrap();
    cache.insert(content, 1, &blocks[1]);
    assert_eq!(cache.get(content, 0), None);
    let before = cache.usage();
    drop(cache);
    let cache = BlockCache::open(dir.path(), ROOMY).unwrap();
    assert_eq!(cache.get(content, 1).as_ref(), Some(&blocks[1]));
    assert_eq!(cache.lacking(content, 0..2), [0]);
    assert_eq!(cache.sums(content), [(1, blocks[1].sum)]);
    let after = cache.usage();
    assert_eq!((after.bytes, after.blocks), (before.bytes, 1));
    assert_eq!((before.hits, before.misses, after.hits, after.misses), (0, 1, 1, 0));
}

#[test]
fn a_damaged_block_is_a_miss_and_goes() {
    for place in [0, 50, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + (1 << 20) - 1] {
        let dir = tempfile::tempdir().unwrap();
        let (content, blocks) = object(1);
        let cache = BlockCache::open(dir.path(), ROOMY).unwrap();
        cache.insert(content, 0, &blocks[0]);
        let [file] = &files(dir.path())[..] else { panic!("one file") };
        let mut bytes = fs::read(file).unwrap();
        bytes[place] ^= 1;
        fs::write(file, bytes).unwrap();
        assert_eq!(cache.get(content, 0), None, "{place}");
        assert!(files(dir.path()).is_empty());
        assert_eq!(cache.usage().bytes, 0);
    }
}

#[test]
fn a_block_that_was_cut_short_by_a_power_cut_is_a_miss() {
    for length in [0, 60, HEADER_BYTES as u64 + 5] {
        let dir = tempfile::tempdir().unwrap();
        let (content, blocks) = object(1);
        let cache = BlockCache::open(dir.path(), ROOMY).unwrap();
        cache.insert(content, 0, &blocks[0]);
        let [path] = &files(dir.path())[..] else { panic!("one file") };
        fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
        assert_eq!(cache.get(content, 0), None);
    }
}

#[test]
fn a_file_of_somebody_else_is_removed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("ab")).unwrap();
    fs::write(dir.path().join("ab/notes.txt"), b"not a block").unwrap();
    fs::create_dir(dir.path().join("new")).unwrap();
    fs::write(dir.path().join("new/7"), b"half").unwrap();
    BlockCache::open(dir.path(), ROOMY).unwrap();
    assert!(files(dir.path()).is_empty());
}

#[test]
fn the_limit_is_never_passed_and_the_least_recently_used_go() {
    let dir = tempfile::tempdir().unwrap();
    let (content, blocks) = object(4);
    let limit_bytes = 3 * ((1 << 20) + HEADER_BYTES as u64);
    let cache = BlockCache::open(dir.path(), CacheOptions { limit_bytes, ..ROOMY }).unwrap();
    for (number, block) in blocks.iter().enumerate() {
        assert!(number == 0 || cache.get(content, 0).is_some());
        cache.insert(content, number as u64, block);
        assert!(cache.usage().bytes <= limit_bytes);
    }
    assert_eq!(cache.lacking(content, 0..4), [1]);
    let on_disk: u64 = files(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(cache.usage().bytes, on_disk);
    drop(cache);
    let limit_bytes = limit_bytes / 2;
    let cache = BlockCache::open(dir.path(), CacheOptions { limit_bytes, ..ROOMY }).unwrap();
    assert_eq!(cache.usage().blocks, 1);
}

#[test]
fn nothing_is_kept_on_a_disk_that_is_nearly_full() {
    let dir = tempfile::tempdir().unwrap();
    let (content, blocks) = object(2);
    let cache = BlockCache::open(dir.path(), ROOMY).unwrap();
    cache.insert(content, 0, &blocks[0]);
    drop(cache);
    let full = CacheOptions { keep_free_bytes: u64::MAX, ..ROOMY };
    let cache = BlockCache::open(dir.path(), full).unwrap();
    assert_eq!(cache.usage().blocks, 0);
    cache.insert(content, 1, &blocks[1]);
    assert_eq!(
        cache.usage(),
        CacheUse { bytes: 0, blocks: 0, hits: 0, misses: 0, limit_bytes: 1 << 30 }
    );
    assert!(files(dir.path()).is_empty());
}

#[test]
fn an_object_is_forgotten_whole_and_alone() {
    let dir = tempfile::tempdir().unwrap();
    let cache = BlockCache::open(dir.path(), ROOMY).unwrap();
    let ((one, blocks), (other, others)) = (object(2), object(1));
    (0..2).for_each(|number| cache.insert(one, number as u64, &blocks[number]));
    cache.insert(other, 0, &others[0]);
    cache.forget(one.hash);
    assert_eq!(cache.contents(), [other.hash]);
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn many_threads_agree_on_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let (content, blocks) = object(6);
    let limit_bytes = 4 * ((1 << 20) + HEADER_BYTES as u64);
    let cache = BlockCache::open(dir.path(), CacheOptions { limit_bytes, ..ROOMY }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, blocks) = (&cache, &blocks);
            scope.spawn(move || {
                for turn in 0..12 {
                    let number = (thread + turn) % 6;
                    cache.insert(content, number as u64, &blocks[number]);
                    let found = cache.get(content, number as u64);
                    assert!(found.is_none_or(|found| found == blocks[number]));
                }
            });
        }
    });
    let on_disk: u64 = files(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(on_disk <= limit_bytes);
}

#[test]
fn blocks_and_local_copies_have_one_limit_together() {
    let dir = tempfile::tempdir().unwrap();
    let options = CacheOptions { limit_bytes: 8 << 20, keep_free_bytes: 0 };
    let cache = BlockCache::open(dir.path(), options).unwrap();
    let (content, blocks) = object(7);
    for (number, block) in (0..).zip(&blocks) {
        cache.insert(content, number, block);
    }
    assert_eq!(cache.usage().blocks, 7);
    cache.share_with(4 << 20);
    assert!(cache.usage().bytes <= 4 << 20);
    // Copies may be too many for a while; what is read is cached all the same.
    cache.share_with(u64::MAX);
    assert_eq!(cache.usage().limit_bytes, 2 << 20);
    assert_eq!(cache.usage().blocks, 1);
    cache.share_with(0);
    assert_eq!(cache.usage().limit_bytes, 8 << 20);
}
