//! The model: a tree in memory that does what POSIX and the design say, and nothing clever.

use std::collections::BTreeMap;

use super::Seen;
use super::operation::{End, Operation, Rename};

/// What an operation came to: nothing, or an errno.
pub(crate) type Outcome = Result<(), i32>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder,
    Link,
    File(usize),
}

/// The moment before an operation, as far as the driver must know it.
#[derive(Debug)]
pub(crate) struct Before {
    /// Bytes of the complete recording that a job is for; `None`: there is none, so nothing is to be offered.
    pub(crate) recording: Option<Vec<u8>>,
    pub(crate) is_renamed_free: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Naive {
    entries: BTreeMap<String, Entry>,
    /// Bytes of every file that ever was: an open one outlives its name.
    files: Vec<Vec<u8>>,
    held: Vec<usize>,
    /// Audio names of each, as `dd/name`.
    pub(crate) conversations: BTreeMap<String, Vec<String>>,
    pub(crate) trash: BTreeMap<String, Vec<String>>,
}

impl Naive {
    pub(crate) fn tree(&self) -> BTreeMap<String, Seen> {
        let seen = |entry: &Entry| match entry {
            Entry::Folder => Seen::Folder,
            Entry::Link => Seen::Link,
            Entry::File(file) => Seen::File(self.files[*file].clone()),
        };
        self.entries.iter().map(|(path, entry)| (path.clone(), seen(entry))).collect()
    }

    /// Bytes of the files that are held open, in the order in which they were opened.
    pub(crate) fn held(&self) -> Vec<Vec<u8>> {
        self.held.iter().map(|file| self.files[*file].clone()).collect()
    }

    /// What the driver must know of the moment before an operation.
    pub(crate) fn foresee(&self, operation: &Operation) -> Before {
        let mut before = Before { recording: None, is_renamed_free: self.is_free(RENAMED) };
        if let Operation::Job { path, .. } = operation
            && self.is_complete(path)
        {
            before.recording = self.bytes(path).map(<[u8]>::to_vec);
        }
        before
    }

    /// Whether a worker may get it: a whole recording with a name of its own.
    fn is_complete(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_recording = name.ends_with(".wav") || name.ends_with(".flac");
        let is_held =
            matches!(self.entries.get(path), Some(Entry::File(it)) if self.held.contains(it));
        let has_bytes = self.bytes(path).is_some_and(|bytes| !bytes.is_empty());
        is_recording && !name.starts_with('.') && has_bytes && !is_held
    }

    fn bytes(&self, path: &str) -> Option<&[u8]> {
        match self.entries.get(path) {
            Some(Entry::File(file)) => Some(&self.files[*file]),
            _ => None,
        }
    }

    fn is_free(&self, path: &str) -> bool {
        self.parent_of(path).is_ok() && !self.entries.contains_key(path)
    }

    pub(crate) fn apply(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Write { path, bytes } => self.write(path, bytes),
            Operation::WriteAt { path, offset, bytes } => {
                let file = self.file(path)?;
                self.write_at(file, *offset, bytes);
                Ok(())
            }
            Operation::Truncate { path, length } => {
                let file = self.file(path)?;
                self.files[file].resize(usize::try_from(*length).unwrap(), 0);
                Ok(())
            }
            Operation::MakeFolder { path } => self.make(path, Entry::Folder),
            Operation::Link { path } => self.make(path, Entry::Link),
            Operation::RemoveFolder { path } => self.remove_folder(path),
            Operation::Remove { path } | Operation::RemoveLink { path } => self.remove(path),
            Operation::Rename { from, to, how } => self.rename(from, to, *how),
            Operation::Hold { path } => {
                let file = self.file(path)?;
                self.held.push(file);
                Ok(())
            }
            Operation::WriteHeld { bytes } => {
                if let Some(file) = self.held.last().copied() {
                    let end = self.files[file].len() as u64;
                    self.write_at(file, end, bytes);
                }
                Ok(())
            }
            Operation::Release => {
                self.held.pop();
                Ok(())
            }
            Operation::Job { path, end } => {
                if self.is_complete(path) {
                    self.finish(path, *end);
                }
                Ok(())
            }
            Operation::RenameConversation { from, to } => self.rename_conversation(from, to),
            Operation::Trash { conversation } => self.trash(conversation),
            Operation::Restore { conversation, to } => self.restore(conversation, to),
            Operation::Restart => {
                self.held.clear();
                Ok(())
            }
        }
    }

