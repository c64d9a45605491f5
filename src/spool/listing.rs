//! Directory listings: in order of number, without state between calls.
//!
//! The cookie of an entry is its number. An entry keeps its number as long as it stays, whatever it is renamed to,
//! and new ones get higher numbers, so a listing shows what stays exactly once. The disk is read once per
//! listing, at its start; after that the table knows what there is.

use std::os::fd::AsFd;

use crate::model::{FileName, InboxId};
use crate::spool::disk::{self, DiskStat};
use crate::spool::table::Place;
use crate::spool::{Inner, ListedEntry, SpoolError};

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
        let mut after = InboxId(cookie);
        while listed.len() < limit {
            let wanted = limit - listed.len();
            let children = match self.table().directory(id) {
                Some(directory) => directory.children_after(after, wanted),
                None => return Err(SpoolError::Missing),
            };
            let Some((last, _)) = children.last() else { break };
            after = *last;
            for (child, name) in children {
                let found = disk::stat_at(dir.as_fd(), name.as_os_str()).ok();
                listed.extend(self.listed(id, child, name, found));
            }
        }
        Ok(listed)
    }

    fn listed(
        &self,
        parent: InboxId,
        id: InboxId,
        name: FileName,
        found: Option<DiskStat>,
    ) -> Option<ListedEntry> {
        let place = Place { parent, name };
        let stat = match found {
            Some(stat) if self.known(&place, &stat) == Some(id) => stat,
            // It is not where it was: renamed just now, or gone. Asking by number finds out.
            _ => self.stat(id).ok()?,
        };
        let place = self.table().node(id)?.place.clone().filter(|now| now.parent == parent)?;
        Some(ListedEntry { name: place.name, attributes: stat.attributes(id), cookie: id.0 })
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
