//! Which recordings of watched folders have been copied, so that none is copied twice.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::spool::signs::Stamp;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// Not always UTF-8.
    path: Vec<u8>,
    bytes: u64,
    modified_ns: i128,
}

/// Lines are only ever added, also for what is gone: a disk that is unplugged comes back.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: File,
    copied: HashMap<PathBuf, (u64, i128)>,
}

impl Ledger {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let mut copied = HashMap::new();
        for line in BufReader::new(&file).split(b'\n') {
            // A line that a crash has cut short is as if it had not been written.
            if let Ok(Line { path, bytes, modified_ns }) = serde_json::from_slice(&line?) {
                let path = PathBuf::from(std::ffi::OsStr::from_bytes(&path));
                copied.insert(path, (bytes, modified_ns));
            }
        }
        Ok(Self { file, copied })
    }

    pub(crate) fn has(&self, path: &Path, stamp: Stamp) -> bool {
        self.copied.get(path) == Some(&(stamp.bytes, stamp.modified_ns))
    }

    pub(crate) fn add(&mut self, path: &Path, stamp: Stamp) -> io::Result<()> {
        let Stamp { bytes, modified_ns, .. } = stamp;
        self.copied.insert(path.to_owned(), (bytes, modified_ns));
        let line = Line { path: path.as_os_str().as_bytes().to_vec(), bytes, modified_ns };
        // Begins a line of its own even after one that a crash has cut short.
        let mut text = b"\n".to_vec();
        serde_json::to_writer(&mut text, &line)?;
        self.file.write_all(&text)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_is_known_after_a_crash_in_the_middle_of_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("watched");
        let stamp = Stamp { bytes: 7, modified_ns: -5, changed_ns: 0 };
        let odd = PathBuf::from(std::ffi::OsStr::from_bytes(b"/a/\xff\n.wav"));
        Ledger::open(&file).unwrap().add(&odd, stamp).unwrap();
        OpenOptions::new().append(true).open(&file).unwrap().write_all(b"\n{\"pa").unwrap();
        let mut ledger = Ledger::open(&file).unwrap();
        assert!(ledger.has(&odd, stamp));
        ledger.add(Path::new("/b"), stamp).unwrap();
        let ledger = Ledger::open(&file).unwrap();
        assert!(ledger.has(Path::new("/b"), stamp));
        assert!(!ledger.has(Path::new("/b"), Stamp { bytes: 8, ..stamp }));
    }
}