    pub(crate) fn remove_everything(&mut self) {
        while let Some((path, entry)) = self.entries.iter().next_back() {
            let (path, entry) = (path.clone(), entry.clone());
            let removed = match entry {
                Entry::Folder => self.remove_folder(&path),
                _ => self.remove(&path),
            };
            assert_eq!(removed, Ok(()), "{path}");
        }
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Outcome {
        self.parent_of(path)?;
        match self.entries.get(path) {
            Some(Entry::Folder) => return Err(libc::EISDIR),
            Some(Entry::File(file)) => self.files[*file] = bytes.to_vec(),
            _ => {
                self.files.push(bytes.to_vec());
                self.entries.insert(path.to_owned(), Entry::File(self.files.len() - 1));
            }
        }
        Ok(())
    }

    fn write_at(&mut self, file: usize, offset: u64, bytes: &[u8]) {
        // Writing nothing makes nothing longer.
        if bytes.is_empty() {
            return;
        }
        let offset = usize::try_from(offset).unwrap();
        let file = &mut self.files[file];
        let end = offset + bytes.len();
        file.resize(file.len().max(end), 0);
        file[offset..end].copy_from_slice(bytes);
    }

    fn file(&self, path: &str) -> Result<usize, i32> {
        self.parent_of(path)?;
        match self.entries.get(path) {
            Some(Entry::File(file)) => Ok(*file),
            Some(Entry::Folder) => Err(libc::EISDIR),
            Some(Entry::Link) | None => Err(libc::ENOENT),
        }
    }

    /// Whether everything above a path is a folder.
    fn parent_of(&self, path: &str) -> Outcome {
        for (at, _) in path.match_indices('/') {
            match self.entries.get(&path[..at]) {
                Some(Entry::Folder) => {}
                Some(Entry::File(_)) => return Err(libc::ENOTDIR),
                Some(Entry::Link) | None => return Err(libc::ENOENT),
            }
        }
        Ok(())
    }

    fn make(&mut self, path: &str, entry: Entry) -> Outcome {
        self.parent_of(path)?;
        if self.entries.contains_key(path) {
            return Err(libc::EEXIST);
        }
        self.entries.insert(path.to_owned(), entry);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Outcome {
        self.parent_of(path)?;
        match self.entries.get(path) {
            None => Err(libc::ENOENT),
            Some(Entry::Folder) => Err(libc::EISDIR),
            Some(_) => {
                self.entries.remove(path);
                Ok(())
            }
        }
    }

    fn remove_folder(&mut self, path: &str) -> Outcome {
        self.parent_of(path)?;
        match self.entries.get(path) {
            None => Err(libc::ENOENT),
            Some(Entry::Folder) if self.has_children(path) => Err(libc::ENOTEMPTY),
            Some(Entry::Folder) => {
                self.entries.remove(path);
                Ok(())
            }
            Some(_) => Err(libc::ENOTDIR),
        }
    }

    fn has_children(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.entries.keys().any(|other| other.starts_with(&below))
    }

    fn rename(&mut self, from: &str, to: &str, how: Rename) -> Outcome {
        self.parent_of(from)?;
        self.parent_of(to)?;
        let source = self.entries.get(from).cloned().ok_or(libc::ENOENT)?;
        let target = self.entries.get(to).cloned();
        match (how, &target) {
            (Rename::NoReplace, Some(_)) => return Err(libc::EEXIST),
            (Rename::Exchange, None) => return Err(libc::ENOENT),
            _ => {}
        }
        if to.starts_with(&format!("{from}/")) {
            return Err(libc::EINVAL);
        }
        if from.starts_with(&format!("{to}/")) {
            return Err(if how == Rename::Exchange { libc::EINVAL } else { libc::ENOTEMPTY });
        }
        if from == to {
            return Ok(());
        }
        if how == Rename::Exchange {
            self.move_entries(from, "\0");
            self.move_entries(to, from);
            self.move_entries("\0", to);
            return Ok(());
        }
        match (&source, &target) {
            (Entry::Folder, Some(Entry::Folder)) if self.has_children(to) => {
                return Err(libc::ENOTEMPTY);
            }
            (Entry::Folder, Some(Entry::Folder)) | (_, None) => {}
            (Entry::Folder, Some(_)) => return Err(libc::ENOTDIR),
            (_, Some(Entry::Folder)) => return Err(libc::EISDIR),
            (_, Some(_)) => {}
        }
        self.entries.remove(to);
        self.move_entries(from, to);
        Ok(())
    }

    fn move_entries(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let moving: Vec<String> = self
            .entries
            .keys()
            .filter(|it| *it == from || it.starts_with(&below))
            .cloned()
            .collect();
        for path in moving {
            let entry = self.entries.remove(&path).unwrap();
            self.entries.insert(format!("{to}{}", &path[from.len()..]), entry);
        }
    }

    fn finish(&mut self, path: &'static str, end: End) {
        match end {
            End::Published { conversation, day } => {
                self.entries.remove(path);
                let names = self.conversations.entry(conversation.to_owned()).or_default();
                let of_day = names.iter().filter(|it| it.starts_with(&format!("{day:02}/")));
                let name = match of_day.count() {
                    0 => format!("{day:02}/monday.wav"),
                    others => format!("{day:02}/monday-{}.wav", others + 1),
                };
                names.push(name);
            }
            End::Written | End::FailedThenRewritten => {
                self.write(path, REWRITTEN).unwrap();
            }
            End::Removed | End::FailedThenRemoved => self.remove(path).unwrap(),
            End::FailedThenTouched => {}
            // And is removed under its new name, so that nothing of it may be left.
            End::FailedThenRenamed if self.is_free(RENAMED) => self.remove(path).unwrap(),
            End::FailedThenRenamed => {}
        }
    }

    fn rename_conversation(&mut self, from: &str, to: &str) -> Outcome {
        if !self.conversations.contains_key(from) {
            return Err(libc::ENOENT);
        }
        if from == to {
            return Ok(());
        }
        if self.conversations.contains_key(to) {
            return Err(libc::EEXIST);
        }
        let recordings = self.conversations.remove(from).unwrap();
        self.conversations.insert(to.to_owned(), recordings);
        Ok(())
    }

    /// Two of one name in the trash are told apart by number, which is another test's business.
    fn trash(&mut self, conversation: &str) -> Outcome {
        if self.trash.contains_key(conversation) {
            return Err(libc::EEXIST);
        }
        let recordings = self.conversations.remove(conversation).ok_or(libc::ENOENT)?;
        self.trash.insert(conversation.to_owned(), recordings);
        Ok(())
    }

    fn restore(&mut self, conversation: &str, to: &str) -> Outcome {
        if !self.trash.contains_key(conversation) {
            return Err(libc::ENOENT);
        }
        if self.conversations.contains_key(to) {
            return Err(libc::EEXIST);
        }
        let recordings = self.trash.remove(conversation).unwrap();
        self.conversations.insert(to.to_owned(), recordings);
        Ok(())
    }
}

/// What somebody writes over a recording that is being worked on, or that has failed.
pub(crate) const REWRITTEN: &[u8] = b"somebody has written other bytes";

/// Where a failed recording is moved to.
pub(crate) const RENAMED: &str = "renamed.wav";
