//! Extended attributes as users see them: their own, kept by the disk, and ours, made up when asked for.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use crate::model::{FileName, InboxId};
use crate::spool::{Inner, SpoolError, SpoolEvent, disk, disk_xattrs};

const USER: &[u8] = b"user.";
const OURS: &[u8] = b"user.scribefs.";
const STATE: &str = "user.scribefs.state";
const PROGRESS: &str = "user.scribefs.progress";
const ERROR: &str = "user.scribefs.error";
const WAITS_FOR: &str = "user.scribefs.waits_for";
const COMMIT: &str = "user.scribefs.commit";
const CANCEL: &str = "user.scribefs.cancel";
const RETRY: &str = "user.scribefs.retry";
const SPEAKERS: &str = "user.scribefs.speakers";

impl Inner {
    pub(crate) fn attribute(
        &self,
        id: InboxId,
        name: &OsStr,
    ) -> Result<Option<Vec<u8>>, SpoolError> {
        if is_ours(name) {
            return Ok(self.our_attribute(id, name));
        }
        if is_access_list(name) {
            return Err(unsupported());
        }
        if !name.as_bytes().starts_with(USER) {
            return Ok(None);
        }
        Ok(disk_xattrs::get(self.pin(id)?.as_fd(), name)?)
    }

    pub(crate) fn attribute_names(&self, id: InboxId) -> Result<Vec<FileName>, SpoolError> {
        let mut names = disk_xattrs::list(self.pin(id)?.as_fd())?;
        names.retain(|name| name.starts_with(USER) && !is_ours(OsStr::from_bytes(name)));
        for ours in [STATE, PROGRESS, ERROR, WAITS_FOR] {
            if self.our_attribute(id, OsStr::new(ours)).is_some() {
                names.push(ours.as_bytes().to_vec());
            }
        }
        Ok(names.into_iter().filter_map(FileName::new).collect())
    }

    pub(crate) fn set_attribute(
        &self,
        id: InboxId,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<(), SpoolError> {
        self.check_open_for_changes()?;
        if is_ours(name) {
            return self.order(id, name);
        }
        if !name.as_bytes().starts_with(USER) {
            return Err(unsupported());
        }
        let pin = self.pin(id)?;
        let before = disk::stat_of(&pin)?;
        disk_xattrs::set(pin.as_fd(), name, value, flags)?;
        self.restamped(id, &before, &disk::stat_of(&pin)?);
        Ok(())
    }

    pub(crate) fn remove_attribute(&self, id: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        self.check_open_for_changes()?;
        if is_ours(name) {
            return Ok(());
        }
        if !name.as_bytes().starts_with(USER) {
            return Err(unsupported());
        }
        let pin = self.pin(id)?;
        let before = disk::stat_of(&pin)?;
        disk_xattrs::remove(pin.as_fd(), name)?;
        self.restamped(id, &before, &disk::stat_of(&pin)?);
        Ok(())
    }

    /// `None` where there is no work on the file, or nothing to say.
    fn our_attribute(&self, id: InboxId, name: &OsStr) -> Option<Vec<u8>> {
        let table = self.table();
        let file = table.file(id)?;
        let work = file.work()?;
        let text = match name.to_str()? {
            STATE => work.state.as_str().to_owned(),
            PROGRESS => format!("{:.0}", (work.done * 100.0).clamp(0.0, 100.0)),
            WAITS_FOR => file.waits_for()?.as_str().to_owned(),
            ERROR => file.ending().map(|ending| ending.reason.clone())?,
            _ => return None,
        };
        (!text.is_empty()).then(|| text.into_bytes())
    }

    /// What a user wants by setting one of ours. The rest is accepted and forgotten: programs that bring a backup back
    /// set all that they have once read.
    fn order(&self, id: InboxId, name: &OsStr) -> Result<(), SpoolError> {
        let is_file = {
            let table = self.table();
            table.node(id).ok_or(SpoolError::Missing)?;
            table.file(id).is_some()
        };
        if !is_file {
            return Ok(());
        }
        match name.to_str() {
            Some(COMMIT) => {
                let (stamp, now) = (self.stat(id)?.stamp(), self.now());
                self.change(id, |file, candidate| file.committed(candidate, Some(stamp), now));
                Ok(())
            }
            Some(CANCEL) => self.cancel(id),
            Some(RETRY) => self.retry(id),
            _ => Ok(()),
        }
    }

    fn cancel(&self, id: InboxId) -> Result<(), SpoolError> {
        let mut table = self.table();
        table.file(id).ok_or(SpoolError::Missing)?;
        let Some(aftermath) = table.update(id, |file, _| file.cancelled()) else {
            return Err(disk::errno(libc::EBUSY).into());
        };
        table.tell(SpoolEvent::CancelRequested { id });
        drop(table);
        self.follow_up(id, aftermath);
        Ok(())
    }

    pub(crate) fn retry(&self, id: InboxId) -> Result<(), SpoolError> {
        if self.table().file(id).is_none() {
            return Err(SpoolError::Missing);
        }
        let now = self.now();
        self.change(id, |file, candidate| file.retried(candidate, now));
        Ok(())
    }
}

/// Made up by scribefs, or an order to it. How many people speak is the user's to say, and stored like the rest.
fn is_ours(name: &OsStr) -> bool {
    name.as_bytes().starts_with(OURS) && name != SPEAKERS
}

fn is_access_list(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"system.posix_acl_")
}

fn unsupported() -> SpoolError {
    disk::errno(libc::EOPNOTSUPP).into()
}
