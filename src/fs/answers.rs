//! `Adapter`: what requests of the kernel are answered with, and the answers that take more than a line.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{
    BackingId, FileHandle, INodeNo, PollFlags, PollNotifier, ReplyData, ReplyEmpty, ReplyXattr,
};

use crate::fs::backing::Backings;
use crate::fs::errno::FsError;
use crate::fs::events::{Readiness, Wake};
use crate::fs::fetching::{Fetch, Fetchers};
use crate::fs::files::{Files, Handle, Opened, Reading};
use crate::fs::replies::{Listing, errno, inode, reply, reply_with_label};
use crate::fs::worker_pool::WorkerPool;
use crate::model::Node;
use crate::store::Bytes;

/// Answers the kernel. The calls stand in `adapter.rs`.
pub(crate) struct Adapter {
    pub(crate) files: Arc<Files>,
    pub(crate) backings: Backings,
    pub(crate) fetchers: Arc<Fetchers>,
    /// For what waits for a disk.
    pub(crate) disk: Arc<WorkerPool>,
    /// Root: others may not have files passed through.
    pub(crate) is_privileged: bool,
}

thread_local! {
    /// One for each worker: a read that is answered at once needs no memory of its own.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Adapter {
    pub(crate) fn backing(
        &self,
        ino: INodeNo,
        opened: &Opened,
        register: impl FnOnce(&std::fs::File) -> std::io::Result<BackingId>,
    ) -> Option<Arc<BackingId>> {
        let handle = opened.backing.as_deref()?;
        self.backings.enter(inode(ino), || match handle {
            // Near the end of the disk all writing is counted.
            Handle::Inbox(open) if open.is_counted => None,
            handle => Some(register(handle.backing_file()?)),
        })
    }

    pub(crate) fn answer_read(
        &self,
        ino: INodeNo,
        (handle, offset, size): (FileHandle, u64, usize),
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let reading = self.files.read(handle.0, offset, &mut buffer[..size]);
            reply!("read", ino, reply, reading, reading => match reading {
                Reading::Done(count) => reply.data(&buffer[..count]),
                Reading::Fetch(node, object) => {
                    let answer = Box::new(move |bytes| answer_data(ino, bytes, reply));
                    self.fetchers.fetch(Fetch { node, object, offset, size: size as u64, answer });
                }
            });
        });
    }

    /// Does what waits for a disk without holding up those that answer the kernel.
    ///
    /// Where too many wait it is done here: the caller pays for it.
    pub(crate) fn on_disk_thread(
        &self,
        call: &'static str,
        ino: INodeNo,
        reply: ReplyEmpty,
        work: impl FnOnce(&Files) -> Result<(), FsError> + Send + 'static,
    ) {
        let files = self.files.clone();
        self.disk.submit(Box::new(move |_| {
            let result = work(&files);
            reply!(call, ino, reply, result, () => reply.ok());
        }));
    }

    /// The same, unless it is quick.
    pub(crate) fn perhaps_on_disk_thread(
        &self,
        is_quick: bool,
        call: &'static str,
        ino: INodeNo,
        reply: ReplyEmpty,
        work: impl FnOnce(&Files) -> Result<(), FsError> + Send + 'static,
    ) {
        if is_quick {
            reply!(call, ino, reply, work(&self.files), () => reply.ok());
        } else {
            self.on_disk_thread(call, ino, reply, work);
        }
    }

    pub(crate) fn answer_label(&self, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.files.tree.link_wanted(inode(ino), name) {
            Some((key, lasts)) => {
                let answer = Box::new(move |link: Result<Bytes, FsError>| {
                    reply_with_label(ino, link.map(Vec::from), size, reply);
                });
                self.fetchers.link(key, lasts, answer);
            }
            None => reply_with_label(ino, self.files.tree.label(inode(ino), name), size, reply),
        }
    }

    pub(crate) fn readiness(
        &self,
        handle: FileHandle,
        notifier: PollNotifier,
        flags: PollFlags,
    ) -> Result<Readiness, FsError> {
        let handle = self.files.handle(handle.0)?;
        let Handle::Events(reader) = &*handle else { return Ok(Readiness::Readable) };
        let is_wanted = flags.contains(PollFlags::FUSE_POLL_SCHEDULE_NOTIFY);
        let wake: Option<Wake> = is_wanted.then(|| {
            Box::new(move || {
                if let Err(err) = notifier.notify() {
                    log::debug!("mount: poll: {err}");
                }
            }) as _
        });
        Ok(self.files.tree.events.poll(reader, wake))
    }
}

/// Whether changes below a folder are the spool's alone; others are commits of the index.
pub(crate) fn is_in_inbox(folder: INodeNo) -> bool {
    matches!(Node::from_inode(inode(folder)), Some(Node::Inbox(_)))
}

pub(crate) fn fill<L: Listing>(
    files: &Files,
    ino: INodeNo,
    cookie: u64,
    reply: &mut L,
) -> Result<(), FsError> {
    for part in files.tree.list(inode(ino), cookie, L::ROOM)? {
        if reply.add_part(&part) {
            break;
        }
        if L::IS_LOOKUP {
            files.tree.remember(&part);
        }
    }
    Ok(())
}

fn answer_data(ino: INodeNo, bytes: Result<impl AsRef<[u8]>, FsError>, reply: ReplyData) {
    reply!("read", ino, reply, bytes, bytes => reply.data(bytes.as_ref()));
}
