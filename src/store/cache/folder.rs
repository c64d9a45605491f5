//! The folder of the cache: who is in it after a restart, and how much room its disk has.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::store::content::BlockId;
use crate::store::disk::free_bytes;

/// Files that are being written; what a dead process has left in it goes at the next start.
const STAGING: &str = "new";

/// Tells programs that copy folders to safety that this one need not be (bford.info/cachedir).
const TAG: (&str, &str) = (
    "CACHEDIR.TAG",
    "Signature: 8a477f597d28d172789f06886806bc55\n# Blocks that scribefs can fetch again.\n",
);

/// A block's file, as the walk at the start finds it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) id: BlockId,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
}

#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    handle: File,
}

impl Folder {
    /// The folder, for us alone, made if it is missing.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        match fs::remove_dir_all(root.join(STAGING)) {
            Err(err) if err.kind() != ErrorKind::NotFound => return Err(err),
            _ => make(&root.join(STAGING))?,
        }
        fs::write(root.join(TAG.0), TAG.1)?;
        Ok(Self { root: root.to_owned(), handle: File::open(root)? })
    }

    /// All blocks, the least recently used first. Files that are none go.
    pub(crate) fn walk(&self) -> io::Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            if is_fan(name.as_encoded_bytes()) {
                self.walk_fan(&self.root.join(name), &mut kept)?;
            }
        }
        kept.sort_by_key(|kept| kept.modified);
        Ok(kept)
    }

    fn walk_fan(&self, fan: &Path, kept: &mut Vec<Kept>) -> io::Result<()> {
        for entry in fs::read_dir(fan)? {
            let entry = entry?;
            let id = entry
                .file_name()
                .to_str()
                .and_then(parse)
                .filter(|id| self.path(id) == entry.path());
            let meta = entry.metadata()?;
            match id {
                Some(id) if meta.is_file() => {
                    kept.push(Kept { id, bytes: meta.len(), modified: meta.modified()? });
                }
                _ if meta.is_dir() => fs::remove_dir_all(entry.path())?,
                _ => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    /// Two characters of the hash first, so that no folder becomes long.
    pub(crate) fn path(&self, id: &BlockId) -> PathBuf {
        let hash = blake3::Hash::from_bytes(id.hash).to_hex();
        self.root.join(&hash[..2]).join(format!("{hash}-{}", id.number))
    }

    pub(crate) fn staged(&self, number: u64) -> PathBuf {
        self.root.join(STAGING).join(number.to_string())
    }

    /// Gives a staged file its name.
    pub(crate) fn keep(&self, staged: &Path, id: &BlockId) -> io::Result<()> {
        let path = self.path(id);
        match fs::rename(staged, &path) {
            Err(err) if err.kind() == ErrorKind::NotFound => {
                make(path.parent().unwrap_or(&self.root))?;
                fs::rename(staged, &path)
            }
            renamed => renamed,
        }
    }

    /// Removes a block's file. What cannot be removed is found again at the next start.
    pub(crate) fn remove(&self, id: &BlockId) {
        if let Err(err) = fs::remove_file(self.path(id))
            && err.kind() != ErrorKind::NotFound
        {
            log::debug!("cache: a block could not be removed: {err}");
        }
    }

    /// What users other than root may still write on its disk.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.handle)
    }
}

fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(err) if err.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn is_fan(name: &[u8]) -> bool {
    matches!(name, [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

fn parse(name: &str) -> Option<BlockId> {
    let (hash, number) = name.split_once('-')?;
    let hash = *blake3::Hash::from_hex(hash).ok()?.as_bytes();
    Some(BlockId { hash, number: number.parse().ok()? })
}
