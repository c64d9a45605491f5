//! Our words in FUSE's: attributes, flags, errors and listings.

use std::ffi::OsStr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileType, FopenFlags, Generation, INodeNo, PollEvents, RenameFlags,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEntry, ReplyXattr, Request, TimeOrNow,
};

use crate::fs::attributes::{ABSENCE_LASTS, Stat};
use crate::fs::errno::FsError;
use crate::fs::events::Readiness;
use crate::fs::files::{Caching, Opened};
use crate::fs::log_limit::LogLimit;
use crate::fs::tree::Part;
use crate::model::{Inode, causes};
use crate::spool::{Creator, EntryKind, RenameMode, SetTime};

/// Inode numbers are never used twice, so there is one generation of each.
pub(crate) const GENERATION: Generation = Generation(0);

/// Of the permission bits: nobody becomes somebody else through a recording.
pub(crate) const MODE_MASK: u32 = 0o1777;

/// What `poll` says of an ordinary file.
const ALWAYS_READY: PollEvents = PollEvents::POLLIN
    .union(PollEvents::POLLRDNORM)
    .union(PollEvents::POLLOUT)
    .union(PollEvents::POLLWRNORM);

/// Troubles that were logged of late.
static LOGGED: LogLimit = LogLimit::new();

/// Replies with what the call came to.
macro_rules! reply {
    ($call:expr, $ino:expr, $reply:ident, $result:expr, $done:pat => $answer:expr) => {
        match $result {
            Ok($done) => $answer,
            Err(err) => $reply.error(errno($call, $ino, &err)),
        }
    };
}
pub(crate) use reply;

pub(crate) fn errno(call: &str, ino: INodeNo, err: &FsError) -> Errno {
    if err.is_our_trouble() {
        if LOGGED.admits(call, &err.to_string(), Instant::now()) {
            log::warn!("mount: {call} of inode {:#x} failed: {}", ino.0, causes(err));
        }
    } else {
        log::trace!("mount: {call} of inode {:#x}: {err}", ino.0);
    }
    Errno::from_i32(err.errno())
}

/// Logs how often something went wrong that was not logged each time.
pub(crate) fn log_repetitions() {
    for (call, cause, more) in LOGGED.due(Instant::now()) {
        log::warn!("mount: {call} failed {more} more times in the last minute: {cause}");
    }
}

pub(crate) fn poll_events(readiness: Readiness) -> PollEvents {
    match readiness {
        Readiness::Waiting => PollEvents::empty(),
        Readiness::Readable => ALWAYS_READY,
        Readiness::Ended => ALWAYS_READY.union(PollEvents::POLLHUP),
    }
}

pub(crate) fn inode(ino: INodeNo) -> Inode {
    Inode(ino.0)
}

pub(crate) fn file_attr(stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(stat.inode.0),
        size: stat.bytes,
        blocks: stat.blocks,
        atime: stat.accessed,
        mtime: stat.modified,
        ctime: stat.changed,
        crtime: stat.changed,
        kind: file_type(stat.kind),
        perm: u16::try_from(stat.mode & 0o7777).unwrap_or(0),
        nlink: stat.links,
        uid: stat.owner.uid,
        gid: stat.owner.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn file_type(kind: EntryKind) -> FileType {
    match kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink => FileType::Symlink,
        EntryKind::Other => FileType::NamedPipe,
    }
}

/// Node 0: there is nothing, and the kernel may remember that for a moment.
fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(crate) fn reply_with_lookup(parent: INodeNo, found: Result<Stat, FsError>, reply: ReplyEntry) {
    match found {
        Err(err) if err.errno() == libc::ENOENT => {
            reply.entry(&ABSENCE_LASTS, &nothing(), GENERATION);
        }
        found => reply_with_entry("lookup", parent, found, reply),
    }
}

pub(crate) fn reply_with_entry(
    call: &str,
    parent: INodeNo,
    made: Result<Stat, FsError>,
    reply: ReplyEntry,
) {
    match made {
        Ok(stat) => reply.entry(&stat.lasting.time(), &file_attr(&stat), GENERATION),
        Err(err) => reply.error(errno(call, parent, &err)),
    }
}

