//! The same operations through the API of spool and index, as the filesystem uses it: no kernel in between.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use scribefs::fs::FsContext;
use scribefs::index::Index;
use scribefs::model::{ConversationId, InboxId};
use scribefs::spool::{
    Creator, EntryKind, OpenFile, RenameMode, SetAttributes, SetTime, Spool, SpoolError,
};
use tempfile::TempDir;

use super::naive::Outcome;
use super::operation::Rename;
use super::{Inbox, Seen, conversation, in_index, now};
use crate::common::{quiet_spool, services_in, until};

pub(crate) struct Plain {
    dir: TempDir,
    services: FsContext,
    held: Vec<Arc<OpenFile>>,
}

impl Plain {
    pub(crate) fn start() -> Self {
        // Syncing costs nothing there, and no power is cut here.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        Self { services: services_in(dir.path(), quiet_spool()), dir, held: Vec::new() }
    }

    fn spool(&self) -> &Spool {
        &self.services.spool
    }

    /// The folder that a path lies in, and its name there.
    fn place<'a>(&self, path: &'a str) -> Result<(InboxId, &'a OsStr), i32> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.spool().find(Path::new(folder)).map_err(errno)?;
        Ok((folder, OsStr::new(name)))
    }

    fn open(&self, path: &str, flags: i32) -> Result<Arc<OpenFile>, i32> {
        let id = self.spool().find(Path::new(path)).map_err(errno)?;
        self.spool().open_file(id, flags).map_err(errno)
    }

    fn write_to(&self, open: &OpenFile, offset: u64, bytes: &[u8]) {
        self.spool().before_write(open, bytes.len() as u64).unwrap();
        open.file.write_all_at(bytes, offset).unwrap();
    }

    fn close(&self, open: &OpenFile) {
        self.spool().flush(open).unwrap();
        self.spool().release(open);
    }

    fn walk(&self, folder: InboxId, below: &str, found: &mut BTreeMap<String, Seen>) {
        let mut cookie = 0;
        loop {
            // A folder that is removed meanwhile has nothing in it.
            let part = if_there(self.spool().list(folder, cookie, 3)).unwrap_or_default();
            let Some(last) = part.last() else { return };
            cookie = last.cookie;
            for entry in part {
                let path = format!("{below}{}", entry.name.display());
                let id = entry.attributes.id;
                let seen = match entry.attributes.kind {
                    EntryKind::Directory => {
                        self.walk(id, &format!("{path}/"), found);
                        Seen::Folder
                    }
                    EntryKind::Symlink => Seen::Link,
                    _ => self.read(id).map_or(Seen::Missing, Seen::File),
                };
                found.insert(path, seen);
            }
        }
    }

    /// `None`: it has gone since it was listed, as a note does by itself.
    fn read(&self, id: InboxId) -> Option<Vec<u8>> {
        let open = if_there(self.spool().open_file(id, libc::O_RDONLY))?;
        let bytes = bytes_of(&open);
        self.spool().release(&open);
        Some(bytes)
    }
}

impl Inbox for Plain {
    fn write(&mut self, path: &str, bytes: &[u8]) -> Outcome {
        let (folder, name) = self.place(path)?;
        let flags = libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY;
        let made = self.spool().create(folder, name, creator(0o644), flags);
        let (attributes, open) = made.map_err(errno)?;
        self.write_to(&open, 0, bytes);
        self.close(&open);
        self.spool().forget(attributes.id, 1);
        Ok(())
    }

    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Outcome {
        let open = self.open(path, libc::O_WRONLY)?;
        self.write_to(&open, offset, bytes);
        self.close(&open);
        Ok(())
    }

    fn truncate(&mut self, path: &str, length: u64) -> Outcome {
        let open = self.open(path, libc::O_WRONLY)?;
        let change = SetAttributes { bytes: Some(length), ..SetAttributes::default() };
        self.spool().set_attributes(open.id, &change).map_err(errno)?;
        self.close(&open);
        Ok(())
    }

    fn make_folder(&mut self, path: &str) -> Outcome {
        let (folder, name) = self.place(path)?;
        let made = self.spool().make_directory(folder, name, creator(0o755)).map_err(errno)?;
        self.spool().forget(made.id, 1);
        Ok(())
    }

    fn make_link(&mut self, path: &str) -> Outcome {
        let (folder, name) = self.place(path)?;
        let made = self.spool().make_symlink(folder, name, Path::new("nowhere"), creator(0o777));
        self.spool().forget(made.map_err(errno)?.id, 1);
        Ok(())
    }

    fn remove_folder(&mut self, path: &str) -> Outcome {
        let (folder, name) = self.place(path)?;
        self.spool().remove_directory(folder, name).map_err(errno)
    }

