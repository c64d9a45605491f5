//! `UnderlyingFolder`: the folder at the mountpoint itself, which the mount covers. What programs write there is hidden
//! from everybody as long as the mount is up, so it must be empty, and what comes into it must be reported.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::fs::folder_modes::{FolderModes, FolderModesFile};
use crate::fs::mount_table;
use crate::fs::new_mount::{open_folder_at, without_mounts};

/// Programs write here; made with no permissions, it refuses them.
const INBOX: &str = "inbox";

const MODE: u32 = 0o7777;
/// Without these bits nobody can list a folder.
const READABLE: u32 = 0o444;

/// The folder, held open since before it was covered.
#[derive(Debug)]
pub struct UnderlyingFolder {
    mountpoint: PathBuf,
    state: PathBuf,
    may_hide_files: bool,
    /// Not yet where a dead mount covers it: only root can look below that.
    opened: OnceLock<Opened>,
    /// Names that were found in it since and that nobody wants hidden.
    strays: Mutex<BTreeSet<OsString>>,
}

#[derive(Debug)]
struct Opened {
    /// For its place only.
    folder: File,
    modes: FolderModesFile,
    /// What was in it and is hidden on purpose.
    hidden: BTreeSet<OsString>,
}

impl UnderlyingFolder {
    /// Opens the folder, if that is possible now. What is in it then counts as hidden on purpose if `may_hide_files`.
    /// In `state` it is kept how the folder was, as long as it is closed.
    pub fn new(mountpoint: &Path, state: &Path, may_hide_files: bool) -> Self {
        let (mountpoint, state) = (mountpoint.to_owned(), state.to_owned());
        let (opened, strays) = (OnceLock::new(), Mutex::default());
        let folder = Self { mountpoint, state, may_hide_files, opened, strays };
        folder.open();
        folder
    }

    /// Opens the folder where it was not possible before. Whoever may not read it can mount there all the same.
    pub(crate) fn open(&self) {
        if self.opened.get().is_some() {
            return;
        }
        match Opened::at(&self.mountpoint, &self.state, self.may_hide_files) {
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
    /// the answer is dropped. Whoever may mount there can still do so. `None`: it stays open.
    pub(crate) fn close(&self) -> Option<Closed<'_>> {
        self.opened.get().and_then(Opened::close)
    }
}

impl Opened {
    fn at(mountpoint: &Path, state: &Path, may_hide_files: bool) -> io::Result<Self> {
        let folder = if mount_table::is_mounted(mountpoint)? {
            let place = mount_table::absolute(mountpoint)?;
            let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            File::from(open_folder_at(without_mounts(parent)?, &CString::new(name.as_bytes())?)?)
        } else {
            // Not for reading: one that was left closed cannot be read, not even by its owner.
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            OpenOptions::new().read(true).custom_flags(flags).open(mountpoint)?
        };
        let modes = FolderModesFile::new(state, folder.metadata()?.ino());
        let mut opened = Self { folder, modes, hidden: BTreeSet::new() };
        opened.reopen_abandoned();
        if may_hide_files {
            opened.hidden = opened.names()?;
        }
        Ok(opened)
    }

    /// The folder only with its inbox: where programs can write, it is better seen.
    fn close(&self) -> Option<Closed<'_>> {
        let closed = self.modes_to_keep().and_then(|modes| {
            // A power cut may come at any time from now on.
            self.modes.write(&modes)?;
            let closed = Closed { opened: self, modes };
            self.close_inbox()?;
            chmod(&self.path(), closed.modes.mode & !READABLE)?;
            Ok(closed)
        });
        closed.inspect_err(|err| log::debug!("the folder below the mount stays open: {err}")).ok()
    }

    fn modes_to_keep(&self) -> io::Result<FolderModes> {
        let inbox = match fs::symlink_metadata(self.inbox()) {
            Ok(found) if found.is_dir() => Some(found.mode() & MODE),
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(err),
        };
        Ok(FolderModes { mode: self.folder.metadata()?.mode() & MODE, inbox })
    }

