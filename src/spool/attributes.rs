//! What `stat` says, and what may be changed of it.

use std::os::fd::AsFd;

use crate::model::InboxId;
use crate::spool::disk::{self, DiskStat};
use crate::spool::{Attributes, EntryKind, Inner, SetAttributes, SetTime, SpoolError};

impl Inner {
    pub(crate) fn attributes(&self, id: InboxId) -> Result<Attributes, SpoolError> {
        Ok(self.stat(id)?.attributes(id))
    }

    pub(crate) fn set_attributes(
        &self,
        id: InboxId,
        change: &SetAttributes,
    ) -> Result<Attributes, SpoolError> {
        self.check_open_for_changes()?;
        if let Some(bytes) = change.bytes {
            self.resize(id, bytes)?;
        }
        let pin = self.pin(id)?;
        let before = disk::stat_of(&pin)?;
        if change.uid.is_some() || change.gid.is_some() {
            disk::set_owner(pin.as_fd(), change.uid, change.gid)?;
        }
        if let Some(mode) = change.mode
            && before.kind() != EntryKind::Symlink
        {
            let kept = if before.kind() == EntryKind::Directory { 0o1777 } else { 0o777 };
            disk::set_mode(pin.as_fd(), mode & kept)?;
        }
        if change.accessed.is_some() || change.modified.is_some() {
            disk::set_times(pin.as_fd(), change.accessed, change.modified)?;
        }
        let after = disk::stat_of(&pin)?;
        self.attributes_set(id, change, &before, &after);
        Ok(after.attributes(id))
    }

    /// Tells a file's completeness that its attributes, but not its bytes, have changed.
    fn attributes_set(
        &self,
        id: InboxId,
        change: &SetAttributes,
        before: &DiskStat,
        after: &DiskStat,
    ) {
        let is_touch = match change.modified {
            Some(SetTime::Now) => true,
            Some(SetTime::At(_)) => before.modified_ns() != after.modified_ns(),
            None => false,
        };
        if is_touch {
            self.touched(id, before, after);
        } else {
            self.restamped(id, before, after);
        }
    }

    fn resize(&self, id: InboxId, bytes: u64) -> Result<(), SpoolError> {
        let held = self.stat(id)?.bytes();
        if bytes > held {
            self.space.claim(self.root.as_fd(), bytes - held)?;
        }
        let writer = self.writing_handle(id);
        match writer {
            Some(open) => open.file.set_len(bytes)?,
            None => self.open_entry(id, libc::O_WRONLY)?.set_len(bytes)?,
        }
        self.resized(id);
        Ok(())
    }
}
