//! The note beside a recording that could not be used: `<name>.error.txt`.
//!
//! It is there as long as the recording stands there failed, and goes with it. A file of the user's own that has such a name
//! is never replaced or removed: then the note gets a number.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::effective_user::is_root;
use crate::model::{Failure, FailureCause, FileName, InboxId, without_error_numbers};
use crate::spool::table::Place;
use crate::spool::tree::hold;
use crate::spool::{EntryKind, Inner, RenameMode, SpoolError, disk, names};

/// Names that are tried for a note.
const NAMES: u32 = 9;

/// Longer than any note.
const MOST_BYTES: u64 = 1 << 16;

/// How long a folder must be left alone before the notes of removed recordings are taken from it. Until then they
/// are hidden, but whoever has listed the folder, as `rm -r` does, can still remove them.
const FADES: Duration = Duration::from_secs(2);

/// Rest before a note that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(10);

const SAYS: &str = "\ncould not be transcribed.\n\nWhy: ";
const ENDS: &str = "The recording is kept as it is. `touch` it to try again, or delete it if you do not need it.\n";

/// What the note says, in the order in which a person asks.
fn text(name: &FileName, reason: &str) -> String {
    let (message, remedy) = reason.split_once('\n').unwrap_or((reason, ""));
    format!("{}{SAYS}{message}\n\nWhat to do: {remedy}\n\n{ENDS}", first_line(name))
}

