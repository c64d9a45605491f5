//! [`FolderWalk`]: all files of a folder in the order of their keys, with no more names in memory than the folders that
//! are being walked have, and never more than a bounded number of each.

use std::collections::{BinaryHeap, VecDeque};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::model::Key;
use crate::store::{Found, StoreError};

/// Names of one folder that are held in memory at once. A folder with more is read again for the next ones.
const NAMES: usize = 1 << 16;

/// Yields every file whose path below the root is a key.
pub(crate) struct FolderWalk {
    root: PathBuf,
    /// From the root down to the folder that is being walked.
    levels: Vec<Level>,
    names: usize,
}

/// One folder under way.
struct Level {
    /// Of its keys: empty, or ends in `/`.
    prefix: String,
    /// Device and inode: a folder is never entered below itself.
    identity: (u64, u64),
    ahead: VecDeque<Name>,
    /// The last name that was taken from `ahead`, if there may be more behind those.
    rest_after: Option<Name>,
}

/// A name as it sorts among keys: a folder's with the `/` behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

impl FolderWalk {
    pub(crate) fn of(root: PathBuf) -> Self {
        Self::with_names(root, NAMES)
    }

    fn with_names(root: PathBuf, names: usize) -> Self {
        let mut walk = Self { root, levels: Vec::new(), names };
        // What cannot be read is told with the first step.
        walk.levels.push(Level {
            prefix: String::new(),
            identity: (0, 0),
            ahead: VecDeque::new(),
            rest_after: Some(Name(String::new())),
        });
        walk
    }

    /// The next file; `None`: there is none in the folder that is being walked, which may have folders.
    fn step(&mut self) -> io::Result<Option<Found>> {
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        let Some(name) = level.ahead.pop_front() else {
            match level.rest_after.take() {
                None => drop(self.levels.pop()),
                Some(after) => self.read_on(&after)?,
            }
            return Ok(None);
        };
        let prefix = format!("{}{}", level.prefix, name.0);
        let path = self.root.join(&prefix);
        let metadata = match fs::metadata(&path) {
            // It has gone meanwhile, or leads nowhere.
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        if metadata.is_dir() {
            self.enter(prefix, &metadata);
            return Ok(None);
        }
        let found = Key::new(&prefix).filter(|_| metadata.is_file());
        Ok(found.map(|key| Found { key, bytes: metadata.len() }))
    }

    fn enter(&mut self, prefix: String, metadata: &Metadata) {
        let identity = (metadata.dev(), metadata.ino());
        // A link that leads back up has no end.
        if prefix.ends_with('/') && self.levels.iter().all(|level| level.identity != identity) {
            let rest_after = Some(Name(String::new()));
            self.levels.push(Level { prefix, identity, ahead: VecDeque::new(), rest_after });
        }
    }

    /// Reads the next names of the folder that is being walked.
    fn read_on(&mut self, after: &Name) -> io::Result<()> {
        let most = self.names;
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let folder = self.root.join(&level.prefix);
        let entries = match fs::read_dir(&folder) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        if level.identity == (0, 0) {
            let metadata = fs::metadata(&folder)?;
            level.identity = (metadata.dev(), metadata.ino());
        }
        let mut first: BinaryHeap<Name> = BinaryHeap::new();
        let mut is_all = true;
        for entry in entries {
            let entry = entry?;
            let Ok(mut name) = entry.file_name().into_string() else { continue };
            // Nothing below what is no part of a key is a key.
            if Key::new(&name).is_none() {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() || kind.is_symlink() && folder.join(&name).is_dir() {
                name.push('/');
            }
            let name = Name(name);
            if name <= *after {
                continue;
            }
            first.push(name);
            if most < first.len() {
                first.pop();
                is_all = false;
            }
        }
        level.ahead = first.into_sorted_vec().into();
        level.rest_after = level.ahead.back().filter(|_| !is_all).cloned();
        Ok(())
    }
}

impl Iterator for FolderWalk {
    type Item = Result<Found, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.levels.is_empty() {
            match self.step() {
                Ok(Some(found)) => return Some(Ok(found)),
                Ok(None) => {}
                Err(err) => {
                    let at = self.levels.last().map(|level| level.prefix.clone());
                    self.levels.clear();
                    let (at, source) = (at.unwrap_or_default(), Box::new(err));
                    return Some(Err(StoreError::Refused { at, source }));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn write(root: &Path, keys: &[&str]) {
        for key in keys {
            let path = root.join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, key).unwrap();
        }
    }

    fn walked(root: &Path, names: usize) -> Vec<String> {
        let walk = FolderWalk::with_names(root.to_owned(), names);
        walk.map(|found| found.unwrap().key.to_string()).collect()
    }

    #[test]
    fn files_come_in_the_order_of_their_keys_however_few_names_fit_into_memory() {
        let dir = tempfile::tempdir().unwrap();
        // `-` and `.` sort before `/`, digits and letters behind it.
        let mut keys = vec![
            "a/b",
            "a-b/c",
            "a.b",
            "a0/x",
            "a/b-c/d",
            "a/b/c/d",
            "a/c.wav",
            "A/z",
            "a_b/2024/01/15/x",
            "b",
        ];
        keys.retain(|key| *key != "a/b");
        write(dir.path(), &keys);
        write(dir.path(), &[".staging/0", "a/.hidden", "a/no key", "a/x y/z"]);
        keys.sort_unstable();
        for names in [1, 2, 3, NAMES] {
            assert_eq!(walked(dir.path(), names), keys, "{names}");
        }
    }

    #[test]
    fn links_are_followed_and_never_in_circles() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        write(elsewhere.path(), &["2024/x"]);
        write(dir.path(), &["a/b"]);
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("far")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/up")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("a/none")).unwrap();
        assert_eq!(walked(dir.path(), 1), ["a/b", "far/2024/x"]);
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(FolderWalk::of(file).filter(Result::is_err).count(), 1);
        assert_eq!(walked(&dir.path().join("gone"), 1), [] as [String; 0]);
    }
}
