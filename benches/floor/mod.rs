//! The floor: a filesystem that shows a folder from memory, answers everything at once and lets the kernel keep
//! all of it. What it costs is what FUSE costs on this machine; nothing on FUSE can be faster.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, Request,
};

const FOR_EVER: Duration = Duration::from_hours(24);

/// A file or a folder. Its inode number is its place plus one.
struct Node {
    parent: usize,
    bytes: Vec<u8>,
    /// Of a folder: names and places.
    children: Option<Vec<(OsString, usize)>>,
    by_name: BTreeMap<OsString, usize>,
}

pub(crate) struct Floor {
    nodes: Vec<Node>,
}

/// Mounts what is in `folder`, files up to `most` bytes with their content and larger ones empty, at `mountpoint`.
pub(crate) fn mount(folder: &Path, most: u64, mountpoint: &Path) -> io::Result<BackgroundSession> {
    let mut floor = Floor { nodes: Vec::new() };
    floor.take(folder, 0, most)?;
    let mut config = Config::default();
    config.n_threads = Some(4);
    config.clone_fd = true;
    fuser::spawn_mount(floor, mountpoint, &config)
}

impl Floor {
    fn take(&mut self, path: &Path, parent: usize, most: u64) -> io::Result<usize> {
        let at = self.nodes.len();
        let stat = fs::metadata(path)?;
        let is_small = stat.is_file() && stat.len() <= most;
        let bytes = if is_small { fs::read(path)? } else { Vec::new() };
        let children = stat.is_dir().then(Vec::new);
        self.nodes.push(Node { parent, bytes, children, by_name: BTreeMap::new() });
        if stat.is_dir() {
            let mut children = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                children.push((entry.file_name(), self.take(&entry.path(), at, most)?));
            }
            self.nodes[at].by_name = children.iter().cloned().collect();
            self.nodes[at].children = Some(children);
        }
        Ok(at)
    }

    fn node(&self, inode: INodeNo) -> (usize, &Node) {
        let at = usize::try_from(inode.0 - 1).unwrap_or(0);
        (at, &self.nodes[at])
    }

    fn attributes(&self, at: usize) -> FileAttr {
        let node = &self.nodes[at];
        let is_folder = node.children.is_some();
        let time = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: INodeNo(at as u64 + 1),
            size: node.bytes.len() as u64,
            blocks: 8,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: if is_folder { FileType::Directory } else { FileType::RegularFile },
            perm: if is_folder { 0o555 } else { 0o444 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Entries from `cookie` on, with `.` and `..` first.
    fn entries(&self, inode: INodeNo, cookie: u64) -> impl Iterator<Item = (u64, usize, &OsStr)> {
        let (at, node) = self.node(inode);
        let dots = [(OsStr::new("."), at), (OsStr::new(".."), node.parent)];
        let children = node.children.iter().flatten().map(|(name, at)| (name.as_os_str(), *at));
        let all = dots.into_iter().chain(children).enumerate();
        let all = all.map(|(place, (name, at))| (place as u64 + 1, at, name));
        all.skip(usize::try_from(cookie).unwrap_or(usize::MAX))
    }
}

#[rustfmt::skip]
impl Filesystem for Floor {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_PARALLEL_DIROPS | InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO;
        config.add_capabilities(wanted).map_err(|_| io::ErrorKind::Unsupported.into())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.node(parent).1.by_name.get(name) {
            Some(at) => reply.entry(&FOR_EVER, &self.attributes(*at), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.attributes(self.node(ino).0));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH);
    }

    fn read(
        &self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, size: u32, _: OpenFlags, _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = &self.node(ino).1.bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = bytes.len().min(start + size as usize);
        reply.data(&bytes[start..end]);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Neither OPENDIR nor RELEASEDIR from now on, as in ours.
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self, _: &Request, _: INodeNo, _: FileHandle, _: OpenFlags, _: Option<LockOwner>, _: bool, reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, cookie: u64, mut reply: ReplyDirectory) {
        for (next, at, name) in self.entries(ino, cookie) {
            if reply.add(INodeNo(at as u64 + 1), next, self.attributes(at).kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, _: FileHandle, cookie: u64, mut reply: ReplyDirectoryPlus) {
        for (next, at, name) in self.entries(ino, cookie) {
            let attributes = self.attributes(at);
            if reply.add(INodeNo(at as u64 + 1), next, name, &FOR_EVER, &attributes, Generation(0)) {
                break;
            }
        }
        reply.ok();
    }
}
