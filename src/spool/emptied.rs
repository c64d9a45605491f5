//! Folders that came full and are empty now that all in them is published.
//!
//! Whoever drags a folder into the inbox expects it to leave with its recordings. Whoever makes an empty folder, to drop
//! recordings into it day by day, expects it to stay. The first thing that is put into a folder tells the two apart. It is
//! remembered in a hidden attribute of the folder, for the next daemon.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::model::{InboxId, JobState};
use crate::spool::tree::hold;
use crate::spool::{Creator, Inner, SpoolEvent, disk, disk_xattrs};

const NAME: &str = "user.scribefs.came_full";

/// How many settle times a folder must have been left alone: the rest of a copy may still be on its way.
const QUIET: u32 = 12;

impl Inner {
    /// Something was put into a folder.
    pub(crate) fn note_filling(&self, folder: InboxId, by: Creator) {
        let (now, soon) = (self.now(), self.options.settle.max(Duration::from_secs(1)));
        let is_copy = self
            .table()
            .directory_mut(folder)
            .is_some_and(|directory| directory.filled_by(by.thread, now, soon));
        if !is_copy || folder == InboxId::ROOT {
            return;
        }
        // Best effort: without it the folder stays, as an empty one that anybody can remove.
        let _ = self
            .directory(folder)
            .map(|dir| disk_xattrs::set(dir.as_fd(), OsStr::new(NAME), b"1", 0));
    }

    /// A recording has left a folder: looks later whether that was all.
    pub(crate) fn may_be_emptied(&self, folder: InboxId) {
        let mut table = self.table();
        let is_empty = table.directory(folder).is_some_and(|directory| directory.is_empty());
        if folder != InboxId::ROOT && is_empty {
            let due = self.now() + self.options.settle * QUIET;
            table.notifications.set_alarm(folder, Some(due));
        }
        drop(table);
        self.ring();
    }

    /// A folder is due that was empty a while ago.
    pub(crate) fn remove_emptied(&self, folder: InboxId) {
        let (now, quiet) = (self.now(), self.options.settle * QUIET);
        let (place, path, came_full) = {
            let mut table = self.table();
            let Some(directory) = table.directory(folder) else { return };
            let (is_empty, rest) = (directory.is_empty(), directory.quiet_for(now));
            let came_full = directory.came_full;
            if !is_empty {
                return;
            }
            if rest < quiet {
                table.notifications.set_alarm(folder, Some(now + (quiet - rest)));
                return;
            }
            let place = table.node(folder).and_then(|node| node.place.clone());
            let (Some(place), Some(path)) = (place, table.path(folder)) else { return };
            (place, path, came_full)
        };
        let Ok(dir) = self.directory(folder) else { return };
        let is_marked =
            || disk_xattrs::get(dir.as_fd(), OsStr::new(NAME)).is_ok_and(|it| it.is_some());
        if !came_full && !is_marked() {
            return;
        }
        let (Ok(above), Ok(changing)) = (self.directory(place.parent), self.changing(place.parent))
        else {
            return;
        };
        let turn = hold(&changing);
        // The disk refuses where something has come meanwhile.
        if disk::remove_directory_at(above.as_fd(), place.name.as_os_str()).is_err() {
            return;
        }
        self.removed_at(&place);
        drop(turn);
        let state = JobState::Done;
        self.table().tell_name(&place);
        self.table().tell(SpoolEvent::Stage { id: folder, path, state });
        self.may_be_emptied(place.parent);
    }
}
