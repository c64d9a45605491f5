//! [`Inbox`]: where an import copies recordings that are still to be transcribed.

use std::fs::{self, DirEntry, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::find_mount;
use crate::cli::print::CliError;
use crate::fs as filesystem;
use crate::regular_file;
use crate::upkeep::{self, Find};

/// What a copy is called until it is whole, followed by [`RANDOM`] letters and digits: never a recording's name.
const PARTIAL: &str = ".import-";
const RANDOM: usize = 6;

const CHUNK: usize = 1 << 20;

/// The inbox of a mount that answered when the import began.
pub(crate) struct Inbox {
    mount: PathBuf,
}

/// Why a recording was not copied into the inbox.
pub(crate) enum CopyError {
    /// Others can still be copied.
    File(io::Error),
    /// Nothing can be copied any more.
    Mount(io::Error),
}

impl CopyError {
    fn of_inbox(err: io::Error) -> Self {
        match err.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EROFS | libc::EIO) => Self::Mount(err),
            Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ENODEV) => Self::Mount(err),
            _ => Self::File(err),
        }
    }
}

impl Inbox {
    /// Also removes what imports that were killed have left in it.
    pub(crate) fn at(mount: PathBuf) -> Result<Self, CliError> {
        find_mount::answering(&mount)?;
        let inbox = Self { mount };
        // One that cannot be opened is told of with the first recording.
        if let Ok(opened) = inbox.open() {
            remove_abandoned(&path_to(&opened));
        }
        Ok(inbox)
    }

    /// Where a recording goes.
    pub(crate) fn path_of(&self, find: &Find) -> PathBuf {
        self.mount.join("inbox").join(below_inbox(find))
    }

    /// The inbox itself: whatever is reached through it lies in the mount, never in the folder below.
    fn open(&self) -> io::Result<File> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let inbox =
            OpenOptions::new().read(true).custom_flags(flags).open(self.mount.join("inbox"));
        let gone = |err: io::Error| match err.kind() {
            io::ErrorKind::NotFound => io::Error::from_raw_os_error(libc::ENODEV),
            _ => err,
        };
        let inbox = inbox.map_err(gone)?;
        match filesystem::lies_in_mount(&inbox, &self.mount)? {
            true => Ok(inbox),
            false => Err(io::Error::from_raw_os_error(libc::ENODEV)),
        }
    }

    /// The same bytes, rights and time, so that the day is the folder's. One that is there already is left to its job.
    ///
    /// Until it is whole it has a name that is never taken for a recording's: what a crash leaves of it is copied again.
    pub(crate) fn copy(&self, find: &Find, zone: &TimeZone) -> Result<(), CopyError> {
        let mut from = regular_file::open(&find.audio).map_err(CopyError::File)?;
        let inbox = self.open().map_err(CopyError::of_inbox)?;
        let target = path_to(&inbox).join(below_inbox(find));
        match regular_file::open(&target) {
            Ok(standing) => return check_same(&from, &standing),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(CopyError::of_inbox(err)),
        }
        let folder = target.parent().unwrap_or(&target);
        fs::create_dir_all(folder).map_err(CopyError::of_inbox)?;
        let mut partial = tempfile::Builder::new();
        let partial = partial.prefix(PARTIAL).rand_bytes(RANDOM).tempfile_in(folder);
        let mut partial = partial.map_err(CopyError::of_inbox)?;
        // Says that somebody is at work on it. Where there are no locks, that only cannot be told.
        let _ = partial.as_file().lock();
        copy_bytes(&mut from, partial.as_file_mut())?;
        give_rights(&from, partial.as_file(), find, zone)?;
        partial.persist_noclobber(&target).map_err(|err| CopyError::of_inbox(err.error)).map(drop)
    }
}

fn below_inbox(find: &Find) -> PathBuf {
    Path::new(find.conversation.as_str()).join(find.day.to_string()).join(find.name.as_os_str())
}

fn path_to(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

/// Whoever may read the source may read the copy.
fn give_rights(from: &File, to: &File, find: &Find, zone: &TimeZone) -> Result<(), CopyError> {
    let stat = from.metadata().map_err(CopyError::File)?;
    let own = to.metadata().map_err(CopyError::of_inbox)?;
    let owner = (stat.uid(), stat.gid());
    // Only root may give files away; of others the recording is that of who imports it.
    if owner != (own.uid(), own.gid())
        && let Err(err) = fchown(to, Some(owner.0), Some(owner.1))
    {
        log::debug!("import: the owner stays another: {err}");
    }
    let mode = Permissions::from_mode(stat.mode() & 0o777);
    to.set_permissions(mode).map_err(CopyError::of_inbox)?;
    let modified = stat.modified().map_err(CopyError::File)?;
    let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
    let modified = upkeep::time_for_inbox(modified, find.day, zone);
    let mut times = FileTimes::new().set_modified(SystemTime::from(modified));
    if let Ok(accessed) = stat.accessed() {
        times = times.set_accessed(accessed);
    }
    to.set_times(times).map_err(CopyError::of_inbox)
}

fn copy_bytes(from: &mut File, to: &mut File) -> Result<(), CopyError> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count]).map_err(CopyError::of_inbox)?,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(CopyError::File(err)),
        }
    }
}

/// What stands in the inbox under the name is the recording only if every byte is.
fn check_same(from: &File, standing: &File) -> Result<(), CopyError> {
    let ours = from.metadata().map_err(CopyError::File)?.len();
    let theirs = standing.metadata().map_err(CopyError::of_inbox)?.len();
    if ours == theirs && has_same_bytes(from, standing)? {
        return Ok(());
    }
    let what = "another file of that name is in the inbox";
    Err(CopyError::File(io::Error::new(io::ErrorKind::AlreadyExists, what)))
}

fn has_same_bytes(from: &File, standing: &File) -> Result<bool, CopyError> {
    let (mut ours, mut theirs) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    loop {
        ours.clear();
        theirs.clear();
        from.take(CHUNK as u64).read_to_end(&mut ours).map_err(CopyError::File)?;
        standing.take(CHUNK as u64).read_to_end(&mut theirs).map_err(CopyError::of_inbox)?;
        if ours != theirs || ours.is_empty() {
            return Ok(ours == theirs);
        }
    }
}

/// Removes partial copies that no import is at work on any more. Those that this user may not touch stay.
fn remove_abandoned(inbox: &Path) {
    let below = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    for conversation in below(inbox) {
        for day in below(&conversation.path()) {
            for entry in below(&day.path()).filter(is_partial) {
                remove_unless_in_use(&entry.path());
            }
        }
    }
}

fn is_partial(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let rest = name.as_bytes().strip_prefix(PARTIAL.as_bytes());
    rest.is_some_and(|rest| rest.len() == RANDOM && rest.iter().all(u8::is_ascii_alphanumeric))
}

fn remove_unless_in_use(partial: &Path) {
    let Ok(file) = regular_file::open(partial) else { return };
    if file.try_lock().is_ok()
        && let Err(err) = fs::remove_file(partial)
    {
        log::debug!("import: a partial copy cannot be removed: {err}");
    }
}
