//! A directory as a store.
//!
//! What `object_store` leaves open is closed here: a folder that another call or a dead process has made is not
//! known to be durable, a removal is not, a large file would have to go through memory, and a path cannot be
//! had as an open file.

mod lock;
mod staging;
mod walk;

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::model::Key;
use crate::store::blocking::block_on;
use crate::store::disk::free_bytes;
pub use crate::store::local::lock::LockError;
use crate::store::local::lock::StoreLock;
use crate::store::local::staging::{Staging, discard, finish, is_marked, make_folder, move_new};
use crate::store::local::walk::FolderWalk;
use crate::store::paths::{key_of, path_of};
use crate::store::{Found, ObjectFacts, StagedFile, Store, StoreError, Walk};

/// Where files are written before they get their name. No key starts with a dot.
const STAGING: &str = ".staging";

/// Folders remembered as durable: enough for all that are written to in a while.
const REMEMBERED: usize = 4096;

/// Keeps objects as files below a folder that only their owner can read. A put survives a power cut: file, name
/// and folders.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    inner: LocalFileSystem,
    staging: Staging,
    /// Guards the folders whose own names are known to be on disk.
    durable: Mutex<HashSet<PathBuf>>,
    /// Guards the lock, while it is held.
    lock: Mutex<Option<StoreLock>>,
}

