//! A filesystem under which a state folder can lie, and whose power can be cut.
//!
//! What the kernel has (dm-log-writes, dm-flakey) needs root, a module and a block device; this needs what the
//! tests need anyway. It sees every write and every sync of the daemon above it, passthrough included, since
//! for the kernel it is just the filesystem that the spool lies on.
#![allow(dead_code, reason = "each test file uses its own part of this")]

mod disk;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

pub(crate) use disk::Cut;
use disk::{Answer, Body, Disk, Image};

const TTL: Duration = Duration::from_secs(1);

/// For whoever still has something open here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mount of a disk that outlives it.
pub(crate) struct PowerFs {
    disk: Arc<Mutex<Disk>>,
    mountpoint: PathBuf,
    session: Option<BackgroundSession>,
}

impl PowerFs {
    pub(crate) fn mount(mountpoint: &Path) -> std::io::Result<Self> {
        let disk = Arc::new(Mutex::new(Disk::new()));
        let mut fs = Self { disk, mountpoint: mountpoint.to_owned(), session: None };
        fs.attach()?;
        Ok(fs)
    }

    fn attach(&mut self) -> std::io::Result<()> {
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("power".to_owned()), MountOption::DefaultPermissions];
        config.n_threads = Some(2);
        let adapter = Adapter { disk: self.disk.clone() };
        self.session = Some(fuser::spawn_mount(adapter, &self.mountpoint, &config)?);
        Ok(())
    }

    /// Nobody uses it any more: what was not synced is lost, and the kernel remembers nothing.
    pub(crate) fn cut(&mut self, how: Cut) {
        self.detach();
        self.disk().cut(how);
        self.attach().expect("it was mounted before");
    }

    /// How often something was synced so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// Workers of a dead daemon may live a moment longer, with their scratch files open.
    fn detach(&mut self) {
        let Some(session) = self.session.take() else { return };
        let path = std::ffi::CString::new(self.mountpoint.as_os_str().as_bytes()).unwrap();
        let begun = Instant::now();
        // SAFETY: `path` ends in NUL.
        while unsafe { libc::umount2(path.as_ptr(), 0) } != 0 {
            let err = std::io::Error::last_os_error();
            assert!(begun.elapsed() < PATIENCE, "{}: {err}", self.mountpoint.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        session.join().unwrap();
    }
}

impl Drop for PowerFs {
    fn drop(&mut self) {
        if self.session.take().is_some() {
            // Not waited for: workers of a daemon that has just been killed may still have something open.
            let path = std::ffi::CString::new(self.mountpoint.as_os_str().as_bytes()).unwrap();
            // SAFETY: `path` ends in NUL. Fails where nothing is mounted any more, which is what we want.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

struct Adapter {
    disk: Arc<Mutex<Disk>>,
}

/// Replies with what a call came to.
macro_rules! answer {
    ($reply:ident, $result:expr, $done:pat => $how:expr) => {
        match $result {
            Ok($done) => $how,
            Err(errno) => $reply.error(Errno::from_i32(errno)),
        }
    };
}

impl Adapter {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    fn attributes(&self, id: u64) -> Answer<FileAttr> {
        let disk = self.disk();
        let image = disk.image(id)?;
        let (kind, size) = match &image.body {
            Body::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
            Body::Folder(_) => (FileType::Directory, 4096),
            Body::Link(target) => (FileType::Symlink, target.len() as u64),
        };
        Ok(FileAttr {
            ino: INodeNo(id),
            size,
            blocks: size.div_ceil(512),
            atime: image.accessed,
            mtime: image.modified,
            ctime: image.changed,
            crtime: image.changed,
            kind,
            perm: u16::try_from(image.mode & 0o7777).unwrap(),
            nlink: disk.links(id),
            uid: image.uid,
            gid: image.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn make(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        body: Body,
        mode: u32,
    ) -> Answer<FileAttr> {
        let owner = (request.uid(), request.gid());
        let id = self.disk().make(parent.0, name, body, mode, owner)?;
        self.attributes(id)
    }

    fn change(
        &self,
        id: u64,
        change: impl FnOnce(&mut Image),
        size: Option<u64>,
    ) -> Answer<FileAttr> {
        {
            let mut disk = self.disk();
            if let Some(size) = size {
                disk.bytes_mut(id)?.resize(usize::try_from(size).map_err(|_| libc::EFBIG)?, 0);
            }
            change(disk.image_mut(id)?);
        }
        self.attributes(id)
    }
}

impl Filesystem for Adapter {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.disk().child(parent.0, name);
        let found = found.and_then(|id| self.attributes(id));
        answer!(reply, found, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.attributes(ino.0), attr => reply.attr(&TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let time = |time: TimeOrNow| match time {
            TimeOrNow::SpecificTime(at) => at,
            TimeOrNow::Now => SystemTime::now(),
        };
        let change = |image: &mut Image| {
            image.mode = mode.unwrap_or(image.mode);
            image.uid = uid.unwrap_or(image.uid);
            image.gid = gid.unwrap_or(image.gid);
            image.accessed = atime.map_or(image.accessed, time);
            image.modified = mtime.map_or(image.modified, time);
        };
        answer!(reply, self.change(ino.0, change, size), attr => reply.attr(&TTL, &attr));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.disk().image(ino.0).map(|image| &image.body) {
            Ok(Body::Link(target)) => reply.data(target.as_bytes()),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make(request, parent, name, Body::File(Vec::new()), mode & !umask);
        answer!(reply, made, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make(request, parent, name, Body::Folder(BTreeMap::new()), mode & !umask);
        answer!(reply, made, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.disk().remove(parent.0, name, false), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.disk().remove(parent.0, name, true), () => reply.ok());
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let body = Body::Link(target.as_os_str().to_owned());
        let made = self.make(request, parent, name, body, 0o777);
        answer!(reply, made, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((parent.0, name), (new_parent.0, new_name));
        answer!(reply, self.disk().rename(from, to, flags.bits()), () => reply.ok());
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let linked = self.disk().link(ino.0, new_parent.0, new_name);
        let linked = linked.and_then(|()| self.attributes(ino.0));
        answer!(reply, linked, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(ino.0), FopenFlags::empty());
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.make(request, parent, name, Body::File(Vec::new()), mode & !umask);
        answer!(reply, made, attr => {
            let handle = FileHandle(attr.ino.0);
            reply.created(&TTL, &attr, Generation(0), handle, FopenFlags::empty());
        });
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().image(ino.0).map(|image| &image.body) {
            Ok(Body::File(bytes)) => {
                let from = usize::try_from(offset).unwrap().min(bytes.len());
                let to = (from + size as usize).min(bytes.len());
                reply.data(&bytes[from..to]);
            }
            _ => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut disk = self.disk();
        let written = disk.bytes_mut(ino.0).map(|bytes| {
            let from = usize::try_from(offset).unwrap();
            bytes.resize(bytes.len().max(from + data.len()), 0);
            bytes[from..from + data.len()].copy_from_slice(data);
        });
        answer!(reply, written, () => reply.written(u32::try_from(data.len()).unwrap()));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.disk().sync(ino.0), () => reply.ok());
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.disk().sync(ino.0), () => reply.ok());
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let disk = self.disk();
        let entries = match disk.entries(ino.0) {
            Ok(entries) => entries,
            Err(errno) => return reply.error(Errno::from_i32(errno)),
        };
        let dots = [(OsStr::new("."), ino.0), (OsStr::new(".."), ino.0)].into_iter();
        let named = entries.iter().map(|(name, id)| (name.as_os_str(), *id));
        for (place, (name, id)) in (1_u64..).zip(dots.chain(named)) {
            let kind = match disk.is_folder(id) {
                true => FileType::Directory,
                false => FileType::RegularFile,
            };
            if offset < place && reply.add(INodeNo(id), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 22, 1 << 21, 1 << 21, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let mut disk = self.disk();
        let set = disk.image_mut(ino.0).map(|image| {
            image.attributes.insert(name.to_owned(), value.to_vec());
        });
        answer!(reply, set, () => reply.ok());
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let disk = self.disk();
        let value = disk.image(ino.0).and_then(|it| it.attributes.get(name).ok_or(libc::ENODATA));
        answer!(reply, value, value => give(reply, value, size));
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let disk = self.disk();
        let names = disk.image(ino.0).map(|image| {
            let names = image.attributes.keys().map(|name| [name.as_bytes(), b"\0"].concat());
            names.collect::<Vec<_>>().concat()
        });
        answer!(reply, names, names => give(reply, &names, size));
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut disk = self.disk();
        let removed = disk.image_mut(ino.0);
        let removed = removed.and_then(|it| it.attributes.remove(name).ok_or(libc::ENODATA));
        answer!(reply, removed, _ => reply.ok());
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let mut disk = self.disk();
        let grown = disk.bytes_mut(ino.0).map(|bytes| {
            let end = usize::try_from(offset + length).unwrap();
            bytes.resize(bytes.len().max(end), 0);
        });
        answer!(reply, grown, () => reply.ok());
    }
}

fn give(reply: ReplyXattr, value: &[u8], size: u32) {
    let length = u32::try_from(value.len()).unwrap();
    match size {
        0 => reply.size(length),
        size if size < length => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}
