//! `UnderlyingFolder`: the folder at the mountpoint itself, which the mount covers. What programs write there is hidden
//! from everybody as long as the mount is up, so it must be empty, and what comes into it must be reported.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::fs::mount_table;
use crate::fs::new_mount::{open_folder_at, without_mounts};

/// Programs write here; made with no permissions, it refuses them.
const INBOX: &str = "inbox";

/// The folder, held open since before it was covered.
#[derive(Debug)]
pub struct UnderlyingFolder {
    mountpoint: PathBuf,
    may_hide_files: bool,
    /// Not yet where a dead mount covers it: only root can look below that.
    opened: OnceLock<Opened>,
    /// Names that were found in it since and that nobody wants hidden.
    strays: Mutex<BTreeSet<OsString>>,
}

#[derive(Debug)]
struct Opened {
    folder: File,
    /// What was in it and is hidden on purpose.
    hidden: BTreeSet<OsString>,
}

impl UnderlyingFolder {
    /// Opens the folder, if that is possible now. What is in it then counts as hidden on purpose if `may_hide_files`.
    pub fn new(mountpoint: &Path, may_hide_files: bool) -> Self {
        let (opened, strays) = (OnceLock::new(), Mutex::default());
        let folder = Self { mountpoint: mountpoint.to_owned(), may_hide_files, opened, strays };
        folder.open();
        folder
    }

    /// Opens the folder where it was not possible before. Whoever may not read it can mount there all the same.
    pub(crate) fn open(&self) {
        if self.opened.get().is_some() {
            return;
        }
        match Opened::at(&self.mountpoint, self.may_hide_files) {
            Ok(opened) => _ = self.opened.set(opened),
            Err(err) => log::debug!("the folder below the mount cannot be opened: {err}"),
        }
    }

    /// Whether something is in it, as far as can be seen.
    pub fn has_files(&self) -> bool {
        let names = self.opened.get().map(Opened::names);
        names.is_some_and(|names| names.is_ok_and(|names| !names.is_empty()))
    }

    /// Looks for what has come into the folder, and reports each name once.
    pub fn look(&self) {
        let Some(opened) = self.opened.get() else { return };
        let names = match opened.names() {
            Ok(names) => names,
            Err(err) => return log::debug!("the folder below the mount: {err}"),
        };
        let found: BTreeSet<OsString> = names.difference(&opened.hidden).cloned().collect();
        let mut strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
        for name in found.difference(&strays) {
            // Names of recordings are private.
            log::error!("something was written to the folder below the mount, where it is hidden");
            log::debug!("below the mount: {}", name.display());
        }
        *strays = found;
    }

    /// How many strays [`Self::look`] has found, and the first of them.
    pub fn strays(&self) -> (usize, Option<PathBuf>) {
        let strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
        (strays.len(), strays.first().map(PathBuf::from))
    }

    /// Closes the folder to programs that would write to it or take it for an empty mount, as far as its owner may, until
    /// the answer is dropped. Whoever may mount there can still do so.
    pub(crate) fn close(&self) -> Option<Closed<'_>> {
        self.opened.get().map(Opened::close)
    }
}

impl Opened {
    fn at(mountpoint: &Path, may_hide_files: bool) -> io::Result<Self> {
        let folder = if mount_table::is_mounted(mountpoint)? {
            let place = mount_table::absolute(mountpoint)?;
            let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            File::from(open_folder_at(without_mounts(parent)?, &CString::new(name.as_bytes())?)?)
        } else {
            File::open(mountpoint)?
        };
        let mut opened = Self { folder, hidden: BTreeSet::new() };
        opened.reopen_abandoned();
        if may_hide_files {
            opened.hidden = opened.names()?;
        }
        Ok(opened)
    }

