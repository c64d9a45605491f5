//! Tells each file's completeness what happens to it, and does on the disk what follows.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::model::InboxId;
use crate::spool::desk::Aftermath;
use crate::spool::disk::DiskStat;
use crate::spool::names;
use crate::spool::signs::{Candidate, Mark, Reaction, Stamp};
use crate::spool::table::{Body, Place, Table};
use crate::spool::{EntryKind, Inner, RenameMode, SpoolError};

impl DiskStat {
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            bytes: self.bytes(),
            modified_ns: self.modified_ns(),
            changed_ns: self.changed_ns(),
        }
    }
}

impl Table {
    pub(crate) fn candidate(&self, id: InboxId) -> Candidate {
        self.path(id).map_or(Candidate::Never, |path| names::candidate(&path))
    }

    /// The entry and all known ones in it, folders before what is in them.
    fn with_descendants(&self, id: InboxId) -> Vec<InboxId> {
        let mut all = vec![id];
        let mut at = 0;
        while let Some(id) = all.get(at) {
            if let Some(directory) = self.directory(*id) {
                let children: Vec<InboxId> = directory.children().map(|(id, _)| id).collect();
                all.extend(children);
            }
            at += 1;
        }
        all
    }
}

impl Inner {
    /// Time since the spool was opened.
    pub(crate) fn now(&self) -> Duration {
        self.opened_at.elapsed()
    }

    /// When a file is complete that changes for the last time now.
    pub(crate) fn due(&self) -> Duration {
        self.now() + self.options.settle
    }

    /// A writer comes. Says whether it is the first one, so that the file must be marked.
    pub(crate) fn begin_writing(&self, id: InboxId) -> Result<bool, SpoolError> {
        let mut table = self.table();
        let file = table.file_mut(id).ok_or(SpoolError::Missing)?;
        let reaction = file.opened_for_writing().ok_or(SpoolError::Missing)?;
        let aftermath = table.after(id, reaction);
        Ok(aftermath.mark.is_some())
    }

    /// A writer goes. `stamp`: what it left; `None` where that cannot be seen.
    pub(crate) fn end_writing(&self, id: InboxId, stamp: Option<Stamp>) {
        let (now, due) = (self.now(), self.due());
        self.change(id, |file, candidate| file.closed(candidate, stamp, due, now));
    }

    pub(crate) fn resized(&self, id: InboxId) {
        let stamp = self.stat(id).ok().map(|stat| stat.stamp());
        let due = self.due();
        self.change(id, |file, candidate| file.resized(candidate, stamp, due));
    }

    pub(crate) fn touched(&self, id: InboxId, before: &DiskStat, after: &DiskStat) {
        let (before, fresh, due) = (before.stamp(), after.stamp(), self.due());
        self.change(id, |file, candidate| file.touched(candidate, before, fresh, due));
    }

    pub(crate) fn restamped(&self, id: InboxId, before: &DiskStat, after: &DiskStat) {
        if let Some(file) = self.table().file_mut(id) {
            file.restamped(before.stamp(), after.stamp());
        }
    }

    /// Changes where a file stands, and does what follows.
    pub(crate) fn change(
        &self,
        id: InboxId,
        what: impl FnOnce(&mut crate::spool::completeness::Completeness, Candidate) -> Reaction,
    ) {
        let mut table = self.table();
        let candidate = table.candidate(id);
        let Some(file) = table.file_mut(id) else { return };
        let reaction = what(file, candidate);
        let aftermath = table.after(id, reaction);
        drop(table);
        self.alarm.notify_all();
        self.follow_up(id, aftermath);
    }

    /// What a change asks for on the disk.
    pub(crate) fn follow_up(&self, id: InboxId, aftermath: Aftermath) {
        if let Some(mark) = aftermath.mark {
            self.put_mark(id, &mark);
        }
        if aftermath.drops_note {
            self.drop_note(id);
        }
    }

    fn put_mark(&self, id: InboxId, mark: &Mark) {
        // A file that is gone needs no mark.
        let Ok(grip) = self.grip(id) else { return };
        let Some(disk_id) = self.table().node(id).map(|node| node.disk_id) else { return };
        self.marks.put(grip.as_fd(), disk_id, mark);
    }

    /// The entry, and all in it, is gone from its place.
    pub(crate) fn removed(&self, id: InboxId) {
        let mut table = self.table();
        let mut gone = Vec::new();
        for id in table.with_descendants(id) {
            let Some(file) = table.file_mut(id) else { continue };
            let reaction = file.removed();
            let is_idle = file.writers() == 0;
            // Nothing is left to be marked, and the note is for whoever removed the file to keep or not.
            let _ = table.after(id, reaction);
            gone.extend(table.node(id).filter(|_| is_idle).map(|node| node.disk_id));
            table.drop_alarm(id);
        }
        table.detach(id);
        drop(table);
        for disk_id in gone {
            self.marks.forget(disk_id);
        }
    }

    /// Disk and table follow a rename that has been done. The caller holds `changing` of both directories.
    pub(crate) fn renamed(
        &self,
        from: &Place,
        to: Place,
        mode: RenameMode,
        stat: Option<&DiskStat>,
    ) {
        let target = self.table().child(to.parent, &to.name);
        let source = self.table().child(from.parent, &from.name);
        let Some(source) = source else { return };
        if target == Some(source) {
            return;
        }
        let was_temporary = names::is_temporary(&from.name);
        match (target, mode) {
            (Some(target), RenameMode::Exchange) => {
                self.table().exchange(source, target);
                self.moved(target, names::is_temporary(&to.name), None);
            }
            (Some(target), RenameMode::Replace | RenameMode::NoReplace) => {
                self.removed(target);
                self.table().rename(source, to);
            }
            (None, _) => self.table().rename(source, to),
        }
        self.moved(source, was_temporary, stat.map(DiskStat::stamp));
    }

    fn moved(&self, id: InboxId, was_temporary: bool, stamp: Option<Stamp>) {
        let quiet = match was_temporary {
            true => self.options.settle_after_rename,
            false => self.options.settle,
        };
        let due = self.now() + quiet;
        let all = self.table().with_descendants(id);
        for each in all {
            let stamp = stamp.filter(|_| each == id);
            self.change(each, |file, candidate| file.renamed(candidate, stamp, due));
        }
    }

    /// A new entry that nobody made through us: what is to become of it?
    pub(crate) fn look_around(&self, id: InboxId, stat: &DiskStat) {
        if stat.kind() != EntryKind::File {
            return;
        }
        let Ok(grip) = self.grip(id) else { return };
        let mark = self.marks.get(grip.as_fd(), stat.disk_id());
        let (stamp, due) = (stat.stamp(), self.due());
        self.change(id, |file, candidate| file.found(mark, candidate, stamp, due));
    }

    /// Everything below the inbox, when the spool is opened.
    pub(crate) fn look_everywhere(&self) -> Result<(), SpoolError> {
        let mut unseen = vec![InboxId::ROOT];
        while let Some(id) = unseen.pop() {
            match self.scan(id) {
                Ok(()) => {}
                // Gone again, or not for us to read: it is found when somebody asks for it.
                Err(err) if id != InboxId::ROOT => {
                    log::warn!("inbox: a folder could not be read: {err}");
                    continue;
                }
                Err(err) => return Err(err),
            }
            let table = self.table();
            let Some(directory) = table.directory(id) else { continue };
            let is_directory = |id: &InboxId| {
                table.node(*id).is_some_and(|node| matches!(node.body, Body::Directory(_)))
            };
            unseen.extend(directory.children().map(|(id, _)| id).filter(is_directory));
        }
        Ok(())
    }
}
