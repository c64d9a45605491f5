//! Open files: what stands behind each handle, and how its bytes are got.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::fs::attributes::Stat;
use crate::fs::changing::inbox;
use crate::fs::errno::FsError;
use crate::fs::events::Reader;
use crate::fs::tree::Tree;
use crate::model::{Inode, Node, Object, VirtualNode};
use crate::spool::{Creator, OpenFile};
use crate::store::{Bytes, Store, StoreError};

/// Longest time that the kernel is told late of a page that was written anew.
const LATE_NEWS: Duration = Duration::from_secs(10);

pub(crate) struct Files {
    pub(crate) tree: Arc<Tree>,
    store: Arc<dyn Store>,
    handles: Mutex<HashMap<u64, Arc<Handle>>>,
    next: AtomicU64,
}

#[derive(Debug)]
pub(crate) enum Handle {
    Inbox(Arc<OpenFile>),
    Published {
        node: Node,
        /// What a page had to say when it was opened; `None`: audio, which never changes.
        opened: Option<Object>,
        source: OnceLock<Source>,
    },
    /// As it was when it was opened.
    Text(VirtualNode, Arc<[u8]>),
    Events(Reader),
    Control,
}

/// Where published bytes are read from, for as long as the handle is open: a file that is evicted meanwhile
/// is still there for who has it open.
#[derive(Debug)]
pub(crate) enum Source {
    Local(File),
    Remote(Object),
}

/// How the kernel should treat an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// Every read is asked for.
    Never,
    /// As long as it is open, and while its times stay the same.
    WhileOpen,
    /// Over all opens, until we say otherwise.
    Kept,
}

#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) number: u64,
    pub(crate) caching: Caching,
    /// Something is to be done, or an error to be reported, when it is closed.
    pub(crate) wants_flush: bool,
    /// May be handed to the kernel whole; [`Handle::backing_file`] is what to hand over, if it is here.
    pub(crate) backing: Option<Arc<Handle>>,
}

impl Handle {
    pub(crate) fn backing_file(&self) -> Option<&File> {
        match self {
            Self::Inbox(open) => Some(&open.file),
            Self::Published { source, .. } => match source.get() {
                Some(Source::Local(file)) => Some(file),
                Some(Source::Remote(_)) | None => None,
            },
            Self::Text(..) | Self::Events(_) | Self::Control => None,
        }
    }

    /// Whether the kernel is handed files of this kind, where it can be and the file is here. All opens of
    /// one inode must agree about it.
    pub(crate) fn is_offered(&self) -> bool {
        match self {
            Self::Inbox(_) => true,
            Self::Published { node, .. } => matches!(node, Node::Audio(_)),
            Self::Text(..) | Self::Events(_) | Self::Control => false,
        }
    }
}

/// What a read comes to.
#[derive(Debug)]
pub(crate) enum Reading {
    /// So many bytes stand in the buffer.
    Done(usize),
    /// They have to be fetched, which can take long.
    Fetch(Node, Object),
}

/// Opening and closing.
impl Files {
    pub(crate) fn new(tree: Arc<Tree>, store: Arc<dyn Store>) -> Self {
        Self { tree, store, handles: Mutex::default(), next: AtomicU64::new(1) }
    }

    /// What `stat` says to a process, which may be about what it has open.
    pub(crate) fn stat_for(&self, inode: Inode, process: u32) -> Result<Stat, FsError> {
        let stat = self.tree.stat(inode)?;
        if Node::from_inode(inode) != Some(Node::Virtual(VirtualNode::Events)) {
            return Ok(stat);
        }
        let (bytes, modified) = self.tree.events.size_for(process);
        Ok(Stat { modified, ..stat.with_bytes(bytes) })
    }

    pub(crate) fn open(&self, inode: Inode, flags: i32, process: u32) -> Result<Opened, FsError> {
        let is_write = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        match Node::from_inode(inode).ok_or(FsError::Gone)? {
            Node::Inbox(id) => {
                let open = self.tree.spool.open_file(id, flags)?;
                self.opened_in_inbox(open)
            }
            Node::Virtual(VirtualNode::ControlFile) => {
                Ok(self.opened(Handle::Control, Caching::Never))
            }
            _ if is_write => Err(FsError::ReadOnly),
            Node::Virtual(node @ VirtualNode::Readme) => {
                let text = Handle::Text(node, self.tree.readme.as_bytes().into());
                Ok(self.opened(text, Caching::Kept))
            }
            Node::Virtual(VirtualNode::Events) => {
                let reader = self.tree.events.reader(process);
                Ok(self.opened(Handle::Events(reader), Caching::Never))
            }
            Node::Virtual(node) => {
                let text = self.tree.snapshot(node)?.text;
                let mut opened = self.opened(Handle::Text(node, text), Caching::Never);
                // RELEASE comes some time after `close(2)`; whoever opens it next wants what is new.
                opened.wants_flush = true;
                Ok(opened)
            }
            node @ Node::Audio(_) => {
                let handle = Handle::Published { node, opened: None, source: OnceLock::new() };
                // Found now, so that the kernel can read the file without us. Only this disk is asked.
                self.source_of(&handle)?;
                let mut opened = self.opened(handle, Caching::Kept);
                opened.backing = self.handle(opened.number).ok();
                Ok(opened)
            }
            // Small, and read again and again: the page cache is nearer than a file below.
            node => {
                let (object, modified) = self.tree.archive.readable_page(node)?;
                let source = OnceLock::new();
                let handle = Handle::Published { node, opened: Some(object), source };
                // Shortly after it was written anew the kernel may still have bytes of the old text.
                let is_new = modified.elapsed().is_ok_and(|age| age < LATE_NEWS);
                let caching = if is_new { Caching::WhileOpen } else { Caching::Kept };
                Ok(self.opened(handle, caching))
            }
        }
    }

