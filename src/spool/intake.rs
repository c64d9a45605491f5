//! Brings a copy of a file from elsewhere into the inbox, whole or not at all.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::effective_user::is_root;
use crate::model::{FileName, InboxId};
use crate::spool::disk::{self, DiskStat};
use crate::spool::state_inputs::{Candidate, FileStamp, Mark};
use crate::spool::table::Place;
use crate::spool::tree::hold;
use crate::spool::watch_scan::Found;
use crate::spool::{Creator, EntryKind, Inner, RenameMode, SetTime, SpoolError, magic, names};

/// Names that are tried before giving up: `a.wav`, `a-2.wav`, ...
const NAMES: u32 = 1000;

impl Inner {
    /// Copies a file to the same path below the inbox, or to one like it where that is taken. `false` where it is not to
    /// be copied: it is no recording, too large, or not what `stamp` says any more.
    pub(crate) fn bring_in(&self, found: &Found<'_>, stamp: FileStamp) -> Result<bool, SpoolError> {
        self.check_open_for_changes()?;
        let below = found.below;
        let Some((name, folders)) = below.split_last() else { return Ok(false) };
        let source = disk::open_at(found.dir, name.as_os_str(), libc::O_RDONLY, 0)?;
        let source = File::from(source);
        let stat = disk::stat_of(&source)?;
        if !self.is_wanted(&source, below, stamp, &stat)? {
            return Ok(false);
        }
        self.space.claim(self.root.as_fd(), stamp.bytes)?;
        let parent = self.make_folders(folders, &stat)?;
        let draft_path = self.drafts.draft(&format!("copy-{}", self.numbers.next()?.0));
        let draft = File::create(&draft_path)?;
        let copied = self.copy(&source, &draft, stamp, &stat).and_then(|is_same| {
            if is_same {
                self.place_draft(&draft_path, &draft, parent, name)?;
            }
            Ok(is_same)
        });
        if !matches!(copied, Ok(true)) {
            // Best effort: drafts are swept when the spool is opened.
            let _ = fs::remove_file(&draft_path);
        }
        copied
    }

    fn is_wanted(
        &self,
        source: &File,
        below: &[FileName],
        stamp: FileStamp,
        stat: &DiskStat,
    ) -> Result<bool, SpoolError> {
        if stat.stamp() != stamp || stat.kind() != EntryKind::File {
            return Ok(false);
        }
        if let Some(most_bytes) = self.options.max_upload_bytes
            && most_bytes < stamp.bytes
        {
            log::warn!("watched folders: a recording of {} bytes is too large", stamp.bytes);
            return Ok(false);
        }
        Ok(match names::candidate(below) {
            Candidate::Never => false,
            Candidate::ByName => true,
            Candidate::ByContent => magic::is_recording(&magic::head_of(source)?),
        })
    }

    /// `false` where the source changed meanwhile.
    fn copy(
        &self,
        source: &File,
        draft: &File,
        stamp: FileStamp,
        stat: &DiskStat,
    ) -> Result<bool, SpoolError> {
        if !clone_whole(source, draft) {
            io::copy(&mut &*source, &mut &*draft)?;
        }
        if disk::stat_of(source)?.stamp() != stamp {
            return Ok(false);
        }
        disk::set_mode(draft.as_fd(), stat.mode() & 0o777 | 0o600)?;
        if is_root() {
            let (uid, gid) = stat.owner();
            disk::set_owner(draft.as_fd(), Some(uid), Some(gid))?;
        }
        let modified = SetTime::At(time(stamp.modified_ns));
        disk::set_times(draft.as_fd(), Some(modified), Some(modified))?;
        draft.sync_all()?;
        Ok(true)
    }

    fn make_folders(&self, folders: &[FileName], stat: &DiskStat) -> Result<InboxId, SpoolError> {
        let (uid, gid) = stat.owner();
        let creator = Creator { uid, gid, mode: 0o755, thread: 0 };
        let mut at = InboxId::ROOT;
        for folder in folders {
            let place = Place { parent: at, name: folder.clone() };
            at = match self.adopt(place.clone()) {
                Ok((id, _)) => id,
                Err(SpoolError::Missing) => {
                    let made = self.make_directory(at, folder.as_os_str(), creator)?.id;
                    // The kernel has not been told of it.
                    let mut table = self.table();
                    table.forget(made, 1);
                    table.tell_name(&place);
                    drop(table);
                    made
                }
                Err(err) => return Err(err),
            };
        }
        Ok(at)
    }