fn first_line(name: &FileName) -> String {
    name.display().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The failure as it is kept with the file and shown in its attribute: what is wrong, and on the next line what to do.
pub(crate) fn reason(failure: &Failure) -> String {
    let message = without_error_numbers(&failure.message).replace('\n', " ");
    format!("{message}\n{}", failure.remedy)
}

pub(crate) fn too_large(bytes: u64, most_bytes: u64) -> Failure {
    let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
    Failure {
        cause: FailureCause::TooLarge,
        message: format!(
            "the file has {} MB, and the limit is {} MB",
            megabytes(bytes),
            megabytes(most_bytes)
        ),
        remedy: "Raise `max_upload_size_mb` in the settings (0 for no limit), mount again and `touch` the file; or \
                 split the recording."
            .to_owned(),
    }
}

pub(crate) fn empty() -> Failure {
    Failure {
        cause: FailureCause::NotAudio,
        message: "the file is empty (0 bytes)".to_owned(),
        remedy: "Copy the recording again. If a program has yet to write to the file, do nothing: the file is \
                 processed then, and this note goes away."
            .to_owned(),
    }
}

pub(crate) fn lost(err: &io::Error) -> Failure {
    Failure {
        cause: FailureCause::Storage,
        message: format!("the file could not be written to disk, and parts of it may be lost: {err}"),
        remedy: "Copy the recording again. If the disk is healthy and the file plays to the end, `touch` it \
                 instead."
            .to_owned(),
    }
}

pub(crate) fn unreadable(err: &SpoolError) -> Failure {
    let cause = match err {
        SpoolError::Disk(err) => err.to_string(),
        err => err.to_string(),
    };
    Failure {
        cause: FailureCause::Storage,
        message: format!("the file cannot be read: {cause}"),
        remedy: "Check that you can read the file and that its disk is healthy, then `touch` the file; or drop the \
                 recording again."
            .to_owned(),
    }
}

impl Inner {
    /// Makes the note beside a file what it must be: there while the file stands there failed, else gone.
    pub(crate) fn put_note(&self, id: InboxId) {
        let _turn = self.marks.turn(id);
        let reason = {
            let table = self.table();
            let Some(file) = table.file(id) else { return };
            match file.ending() {
                // A writer that has changed nothing yet leaves it where it is.
                None if file.has_note() => return,
                ending => ending.filter(|_| file.has_note()).map(|ending| ending.reason.clone()),
            }
        };
        let put = match reason {
            Some(reason) => self.write_note(id, &reason),
            None => self.drop_note(id),
        };
        match put {
            Ok(()) | Err(SpoolError::Missing) => {}
            Err(err) => {
                log::warn!("inbox: the note for file {} could not be updated: {err}", id.0);
                let again = self.now() + AGAIN;
                self.table().notifications.set_alarm(id, Some(again));
            }
        }
    }

    /// Has notes put right by the timer's threads: writing one waits for the disk.
    pub(crate) fn owe_notes(&self, ids: &[InboxId]) {
        let now = self.now();
        let mut table = self.table();
        ids.iter().for_each(|id| table.notifications.set_alarm(*id, Some(now)));
        drop(table);
        self.ring();
    }

    /// All of it or nothing.
    fn write_note(&self, id: InboxId, reason: &str) -> Result<(), SpoolError> {
        let stat = self.stat(id)?;
        let place = self.table().node(id).and_then(|node| node.place.clone());
        let place = place.ok_or(SpoolError::Missing)?;
        let dir = self.directory(place.parent)?;
        if let Some(name) = self.note_at(dir.as_fd(), &place.name) {
            let is_fading = {
                let table = self.table();
                let note = table.child(place.parent, &name);
                note.and_then(|note| table.file(note)).is_some_and(|file| file.is_fading())
            };
            if !is_fading {
                return Ok(());
            }
            // Of an earlier recording of that name.
            self.drop_note(id)?;
        }
        let draft_path = self.drafts.draft(&id.0.to_string());
        let mut draft = File::create(&draft_path)?;
        draft.write_all(text(&place.name, reason).as_bytes())?;
        // Whoever may read the recording may read why it failed.
        disk::set_mode(draft.as_fd(), stat.mode() & 0o666 | 0o600)?;
        if is_root() {
            let (uid, gid) = stat.owner();
            disk::set_owner(draft.as_fd(), Some(uid), Some(gid))?;
        }
        draft.sync_all()?;
        let from = File::open(&self.drafts.dir)?;
        let from_name = draft_path.file_name().unwrap_or_default();
        let changing = self.changing(place.parent)?;
        let _changing = hold(&changing);
        for number in 1..=NAMES {
            let note = Place { name: names::note_name(&place.name, number), ..place.clone() };
            let to = (dir.as_fd(), note.name.as_os_str());
            match disk::rename_at((from.as_fd(), from_name), to, RenameMode::NoReplace) {
                Err(err) if err.raw_os_error() == Some(libc::EEXIST) => {}
                renamed => {
                    renamed?;
                    self.enter(note.clone(), &disk::stat_of(&draft)?)?;
                    self.table().tell_name(&note);
                    return Ok(());
                }
            }
        }
        // All names are the user's own: the file's attribute says what is wrong.
        fs::remove_file(&draft_path)?;
        Ok(())
    }

    fn drop_note(&self, id: InboxId) -> Result<(), SpoolError> {
        let place = self.table().node(id).and_then(|node| node.place.clone());
        let place = place.ok_or(SpoolError::Missing)?;
        let changing = self.changing(place.parent)?;
        let _changing = hold(&changing);
        self.remove_note(&place)
    }

    /// Removes the note of what is or was at a place. The caller holds `changing`.
    pub(crate) fn remove_note(&self, place: &Place) -> Result<(), SpoolError> {
        let dir = self.directory(place.parent)?;
        let Some(name) = self.note_at(dir.as_fd(), &place.name) else { return Ok(()) };
        disk::unlink_at(dir.as_fd(), name.as_os_str())?;
        let note = Place { name, ..place.clone() };
        self.removed_at(&note);
        self.table().tell_name(&note);
        Ok(())
    }

    /// Hides the note of a recording that was removed, and has it removed when its folder has come to rest. The caller
    /// holds `changing`.
    pub(crate) fn fade_note(&self, place: &Place) {
        let Ok(dir) = self.directory(place.parent) else { return };
        let Some(name) = self.note_at(dir.as_fd(), &place.name) else { return };
        let Ok(stat) = disk::stat_at(dir.as_fd(), name.as_os_str()) else { return };
        let Ok(id) = self.enter(Place { name, ..place.clone() }, &stat) else { return };
        let due = self.now() + FADES;
        let mut table = self.table();
        if let Some(file) = table.file_mut(id) {
            file.fade(due);
            table.set_alarm(id);
        }
        let hidden = table.node(id).and_then(|node| node.place.clone());
        hidden.iter().for_each(|place| table.tell_name(place));
        drop(table);
        self.ring();
    }

    /// A hidden note is due.
    pub(crate) fn end_fading(&self, id: InboxId) {
        let place = self.table().node(id).and_then(|node| node.place.clone());
        let Some(place) = place else { return };
        let (Ok(dir), Ok(changing)) = (self.directory(place.parent), self.changing(place.parent))
        else {
            return;
        };
        let _changing = hold(&changing);
        let now = self.now();
        let mut table = self.table();
        let quiet = table.directory(place.parent).map_or(FADES, |folder| folder.quiet_for(now));
        let Some(file) = table.file_mut(id).filter(|file| file.is_fading()) else { return };
        if quiet < FADES {
            file.fade(now + FADES);
            table.set_alarm(id);
            return;
        }
        // Written to meanwhile, it is the user's own.
        file.reappears();
        drop(table);
        if is_ours(dir.as_fd(), &place.name, None)
            && disk::unlink_at(dir.as_fd(), place.name.as_os_str()).is_ok()
        {
            self.removed_at(&place);
            self.table().tell_name(&place);
        }
    }

    /// Removes hidden notes at once, so that their folder can be removed. The caller holds `changing` of its parent.
    pub(crate) fn remove_fading(&self, folder: &Place) {
        let Some(id) = self.table().child(folder.parent, &folder.name) else { return };
        let fading: Vec<Place> = {
            let table = self.table();
            let Some(directory) = table.directory(id) else { return };
            let children = directory.children();
            let fading = children.filter(|id| table.file(*id).is_some_and(|file| file.is_fading()));
            fading.filter_map(|id| table.node(id)?.place.clone()).collect()
        };
        let Ok(dir) = self.directory(id) else { return };
        for place in fading {
            if is_ours(dir.as_fd(), &place.name, None)
                && disk::unlink_at(dir.as_fd(), place.name.as_os_str()).is_ok()
            {
                self.removed_at(&place);
            }
        }
    }

    /// Removes the notes of recordings that are gone, or have not failed any more: whoever was to do it has died. Only
    /// while the spool is opened.
    pub(crate) fn remove_orphaned_notes(&self) {
        let mut wanted: HashMap<InboxId, HashSet<FileName>> = HashMap::new();
        let notes = self.table().places_of_files(names::is_note);
        for place in notes {
            let Ok(dir) = self.directory(place.parent) else { continue };
            let of_failed = || self.notes_of_failed(place.parent, dir.as_fd());
            let is_wanted =
                wanted.entry(place.parent).or_insert_with(of_failed).contains(&place.name);
            if !is_wanted
                && is_ours(dir.as_fd(), &place.name, None)
                && disk::unlink_at(dir.as_fd(), place.name.as_os_str()).is_ok()
            {
                self.removed_at(&place);
            }
        }
    }

    /// Names of the notes that belong to failed recordings of a folder.
    fn notes_of_failed(&self, folder: InboxId, dir: BorrowedFd<'_>) -> HashSet<FileName> {
        let failed: Vec<FileName> = {
            let table = self.table();
            let children = table.directory(folder).into_iter().flat_map(|it| it.children());
            let failed = children.filter(|id| table.file(*id).is_some_and(|file| file.has_note()));
            failed.filter_map(|id| Some(table.node(id)?.place.as_ref()?.name.clone())).collect()
        };
        failed.iter().filter_map(|name| self.note_at(dir, name)).collect()
    }

    /// What the note beside a file is called, if there is one of ours.
    fn note_at(&self, dir: BorrowedFd<'_>, name: &FileName) -> Option<FileName> {
        (1..=NAMES).find_map(|number| {
            let note = names::note_name(name, number);
            // With a number it might be the note of a file that has one.
            let of = (number != 1).then_some(name);
            is_ours(dir, &note, of).then_some(note)
        })
    }
}

/// Whether what lies there is a note as we have written it. `of`: only if it is about a file of that name.
fn is_ours(dir: BorrowedFd<'_>, note: &FileName, of: Option<&FileName>) -> bool {
    read_note(dir, note.as_os_str()).is_ok_and(|text| {
        text.contains(SAYS)
            && text.ends_with(ENDS)
            && of.is_none_or(|name| text.lines().next() == Some(&first_line(name)))
    })
}

fn read_note(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<String> {
    let file = File::from(disk::open_at(dir, name, libc::O_RDONLY, 0)?);
    if disk::stat_of(&file)?.kind() != EntryKind::File {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_plain_lines_whatever_the_name_contains() {
        let name = FileName::new(b"a\n\x1b[31mb\xff.wav".to_vec()).unwrap();
        let text = text(&name, &reason(&too_large(5_000_000_000, 4_294_967_296)));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "a\u{fffd}\u{fffd}[31mb\u{fffd}.wav");
        assert_eq!(lines[1], "could not be transcribed.");
        assert_eq!(lines[3], "Why: the file has 4769 MB, and the limit is 4096 MB");
        assert!(lines[5].starts_with("What to do: Raise `max_upload_size_mb`"));
    }

    #[test]
    fn a_note_that_somebody_has_written_to_is_no_longer_ours() {
        let dir = tempfile::tempdir().unwrap();
        let open = File::open(dir.path()).unwrap();
        let (name, other) = (FileName::new("a.wav").unwrap(), FileName::new("b.wav").unwrap());
        let note = names::note_name(&name, 1);
        let text = text(&name, "no sound\nTry again.");
        fs::write(dir.path().join(note.as_os_str()), &text).unwrap();
        assert!(is_ours(open.as_fd(), &note, None));
        assert!(is_ours(open.as_fd(), &note, Some(&name)));
        assert!(!is_ours(open.as_fd(), &note, Some(&other)));
        fs::write(dir.path().join(note.as_os_str()), text + "Asked Anna about it.\n").unwrap();
        assert!(!is_ours(open.as_fd(), &note, None));
    }
}
