//! Answers of the adapter that take more than a line.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{BackingId, FileHandle, INodeNo, PollFlags, PollNotifier, ReplyData, ReplyXattr};

use crate::fs::adapter::Adapter;
use crate::fs::errno::FsError;
use crate::fs::events::Wake;
use crate::fs::fetching::Fetch;
use crate::fs::files::{Files, Handle, Opened, Reading};
use crate::fs::replies::{Listing, errno, inode, reply_with_label, settle};
use crate::store::Bytes;

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
        self.backings.enter(inode(ino), || Some(register(handle.backing_file()?)))
    }

    pub(crate) fn answer_read(
        &self,
        ino: INodeNo,
        (handle, offset, size): (FileHandle, u64, usize),
        may_wait: bool,
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let reading = self.files.read(handle.0, offset, &mut buffer[..size]);
            settle!("read", ino, reply, reading, reading => match reading {
                Reading::Done(count) => reply.data(&buffer[..count]),
                Reading::Fetch(node, object) => {
                    let answer = Box::new(move |bytes| answer_data(ino, bytes, reply));
                    self.fetchers.fetch(Fetch { node, object, offset, size: size as u64, answer });
                }
                Reading::Events(handle) => {
                    let Handle::Events(reader) = &*handle else { return };
                    let events = &self.files.tree.events;
                    if may_wait {
                        let answer = Box::new(move |bytes| answer_data(ino, bytes, reply));
                        events.read(reader, offset, size, answer);
                    } else {
                        answer_data(ino, events.read_now(reader, offset, size), reply);
                    }
                }
            });
        });
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

    pub(crate) fn is_ready(
        &self,
        handle: FileHandle,
        notifier: PollNotifier,
        flags: PollFlags,
    ) -> Result<bool, FsError> {
        let handle = self.files.handle(handle.0)?;
        let Handle::Events(reader) = &*handle else { return Ok(true) };
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

pub(crate) fn fill<L: Listing>(
    files: &Files,
    ino: INodeNo,
    handle: FileHandle,
    cookie: u64,
    reply: &mut L,
) -> Result<(), FsError> {
    for part in files.list(inode(ino), handle.0, cookie, L::ROOM)? {
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
    settle!("read", ino, reply, bytes, bytes => reply.data(bytes.as_ref()));
}
