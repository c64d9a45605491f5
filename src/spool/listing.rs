//! Directory listings: in order of position, from high to low, without state between calls.
//!
//! The cookie of an entry is its position. An entry keeps it as long as it stays, whatever it is renamed to, and new ones
//! get higher positions, so a listing shows what stays exactly once, leaves out what comes while it is under way, and
//! ends. The disk is read once per listing, at its start; after that the table knows what there is.

use std::os::fd::{AsFd, BorrowedFd};

use crate::model::InboxId;
use crate::spool::table::Place;
use crate::spool::{Inner, ListedEntry, SpoolError, disk};

impl Inner {
    pub(crate) fn list(
        &self,
        id: InboxId,
        cookie: u64,
        limit: usize,
    ) -> Result<Vec<ListedEntry>, SpoolError> {
        let is_scanned = self.table().directory(id).is_some_and(|directory| directory.is_scanned);
        if cookie == 0 || !is_scanned {
            self.scan(id)?;
        }
        let dir = self.directory(id)?;
        let mut listed = Vec::new();
        let mut below = cookie;
        while listed.len() < limit {
            let wanted = limit - listed.len();
            let children = match self.table().directory(id) {
                Some(directory) => directory.children_below(below, wanted),
                None => return Err(SpoolError::Missing),
            };
            let Some((last, _)) = children.last() else { break };
            below = *last;
            for (position, child) in children {
                listed.extend(self.listed(id, child, position, dir.as_fd()));
            }
        }
        Ok(listed)
    }

    fn listed(
        &self,
        parent: InboxId,
        id: InboxId,
        cookie: u64,
        dir: BorrowedFd<'_>,
    ) -> Option<ListedEntry> {
        let place = self.shown_place(parent, id, cookie)?;
        let stat = match disk::stat_at(dir, place.name.as_os_str()) {
            Ok(stat) if self.known(&place, &stat) == Some(id) => stat,
            // It is not where it was: renamed just now, or gone. Asking by number finds out.
            _ => self.stat(id).ok()?,
        };
        let name = self.shown_place(parent, id, cookie)?.name;
        Some(ListedEntry { name, attributes: stat.attributes(id), cookie })
    }

    /// Where the entry at a position of a listing is, unless it is hidden or has left.
    fn shown_place(&self, parent: InboxId, id: InboxId, position: u64) -> Option<Place> {
        let table = self.table();
        let is_hidden = table.file(id).is_some_and(|file| file.is_fading());
        let node = table.node(id).filter(|node| !is_hidden && node.position() == position)?;
        node.place.clone().filter(|place| place.parent == parent)
    }

    /// Learns what is in a directory. Only adds: what is gone is found out when it is asked for.
    pub(crate) fn scan(&self, id: InboxId) -> Result<(), SpoolError> {
        let dir = self.directory(id)?;
        for name in disk::names_in(dir.as_fd())? {
            let Ok(place) = crate::spool::tree::place(id, &name) else { continue };
            let is_known = self.table().child(id, &place.name).is_some();
            if !is_known && let Ok((new, stat)) = self.adopt(place) {
                self.look_around(new, &stat);
            }
        }
        if let Some(directory) = self.table().directory_mut(id) {
            directory.is_scanned = true;
        }
        Ok(())
    }
}
