//! What is complete is offered; what becomes of it comes back.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::mpsc::Receiver;

use crate::model::{Failure, InboxId, JobState, Waiting};
use crate::spool::state_inputs::{End, Ending, FileStamp};
use crate::spool::table::{Place, Table};
use crate::spool::tree::hold;
use crate::spool::{Dropped, Inner, SpoolError, SpoolEvent, Work, disk, notes};

impl Table {
    /// The file as it is offered: `None` where nobody works on it.
    fn dropped(&self, id: InboxId) -> Option<(Dropped, Work)> {
        let file = self.file(id)?;
        let work = file.work()?;
        let stamp = file.seen().unwrap_or(FileStamp { bytes: 0, modified_ns: 0, changed_ns: 0 });
        let dropped = Dropped {
            id,
            generation: file.generation(),
            path: self.path(id)?,
            bytes: stamp.bytes,
            modified_ns: stamp.modified_ns,
        };
        Some((dropped, work))
    }

    /// Tells everybody that a file is complete.
    pub(crate) fn offer(&mut self, id: InboxId) {
        let Some((dropped, _)) = self.dropped(id) else { return };
        let path = dropped.path.clone();
        self.tell(SpoolEvent::Ready(dropped));
        self.tell(SpoolEvent::Stage { id, path, state: JobState::Queued });
    }
}

impl Inner {
    pub(crate) fn subscribe(&self) -> Receiver<SpoolEvent> {
        let mut table = self.table();
        let is_offered = |id: &InboxId| table.file(*id).is_some_and(|it| it.offered().is_some());
        let offered = table.works().filter(is_offered);
        let offered = offered.filter_map(|id| Some(table.dropped(id)?.0)).collect();
        table.subscribe(offered)
    }

    pub(crate) fn take(&self, id: InboxId, generation: u64) -> Result<File, SpoolError> {
        if !self.is_current(id, generation) {
            return Err(SpoolError::Changed);
        }
        let file = self.open_entry(id, libc::O_RDONLY)?;
        self.check_unchanged(id, generation, disk::stat_of(&file)?.stamp())?;
        Ok(file)
    }

    pub(crate) fn is_current(&self, id: InboxId, generation: u64) -> bool {
        self.table().file(id).is_some_and(|file| file.is_current(generation))
    }

    /// Whether the disk still shows what was offered. If not, somebody changed it behind our back.
    fn check_unchanged(
        &self,
        id: InboxId,
        generation: u64,
        stamp: FileStamp,
    ) -> Result<(), SpoolError> {
        let offered = {
            let table = self.table();
            let file = table.file(id).filter(|file| file.is_current(generation));
            file.and_then(|file| file.offered()).ok_or(SpoolError::Changed)?
        };
        if offered == stamp {
            return Ok(());
        }
        let due = self.due();
        self.change(id, |file, candidate| file.changed_behind(candidate, stamp, due));
        Err(SpoolError::Changed)
    }

    pub(crate) fn mark(&self, id: InboxId, generation: u64, work: Work) {
        let mut table = self.table();
        let Some(file) = table.file_mut(id) else { return };
        let before = file.work().map(|work| work.state);
        let state = work.state;
        if !file.marked(generation, work) || before == Some(state) {
            return;
        }
        if let Some(path) = table.path(id) {
            table.tell(SpoolEvent::Stage { id, path, state });
        }
    }

    pub(crate) fn wait_for(&self, id: InboxId, generation: u64, what: Waiting) {
        let mut table = self.table();
        let is_new = table.file_mut(id).is_some_and(|file| file.waits(generation, what));
        if let Some(path) = table.path(id).filter(|_| is_new) {
            table.tell(SpoolEvent::Waits { id, path, what });
        }
    }

    pub(crate) fn works(&self, most: usize) -> Vec<(Dropped, Work)> {
        let table = self.table();
        table.works().take(most).filter_map(|id| table.dropped(id)).collect()
    }

    pub(crate) fn finish(&self, id: InboxId, generation: u64) -> Result<(), SpoolError> {
        let place = self.table().node(id).and_then(|node| node.place.clone());
        let place = place.ok_or(SpoolError::Changed)?;
        let dir = self.directory(place.parent)?;
        let changing = self.changing(place.parent)?;
        let turn = hold(&changing);
        {
            let mut table = self.table();
            let is_there = table.node(id).is_some_and(|node| node.place.as_ref() == Some(&place));
            let file = table.file_mut(id).filter(|file| is_there && file.is_current(generation));
            // From here a writer is told that there is no such file.
            file.ok_or(SpoolError::Changed)?.leaves();
        }
        let left = self.remove_offered(id, &dir, &place);
        drop(turn);
        match left {
            Ok(()) => {
                self.may_be_emptied(place.parent);
                Ok(())
            }
            Err(Left { err, stamp }) => {
                if let Some(file) = self.table().file_mut(id) {
                    file.stays();
                }
                if let Some(stamp) = stamp {
                    self.check_unchanged(id, generation, stamp)?;
                }
                Err(err)
            }
        }
    }

    fn remove_offered(&self, id: InboxId, dir: impl AsFd, place: &Place) -> Result<(), Left> {
        let name = place.name.as_os_str();
        let changed = |stamp| Left { err: SpoolError::Changed, stamp };
        let found = disk::stat_at(dir.as_fd(), name).map_err(|_| changed(None))?;
        let is_same = {
            let table = self.table();
            let seen = table.file(id).and_then(|file| file.seen());
            let is_entry = table.node(id).is_some_and(|node| node.disk_id == found.disk_id());
            is_entry && seen == Some(found.stamp())
        };
        if !is_same {
            return Err(changed(Some(found.stamp())));
        }
        fail_point!("spool-before-finish");
        disk::unlink_at(dir.as_fd(), name).map_err(|err| Left { err: err.into(), stamp: None })?;
        fail_point!("spool-finished");
        let mut table = self.table();
        table.tell_name(place);
        if let Some(path) = table.path(id) {
            table.tell(SpoolEvent::Stage { id, path, state: JobState::Done });
        }
        drop(table);
        self.removed(id);
        Ok(())
    }

    pub(crate) fn fail(
        &self,
        id: InboxId,
        generation: u64,
        failure: &Failure,
    ) -> Result<(), SpoolError> {
        let ending = Ending { end: End::Failed, reason: notes::reason(failure) };
        let failed = self
            .table()
            .update(id, |file, _| file.is_current(generation).then(|| file.ended(ending)));
        self.follow_up(id, failed.ok_or(SpoolError::Changed)?);
        Ok(())
    }
}

/// Why an offered file could not be removed, and what was there instead.
struct Left {
    err: SpoolError,
    stamp: Option<FileStamp>,
}
