//! The note beside a recording that could not be used: `<name>.error.txt`.

use std::os::fd::AsFd;

use crate::model::InboxId;
use crate::spool::Inner;
use crate::spool::disk;
use crate::spool::names;
use crate::spool::table::Place;
use crate::spool::tree::hold;

impl Inner {
    /// Removes the note beside a file, if there is one.
    pub(crate) fn drop_note(&self, id: InboxId) {
        let Some(place) = self.table().node(id).and_then(|node| node.place.clone()) else {
            return;
        };
        let note = Place { parent: place.parent, name: names::note_name(&place.name) };
        let (Ok(dir), Ok(changing)) = (self.directory(note.parent), self.changing(note.parent))
        else {
            return;
        };
        let _turn = hold(&changing);
        match disk::unlink_at(dir.as_fd(), note.name.as_os_str()) {
            Ok(()) => self.removed_at(&note),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => log::warn!("inbox: an error note could not be removed: {err}"),
        }
    }
}
