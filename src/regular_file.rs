//! Regular files, opened without waiting and read within bounds: settings, keys, manifests, transcripts. Whoever can
//! put a file there must not make the reader wait or run out of memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Longest file of settings or keys.
pub(crate) const SETTINGS_BYTES: u64 = 64 << 10;

/// All of a regular file of at most `most_bytes`.
///
/// Never waits: a FIFO, a socket, a device and a directory are refused without reading from them.
pub(crate) fn read(path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let too_large = || {
        let what = format!("it is larger than {} KiB", most_bytes >> 10);
        io::Error::new(io::ErrorKind::FileTooLarge, what)
    };
    if most_bytes < file.metadata()?.len() {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // It may be growing, and files of /proc have no size.
    file.take(most_bytes + 1).read_to_end(&mut bytes)?;
    if most_bytes < bytes.len() as u64 {
        return Err(too_large());
    }
    Ok(bytes)
}

/// The same as text.
pub(crate) fn read_text(path: &Path, most_bytes: u64) -> io::Result<String> {
    String::from_utf8(read(path, most_bytes)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Opens a regular file for reading and nothing else.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Opening a FIFO waits for a writer otherwise, and opening a terminal could make it ours.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn make_fifo(path: &Path) {
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: `name` ends in NUL.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    }

    #[test]
    fn a_regular_file_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "four");
        assert_eq!(read(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // A terabyte that takes no room.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let err = read(&path, SETTINGS_BYTES).unwrap_err();
        assert_eq!(err.to_string(), "it is larger than 64 KiB");
        let missing = read(&dir.path().join("missing"), 4).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_could_keep_a_reader_waiting_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        make_fifo(&fifo);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for path in [&fifo, &link, &socket, dir.path(), Path::new("/dev/zero")] {
            assert!(read(path, 4).is_err(), "{}", path.display());
        }
        assert_eq!(read(&fifo, 4).unwrap_err().to_string(), "it is not a regular file");
    }
}
