//! From a number to a file on the disk, and from a file on the disk to a number.
//!
//! Every call goes through the open directory that holds the entry, one name at a time and following no link, so
//! nobody can lead the daemon out of the inbox by swapping a folder for a link. What was found is
//! compared with what is known: a file that somebody changed behind our back gets a number of its own.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::concurrency::{Mutex, MutexGuard};
use crate::model::{FileName, InboxId};
use crate::spool::disk::{self, DiskStat};
use crate::spool::table::{Place, Table};
use crate::spool::{Inner, OpenFile, SpoolError};

/// Times that a place is looked up again when the entry has moved meanwhile.
const ATTEMPTS: usize = 16;

/// An entry held for a call: through a handle that is open anyway, or only pinned.
pub(crate) enum Pin {
    Open(Arc<OpenFile>),
    Pinned(OwnedFd),
}

impl AsFd for Pin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Open(open) => open.file.as_fd(),
            Self::Pinned(fd) => fd.as_fd(),
        }
    }
}

impl Inner {
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Tries again with the descriptors that directories are only kept open by for speed.
    fn with_descriptors<T>(
        &self,
        what: impl Fn() -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        match what() {
            Err(SpoolError::Disk(err))
                if disk::is_shortage(&err) && self.table().close_directories() =>
            {
                what()
            }
            result => result,
        }
    }

    /// The open directory, to reach its entries.
    pub(crate) fn directory(&self, id: InboxId) -> Result<Arc<OwnedFd>, SpoolError> {
        self.with_descriptors(|| self.try_directory(id))
    }

    fn try_directory(&self, id: InboxId) -> Result<Arc<OwnedFd>, SpoolError> {
        if id == InboxId::ROOT {
            return Ok(self.root.clone());
        }
        for _ in 0..ATTEMPTS {
            let (place, disk_id) = {
                let table = self.table();
                if let Some(open) = table.open_directory(id) {
                    return Ok(open);
                }
                let node = table.node(id).ok_or(SpoolError::Missing)?;
                if table.directory(id).is_none() {
                    return Err(disk::errno(libc::ENOTDIR).into());
                }
                (node.place.clone().ok_or(SpoolError::Missing)?, node.disk_id)
            };
            let parent = self.directory(place.parent)?;
            match disk::open_directory_at(parent.as_fd(), place.name.as_os_str()) {
                Ok(open) if disk::stat_of(&open)?.disk_id() == disk_id => {
                    let open = Arc::new(open);
                    self.table().keep_open(id, open.clone());
                    return Ok(open);
                }
                Err(err) if disk::is_shortage(&err) => return Err(err.into()),
                Ok(_) | Err(_) => {}
            }
            if self.is_still_at(id, &place) {
                return Err(self.lost(place));
            }
        }
        Err(SpoolError::Missing)
    }

    /// What the disk says about an entry.
    pub(crate) fn stat(&self, id: InboxId) -> Result<DiskStat, SpoolError> {
        if let Some(open) = self.any_handle(id) {
            return Ok(disk::stat_of(&open.file)?);
        }
        if id == InboxId::ROOT {
            return Ok(disk::stat_of(&self.root)?);
        }
        self.at_place(id, |dir, name| {
            let stat = disk::stat_at(dir, name)?;
            Ok((stat, stat))
        })
    }

    /// Holds an entry for calls that change it.
    pub(crate) fn pin(&self, id: InboxId) -> Result<Pin, SpoolError> {
        if let Some(open) = self.any_handle(id) {
            return Ok(Pin::Open(open));
        }
        if id == InboxId::ROOT {
            return Ok(Pin::Pinned(self.root.try_clone()?));
        }
        self.at_place(id, |dir, name| {
            let pinned = disk::pin_at(dir, name)?;
            let stat = disk::stat_of(&pinned)?;
            Ok((Pin::Pinned(pinned), stat))
        })
    }

    /// Opens a file anew. A removed one is reached through a handle that is still open.
    pub(crate) fn open_entry(&self, id: InboxId, flags: i32) -> Result<File, SpoolError> {
        if let Some(open) = self.any_handle(id)
            && self.table().node(id).is_some_and(|node| node.place.is_none())
        {
            let path = disk::magic_path(open.file.as_fd());
            let path = Path::new(OsStr::from_bytes(path.as_bytes()));
            return Ok(open_magic(path, flags)?);
        }
        self.at_place(id, |dir, name| {
            let file = File::from(disk::open_at(dir, name, flags, 0)?);
            let stat = disk::stat_of(&file)?;
            Ok((file, stat))
        })
    }

    fn any_handle(&self, id: InboxId) -> Option<Arc<OpenFile>> {
        self.table().node(id)?.handles.first().cloned()
    }

