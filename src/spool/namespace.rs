//! Names come and go: lookup, create, link, rename, remove.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::InboxId;
use crate::spool::disk::{self, DiskStat};
use crate::spool::names;
use crate::spool::state_inputs::Mark;
use crate::spool::table::Place;
use crate::spool::tree::{hold, place};
use crate::spool::{
    Access, Attributes, Creator, EntryKind, Inner, OpenFile, RenameMode, SpoolError,
};

/// Permission bits of files and of directories; set-user-id and its like are never stored.
const FILE_MODE: u32 = 0o777;
const DIRECTORY_MODE: u32 = 0o1777;

impl Inner {
    pub(crate) fn lookup(&self, parent: InboxId, name: &OsStr) -> Result<Attributes, SpoolError> {
        let place = place(parent, name)?;
        let dir = self.directory(parent)?;
        let found = disk::stat_at(dir.as_fd(), name);
        let known = found.as_ref().ok().and_then(|stat| self.known(&place, stat));
        let (id, stat) = match (found, known) {
            (Ok(stat), Some(id)) => (id, stat),
            (Err(err), _) if self.table().child(parent, &place.name).is_none() => {
                return Err(missing_or(err));
            }
            // New to us, or not what we knew: looked at again while nobody changes the directory.
            _ => {
                let (id, stat) = self.adopt(place)?;
                self.look_around(id, &stat);
                (id, stat)
            }
        };
        self.remember(id);
        Ok(stat.attributes(id))
    }

    /// The kernel has been told of an entry once more.
    pub(crate) fn remember(&self, id: InboxId) {
        if let Some(node) = self.table().node_mut(id) {
            node.lookups += 1;
        }
    }

    pub(crate) fn create(
        &self,
        parent: InboxId,
        name: &OsStr,
        creator: Creator,
        open_flags: i32,
    ) -> Result<(Attributes, Arc<OpenFile>), SpoolError> {
        self.check_open_for_changes()?;
        let place = place(parent, name)?;
        let has_plenty = self.space.claim_asked(self.root.as_fd(), 1)?;
        let dir = self.directory(parent)?;
        let changing = self.changing(parent)?;
        let turn = hold(&changing);
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let mode = creator.mode & FILE_MODE;
        let made = disk::open_at(dir.as_fd(), name, flags, mode);
        let file = match made {
            Ok(file) => File::from(file),
            Err(err) if is_there(&err) && open_flags & libc::O_EXCL == 0 => {
                drop(turn);
                let attributes = self.lookup(parent, name)?;
                let open = self.open_file(attributes.id, open_flags)?;
                return Ok((self.attributes(attributes.id)?, open));
            }
            Err(err) => return Err(missing_or(err)),
        };
        let writable = open_flags & libc::O_ACCMODE != libc::O_RDONLY;
        if writable {
            // Before anything else: the disk may get the name at any moment.
            self.mark_new(&file, &place);
        }
        let settled = give_to(&file, creator, mode);
        let stat = settled.inspect_err(|_| {
            // Best effort: the error that led here is the one to report.
            let _ = disk::unlink_at(dir.as_fd(), name);
        })?;
        let id = self.enter(place, &stat)?;
        drop(turn);
        self.note_filling(parent, creator);
        self.remember(id);
        let (file, access) = (Arc::new(file), Access::Both);
        let open = Arc::new(OpenFile::new(id, (file, access), writable, !has_plenty));
        if writable {
            self.begin_writing(id)?;
        }
        self.keep_handle(&open);
        Ok((stat.attributes(id), open))
    }

    fn mark_new(&self, file: &File, place: &Place) {
        let path = self.table().path(place.parent);
        let path = [path.unwrap_or_default(), vec![place.name.clone()]].concat();
        fail_point!("spool-before-mark");
        self.marks.put(file.as_fd(), &path, &Mark::Receiving);
    }

