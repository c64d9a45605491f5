//! Blocks of objects that were read from a bucket, in a folder of their own.
//!
//! Clean data only: everything here can be fetched again, so that losing it costs time and nothing else.
//! The books are kept in memory and made by a walk when the folder is opened.

mod file;
mod folder;
mod lru;

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::store::cache::file::HEADER_BYTES;
use crate::store::cache::folder::Folder;
use crate::store::cache::lru::Lru;
use crate::store::content::{BlockId, Content, ContentHash, Sum};

pub(crate) use crate::store::cache::file::Block;

/// How much the cache may take.
#[derive(Debug, Clone, Copy)]
pub struct CacheOptions {
    /// Of all its files together, and of local copies where there are some.
    pub limit_bytes: u64,
    /// What it leaves free on its disk, for all others who write there.
    pub keep_free_bytes: u64,
}

/// How the cache does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheUse {
    /// Of all files, headers included.
    pub bytes: u64,
    pub blocks: u64,
    /// Blocks that were asked for since the start, and were there or were not.
    pub hits: u64,
    pub misses: u64,
    pub limit_bytes: u64,
}

/// The blocks that are kept. The least recently used ones go, when others come, before the limit or the
/// disk's floor is passed.
#[derive(Debug)]
pub struct BlockCache {
    folder: Folder,
    options: CacheOptions,
    /// What the blocks may take at present, of [`CacheOptions::limit_bytes`].
    limit_bytes: AtomicU64,
    /// Guards the books; files are read, written and removed outside.
    ledger: Mutex<Lru>,
    last_staged: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    has_warned: AtomicBool,
}

impl BlockCache {
    /// The cache in that folder, which is made if it is missing and belongs to it alone. What is more than
    /// the limit goes.
    pub fn open(root: &Path, options: CacheOptions) -> io::Result<Self> {
        let folder = Folder::open(root)?;
        let mut ledger = Lru::default();
        for kept in folder.walk()? {
            ledger.add(kept.id, kept.bytes, kept.modified);
        }
        let cache = Self {
            folder,
            options,
            limit_bytes: AtomicU64::new(options.limit_bytes),
            ledger: Mutex::new(ledger),
            last_staged: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            has_warned: AtomicBool::new(false),
        };
        cache.make_room(0)?;
        Ok(cache)
    }

    pub fn usage(&self) -> CacheUse {
        let ledger = self.lock();
        CacheUse {
            bytes: ledger.bytes(),
            blocks: ledger.blocks() as u64,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            limit_bytes: self.limit(),
        }
    }

    /// Others have taken so many bytes of the limit: blocks have the rest, and never less than a quarter.
    pub(crate) fn share_with(&self, other_bytes: u64) {
        let whole = self.options.limit_bytes;
        let rest = whole.saturating_sub(other_bytes).max(whole / 4);
        if self.limit_bytes.swap(rest, Ordering::Relaxed) == rest {
            return;
        }
        if let Err(err) = self.make_room(0) {
            log::debug!("cache: no room could be made: {err}");
        }
    }

    fn limit(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// Those of `numbers` that are not here.
    pub(crate) fn lacking(&self, content: Content, numbers: Range<u64>) -> Vec<u64> {
        let ledger = self.lock();
        numbers.filter(|number| !ledger.has(&content.block(*number))).collect()
    }

    /// A block, if it is here and right. A damaged one is removed.
    pub(crate) fn get(&self, content: Content, number: u64) -> Option<Block> {
        let id = content.block(number);
        let now = SystemTime::now();
        let is_old = self.lock().touch(&id, now);
        let found = is_old.and_then(|is_old| self.read(content, id, is_old.then_some(now)));
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn read(&self, content: Content, id: BlockId, touch: Option<SystemTime>) -> Option<Block> {
        let path = self.folder.path(&id);
        let read = file::read(&path, content, id.number);
        if let (Ok(_), Some(now)) = (&read, touch) {
            // Without it the block goes a little early after a restart.
            let _ = file::touch(&path, now);
        }
        read.inspect_err(|err| {
            if err.kind() != io::ErrorKind::NotFound {
                log::warn!("cache: a block is damaged and will be fetched again: {err}");
            }
            self.remove(&id);
        })
        .ok()
    }

    /// Keeps a block if there is room for it, and makes room first. Trouble with the disk is not the
    /// reader's: the block is just not kept.
    pub(crate) fn insert(&self, content: Content, number: u64, block: &Block) {
        let bytes = HEADER_BYTES as u64 + block.bytes.len() as u64;
        let kept = self.make_room(bytes).and_then(|has_room| {
            if has_room { self.write(content, number, block).map(|()| true) } else { Ok(false) }
        });
        let mut ledger = self.lock();
        ledger.settle(bytes);
        if let Ok(true) = kept {
            ledger.add(content.block(number), bytes, SystemTime::now());
        }
        drop(ledger);
        if let Err(err) = kept
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            log::warn!("cache: cannot store what is read from the bucket: {err}");
        }
    }

    /// Promises `bytes`, and says whether they fit under the limit and above the floor.
    fn make_room(&self, bytes: u64) -> io::Result<bool> {
        let gone = self.lock().promise(bytes, self.limit());
        gone.iter().for_each(|id| self.folder.remove(id));
        if self.limit() < self.lock().bytes() {
            return Ok(false);
        }
        let wanted = self.options.keep_free_bytes.saturating_add(bytes);
        while self.folder.free_bytes()? < wanted {
            let Some(id) = self.lock().remove_oldest() else { return Ok(false) };
            self.folder.remove(&id);
        }
        Ok(true)
    }

    fn write(&self, content: Content, number: u64, block: &Block) -> io::Result<()> {
        let staged = self.folder.staged(self.last_staged.fetch_add(1, Ordering::Relaxed));
        let written = file::write(&staged, content, number, block)
            .and_then(|()| self.folder.keep(&staged, &content.block(number)));
        if written.is_err() {
            // Goes at the next start, should this fail too.
            let _ = fs::remove_file(&staged);
        }
        written
    }

    /// Sums of the object's blocks that are here, as their headers give them.
    pub(crate) fn sums(&self, content: Content) -> Vec<(u64, Sum)> {
        let numbers = self.lock().numbers(content.hash);
        let sums = numbers.into_iter().filter_map(|number| {
            let path = self.folder.path(&content.block(number));
            Some((number, file::read_sum(&path, content, number).ok()?))
        });
        sums.collect()
    }

    /// Objects that have a block here.
    pub(crate) fn contents(&self) -> Vec<ContentHash> {
        self.lock().contents()
    }

    /// Removes all blocks of an object.
    pub(crate) fn forget(&self, hash: ContentHash) {
        let numbers = self.lock().numbers(hash);
        numbers.into_iter().for_each(|number| self.remove(&BlockId { hash, number }));
    }

    fn remove(&self, id: &BlockId) {
        self.lock().remove(id);
        self.folder.remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, Lru> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