    fn remove(&mut self, path: &str) -> Outcome {
        let (folder, name) = self.place(path)?;
        self.spool().unlink(folder, name).map_err(errno)
    }

    fn rename(&mut self, from: &str, to: &str, how: Rename) -> Outcome {
        let mode = match how {
            Rename::Replace => RenameMode::Replace,
            Rename::NoReplace => RenameMode::NoReplace,
            Rename::Exchange => RenameMode::Exchange,
        };
        self.spool().rename(self.place(from)?, self.place(to)?, mode).map_err(errno)
    }

    fn touch(&mut self, path: &str) -> Outcome {
        let id = self.spool().find(Path::new(path)).map_err(errno)?;
        let change = SetAttributes { modified: Some(SetTime::Now), ..SetAttributes::default() };
        self.spool().set_attributes(id, &change).map(drop).map_err(errno)
    }

    fn commit(&mut self, path: &str) -> Outcome {
        let id = self.spool().find(Path::new(path)).map_err(errno)?;
        let name = OsStr::new("user.scribefs.commit");
        self.spool().set_attribute(id, name, b"1", 0).map_err(errno)
    }

    fn hold(&mut self, path: &str) -> Outcome {
        let open = self.open(path, libc::O_RDWR)?;
        self.held.push(open);
        Ok(())
    }

    fn write_held(&mut self, bytes: &[u8]) -> Outcome {
        if let Some(open) = self.held.last() {
            self.write_to(open, open.file.metadata().unwrap().len(), bytes);
        }
        Ok(())
    }

    fn release(&mut self) {
        if let Some(open) = self.held.pop() {
            self.close(&open);
        }
    }

    fn held(&self) -> Vec<Vec<u8>> {
        self.held.iter().map(|open| bytes_of(open)).collect()
    }

    fn tree(&self) -> BTreeMap<String, Seen> {
        let mut found = BTreeMap::new();
        self.walk(InboxId::ROOT, "", &mut found);
        found
    }

    fn conversations(&self) -> BTreeMap<String, Vec<String>> {
        in_index(&self.services, false)
    }

    fn trash(&self) -> BTreeMap<String, Vec<String>> {
        in_index(&self.services, true)
    }

    fn rename_conversation(&mut self, from: &str, to: &str) -> Outcome {
        let seq = conversation(&self.services, from)?;
        let to = ConversationId::new(to).unwrap();
        self.services.index.rename_conversation(seq, &to).map_err(|_| libc::EEXIST)
    }

    fn trash_conversation(&mut self, id: &str) -> Outcome {
        let seq = conversation(&self.services, id)?;
        self.services.index.trash_conversation(seq, now()).map_err(|_| libc::EIO)
    }

    fn restore_conversation(&mut self, id: &str, to: &str) -> Outcome {
        let trashed = self.services.index.trashed_conversations().unwrap();
        let found = trashed.iter().find(|it| it.id.as_str() == id).ok_or(libc::ENOENT)?;
        let to = ConversationId::new(to).unwrap();
        self.services.index.restore_conversation_as(found.seq, &to).map_err(|_| libc::EEXIST)
    }

    fn restart(&mut self) {
        while !self.held.is_empty() {
            self.release();
        }
        self.services.spool.close();
        self.services.index.close().unwrap();
        let store = self.services.store.clone();
        let index = self.dir.path().join("index.redb");
        self.services = FsContext {
            spool: Spool::open(&self.dir.path().join("spool"), quiet_spool()).unwrap(),
            index: until("the index is free", || Index::open(&index).ok()),
            store,
            facts: Arc::new(()),
        };
    }

    fn services(&self) -> &FsContext {
        &self.services
    }

    /// The kernel sees to some errnos before a filesystem hears of a call, so only success counts here.
    fn agrees(&self, wanted: Outcome, got: Outcome) -> bool {
        wanted.is_ok() == got.is_ok()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        while !self.held.is_empty() {
            self.release();
        }
    }
}

fn creator(mode: u32) -> Creator {
    // SAFETY: both only read a number.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    Creator { uid, gid, mode, thread: 0 }
}

fn bytes_of(open: &OpenFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(open.file.metadata().unwrap().len()).unwrap()];
    open.file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn if_there<T>(result: Result<T, SpoolError>) -> Option<T> {
    match result.map_err(errno) {
        Ok(found) => Some(found),
        Err(libc::ENOENT) => None,
        Err(errno) => panic!("errno {errno}"),
    }
}

fn errno(err: SpoolError) -> i32 {
    match err {
        SpoolError::Missing => libc::ENOENT,
        SpoolError::Disk(err) => err.raw_os_error().unwrap_or(libc::EIO),
        _ => libc::EIO,
    }
}
