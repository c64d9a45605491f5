//! The note beside a recording that could not be used: `<name>.error.txt`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::model::{Failure, FailureCause, FileName, InboxId};
use crate::spool::disk;
use crate::spool::names;
use crate::spool::table::Place;
use crate::spool::tree::hold;
use crate::spool::{Inner, RenameMode, SpoolError};

/// Where notes and copies are written before they appear in the inbox, whole.
#[derive(Debug)]
pub(crate) struct Drafts {
    dir: PathBuf,
}

impl Drafts {
    /// What a crash has left behind is of no use to anybody.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    pub(crate) fn draft(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// What the note says, in the order in which a person asks.
fn text(name: &FileName, failure: &Failure) -> String {
    let name: String =
        name.display().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!(
        "{name}\ncould not be transcribed.\n\nWhy: {}\n\nWhat to do: {}\n\n\
         The recording is kept as it is. `touch` it to try again, or delete it if you do not need it.\n",
        failure.message, failure.remedy
    )
}

/// One failure as it is kept with the file and shown in its attribute.
pub(crate) fn reason(failure: &Failure) -> String {
    format!("{}\n{}", failure.message, failure.remedy)
}

pub(crate) fn too_large(bytes: u64, most_bytes: u64) -> Failure {
    let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
    Failure {
        cause: FailureCause::TooLarge,
        message: format!(
            "the file has {} MB, and files of more than {} MB are not taken",
            megabytes(bytes),
            megabytes(most_bytes)
        ),
        remedy: "Raise MAX_UPLOAD_SIZE_MB (0 takes files of any size), mount again and `touch` \
                 the file; or cut the recording into parts."
            .to_owned(),
    }
}

impl Inner {
    /// Writes the note beside a file, all of it or nothing.
    pub(crate) fn write_note(&self, id: InboxId, failure: &Failure) -> Result<(), SpoolError> {
        let stat = self.stat(id)?;
        let place = self.table().node(id).and_then(|node| node.place.clone());
        let place = place.ok_or(SpoolError::Missing)?;
        let draft_path = self.drafts.draft(&id.0.to_string());
        let mut draft = File::create(&draft_path)?;
        draft.write_all(text(&place.name, failure).as_bytes())?;
        // Whoever may read the recording may read why it failed.
        disk::set_mode(draft.as_fd(), stat.mode() & 0o666 | 0o600)?;
        if disk::is_root() {
            let (uid, gid) = stat.owner();
            disk::set_owner(draft.as_fd(), Some(uid), Some(gid))?;
        }
        draft.sync_all()?;
        let from = File::open(&self.drafts.dir)?;
        let from_name = draft_path.file_name().unwrap_or_default();
        let note = Place { parent: place.parent, name: names::note_name(&place.name) };
        let dir = self.directory(note.parent)?;
        let changing = self.changing(note.parent)?;
        let _turn = hold(&changing);
        let to = (dir.as_fd(), note.name.as_os_str());
        disk::rename_at((from.as_fd(), from_name), to, RenameMode::Replace)?;
        self.enter(note, &disk::stat_of(&draft)?)?;
        Ok(())
    }

    /// The note follows its file. The caller holds `changing` of both directories.
    pub(crate) fn carry_note(&self, from: &Place, to: &Place) {
        let note_at =
            |place: &Place| Place { parent: place.parent, name: names::note_name(&place.name) };
        let (from, to) = (note_at(from), note_at(to));
        let Some(id) = self.table().child(from.parent, &from.name) else { return };
        let (Ok(from_dir), Ok(to_dir)) = (self.directory(from.parent), self.directory(to.parent))
        else {
            return;
        };
        let old = (from_dir.as_fd(), from.name.as_os_str());
        let new = (to_dir.as_fd(), to.name.as_os_str());
        // Where something else has that name the note stays behind.
        if disk::rename_at(old, new, RenameMode::NoReplace).is_ok() {
            self.removed_at(&to);
            self.table().rename(id, to);
        }
    }

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
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => log::warn!("inbox: an error note could not be removed: {err}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_plain_lines_whatever_the_name_contains() {
        let name = FileName::new(b"a\n\x1b[31mb\xff.wav".to_vec()).unwrap();
        let text = text(&name, &too_large(5_000_000_000, 4_294_967_296));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "a\u{fffd}\u{fffd}[31mb\u{fffd}.wav");
        assert_eq!(lines[1], "could not be transcribed.");
        assert_eq!(
            lines[3],
            "Why: the file has 4769 MB, and files of more than 4096 MB are not taken"
        );
        assert!(lines[5].starts_with("What to do: Raise MAX_UPLOAD_SIZE_MB"));
    }
}
