//! Which recordings of watched folders have been copied, so that none is copied twice.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::spool::state_inputs::FileStamp;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    path: LinePath,
    bytes: u64,
    modified_ns: i128,
}

/// Text where the path is UTF-8, else its bytes, as earlier versions wrote all of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum LinePath {
    Text(String),
    Bytes(Vec<u8>),
}

impl LinePath {
    fn of(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }

    fn path(self) -> PathBuf {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => PathBuf::from(std::ffi::OsStr::from_bytes(&bytes)),
        }
    }
}

/// Lines that are not needed any more before the file is written anew without them.
const SPARE_LINES: usize = 1000;

/// Nothing is forgotten, not even what is gone: a disk that is unplugged comes back.
#[derive(Debug)]
pub(crate) struct WatchLog {
    file: File,
    copied: HashMap<PathBuf, (u64, i128)>,
}

impl WatchLog {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true);
        let file = options.open(path)?;
        let (mut copied, mut lines) = (HashMap::new(), 0);
        for line in BufReader::new(&file).split(b'\n') {
            // A line that a crash has cut short is as if it had not been written.
            if let Ok(Line { path, bytes, modified_ns }) = serde_json::from_slice(&line?) {
                copied.insert(path.path(), (bytes, modified_ns));
                lines += 1;
            }
        }
        if lines <= 2 * copied.len() + SPARE_LINES {
            return Ok(Self { file, copied });
        }
        let fresh = path.with_extension("new");
        let mut text = Vec::new();
        for (path, (bytes, modified_ns)) in &copied {
            text.extend(line(path, *bytes, *modified_ns)?);
        }
        fs::write(&fresh, text)?;
        File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, path)?;
        Ok(Self { file: options.open(path)?, copied })
    }

    pub(crate) fn has(&self, path: &Path, stamp: FileStamp) -> bool {
        self.copied.get(path) == Some(&(stamp.bytes, stamp.modified_ns))
    }

    pub(crate) fn add(&mut self, path: &Path, stamp: FileStamp) -> io::Result<()> {
        let FileStamp { bytes, modified_ns, .. } = stamp;
        self.copied.insert(path.to_owned(), (bytes, modified_ns));
        self.file.write_all(&line(path, bytes, modified_ns)?)?;
        self.file.sync_data()
    }
}

/// Begins a line of its own even after one that a crash has cut short.
fn line(path: &Path, bytes: u64, modified_ns: i128) -> io::Result<Vec<u8>> {
    let mut text = b"\n".to_vec();
    serde_json::to_writer(&mut text, &Line { path: LinePath::of(path), bytes, modified_ns })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_is_known_after_a_crash_in_the_middle_of_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("watched");
        let stamp = FileStamp { bytes: 7, modified_ns: -5, changed_ns: 0 };
        let odd = PathBuf::from(std::ffi::OsStr::from_bytes(b"/a/\xff\n.wav"));
        WatchLog::open(&file).unwrap().add(&odd, stamp).unwrap();
        OpenOptions::new().append(true).open(&file).unwrap().write_all(b"\n{\"pa").unwrap();
        let mut ledger = WatchLog::open(&file).unwrap();
        assert!(ledger.has(&odd, stamp));
        ledger.add(Path::new("/b"), stamp).unwrap();
        let ledger = WatchLog::open(&file).unwrap();
        assert!(ledger.has(Path::new("/b"), stamp));
        assert!(!ledger.has(Path::new("/b"), FileStamp { bytes: 8, ..stamp }));
    }

    #[test]
    fn what_is_known_twice_is_written_once_when_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("watched");
        let old = r#"{"path":[47,98],"bytes":3,"modified_ns":4}"#;
        std::fs::write(&file, format!("{old}\n").repeat(SPARE_LINES + 3)).unwrap();
        let stamp = FileStamp { bytes: 3, modified_ns: 4, changed_ns: 0 };
        assert!(WatchLog::open(&file).unwrap().has(Path::new("/b"), stamp));
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.trim(), r#"{"path":"/b","bytes":3,"modified_ns":4}"#);
        let mut ledger = WatchLog::open(&file).unwrap();
        ledger.add(Path::new("/c"), stamp).unwrap();
        assert!(WatchLog::open(&file).unwrap().has(Path::new("/c"), stamp));
    }
}
