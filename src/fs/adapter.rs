//! FUSE requests to calls of the filesystem, and its answers to replies. Decides nothing.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};

use crate::fs::answers::{Adapter, fill, is_in_inbox};
use crate::fs::errno::FsError;
use crate::fs::files::Handle;
use crate::fs::replies::{
    GENERATION, MODE_MASK, creator, errno, file_attr, inode, open_flags, passthrough_flags,
    poll_events, rename_mode, reply, reply_with_entry, reply_with_label, reply_with_lookup,
    set_time,
};
use crate::fs::tree::NAME_BYTES;
use crate::spool::SetAttributes;

/// Largest read or write that the kernel makes one request of.
const REQUEST_BYTES: u32 = 1 << 20;

/// Requests that the kernel may have under way without somebody waiting, such as reading ahead.
const BACKGROUND: u16 = 64;

/// `access` is left out: with `default_permissions` the kernel decides it without asking.
///
/// Laid out by hand: with every parameter on a line of its own one would not see the calls.
#[rustfmt::skip]
impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wanted = InitFlags::FUSE_HANDLE_KILLPRIV_V2
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_ATOMIC_O_TRUNC
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_ASYNC_READ;
        if let Err(missing) = config.add_capabilities(wanted) {
            log::info!("mount: the kernel does not offer {missing:?}");
            // Refused as a whole, so again without: it holds no more than the kernel offers now.
            let _ = config.add_capabilities(wanted - missing);
        }
        let is_offered = config.capabilities().contains(InitFlags::FUSE_PASSTHROUGH);
        // 2: the spool may itself lie on an overlay.
        if self.is_privileged && is_offered && config.set_max_stack_depth(2).is_ok() {
            let _ = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH);
            self.backings.allow();
        }
        // Both are refused only for 0.
        let _ = config.set_max_write(REQUEST_BYTES);
        let _ = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        reply_with_lookup(parent, self.files.tree.lookup(inode(parent), name), reply);
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        self.files.tree.forget(inode(ino), count);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let stat = self.files.stat_for(inode(ino), request.pid());
        reply!("getattr", ino, reply, stat, stat => reply.attr(&stat.lasting.time(), &file_attr(&stat)));
    }

    fn setattr(
        &self, _: &Request, ino: INodeNo, mode: Option<u32>, uid: Option<u32>, gid: Option<u32>,
        bytes: Option<u64>, accessed: Option<TimeOrNow>, modified: Option<TimeOrNow>, _ctime:
        Option<SystemTime>, _: Option<FileHandle>, _crtime: Option<SystemTime>, _chgtime:
        Option<SystemTime>, _bkuptime: Option<SystemTime>, _: Option<BsdFileFlags>, reply:
        ReplyAttr,
    ) {
        let mode = mode.map(|mode| mode & MODE_MASK);
        let (accessed, modified) = (accessed.map(set_time), modified.map(set_time));
        let change = SetAttributes { mode, uid, gid, bytes, accessed, modified };
        let stat = self.files.tree.set_attributes(inode(ino), &change);
        reply!("setattr", ino, reply, stat, stat => reply.attr(&stat.lasting.time(), &file_attr(&stat)));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let target = self.files.tree.read_link(inode(ino));
        reply!("readlink", ino, reply, target, target => reply.data(target.as_os_str().as_encoded_bytes()));
    }

    fn mknod(
        &self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _rdev: u32,
        reply: ReplyEntry,
    ) {
        let creator = creator(request, mode, umask);
        let made = self.files.tree.make_node(inode(parent), name, mode, creator);
        reply_with_entry("mknod", parent, made, reply);
    }

    fn mkdir(
        &self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply:
        ReplyEntry,
    ) {
        let creator = creator(request, mode, umask);
        let made = self.files.tree.make_directory(inode(parent), name, creator);
        reply_with_entry("mkdir", parent, made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.perhaps_on_disk_thread(is_in_inbox(parent), "unlink", parent, reply, move |files| {
            files.tree.unlink(inode(parent), &name)
        });
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.perhaps_on_disk_thread(is_in_inbox(parent), "rmdir", parent, reply, move |files| {
            files.tree.remove_directory(inode(parent), &name)
        });
    }

    fn symlink(
        &self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry,
    ) {
        let creator = creator(request, 0o777, 0);
        let made = self.files.tree.make_symlink(inode(parent), name, target, creator);
        reply_with_entry("symlink", parent, made, reply);
    }

    fn rename(
        &self, _: &Request, parent: INodeNo, name: &OsStr, new_parent: INodeNo, new_name: &OsStr,
        flags: RenameFlags, reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        self.perhaps_on_disk_thread(is_in_inbox(parent), "rename", parent, reply, move |files| {
            let (from, to) = ((inode(parent), &*name), (inode(new_parent), &*new_name));
            files.tree.rename(from, to, rename_mode(flags)?)
        });
    }

    fn link(
        &self, _: &Request, ino: INodeNo, new_parent: INodeNo, _new_name: &OsStr, reply: ReplyEntry,
    ) {
        reply.error(errno("link", ino, &self.files.tree.refuse_link(inode(new_parent))));
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.files.open(inode(ino), flags.0, request.pid());
        reply!("open", ino, reply, opened, opened => {
            let handle = FileHandle(opened.number);
            match self.backing(ino, &opened, |file| reply.open_backing(file)) {
                Some(id) => reply.opened_passthrough(handle, passthrough_flags(&opened), &id),
                None => reply.opened(handle, open_flags(&opened)),
            }
        });
    }

    fn create(
        &self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, flags: i32,
        reply: ReplyCreate,
    ) {
        let created = self.files.create(inode(parent), name, creator(request, mode, umask), flags);
        reply!("create", parent, reply, created, (stat, opened) => {
            let (handle, attr, lasting) = (FileHandle(opened.number), file_attr(&stat), stat.lasting.time());
            match self.backing(attr.ino, &opened, |file| reply.open_backing(file)) {
                Some(id) => reply.created_passthrough(
                    &lasting, &attr, GENERATION, handle, passthrough_flags(&opened), &id,
                ),
                None => reply.created(&lasting, &attr, GENERATION, handle, open_flags(&opened)),
            }
        });
    }

    fn read(
        &self, _: &Request, ino: INodeNo, handle: FileHandle, offset: u64, size: u32, _: OpenFlags,
        _: Option<LockOwner>, reply: ReplyData,
    ) {
        let size = usize::try_from(size).unwrap_or(0);
        self.answer_read(ino, (handle, offset, size), reply);
    }

    fn write(
        &self, _: &Request, ino: INodeNo, handle: FileHandle, offset: u64, data: &[u8], _:
        WriteFlags, _: OpenFlags, _: Option<LockOwner>, reply: ReplyWrite,
    ) {
        let written = self.files.write(handle.0, offset, data);
        reply!("write", ino, reply, written, count => reply.written(count));
    }

    fn flush(
        &self, _: &Request, ino: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty,
    ) {
        let is_quick = !self.files.syncs_on_flush(handle.0);
        self.perhaps_on_disk_thread(is_quick, "flush", ino, reply, move |files| {
            files.flush(handle.0)
        });
    }

    fn release(
        &self, _: &Request, ino: INodeNo, handle: FileHandle, _: OpenFlags, _: Option<LockOwner>,
        _flush: bool, reply: ReplyEmpty,
    ) {
        let was_offered = |handle: Arc<Handle>| handle.is_offered();
        if self.files.handle(handle.0).is_ok_and(was_offered) {
            self.backings.leave(inode(ino));
        }
        self.files.release(handle.0);
        reply.ok();
    }

    fn fsync(
        &self, _: &Request, ino: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty,
    ) {
        self.on_disk_thread("fsync", ino, reply, move |files| files.sync(handle.0, data_only));
    }

    /// With this answer the kernel opens folders by itself from now on, and asks for neither OPENDIR nor RELEASEDIR:
    /// listings have no state here. It keeps every listing until the folder is changed through it, or it is told to
    /// forget it.
    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn readdir(
        &self, _: &Request, ino: INodeNo, _: FileHandle, cookie: u64, mut reply: ReplyDirectory,
    ) {
        reply!("readdir", ino, reply, fill(&self.files, ino, cookie, &mut reply), () => reply.ok());
    }

    fn readdirplus(
        &self, _: &Request, ino: INodeNo, _: FileHandle, cookie: u64, mut reply: ReplyDirectoryPlus,
    ) {
        reply!("readdir", ino, reply, fill(&self.files, ino, cookie, &mut reply), () => reply.ok());
    }

    fn fsyncdir(
        &self, _: &Request, ino: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty,
    ) {
        self.on_disk_thread("fsyncdir", ino, reply, move |files| files.sync_folder(inode(ino)));
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        reply!("statfs", ino, reply, self.files.tree.space(), space => reply.statfs(
            space.blocks,
            space.blocks_free,
            space.blocks_available,
            space.files,
            space.files_free,
            space.block_bytes,
            NAME_BYTES,
            space.block_bytes,
        ));
    }

    fn setxattr(
        &self, _: &Request, ino: INodeNo, name: &OsStr, value: &[u8], flags: i32, _position: u32,
        reply: ReplyEmpty,
    ) {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.perhaps_on_disk_thread(is_in_inbox(ino), "setxattr", ino, reply, move |files| {
            files.tree.set_label(inode(ino), &name, &value, flags)
        });
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.answer_label(ino, name, size, reply);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        reply_with_label(ino, self.files.tree.labels(inode(ino)), size, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let result = self.files.tree.remove_label(inode(ino), name);
        reply!("removexattr", ino, reply, result, () => reply.ok());
    }

    fn ioctl(
        &self, _: &Request, ino: INodeNo, _: FileHandle, _: IoctlFlags, _command: u32, _data: &[u8],
        _size: u32, reply: ReplyIoctl,
    ) {
        reply.error(errno("ioctl", ino, &FsError::NoControl));
    }

    fn poll(
        &self, _: &Request, ino: INodeNo, handle: FileHandle, notifier: PollNotifier, _events:
        PollEvents, flags: PollFlags, reply: ReplyPoll,
    ) {
        let readiness = self.readiness(handle, notifier, flags);
        reply!("poll", ino, reply, readiness, readiness => reply.poll(poll_events(readiness)));
    }

    fn fallocate(
        &self, _: &Request, ino: INodeNo, handle: FileHandle, offset: u64, length: u64, mode: i32,
        reply: ReplyEmpty,
    ) {
        self.on_disk_thread("fallocate", ino, reply, move |files| {
            files.allocate(handle.0, mode, offset, length)
        });
    }

    fn lseek(
        &self, _: &Request, ino: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply:
        ReplyLseek,
    ) {
        let found = self.files.seek(handle.0, offset, whence);
        reply!("lseek", ino, reply, found, found => reply.offset(found));
    }

    fn copy_file_range(
        &self, _: &Request, ino: INodeNo, handle: FileHandle, offset: u64, _to: INodeNo, to_handle:
        FileHandle, to_offset: u64, length: u64, _: CopyFileRangeFlags, reply: ReplyWrite,
    ) {
        let files = self.files.clone();
        self.disk.submit(Box::new(move |_| {
            let copied = files.copy((handle.0, offset), (to_handle.0, to_offset), length);
            reply!("copy_file_range", ino, reply, copied, count => reply.written(count));
        }));
    }
}
