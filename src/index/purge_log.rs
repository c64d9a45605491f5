//! `PurgeLog`: recordings that were purged, in a file beside the index. It outlives the index: whatever is rebuilt from
//! the stores, where their files may still be, does not show them again.
//!
//! A line stands for one recording: the hash of its key, its bytes and its time of publication. It names nothing, and
//! the same file dropped once more has another one. So lines are never removed: a bucket may answer years later.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::{ReadableTable, StorageError};

use crate::index::purging::purge_recording;
use crate::index::queries::Snapshot;
use crate::index::tables::{CONDEMNED, PURGING, RECORDINGS, RecordingKey, readable, row_at};
use crate::index::{Index, IndexError};
use crate::model::{Recording, RecordingId};

/// Purged recordings, by [`fingerprint`].
pub(crate) type Purged = HashSet<String>;

#[derive(Debug, Clone, Default)]
pub(crate) struct PurgeLog {
    /// `None`: the index is no file.
    path: Option<PathBuf>,
}

/// Names a recording in the log.
pub(crate) fn fingerprint(recording: &Recording) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [recording.audio.key.as_str(), &recording.audio.blake3] {
        hasher.update(part.as_bytes()).update(b"\n");
    }
    hasher.update(recording.published_at.to_string().as_bytes());
    hasher.finalize().to_hex().to_string()
}

impl PurgeLog {
    /// Of the index at `path`, and of the one that is made beside it to take its place.
    pub(crate) fn beside(path: &Path) -> Self {
        Self { path: Some(path.with_file_name("purged")) }
    }

    /// Adds lines, durably.
    pub(crate) fn add(&self, fingerprints: &[String]) -> Result<(), IndexError> {
        let Some(path) = self.path.as_ref().filter(|_| !fingerprints.is_empty()) else {
            return Ok(());
        };
        self.append(path, fingerprints).map_err(refused)
    }

    fn append(&self, path: &Path, fingerprints: &[String]) -> io::Result<()> {
        let is_new = !path.exists();
        let mut file = File::options().create(true).append(true).mode(0o600).open(path)?;
        // A power cut may have left half a line.
        let lines = format!("\n{}\n", fingerprints.join("\n"));
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        if !is_new {
            return Ok(());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    pub(crate) fn read(&self) -> Result<Purged, IndexError> {
        let Some(path) = &self.path else { return Ok(Purged::new()) };
        match fs::read(path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Purged::new()),
            Err(err) => Err(refused(err)),
        }
    }
}

fn refused(err: io::Error) -> IndexError {
    StorageError::Io(err).into()
}

impl Index {
    /// Purges what was purged before, and was found in a store again.
    pub fn purge_again(&self) -> Result<(), IndexError> {
        let purged = self.inner.purge_log.read()?;
        if purged.is_empty() {
            return Ok(());
        }
        let found = self.ask(|now| {
            let mut found: Vec<RecordingId> = Vec::new();
            for row in now.table(RECORDINGS)?.iter()? {
                let (key, row) = row?;
                let recording = readable::<Recording>(key.value(), row.value());
                let purged = recording.filter(|it| purged.contains(&fingerprint(it)));
                found.extend(purged.map(|recording| recording.id));
            }
            Ok(found)
        })?;
        if found.is_empty() {
            return Ok(());
        }
        log::info!("{} purged recordings are still in the store, and are removed", found.len());
        self.inner.writer.change(move |writing| {
            for id in found {
                match purge_recording(writing, id, jiff::Timestamp::now()) {
                    // It went with its conversation.
                    Err(IndexError::NoConversation) => {}
                    done => done?,
                }
            }
            Ok(())
        })
    }

    /// Notes what `old` is removing for good: earlier versions did not.
    pub(crate) fn take_over_purges(&self, old: &Self) -> Result<(), IndexError> {
        let purging = old.ask(Snapshot::purging_fingerprints)?;
        let known = self.inner.purge_log.read()?;
        let new: Vec<String> = purging.into_iter().filter(|it| !known.contains(it)).collect();
        self.inner.purge_log.add(&new)
    }
}

impl Snapshot {
    fn purging_fingerprints(&self) -> Result<Vec<String>, IndexError> {
        let recordings = self.table(RECORDINGS)?;
        let mut found = Vec::new();
        for row in self.table(PURGING)?.iter()? {
            let recording: Option<Recording> =
                row_at::<RecordingKey, _>(&recordings, row?.0.value())?;
            found.extend(recording.map(|it| fingerprint(&it)));
        }
        for seq in self.table(CONDEMNED)?.iter()? {
            let seq = seq?.0.value();
            for row in recordings.range((seq, 0, 0)..=(seq, u32::MAX, u16::MAX))? {
                let (key, row) = row?;
                let recording = readable::<Recording>(key.value(), row.value());
                found.extend(recording.map(|it| fingerprint(&it)));
            }
        }
        Ok(found)
    }
}