    pub(crate) fn create(
        &self,
        parent: Inode,
        name: &std::ffi::OsStr,
        creator: Creator,
        flags: i32,
    ) -> Result<(Stat, Opened), FsError> {
        let (attributes, open) = self.tree.spool.create(inbox(parent)?, name, creator, flags)?;
        Ok((Stat::of_inbox(&attributes), self.opened_in_inbox(open)?))
    }

    fn opened_in_inbox(&self, open: Arc<OpenFile>) -> Result<Opened, FsError> {
        let wants_flush = open.writable;
        let mut opened = self.opened(Handle::Inbox(open), Caching::WhileOpen);
        opened.wants_flush = wants_flush;
        opened.backing = self.handle(opened.number).ok();
        Ok(opened)
    }

    fn opened(&self, handle: Handle, caching: Caching) -> Opened {
        let number = self.keep(handle);
        Opened { number, caching, wants_flush: false, backing: None }
    }

    fn keep(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, Arc::new(handle));
        number
    }

    pub(crate) fn handle(&self, number: u64) -> Result<Arc<Handle>, FsError> {
        self.lock().get(&number).cloned().ok_or(FsError::BadHandle)
    }

    pub(crate) fn release(&self, number: u64) {
        let handle = self.lock().remove(&number);
        match handle.as_deref() {
            Some(Handle::Inbox(open)) => self.tree.spool.release(open),
            Some(Handle::Events(reader)) => self.tree.events.forget(reader),
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Handle>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reading.
impl Files {
    pub(crate) fn read(
        &self,
        number: u64,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<Reading, FsError> {
        let handle = self.handle(number)?;
        match &*handle {
            Handle::Inbox(open) => Ok(Reading::Done(read_at(&open.file, offset, buffer)?)),
            Handle::Published { node, opened, .. } => match self.current(*node, opened, &handle)? {
                Source::Local(file) => Ok(Reading::Done(read_at(file, offset, buffer)?)),
                Source::Remote(object) => Ok(Reading::Fetch(*node, object.clone())),
            },
            Handle::Text(_, text) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = text.get(start..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(Reading::Done(count))
            }
            Handle::Events(reader) => {
                let bytes = self.tree.events.read(reader, offset, buffer.len());
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(Reading::Done(bytes.len()))
            }
            Handle::Control => Ok(Reading::Done(0)),
        }
    }

    /// Bytes that were not on this disk when the file was opened. May take as long as the store's deadline.
    pub(crate) fn fetch(
        &self,
        node: Node,
        object: &Object,
        offset: u64,
        size: u64,
    ) -> Result<Bytes, FsError> {
        let end = offset.saturating_add(size).min(object.bytes);
        let read = self.store.read(object, offset.min(end)..end);
        read.map_err(|err| match self.tree.archive.object(node) {
            // Written anew since it was opened, and the old content is nowhere any more.
            Ok(newer) if newer != *object => FsError::Gone,
            Ok(_) | Err(_) => err.into(),
        })
    }

    /// The source of an open file, unless it was written anew since it was opened: what has been read of the old text
    /// and what the kernel keeps of it must not be mixed with the new one.
    fn current<'handle>(
        &self,
        node: Node,
        opened: &Option<Object>,
        handle: &'handle Handle,
    ) -> Result<&'handle Source, FsError> {
        if let Some(opened) = opened
            && self.tree.archive.object(node)? != *opened
        {
            return Err(FsError::Gone);
        }
        self.source_of(handle)
    }

    fn source_of<'handle>(&self, handle: &'handle Handle) -> Result<&'handle Source, FsError> {
        let Handle::Published { node, source, .. } = handle else { return Err(FsError::BadHandle) };
        if let Some(source) = source.get() {
            return Ok(source);
        }
        let found = self.find_source(*node)?;
        // Two first reads at once find the same, or one finds what has just come: one of them is kept.
        Ok(source.get_or_init(|| found))
    }

    /// What the index names, and nothing else: a page that is just being replaced is read where its new content
    /// is staged, and never cut at the length of the old one.
    fn find_source(&self, node: Node) -> Result<Source, FsError> {
        let mut last = None;
        loop {
            let object = self.tree.archive.object(node)?;
            let staged = match node {
                Node::Audio(_) => Ok(None),
                _ => self.store.open_local(&object.key.staged(&object.blake3)),
            };
            match staged {
                Ok(Some(file)) => return Ok(Source::Local(file)),
                Ok(None) | Err(StoreError::Missing { .. }) => {}
                Err(err) => return Err(err.into()),
            }
            let Some(file) = self.store.open_local(&object.key)? else {
                return Ok(Source::Remote(object));
            };
            if matches!(node, Node::Audio(_)) || file.metadata()?.len() == object.bytes {
                return Ok(Source::Local(file));
            }
            // The index was asked before the page was moved to its place: then it says something else now.
            if last.replace(object.clone()) == Some(object) {
                return Err(FsError::Torn);
            }
        }
    }
}

fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(done)
}