    /// Does something to an entry at its place, and again if it has moved meanwhile. `what` also says which
    /// entry it found.
    fn at_place<T>(
        &self,
        id: InboxId,
        what: impl Fn(BorrowedFd<'_>, &OsStr) -> io::Result<(T, DiskStat)>,
    ) -> Result<T, SpoolError> {
        self.with_descriptors(|| self.try_at_place(id, &what))
    }

    fn try_at_place<T>(
        &self,
        id: InboxId,
        what: impl Fn(BorrowedFd<'_>, &OsStr) -> io::Result<(T, DiskStat)>,
    ) -> Result<T, SpoolError> {
        for _ in 0..ATTEMPTS {
            let (place, disk_id) = {
                let table = self.table();
                let node = table.node(id).ok_or(SpoolError::Missing)?;
                (node.place.clone().ok_or(SpoolError::Missing)?, node.disk_id)
            };
            let dir = self.directory(place.parent)?;
            match what(dir.as_fd(), place.name.as_os_str()) {
                Ok((done, stat)) if stat.disk_id() == disk_id => return Ok(done),
                Err(err) if !is_missing(&err) => return Err(err.into()),
                Ok(_) | Err(_) => {}
            }
            if self.is_still_at(id, &place) {
                return Err(self.lost(place));
            }
        }
        Err(SpoolError::Missing)
    }

    fn is_still_at(&self, id: InboxId, place: &Place) -> bool {
        // Whoever is moving it holds this: afterwards the table knows.
        let Ok(changing) = self.changing(place.parent) else { return false };
        let _changing = hold(&changing);
        self.table().node(id).is_some_and(|node| node.place.as_ref() == Some(place))
    }

    /// What was known at a place is not there: looks again, and lets go of it if that is so.
    fn lost(&self, place: Place) -> SpoolError {
        match self.adopt(place) {
            Ok(_) | Err(SpoolError::Missing) => SpoolError::Missing,
            Err(err) => err,
        }
    }

    pub(crate) fn changing(&self, id: InboxId) -> Result<Arc<Mutex<()>>, SpoolError> {
        let table = self.table();
        match (table.directory(id), table.node(id)) {
            (Some(directory), _) => Ok(directory.changing.clone()),
            (None, Some(_)) => Err(disk::errno(libc::ENOTDIR).into()),
            (None, None) => Err(SpoolError::Missing),
        }
    }

    /// Sees what is at a place and gives it its number; forgets what is known there but is not.
    pub(crate) fn adopt(&self, place: Place) -> Result<(InboxId, DiskStat), SpoolError> {
        let dir = self.directory(place.parent)?;
        let changing = self.changing(place.parent)?;
        let _changing = hold(&changing);
        match disk::stat_at(dir.as_fd(), place.name.as_os_str()) {
            Ok(stat) => Ok((self.enter(place, &stat)?, stat)),
            Err(err) if is_missing(&err) => {
                self.removed_at(&place);
                Err(SpoolError::Missing)
            }
            Err(err) => Err(err.into()),
        }
    }

    /// The number of what `stat` has just found at a place. The caller holds `changing`.
    pub(crate) fn enter(&self, place: Place, stat: &DiskStat) -> Result<InboxId, SpoolError> {
        if let Some(id) = self.known(&place, stat) {
            return Ok(id);
        }
        let id = self.numbers.next()?;
        self.removed_at(&place);
        let mut table = self.table();
        if table.directory(place.parent).is_none() {
            return Err(SpoolError::Missing);
        }
        table.insert(id, place, stat.disk_id(), stat.kind());
        drop(table);
        Ok(id)
    }

    /// What was known at a place is no longer there. The caller holds `changing`.
    pub(crate) fn removed_at(&self, place: &Place) {
        let known = self.table().child(place.parent, &place.name);
        if let Some(id) = known {
            self.removed(id);
        }
    }

    /// The number of the entry at a place, if it is the one that `stat` shows.
    pub(crate) fn known(&self, place: &Place, stat: &DiskStat) -> Option<InboxId> {
        let table = self.table();
        let id = table.child(place.parent, &place.name)?;
        (table.node(id)?.disk_id == stat.disk_id()).then_some(id)
    }
}

/// Waits for a directory's turn.
pub(crate) fn hold(changing: &Mutex<()>) -> MutexGuard<'_, ()> {
    changing.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// The place for a name that a user gave.
pub(crate) fn place(parent: InboxId, name: &OsStr) -> Result<Place, SpoolError> {
    if name.len() > FileName::MAX_BYTES {
        return Err(disk::errno(libc::ENAMETOOLONG).into());
    }
    let name = FileName::new(name.as_bytes()).ok_or_else(|| disk::errno(libc::EINVAL))?;
    Ok(Place { parent, name })
}

fn is_missing(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE))
}

/// Opens what a descriptor of ours refers to.
fn open_magic(path: &Path, flags: i32) -> io::Result<File> {
    let is_writable = flags & libc::O_ACCMODE != libc::O_RDONLY;
    let truncates = flags & libc::O_TRUNC != 0;
    OpenOptions::new().read(true).write(is_writable).truncate(truncates).open(path)
}