    /// What is in it stays: it was hidden on purpose, or is a stray.
    fn close_inbox(&self) -> io::Result<()> {
        match fs::create_dir(self.inbox()) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
            Ok(()) | Err(_) => chmod(&self.inbox(), 0),
        }
    }

    /// A daemon was killed while it had the folder closed, and its supervisor too.
    fn reopen_abandoned(&self) {
        let reopened = match self.modes.read() {
            Some(modes) => self.reopen(&modes),
            None => self.reopen_unknown(),
        };
        if let Err(err) = reopened {
            log::warn!("the folder below the mount stays closed: {err}");
        }
    }

    /// What has another mode than that of a closed one was changed by somebody since.
    fn reopen(&self, modes: &FolderModes) -> io::Result<()> {
        if self.folder.metadata()?.mode() & MODE == modes.mode & !READABLE {
            chmod(&self.path(), modes.mode)?;
        }
        if is_closed(&self.inbox()) {
            match modes.inbox {
                Some(mode) => chmod(&self.inbox(), mode)?,
                None => self.remove_made_inbox()?,
            }
        }
        self.modes.remove()
    }

    /// The same without the state folder of whoever has closed it.
    fn reopen_unknown(&self) -> io::Result<()> {
        if is_closed(&self.inbox()) {
            self.remove_made_inbox()?;
            chmod(&self.path(), self.folder.metadata()?.mode() & MODE | 0o700)?;
        }
        Ok(())
    }

    /// Root is kept out of nothing: what it has put there is a stray, and the owner gets at that.
    fn remove_made_inbox(&self) -> io::Result<()> {
        fs::remove_dir(self.inbox()).or_else(|_| chmod(&self.inbox(), 0o700))
    }

    fn names(&self) -> io::Result<BTreeSet<OsString>> {
        fs::read_dir(self.path())?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Leads to the folder itself, whatever covers it.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))
    }

    fn inbox(&self) -> PathBuf {
        self.path().join(INBOX)
    }
}

fn chmod(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn is_closed(inbox: &Path) -> bool {
    fs::symlink_metadata(inbox).is_ok_and(|it| it.is_dir() && it.mode() & MODE == 0)
}

/// The folder below a mount, closed for a moment.
pub(crate) struct Closed<'a> {
    opened: &'a Opened,
    modes: FolderModes,
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        if let Err(err) = self.opened.reopen(&self.modes) {
            log::warn!("the folder below the mount stays closed: {err}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & MODE
    }

    /// A state folder and a mountpoint.
    fn folders() -> (tempfile::TempDir, tempfile::TempDir) {
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
    }

    #[test]
    fn what_comes_into_the_folder_is_a_stray_and_what_was_hidden_on_purpose_is_none() {
        let (state, dir) = folders();
        fs::write(dir.path().join("old.wav"), "").unwrap();
        let open = |hides| UnderlyingFolder::new(dir.path(), state.path(), hides);
        let (keeps, finds) = (open(true), open(false));
        fs::create_dir(dir.path().join("inbox")).unwrap();
        for (folder, count, first) in [(keeps, 1, "inbox"), (finds, 2, "inbox")] {
            assert_eq!(folder.strays(), (0, None));
            folder.look();
            assert_eq!(folder.strays(), (count, Some(PathBuf::from(first))));
        }
    }

    #[test]
    fn a_closed_folder_is_as_it_was_afterwards_whoever_opens_it_again() {
        for (folder_mode, inbox_mode) in
            [(0o755, None), (0o750, None), (0o700, Some(0o750)), (0o1777, Some(0o755))]
        {
            for is_killed in [false, true] {
                let (state, dir) = folders();
                let inbox = dir.path().join("inbox");
                if let Some(mode) = inbox_mode {
                    fs::create_dir(&inbox).unwrap();
                    fs::write(inbox.join("a.wav"), "").unwrap();
                    chmod(&inbox, mode).unwrap();
                }
                chmod(dir.path(), folder_mode).unwrap();
                let open = || UnderlyingFolder::new(dir.path(), state.path(), false);
                let underlying = open();
                let closed = underlying.close().unwrap();
                assert_eq!(mode(dir.path()), folder_mode & !READABLE);
                assert_eq!(mode(&inbox), 0);
                if is_killed {
                    std::mem::forget(closed);
                    open();
                } else {
                    drop(closed);
                }
                assert_eq!(mode(dir.path()), folder_mode, "{is_killed}");
                assert_eq!(inbox.exists().then(|| mode(&inbox)), inbox_mode, "{is_killed}");
                assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
                // A mode that somebody gives it later stays.
                chmod(dir.path(), 0o711).unwrap();
                open();
                assert_eq!(mode(dir.path()), 0o711);
            }
        }
    }

    #[test]
    fn another_state_folder_opens_a_closed_one_to_its_owner() {
        let (state, dir) = folders();
        chmod(dir.path(), 0o755).unwrap();
        let underlying = UnderlyingFolder::new(dir.path(), state.path(), false);
        std::mem::forget(underlying.close());
        let other = tempfile::tempdir().unwrap();
        assert!(!UnderlyingFolder::new(dir.path(), other.path(), false).has_files());
        assert_eq!(mode(dir.path()), 0o711);
    }

    #[test]
    fn a_folder_whose_inbox_is_none_stays_as_it_is() {
        let (state, dir) = folders();
        let inbox = dir.path().join("inbox");
        fs::write(&inbox, "").unwrap();
        chmod(&inbox, 0o640).unwrap();
        chmod(dir.path(), 0o755).unwrap();
        let underlying = UnderlyingFolder::new(dir.path(), state.path(), true);
        let closed = underlying.close();
        assert!(closed.is_none());
        assert_eq!((mode(dir.path()), mode(&inbox)), (0o755, 0o640));
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    }
}