/// The protocol of attributes: asked with size 0, the size is wanted.
pub(crate) fn reply_with_label(
    ino: INodeNo,
    label: Result<Vec<u8>, FsError>,
    size: u32,
    reply: ReplyXattr,
) {
    let label = label.and_then(|label| match u32::try_from(label.len()) {
        Ok(length) if size == 0 || length <= size => Ok((label, length)),
        _ => Err(FsError::AttributeTooLarge),
    });
    match label {
        Ok((_, length)) if size == 0 => reply.size(length),
        Ok((label, _)) => reply.data(&label),
        Err(err) => reply.error(errno("getxattr", ino, &err)),
    }
}

pub(crate) fn creator(request: &Request, mode: u32, umask: u32) -> Creator {
    let mode = mode & !umask & MODE_MASK;
    Creator { uid: request.uid(), gid: request.gid(), mode, thread: request.pid() }
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::SpecificTime(time) => SetTime::At(time),
        TimeOrNow::Now => SetTime::Now,
    }
}

pub(crate) fn rename_mode(flags: RenameFlags) -> Result<RenameMode, FsError> {
    match flags {
        flags if flags.is_empty() => Ok(RenameMode::Replace),
        RenameFlags::RENAME_NOREPLACE => Ok(RenameMode::NoReplace),
        RenameFlags::RENAME_EXCHANGE => Ok(RenameMode::Exchange),
        _ => Err(FsError::Invalid),
    }
}

pub(crate) fn open_flags(opened: &Opened) -> FopenFlags {
    let flags = match opened.caching {
        Caching::Never => FopenFlags::FOPEN_DIRECT_IO,
        Caching::WhileOpen => FopenFlags::empty(),
        Caching::Kept => FopenFlags::FOPEN_KEEP_CACHE,
    };
    flags | passthrough_flags(opened)
}

/// Only these may stand beside a backing file; with any other the kernel fails the open.
pub(crate) fn passthrough_flags(opened: &Opened) -> FopenFlags {
    if opened.wants_flush { FopenFlags::empty() } else { FopenFlags::FOPEN_NOFLUSH }
}

/// A listing's reply; `add` says whether the entry found no more room.
pub(crate) trait Listing {
    /// Entries that one reply has room for: asking for more would be in vain.
    const ROOM: usize;
    /// Whether the kernel gets to know each node, and will say when it forgets it.
    const IS_LOOKUP: bool;

    fn add_part(&mut self, part: &Part) -> bool;
}

impl Listing for ReplyDirectory {
    /// 32 KiB, and names of a few letters.
    const ROOM: usize = 800;
    const IS_LOOKUP: bool = false;

    fn add_part(&mut self, part: &Part) -> bool {
        let (inode, cookie, kind, name) = match part {
            Part::Dot { inode, cookie } => (*inode, *cookie, FileType::Directory, OsStr::new(".")),
            Part::DotDot { inode, cookie } => {
                (*inode, *cookie, FileType::Directory, OsStr::new(".."))
            }
            Part::Entry(entry) => {
                let stat = &entry.stat;
                (stat.inode, entry.cookie, file_type(stat.kind), entry.name.as_os_str())
            }
        };
        self.add(INodeNo(inode.0), cookie, kind, name)
    }
}

impl Listing for ReplyDirectoryPlus {
    /// 32 KiB, and 152 bytes beside each name.
    const ROOM: usize = 200;
    const IS_LOOKUP: bool = true;

    fn add_part(&mut self, part: &Part) -> bool {
        // The kernel takes `.` and `..` as names only, whatever stands beside them.
        let folder = |inode: Inode| FileAttr {
            ino: INodeNo(inode.0),
            kind: FileType::Directory,
            ..nothing()
        };
        let (attr, cookie, name, lasting) = match part {
            Part::Dot { inode, cookie } => {
                (folder(*inode), *cookie, OsStr::new("."), Duration::ZERO)
            }
            Part::DotDot { inode, cookie } => {
                (folder(*inode), *cookie, OsStr::new(".."), Duration::ZERO)
            }
            Part::Entry(entry) => {
                let lasting = entry.stat.lasting.time();
                (file_attr(&entry.stat), entry.cookie, entry.name.as_os_str(), lasting)
            }
        };
        self.add(attr.ino, cookie, name, &lasting, &attr, GENERATION)
    }
}