    pub(crate) fn make_directory(
        &self,
        parent: InboxId,
        name: &OsStr,
        creator: Creator,
    ) -> Result<Attributes, SpoolError> {
        let mode = creator.mode & DIRECTORY_MODE;
        let stat = self.make(parent, name, |dir| {
            disk::make_directory_at(dir, name, mode & FILE_MODE)?;
            let made = disk::pin_at(dir, name)?;
            give_to(&made, creator, mode)
        })?;
        self.note_filling(parent, creator);
        let now = self.now();
        if let Some(directory) = self.table().directory_mut(stat.id) {
            directory.made_by(creator.thread, now);
        }
        Ok(stat)
    }

    pub(crate) fn make_symlink(
        &self,
        parent: InboxId,
        name: &OsStr,
        target: &Path,
        creator: Creator,
    ) -> Result<Attributes, SpoolError> {
        check_link_name(&place(parent, name)?)?;
        self.make(parent, name, |dir| {
            disk::make_symlink_at(target.as_os_str(), dir, name)?;
            let made = disk::pin_at(dir, name)?;
            // The mode of a link is what the system makes it.
            let mode = disk::stat_of(&made)?.mode();
            give_to(&made, creator, mode)
        })
    }

    fn make(
        &self,
        parent: InboxId,
        name: &OsStr,
        what: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> std::io::Result<DiskStat>,
    ) -> Result<Attributes, SpoolError> {
        self.check_open_for_changes()?;
        let place = place(parent, name)?;
        self.space.claim(self.root.as_fd(), 1)?;
        let dir = self.directory(parent)?;
        let changing = self.changing(parent)?;
        let _turn = hold(&changing);
        let stat = what(dir.as_fd()).map_err(missing_or)?;
        let id = self.enter(place, &stat)?;
        self.remember(id);
        Ok(stat.attributes(id))
    }

    pub(crate) fn read_symlink(&self, id: InboxId) -> Result<PathBuf, SpoolError> {
        let pin = self.pin(id)?;
        // An empty name reads the link that is pinned.
        Ok(disk::read_symlink_at(pin.as_fd(), OsStr::new(""))?.into())
    }

    pub(crate) fn unlink(&self, parent: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        self.remove(parent, name, disk::unlink_at)
    }

    pub(crate) fn remove_directory(&self, parent: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        self.remove(parent, name, disk::remove_directory_at)
    }

