//! Numbers for inbox entries: counted up, and never given out twice while the spool exists.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::concurrency::Mutex;
use crate::model::InboxId;

/// Numbers set aside on disk at a time: one write and sync for so many entries. A crash wastes what is
/// left of a block; 2^62 numbers last for 2^46 of them.
const BLOCK: u64 = 1 << 16;

/// No number is as large: inode numbers are made of them.
const LIMIT: u64 = 1 << 61;

/// Gives out numbers.
#[derive(Debug)]
pub(crate) struct Numbers {
    path: PathBuf,
    /// Guards the next number and the end of the block that the disk knows of.
    block: Mutex<(u64, u64)>,
}

impl Numbers {
    /// Continues after everything that may have been given out before.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let first = match fs::read(path) {
            Ok(text) => std::str::from_utf8(&text)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .filter(|first: &u64| *first < LIMIT)
                .ok_or_else(|| damaged(path))?,
            // 0 is the inbox itself.
            Err(err) if err.kind() == io::ErrorKind::NotFound => 1,
            Err(err) => return Err(err),
        };
        Ok(Self { path: path.to_owned(), block: Mutex::new((first, first)) })
    }

    /// The lock is held over the disk once in [`BLOCK`] numbers: nobody may have the next one before the
    /// disk knows.
    pub(crate) fn next(&self) -> io::Result<InboxId> {
        let mut block = self.block.lock().unwrap_or_else(|poison| poison.into_inner());
        let (next, end) = *block;
        if next == end {
            let end = end.checked_add(BLOCK).ok_or_else(|| damaged(&self.path))?;
            self.write(end)?;
            block.1 = end;
        }
        block.0 = next + 1;
        Ok(InboxId(next))
    }

    fn write(&self, end: u64) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, end.to_string())?;
        fs::File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::File::open(dir)?.sync_all()
    }
}

/// Nobody but a person can say which numbers are in use: those of files that wait in the inbox.
fn damaged(path: &Path) -> io::Error {
    let what = format!(
        "{} is damaged. Write a number into it that is larger than any it may have had, such as {}, and mount again",
        path.display(),
        LIMIT / 2
    );
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_comes_twice_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers");
        let mut last = 0;
        for _ in 0..3 {
            let numbers = Numbers::open(&path).unwrap();
            for _ in 0..3 {
                let InboxId(number) = numbers.next().unwrap();
                assert!(number > last);
                last = number;
            }
        }
    }

    #[test]
    fn a_block_is_followed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers");
        let numbers = Numbers::open(&path).unwrap();
        let given: Vec<u64> = (0..BLOCK + 2).map(|_| numbers.next().unwrap().0).collect();
        assert!(given.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        assert_eq!(fs::read_to_string(&path).unwrap(), (1 + 2 * BLOCK).to_string());
    }

    #[test]
    fn a_damaged_file_is_named_with_its_cure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers");
        for damage in [&b""[..], b"\xff\x00\x12", b"x", b"18446744073709551615"] {
            fs::write(&path, damage).unwrap();
            let err = Numbers::open(&path).unwrap_err().to_string();
            assert!(err.contains("numbers is damaged. Write a number"), "{err}");
        }
        fs::write(&path, (LIMIT / 2).to_string()).unwrap();
        assert_eq!(Numbers::open(&path).unwrap().next().unwrap(), InboxId(LIMIT / 2));
    }
}
