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
use std::sync::{Mutex, PoisonError};

use crate::fs::mount_table;
use crate::fs::new_mount::{open_folder_at, without_mounts};

/// Programs write here; made with no permissions, it refuses them.
const INBOX: &str = "inbox";

/// The folder, held open since before it was covered.
#[derive(Debug)]
pub struct UnderlyingFolder {
    folder: File,
    /// What was in it and is hidden on purpose.
    hidden: BTreeSet<OsString>,
    /// Names that were found in it since and that nobody wants hidden.
    strays: Mutex<BTreeSet<OsString>>,
}

impl UnderlyingFolder {
    /// Opens the folder; what is in it now will count as hidden on purpose if `may_hide_files` says so. While a mount of
    /// ours covers it, only root can do that.
    pub fn open(mountpoint: &Path, may_hide_files: bool) -> io::Result<Self> {
        let folder = if mount_table::is_mounted(mountpoint)? {
            let place = mount_table::absolute(mountpoint)?;
            let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            File::from(open_folder_at(without_mounts(parent)?, &CString::new(name.as_bytes())?)?)
        } else {
            File::open(mountpoint)?
        };
        let mut opened = Self { folder, hidden: BTreeSet::new(), strays: Mutex::default() };
        opened.reopen_abandoned();
        if may_hide_files {
            opened.hidden = opened.names()?;
        }
        Ok(opened)
    }

    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.names()?.is_empty())
    }

    /// Looks for what has come into the folder, and reports each name once.
    pub fn look(&self) {
        let names = match self.names() {
            Ok(names) => names,
            Err(err) => return log::debug!("the folder below the mount: {err}"),
        };
        let found: BTreeSet<OsString> = names.difference(&self.hidden).cloned().collect();
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
    pub(crate) fn close(&self) -> Closed<'_> {
        let mode = self.folder.metadata().map(|found| found.mode() & 0o7777).ok();
        let inbox = self.path().join(INBOX);
        let has_inbox = fs::create_dir(&inbox).is_ok();
        if has_inbox && let Err(err) = fs::set_permissions(&inbox, Permissions::from_mode(0)) {
            log::debug!("the folder below the mount: {err}");
        }
        if let Some(mode) = mode {
            self.set_mode(mode & !0o444);
        }
        Closed { underlying: self, mode, has_inbox }
    }

    /// A daemon was killed while it had the folder closed, and its supervisor too.
    fn reopen_abandoned(&self) {
        let inbox = self.path().join(INBOX);
        let is_closed = fs::symlink_metadata(&inbox).is_ok_and(|it| it.mode() & 0o7777 == 0);
        if is_closed && fs::remove_dir(&inbox).is_ok() {
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
    underlying: &'a UnderlyingFolder,
    mode: Option<u32>,
    has_inbox: bool,
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        if let Some(mode) = self.mode {
            self.underlying.set_mode(mode);
        }
        // Root is kept out of nothing: what it has put there is a stray.
        if self.has_inbox
            && let Err(err) = fs::remove_dir(self.underlying.path().join(INBOX))
        {
            log::debug!("the folder below the mount: {err}");
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
        let (keeps, finds) = (
            UnderlyingFolder::open(dir.path(), true).unwrap(),
            UnderlyingFolder::open(dir.path(), false).unwrap(),
        );
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
        let underlying = UnderlyingFolder::open(dir.path(), false).unwrap();
        let closed = underlying.close();
        assert_eq!(mode(), 0o311);
        let inbox = fs::metadata(dir.path().join("inbox")).unwrap();
        assert_eq!(inbox.mode() & 0o7777, 0);
        drop(closed);
        assert_eq!(mode(), 0o755);
        assert!(underlying.is_empty().unwrap());
        // As a killed daemon leaves it.
        std::mem::forget(underlying.close());
        let reopened = UnderlyingFolder::open(dir.path(), false).unwrap();
        assert!(reopened.is_empty().unwrap());
        assert_eq!(mode(), 0o711);
    }
}
