//! A directory as a store.
//!
//! What `object_store` leaves open is closed here: a folder that another call or a dead process has made is not
//! known to be durable, a removal is not, a large file would have to go through memory, and a path cannot be
//! had as an open file.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::model::Key;
use crate::store::blocking::block_on;
use crate::store::disk::free_bytes;
use crate::store::paths::{key_of, path_of};
use crate::store::{Found, Store, StoreError};

/// Where large files are written before they get their name. No key starts with a dot.
const STAGING: &str = ".staging";

/// A staged file that nobody has written to for so long belongs to nobody.
const ABANDONED: Duration = Duration::from_hours(1);

/// Folders remembered as durable: enough for all that are written to in a while.
const REMEMBERED: usize = 4096;

/// Keeps objects as files below a folder. A put survives a power cut: file, name and folders.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    inner: LocalFileSystem,
    staged: AtomicU64,
    /// Guards the folders whose own names are known to be on disk.
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalStore {
    /// The store in that folder, which is made if it is missing.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = fs::canonicalize(root)?;
        let staging = root.join(STAGING);
        fs::create_dir_all(&staging)?;
        sweep(&staging)?;
        sync(&root)?;
        if let Some(parent) = root.parent() {
            sync(parent)?;
        }
        let inner = LocalFileSystem::new_with_prefix(&root)
            .map_err(io::Error::other)?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(Self { root, inner, staged: AtomicU64::new(0), durable: Mutex::default() })
    }

    /// What users other than root may still write on its disk.
    pub fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&File::open(&self.root)?)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// [`Store::put`], if there is nothing at `key` yet. Whether it was put.
    pub fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<bool, StoreError> {
        let put = || {
            self.make_folders(key)?;
            let (mut file, staged) = self.new_staged()?;
            let path = self.path(key);
            let linked = file.write_all(bytes).and_then(|()| file.sync_all());
            let linked = linked.and_then(|()| fs::hard_link(&staged, &path));
            // Swept later, should this fail.
            let _ = fs::remove_file(&staged);
            match linked {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                linked => linked.and_then(|()| sync(folder_of(&path))).map(|()| true),
            }
        };
        put().map_err(|err| failed(key, err))
    }

    /// Makes the folders of `key`, and sees to it that their names are on disk.
    fn make_folders(&self, key: &Key) -> io::Result<()> {
        let mut folder = self.root.clone();
        let mut parts: Vec<&str> = key.as_str().split('/').collect();
        parts.pop();
        for part in parts {
            let parent = folder.clone();
            folder.push(part);
            let is_made = match fs::create_dir(&folder) {
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

    /// A durable copy of `file` under a name of its own.
    fn stage(&self, file: &File) -> io::Result<PathBuf> {
        let (mut staged, path) = self.new_staged()?;
        let copied = copy(file, &mut staged).and_then(|()| staged.sync_all());
        if copied.is_err() {
            // Swept later, should this fail too.
            let _ = fs::remove_file(&path);
        }
        copied.map(|()| path)
    }

    fn new_staged(&self) -> io::Result<(File, PathBuf)> {
        loop {
            let number = self.staged.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join(STAGING).join(format!("{}-{number}", process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                // A dead process had our number.
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                opened => return opened.map(|file| (file, path)),
            }
        }
    }
}

impl Store for LocalStore {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.make_folders(key).map_err(|err| failed(key, err))?;
        let payload = PutPayload::from(bytes.to_vec());
        block_on(self.inner.put(&path_of(key), payload)).map_err(|err| explained(key, err))?;
        Ok(())
    }

    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        let fail = |err| failed(key, err);
        self.make_folders(key).map_err(fail)?;
        let staged = self.stage(file).map_err(fail)?;
        let path = self.path(key);
        fail_point!("store-file-staged");
        let renamed = fs::rename(&staged, &path).or_else(|err| match err.kind() {
            // The last object of the folder was removed meanwhile, and the folder with it.
            io::ErrorKind::NotFound => {
                self.make_folders(key).and_then(|()| fs::rename(&staged, &path))
            }
            _ => Err(err),
        });
        if renamed.is_err() {
            // Swept later, should this fail too.
            let _ = fs::remove_file(&staged);
        }
        renamed.and_then(|()| sync(folder_of(&path))).map_err(fail)
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

    fn written_at(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        let modified = fs::metadata(self.path(key)).and_then(|meta| meta.modified());
        Ok(Timestamp::try_from(modified.map_err(|err| failed(key, err))?).ok())
    }
}

/// Removes what dead processes have left. Another process may be at work here too: what was written to
/// lately stays.
fn sweep(staging: &Path) -> io::Result<()> {
    for entry in fs::read_dir(staging)? {
        let entry = entry?;
        let is_old = match entry.metadata().and_then(|meta| meta.modified()) {
            Ok(modified) => modified.elapsed().is_ok_and(|age| ABANDONED <= age),
            Err(err) if err.kind() == io::ErrorKind::NotFound => false,
            Err(err) => return Err(err),
        };
        if is_old {
            match fs::remove_file(entry.path()) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failed(key: &Key, err: io::Error) -> StoreError {
    use io::ErrorKind::{
        Interrupted, NotFound, ResourceBusy, StaleNetworkFileHandle, TimedOut, WouldBlock,
    };
    let at = key.to_string();
    match err.kind() {
        NotFound => StoreError::Missing { key: key.clone() },
        // Network mounts under the folder come and go.
        Interrupted | ResourceBusy | StaleNetworkFileHandle | TimedOut | WouldBlock => {
            StoreError::Unavailable { at, source: Box::new(err) }
        }
        _ => StoreError::Refused { at, source: Box::new(err) },
    }
}

fn explained(key: &Key, err: object_store::Error) -> StoreError {
    match err {
        object_store::Error::NotFound { .. } => StoreError::Missing { key: key.clone() },
        err => StoreError::Refused { at: key.to_string(), source: Box::new(err) },
    }
}

/// Copies all of `from`, wherever its position is. On one disk the kernel copies, or shares the blocks
/// where the file system can.
fn copy(from: &File, to: &mut File) -> io::Result<()> {
    let mut offset: i64 = 0;
    loop {
        // SAFETY: both descriptors are open for the whole call, `offset` is a valid place to read from and
        // write to, and no place is given for the other offset.
        let copied = unsafe {
            libc::copy_file_range(
                from.as_raw_fd(),
                &raw mut offset,
                to.as_raw_fd(),
                std::ptr::null_mut(),
                CHUNK,
                0,
            )
        };
        match copied {
            // Some file systems say so instead of refusing.
            0 if offset == 0 => return copy_through_memory(from, to),
            0 => return Ok(()),
            copied if 0 < copied => {}
            _ => match io::Error::last_os_error() {
                err if err.kind() == io::ErrorKind::Interrupted => {}
                _ if offset == 0 => return copy_through_memory(from, to),
                err => return Err(err),
            },
        }
    }
}

/// Bytes that one call copies: enough to keep calls rare.
const CHUNK: usize = 64 << 20;

fn copy_through_memory(from: &File, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let read = match from.read_at(&mut buffer, offset) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read])?;
        offset += read as u64;
    }
}
