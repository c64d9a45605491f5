//! Tells each file's completeness what happens to it, and does on the disk what follows.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::model::{FileName, InboxId};
use crate::spool::completeness::Completeness;
use crate::spool::disk::DiskStat;
use crate::spool::state_inputs::{Candidate, FileStamp, Reaction};
use crate::spool::table::{Body, Place, Table};
use crate::spool::table_events::Aftermath;
use crate::spool::{EntryKind, Inner, RenameMode, SpoolError, names};

/// An entry that has another place or name.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) id: InboxId,
    was_temporary: bool,
}

impl DiskStat {
    pub(crate) fn stamp(&self) -> FileStamp {
        FileStamp {
            bytes: self.bytes(),
            modified_ns: self.modified_ns(),
            changed_ns: self.changed_ns(),
        }
    }
}

impl Table {
    /// The entry and all known ones in it, folders before what is in them.
    fn with_descendants(&self, id: InboxId) -> Vec<InboxId> {
        let mut all = vec![id];
        let mut at = 0;
        while let Some(id) = all.get(at) {
            if let Some(directory) = self.directory(*id) {
                all.extend(directory.children().collect::<Vec<_>>());
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

    /// A writer comes. The caller marks the file when it is open.
    pub(crate) fn begin_writing(&self, id: InboxId) -> Result<(), SpoolError> {
        let begun = self.table().update(id, |file, _| file.opened_for_writing());
        begun.map(|_| ()).ok_or(SpoolError::Missing)
    }

    /// A writer goes, whose handle has been taken back. `stamp` says what it left; `None` where that cannot be seen.
    pub(crate) fn end_writing(&self, id: InboxId, stamp: impl FnOnce() -> Option<FileStamp>) {
        // Counted and decided in one go: of two that go at once exactly one is the last.
        let is_last = self.table().file_mut(id).is_some_and(Completeness::writer_left);
        if !is_last {
            return;
        }
        let (stamp, now, due) = (stamp(), self.now(), self.due());
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

    /// Changes where a file stands, and does what follows. Not to be called while a directory is held.
    pub(crate) fn change(
        &self,
        id: InboxId,
        what: impl FnOnce(&mut Completeness, Candidate) -> Reaction,
    ) {
        let changed = self.table().update(id, |file, candidate| Some(what(file, candidate)));
        self.ring();
        self.follow_up(id, changed.unwrap_or_default());
    }

    /// Something may fall due earlier than those who wait think.
    pub(crate) fn ring(&self) {
        self.alarm.notify_one();
    }

    /// Brings the disk behind the table, whoever changed it last. Not to be called while a directory is held.
    pub(crate) fn follow_up(&self, id: InboxId, aftermath: Aftermath) {
        if aftermath.mark {
            self.put_mark(id);
        }
        if aftermath.note {
            fail_point!("spool-before-note");
            self.put_note(id);
        }
    }

    /// Makes the mark on the disk what the table says now.
    pub(crate) fn put_mark(&self, id: InboxId) {
        let _turn = self.marks.turn(id);
        let (mark, path) = {
            let table = self.table();
            let (Some(file), Some(path)) = (table.file(id), table.path(id)) else { return };
            (file.mark(), path)
        };
        // A file that is gone needs no mark.
        let Ok(pin) = self.pin(id) else { return };
        self.marks.put(pin.as_fd(), &path, &mark);
    }

    /// The entry, and all in it, is gone from its place. The caller holds `changing` of its directory.
    pub(crate) fn removed(&self, id: InboxId) {
        let now = self.now();
        let mut table = self.table();
        let mut gone = Vec::new();
        for id in table.with_descendants(id) {
            let path = table.path(id);
            // Nothing is left to be marked.
            if table.update(id, |file, _| Some(file.removed())).is_none() {
                continue;
            }
            let is_idle = table.file(id).is_some_and(|file| file.writers() == 0);
            gone.extend(path.filter(|_| is_idle));
            table.drop_alarm(id);
        }
        let place = table.node(id).and_then(|node| node.place.clone());
        let has_note = table.file(id).is_some_and(Completeness::has_note);
        table.detach(id);
        if let Some(directory) = place.as_ref().and_then(|it| table.directory_mut(it.parent)) {
            directory.note_removal(now);
        }
        drop(table);
        gone.iter().for_each(|path| self.marks.forget(path));
        if let Some(place) = place.filter(|_| has_note) {
            self.fade_note(&place);
        }
    }

    /// The table follows a rename that has been done on the disk. The caller holds `changing` of both directories, and
    /// tells what has moved when it has let go of them.
    pub(crate) fn renamed(&self, from: &Place, to: &Place, mode: RenameMode) -> Vec<Moved> {
        let (source, target) = {
            let table = self.table();
            (table.child(from.parent, &from.name), table.child(to.parent, &to.name))
        };
        let Some(source) = source.filter(|_| target != source) else { return Vec::new() };
        let was_temporary = names::is_temporary(&from.name);
        let paths = self.paths_of_marks(source, target);
        let mut moved = vec![Moved { id: source, was_temporary }];
        match (target, mode) {
            (Some(target), RenameMode::Exchange) => {
                self.table().exchange(source, target);
                moved.push(Moved { id: target, was_temporary: names::is_temporary(&to.name) });
            }
            (Some(target), RenameMode::Replace | RenameMode::NoReplace) => {
                self.removed(target);
                self.table().rename(source, to.clone());
            }
            (None, _) => self.table().rename(source, to.clone()),
        }
        for (id, old) in paths {
            if let Some(new) = self.table().path(id) {
                self.marks.follow(&old, &new);
            }
        }
        moved
    }

    /// Where files are whose marks may stand in files of their own; mostly that is nobody.
    fn paths_of_marks(
        &self,
        source: InboxId,
        target: Option<InboxId>,
    ) -> Vec<(InboxId, Vec<FileName>)> {
        if !self.marks.has_stand_ins() {
            return Vec::new();
        }
        let table = self.table();
        let all = std::iter::once(source).chain(target).flat_map(|id| table.with_descendants(id));
        all.filter_map(|id| Some((id, table.path(id)?))).collect()
    }

    /// Tells an entry's file, or all files in it, that it is somewhere else now.
    pub(crate) fn tell_moved(&self, moved: &Moved, stamp: Option<FileStamp>) {
        let quiet = match moved.was_temporary {
            true => self.options.settle_after_rename,
            false => self.options.settle,
        };
        let due = self.now() + quiet;
        let all = self.table().with_descendants(moved.id);
        for each in all {
            let stamp = stamp.filter(|_| each == moved.id);
            self.change(each, |file, candidate| file.renamed(candidate, stamp, due));
        }
    }

    /// A new entry that nobody made through us: what is to become of it?
    pub(crate) fn look_around(&self, id: InboxId, stat: &DiskStat) {
        if stat.kind() != EntryKind::File {
            return;
        }
        let Ok(pin) = self.pin(id) else { return };
        let Some(path) = self.table().path(id) else { return };
        let mark = self.marks.get(pin.as_fd(), &path, stat.disk_id().inode);
        let (stamp, due) = (stat.stamp(), self.due());
        let found = self
            .table()
            .update(id, |file, candidate| Some(file.found(mark, candidate, stamp, due)));
        self.ring();
        // A note that is not there any more was removed by somebody.
        self.follow_up(id, Aftermath { note: false, ..found.unwrap_or_default() });
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
            unseen.extend(directory.children().filter(is_directory));
        }
        Ok(())
    }
}