impl LocalStore {
    /// The store in that folder, which is made if it is missing.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_folder(root)?;
        let root = fs::canonicalize(root)?;
        let staging = Staging::open(root.join(STAGING))?;
        sync(&root)?;
        if let Some(parent) = root.parent() {
            sync(parent)?;
        }
        let inner = LocalFileSystem::new_with_prefix(&root)
            .map_err(io::Error::other)?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(Self { root, inner, staging, durable: Mutex::default(), lock: Mutex::default() })
    }

    /// Keeps every other process that wants to write here from doing so, until [`Self::unlock`] or the end of this one.
    ///
    /// # Errors
    /// `InUse`: another one does.
    pub fn lock(&self) -> Result<(), LockError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_none() {
            *lock = Some(StoreLock::acquire(&self.root)?);
        }
        Ok(())
    }

    pub fn unlock(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What users other than root may still write on its disk.
    pub fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&File::open(&self.root)?)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// The folder that everything is below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder on the same disk for what is not whole yet. What is left in it is swept.
    pub fn staging(&self) -> &Path {
        self.staging.folder()
    }

    /// [`Store::put`], if there is nothing at `key` yet. Whether it was put.
    pub fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<bool, StoreError> {
        let staged = self.staging.bytes(bytes).map_err(|err| failed(key, err))?;
        self.name_new_or_discard(key, &staged)
    }

    /// Gives a staged file the name of `key`, in place of what has it. It is gone if that fails.
    fn name(&self, key: &Key, staged: &Path) -> Result<(), StoreError> {
        fail_point!("store-file-staged");
        let named = self.move_to(key, staged);
        if named.is_err() {
            discard(staged);
        }
        named
    }

    /// Gives a file on the same disk the name of `key`, in place of what has it.
    fn move_to(&self, key: &Key, file: &Path) -> Result<(), StoreError> {
        let path = self.path(key);
        let named = self.in_folders(key, || fs::rename(file, &path));
        named.and_then(|()| sync(folder_of(&path))).map_err(|err| failed(key, err))
    }

    fn name_new_or_discard(&self, key: &Key, staged: &Path) -> Result<bool, StoreError> {
        let named = self.name_new(key, staged);
        if !matches!(named, Ok(true)) {
            discard(staged);
        }
        named
    }

    /// The same as [`Self::name`] where nothing has that name yet. Whether it got it; it is still staged where not.
    fn name_new(&self, key: &Key, staged: &Path) -> Result<bool, StoreError> {
        let path = self.path(key);
        fail_point!("store-file-staged");
        let named = self.in_folders(key, || move_new(staged, &path));
        // What is there may have been put by a process that was killed before it could make its name durable.
        named
            .and_then(|is_new| sync(folder_of(&path)).map(|()| is_new))
            .map_err(|err| failed(key, err))
    }

    /// Makes the folders of `key`, and has `place` put something there: again if the last object of the folder
    /// was removed meanwhile, and the folder with it.
    fn in_folders<T>(&self, key: &Key, place: impl Fn() -> io::Result<T>) -> io::Result<T> {
        self.make_folders(key)?;
        match place() {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                self.make_folders(key).and_then(|()| place())
            }
            placed => placed,
        }
    }

    /// Makes the folders of `key`, and sees to it that their names are on disk.
    fn make_folders(&self, key: &Key) -> io::Result<()> {
        let mut folder = self.root.clone();
        let mut parts: Vec<&str> = key.as_str().split('/').collect();
        parts.pop();
        for part in parts {
            let parent = folder.clone();
            folder.push(part);
            let is_made = match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => true,
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => false,
                Err(err) => return Err(err),
            };
            if is_made || !self.remembered().contains(&folder) {
                sync(&parent)?;
                let mut remembered = self.remembered();
                if REMEMBERED <= remembered.len() {
                    remembered.clear();
                }
                remembered.insert(folder.clone());
            }
        }
        Ok(())
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for LocalStore {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        let staged = self.staging.bytes(bytes).map_err(|err| failed(key, err))?;
        self.name(key, &staged)
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        let staged = self.staging.file(file).map_err(|err| failed(key, err))?;
        self.name(key, &staged)
    }

    fn put_file_new(&self, key: &Key, file: &File) -> Result<bool, StoreError> {
        // A copy may take long: it is not made where it is of no use.
        if self.is_taken(key.as_str())? {
            return Ok(false);
        }
        let staged = self.staging.file(file).map_err(|err| failed(key, err))?;
        self.name_new_or_discard(key, &staged)
    }

    fn stage_file(
        &self,
        file: &File,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<StagedFile>, StoreError> {
        self.staging.file_while(file, may_go_on).map_err(|err| failed_at(STAGING, err))
    }

    fn stage_new(&self) -> Result<StagedFile, StoreError> {
        self.staging.empty().map_err(|err| failed_at(STAGING, err))
    }

    fn put_staged(&self, key: &Key, mut staged: StagedFile) -> Result<(), StoreError> {
        let Some(path) = staged.path() else { return self.put_file(key, staged.file()) };
        finish(staged.file()).map_err(|err| failed(key, err))?;
        fail_point!("store-file-staged");
        self.move_to(key, path)?;
        staged.is_named();
        Ok(())
    }

    fn put_staged_new(&self, key: &Key, staged: &mut StagedFile) -> Result<bool, StoreError> {
        let Some(path) = staged.path() else { return self.put_file_new(key, staged.file()) };
        finish(staged.file()).map_err(|err| failed(key, err))?;
        let is_new = self.name_new(key, path)?;
        if is_new {
            staged.is_named();
        }
        Ok(is_new)
    }

    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let old = self.path(from);
        match old.symlink_metadata() {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { key: from.clone() });
            }
            found => found.map_err(|err| failed(from, err))?,
        };
        self.move_to(to, &old)?;
        sync(folder_of(&old)).map_err(|err| failed(from, err))
    }

    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        let path = self.root.join(place);
        let found = match place.ends_with('/') {
            true => fs::read_dir(path).map(|mut entries| entries.next().is_some()),
            false => path.symlink_metadata().map(|_| true),
        };
        match found {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            // A file is where a folder would have to be.
            Err(err) if err.kind() == io::ErrorKind::NotADirectory => Ok(true),
            found => found.map_err(|err| failed_at(place, err)),
        }
    }

    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        let bytes = self.head(key)?.bytes;
        let is_ours = is_marked(&self.path(key));
        Ok(ObjectFacts { bytes, is_ours, written_at: self.written_at(key)?, ..Default::default() })
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let read = || {
            let file = File::open(self.path(key))?;
            let end = range.end.min(file.metadata()?.len());
            let wanted = usize::try_from(end.saturating_sub(range.start))
                .map_err(|_| io::ErrorKind::OutOfMemory)?;
            let mut bytes = vec![0; wanted];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes)
        };
        read().map_err(|err| failed(key, err))
    }

    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        let meta = block_on(self.inner.head(&path_of(key))).map_err(|err| explained(key, err))?;
        Ok(Found { key: key.clone(), bytes: meta.size })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        let path = object_store::path::Path::from(prefix);
        let listing = self.inner.list((!prefix.is_empty()).then_some(&path));
        let found = block_on(listing.try_collect::<Vec<_>>())
            .map_err(|err| StoreError::Refused { at: prefix.to_owned(), source: Box::new(err) })?;
        let found = found.into_iter().filter_map(|meta| {
            Some(Found { key: key_of(&meta.location, prefix)?, bytes: meta.size })
        });
        Ok(found.collect())
    }

    fn walk(&self) -> Walk<'_> {
        Box::new(FolderWalk::of(self.root.clone()))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match block_on(self.inner.delete(&path_of(key))) {
            Ok(()) => {}
            Err(object_store::Error::NotFound { .. }) => return Ok(()),
            Err(err) => return Err(explained(key, err)),
        }
        // The folder may have gone with its last file: then its parent holds the change.
        let path = self.path(key);
        for folder in path.ancestors().skip(1) {
            match sync(folder) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                synced => return synced.map_err(|err| failed(key, err)),
            }
        }
        Ok(())
    }

    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        File::open(self.path(key)).map(Some).map_err(|err| failed(key, err))
    }

    fn url(&self, key: &Key) -> Option<String> {
        let mut url = "file://".to_owned();
        for byte in self.path(key).as_os_str().as_bytes() {
            match byte {
                byte if byte.is_ascii_alphanumeric() || b"/._-~".contains(byte) => {
                    url.push(char::from(*byte));
                }
                byte => url.push_str(&format!("%{byte:02X}")),
            }
        }
        Some(url)
    }

    fn written_at(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        let modified = fs::metadata(self.path(key)).and_then(|meta| meta.modified());
        Ok(Timestamp::try_from(modified.map_err(|err| failed(key, err))?).ok())
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failed(key: &Key, err: io::Error) -> StoreError {
    match err.kind() {
        io::ErrorKind::NotFound => StoreError::Missing { key: key.clone() },
        _ => failed_at(key.as_str(), err),
    }
}

fn failed_at(at: &str, err: io::Error) -> StoreError {
    use io::ErrorKind::{Interrupted, ResourceBusy, StaleNetworkFileHandle, TimedOut, WouldBlock};
    let (at, source) = (at.to_owned(), Box::new(err));
    match source.kind() {
        // Network mounts under the folder come and go.
        Interrupted | ResourceBusy | StaleNetworkFileHandle | TimedOut | WouldBlock => {
            StoreError::Unavailable { at, source }
        }
        _ => StoreError::Refused { at, source },
    }
}

fn explained(key: &Key, err: object_store::Error) -> StoreError {
    match err {
        object_store::Error::NotFound { .. } => StoreError::Missing { key: key.clone() },
        err => StoreError::Refused { at: key.to_string(), source: Box::new(err) },
    }
}