    /// Puts a finished copy where it belongs, under the first name that is free, and offers it.
    fn place_draft(
        &self,
        draft_path: &Path,
        draft: &File,
        parent: InboxId,
        name: &FileName,
    ) -> Result<(), SpoolError> {
        let from = File::open(draft_path.parent().unwrap_or(Path::new(".")))?;
        let from_name = draft_path.file_name().unwrap_or_default();
        let dir = self.directory(parent)?;
        let changing = self.changing(parent)?;
        let turn = hold(&changing);
        let mut number = 1;
        let place = loop {
            let name = numbered(name, number);
            let to = (dir.as_fd(), name.as_os_str());
            match disk::rename_at((from.as_fd(), from_name), to, RenameMode::NoReplace) {
                Ok(()) => break Place { parent, name },
                Err(err) if err.raw_os_error() == Some(libc::EEXIST) && number < NAMES => {
                    number += 1;
                }
                Err(err) => return Err(err.into()),
            }
        };
        let stat = disk::stat_of(draft)?;
        let id = self.enter(place.clone(), &stat)?;
        drop(turn);
        self.table().tell_name(&place);
        self.sync_directory(parent)?;
        // It has settled where it came from.
        let (stamp, now) = (stat.stamp(), self.now());
        self.change(id, |file, candidate| file.found(Mark::Nothing, candidate, stamp, now));
        self.change(id, |file, candidate| file.committed(candidate, Some(stamp), now));
        Ok(())
    }
}

/// Shares the blocks where the disk can do that and both files are on it.
fn clone_whole(source: &File, draft: &File) -> bool {
    // SAFETY: the call takes two open descriptors and touches no memory of ours.
    unsafe { libc::ioctl(draft.as_raw_fd(), libc::FICLONE, source.as_raw_fd()) == 0 }
}

fn time(nanoseconds: i128) -> SystemTime {
    let span = |nanoseconds: i128| {
        let seconds = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0);
        let rest = u32::try_from(nanoseconds % 1_000_000_000).unwrap_or(0);
        Duration::new(seconds, rest)
    };
    if nanoseconds < 0 { UNIX_EPOCH - span(-nanoseconds) } else { UNIX_EPOCH + span(nanoseconds) }
}

/// `a.wav`, `a-2.wav`, `a-3.wav`, ...
fn numbered(name: &FileName, number: u32) -> FileName {
    if number == 1 {
        return name.clone();
    }
    let (stem, extension) = name.split_extension();
    let end = match extension {
        Some(extension) => [format!("-{number}.").as_bytes(), extension].concat(),
        None => format!("-{number}").into_bytes(),
    };
    let stem = &stem[..stem.len().min(FileName::MAX_BYTES.saturating_sub(end.len()))];
    FileName::new([stem, &end].concat()).unwrap_or_else(|| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_stands_before_the_extension() {
        let name = |text: &str| FileName::new(text).unwrap();
        assert_eq!(numbered(&name("a.b.wav"), 1), name("a.b.wav"));
        assert_eq!(numbered(&name("a.b.wav"), 2), name("a.b-2.wav"));
        assert_eq!(numbered(&name("a"), 3), name("a-3"));
        let long = format!("{}.wav", "x".repeat(251));
        assert_eq!(numbered(&name(&long), 12).as_bytes().len(), 255);
    }

    #[test]
    fn times_before_1970_are_kept_too() {
        for nanoseconds in [0, 1, -1, 1_700_000_000_123_456_789, -1_500_000_000] {
            let back = match time(nanoseconds).duration_since(UNIX_EPOCH) {
                Ok(after) => i128::try_from(after.as_nanos()).unwrap(),
                Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap(),
            };
            assert_eq!(back, nanoseconds);
        }
    }
}