    fn remove(
        &self,
        parent: InboxId,
        name: &OsStr,
        how: impl Fn(std::os::fd::BorrowedFd<'_>, &OsStr) -> std::io::Result<()>,
    ) -> Result<(), SpoolError> {
        let place = place(parent, name)?;
        let dir = self.directory(parent)?;
        let changing = self.changing(parent)?;
        let _turn = hold(&changing);
        let mut result = how(dir.as_fd(), name);
        if result.as_ref().is_err_and(|err| err.kind() == std::io::ErrorKind::DirectoryNotEmpty) {
            // Nobody sees the notes that are still in it.
            self.remove_fading(&place);
            result = how(dir.as_fd(), name);
        }
        let result = result.map_err(missing_or);
        if matches!(result, Ok(()) | Err(SpoolError::Missing)) {
            self.removed_at(&place);
        }
        result
    }

    pub(crate) fn rename(
        &self,
        from: (InboxId, &OsStr),
        to: (InboxId, &OsStr),
        mode: RenameMode,
    ) -> Result<(), SpoolError> {
        self.check_open_for_changes()?;
        let (from_place, to_place) = (place(from.0, from.1)?, place(to.0, to.1)?);
        // What was never looked at has no number yet, and a rename must carry one along.
        self.adopt_unknown(&from_place)?;
        let (from_dir, to_dir) = (self.directory(from.0)?, self.directory(to.0)?);
        let locks = [self.changing(from.0.min(to.0))?, self.changing(from.0.max(to.0))?];
        let first = hold(&locks[0]);
        let second = (from.0 != to.0).then(|| hold(&locks[1]));
        check_moved_link(&from_dir, &from_place, &to_place)?;
        if mode == RenameMode::Exchange {
            check_moved_link(&to_dir, &to_place, &from_place)?;
        }
        disk::rename_at((from_dir.as_fd(), from.1), (to_dir.as_fd(), to.1), mode)
            .map_err(missing_or)?;
        fail_point!("spool-renamed");
        // Of what has moved and, of an exchange, of what came to its place.
        let stamps = [(&to_dir, to.1), (&from_dir, from.1)]
            .map(|(dir, name)| disk::stat_at(dir.as_fd(), name).ok().map(|stat| stat.stamp()));
        let moved = self.renamed(&from_place, &to_place, mode);
        // Notes tell of the name: they are written anew beside the new one.
        let noted: Vec<InboxId> = {
            let table = self.table();
            let has_note = |id: &InboxId| table.file(*id).is_some_and(|file| file.has_note());
            moved.iter().map(|moved| moved.id).filter(has_note).collect()
        };
        if !noted.is_empty() {
            // Best effort: what stays behind can be removed by hand.
            let _ = self.remove_note(&from_place);
            let _ = self.remove_note(&to_place);
        }
        drop((first, second));
        for (moved, stamp) in moved.iter().zip(stamps) {
            self.tell_moved(moved, stamp);
        }
        self.owe_notes(&noted);
        Ok(())
    }

    fn adopt_unknown(&self, place: &Place) -> Result<(), SpoolError> {
        if self.table().child(place.parent, &place.name).is_none() {
            self.adopt(place.clone())?;
        }
        Ok(())
    }

    /// The inbox entry at a path. Counts no reference of the kernel.
    pub(crate) fn find(&self, path: &Path) -> Result<InboxId, SpoolError> {
        let mut at = InboxId::ROOT;
        for part in path.components() {
            let std::path::Component::Normal(name) = part else { continue };
            at = self.adopt(place(at, name)?)?.0;
        }
        Ok(at)
    }

    pub(crate) fn check_open_for_changes(&self) -> Result<(), SpoolError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(disk::errno(libc::EROFS).into());
        }
        Ok(())
    }
}

/// A link that is called a recording would lie there for ever: what it leads to may be anywhere, so it is not taken.
fn check_link_name(place: &Place) -> Result<(), SpoolError> {
    match names::is_recording(&place.name) {
        true => Err(disk::errno(libc::EPERM).into()),
        false => Ok(()),
    }
}

/// One that got its name behind our back may be moved under it.
fn check_moved_link(dir: impl AsFd, from: &Place, to: &Place) -> Result<(), SpoolError> {
    if !names::is_recording(&to.name) || names::is_recording(&from.name) {
        return Ok(());
    }
    match disk::stat_at(dir.as_fd(), from.name.as_os_str()) {
        Ok(stat) if stat.kind() == EntryKind::Symlink => check_link_name(to),
        // What is not there is said by the rename.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Owner and mode as they were asked for: the daemon's own and its umask must not show.
fn give_to(made: impl AsFd, creator: Creator, mode: u32) -> std::io::Result<DiskStat> {
    let fd = made.as_fd();
    let stat = disk::stat_of(fd)?;
    let is_owned = stat.owner() == (creator.uid, creator.gid);
    let is_given = !is_owned && is_done(disk::set_owner(fd, Some(creator.uid), Some(creator.gid)))?;
    if stat.mode() != mode && stat.kind() != EntryKind::Symlink {
        disk::set_mode(fd, mode)?;
    } else if !is_given {
        return Ok(stat);
    }
    disk::stat_of(fd)
}

/// Only root, or who has the capability, may give a file away; with others it stays the daemon's own.
fn is_done(given: std::io::Result<()>) -> std::io::Result<bool> {
    match given {
        Ok(()) => Ok(true),
        Err(err) if err.raw_os_error() == Some(libc::EPERM) => Ok(false),
        Err(err) => Err(err),
    }
}

pub(crate) fn missing_or(err: std::io::Error) -> SpoolError {
    match err.raw_os_error() {
        Some(libc::ENOENT) => SpoolError::Missing,
        _ => SpoolError::Disk(err),
    }
}

fn is_there(err: &std::io::Error) -> bool {
    err.raw_os_error() == Some(libc::EEXIST)
}