    fn close(&self) -> Closed<'_> {
        let mode = self.folder.metadata().map(|found| found.mode() & 0o7777).ok();
        let inbox = self.close_inbox().inspect_err(|err| log::debug!("below the mount: {err}"));
        if let Some(mode) = mode {
            self.set_mode(mode & !0o444);
        }
        Closed { opened: self, mode, inbox: inbox.ok() }
    }

    fn close_inbox(&self) -> io::Result<Inbox> {
        let path = self.path().join(INBOX);
        let inbox = match fs::create_dir(&path) {
            Ok(()) => Inbox::Made,
            // What is in it stays: it was hidden on purpose, or is a stray.
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                let found = fs::symlink_metadata(&path)?;
                if !found.is_dir() {
                    return Err(err);
                }
                Inbox::Found { mode: found.mode() & 0o7777 }
            }
            Err(err) => return Err(err),
        };
        fs::set_permissions(&path, Permissions::from_mode(0o000))?;
        Ok(inbox)
    }

    /// A daemon was killed while it had the folder closed, and its supervisor too.
    fn reopen_abandoned(&self) {
        let inbox = self.path().join(INBOX);
        let is_closed = fs::symlink_metadata(&inbox).is_ok_and(|it| it.mode() & 0o7777 == 0);
        if is_closed {
            // Where something is in it, its owner gets at that again.
            let reopened = fs::remove_dir(&inbox)
                .or_else(|_| fs::set_permissions(&inbox, Permissions::from_mode(0o700)));
            if let Err(err) = reopened {
                log::debug!("below the mount: {err}");
            }
            let mode = self.folder.metadata().map_or(0o700, |found| found.mode() & 0o7777);
            self.set_mode(mode | 0o700);
        }
    }

    fn set_mode(&self, mode: u32) {
        if let Err(err) = self.folder.set_permissions(Permissions::from_mode(mode)) {
            log::debug!("the folder below the mount: {err}");
        }
    }

    fn names(&self) -> io::Result<BTreeSet<OsString>> {
        fs::read_dir(self.path())?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Leads to the folder itself, whatever covers it.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))
    }
}

/// The folder below a mount, closed for a moment.
pub(crate) struct Closed<'a> {
    opened: &'a Opened,
    mode: Option<u32>,
    inbox: Option<Inbox>,
}

/// The folder that programs write to, closed.
enum Inbox {
    Made,
    Found { mode: u32 },
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        if let Some(mode) = self.mode {
            self.opened.set_mode(mode);
        }
        let path = self.opened.path().join(INBOX);
        let reopened = match self.inbox {
            None => Ok(()),
            // Root is kept out of nothing: what it has put there is a stray.
            Some(Inbox::Made) => fs::remove_dir(&path)
                .or_else(|_| fs::set_permissions(&path, Permissions::from_mode(0o700))),
            Some(Inbox::Found { mode }) => fs::set_permissions(&path, Permissions::from_mode(mode)),
        };
        if let Err(err) = reopened {
            log::debug!("below the mount: {err}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_into_the_folder_is_a_stray_and_what_was_hidden_on_purpose_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("old.wav"), "").unwrap();
        let (keeps, finds) =
            (UnderlyingFolder::new(dir.path(), true), UnderlyingFolder::new(dir.path(), false));
        fs::create_dir(dir.path().join("inbox")).unwrap();
        for (folder, count, first) in [(keeps, 1, "inbox"), (finds, 2, "inbox")] {
            assert_eq!(folder.strays(), (0, None));
            folder.look();
            assert_eq!(folder.strays(), (count, Some(PathBuf::from(first))));
        }
    }

    #[test]
    fn a_closed_folder_is_as_it_was_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(dir.path()).unwrap().mode() & 0o7777;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let underlying = UnderlyingFolder::new(dir.path(), false);
        let closed = underlying.close();
        assert_eq!(mode(), 0o311);
        let inbox = fs::metadata(dir.path().join("inbox")).unwrap();
        assert_eq!(inbox.mode() & 0o7777, 0);
        drop(closed);
        assert_eq!(mode(), 0o755);
        assert!(!underlying.has_files());
        // As a killed daemon leaves it.
        std::mem::forget(underlying.close());
        let reopened = UnderlyingFolder::new(dir.path(), false);
        assert!(!reopened.has_files());
        assert_eq!(mode(), 0o711);
        // What is there already is closed too, and stays.
        let inbox = dir.path().join("inbox");
        let inbox_mode = || fs::metadata(&inbox).unwrap().mode() & 0o7777;
        fs::create_dir(&inbox).unwrap();
        fs::write(inbox.join("a.wav"), "").unwrap();
        fs::set_permissions(&inbox, Permissions::from_mode(0o750)).unwrap();
        let closed = reopened.close();
        assert_eq!(inbox_mode(), 0);
        drop(closed);
        assert_eq!(inbox_mode(), 0o750);
        std::mem::forget(reopened.close());
        assert!(UnderlyingFolder::new(dir.path(), false).has_files());
        assert_eq!(inbox_mode(), 0o700);
    }
}
