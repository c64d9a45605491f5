//! Where the log goes: standard error, or a file of limited size that can be moved away at any time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use env_logger::{Builder, Target};
use log::LevelFilter;

use crate::model::printable;

/// A log file of this size is renamed to `<name>.1`, over the one before, and a new one is begun: 20 MB at most in
/// all, some 100,000 lines.
const LARGEST_BYTES: u64 = 10 << 20;

/// Sends the log of this process to standard error, from `level` up.
pub fn set_up_logging(level: LevelFilter) {
    init(level, Target::Stderr);
}

/// Sends the log of this process, and whatever libraries write to standard output and error, to the file `path`.
pub fn log_to_file(level: LevelFilter, path: &Path) -> io::Result<()> {
    let mut log = LogFile::open(path, LARGEST_BYTES)?;
    log.take_standard_streams()?;
    log.streams_follow = true;
    init(level, Target::Pipe(Box::new(log)));
    Ok(())
}

fn init(level: LevelFilter, target: Target) {
    let mut builder = Builder::new();
    // Libraries speak up only when something is wrong.
    builder.filter_level(level.min(LevelFilter::Warn)).filter_module("scribefs", level);
    builder.target(target).format(|out, record| {
        let message = record.args().to_string();
        let (time, level, target) = (out.timestamp_millis(), record.level(), record.target());
        if is_interruption(target, &message) {
            return Ok(());
        }
        writeln!(out, "[{time} {level:<5} {target}] {}", printable(&message))
    });
    // A second call, in tests, finds the first one's logger: that one goes on.
    let _ = builder.try_init();
}

/// A caller was interrupted by a signal (each tick of a profiler, a Ctrl-C): the kernel has let go of the request,
/// and tells fuser, which replies to it all the same, that there is no such request. That is no error.
fn is_interruption(target: &str, message: &str) -> bool {
    target.split("::").eq(["fuser", "reply"]) && message.ends_with("(os error 2)")
}

/// Writes to whatever file has the path at the moment: one that was moved away, or has grown too large, is left
/// and a new one made.
struct LogFile {
    path: PathBuf,
    file: File,
    largest_bytes: u64,
    /// Standard output and error lead to `file`.
    streams_follow: bool,
}

impl LogFile {
    fn open(path: &Path, largest_bytes: u64) -> io::Result<Self> {
        let file = Self::opened(path)?;
        Ok(Self { path: path.to_owned(), file, largest_bytes, streams_follow: false })
    }

    fn opened(path: &Path) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(path)
    }

    /// Makes standard output and error lead here.
    fn take_standard_streams(&self) -> io::Result<()> {
        for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            // SAFETY: both are open descriptors; the standard streams are nobody's to own.
            if unsafe { libc::dup2(self.file.as_raw_fd(), stream) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    fn change_files_if_due(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let is_moved = match fs::metadata(&self.path) {
            Ok(there) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
            Err(err) => err.kind() == io::ErrorKind::NotFound,
        };
        if !is_moved && ours.len() < self.largest_bytes {
            return Ok(());
        }
        if !is_moved {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            fs::rename(&self.path, old)?;
        }
        self.file = Self::opened(&self.path)?;
        if self.streams_follow { self.take_standard_streams() } else { Ok(()) }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Where no new file can be made, the old one is better than none.
        let _ = self.change_files_if_due();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_caller_is_no_error_and_other_failed_replies_are() {
        let failed =
            |code| format!("Failed to send FUSE reply: {}", io::Error::from_raw_os_error(code));
        let replies = ["fuser", "reply"].join("::");
        assert!(is_interruption(&replies, &failed(libc::ENOENT)));
        assert!(!is_interruption(&replies, &failed(libc::EINVAL)));
        assert!(!is_interruption("scribefs::fs", &failed(libc::ENOENT)));
    }

    #[test]
    fn a_log_never_takes_more_than_twice_its_largest_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.log");
        let mut log = LogFile::open(&path, 1000).unwrap();
        for number in 0..200 {
            writeln!(log, "line {number:>44}").unwrap();
        }
        let bytes: u64 = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!((1000..=2100).contains(&bytes), "{bytes}");
        let last = fs::read_to_string(&path).unwrap();
        assert!(last.ends_with(" 199\n"), "{last}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_log_that_was_moved_away_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.log");
        let mut log = LogFile::open(&path, 1 << 20).unwrap();
        writeln!(log, "before").unwrap();
        fs::rename(&path, dir.path().join("kept")).unwrap();
        writeln!(log, "after").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("kept")).unwrap(), "before\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    }
}
