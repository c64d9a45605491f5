//! BLAKE3 of what is in an open file, as long as somebody wants to know it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are read at once: few enough to stop soon on a slow disk.
const CHUNK: usize = 1 << 20;

/// Of all of it, wherever its position is, in hexadecimal. `None`: `may_go_on` said no; it is asked all the while.
pub(crate) fn content_hash(
    file: &File,
    may_go_on: &dyn Fn() -> bool,
) -> io::Result<Option<String>> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while may_go_on() {
        let read = match file.read_at(&mut buffer, offset) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(Some(hasher.finalize().to_hex().to_string()));
        }
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;

    use super::*;

    #[test]
    fn hashing_stops_when_nobody_wants_to_know() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 5 * CHUNK + 1]).unwrap();
        let hash = blake3::hash(&vec![7; 5 * CHUNK + 1]).to_hex().to_string();
        assert_eq!(content_hash(&file, &|| true).unwrap(), Some(hash));
        let asked = Cell::new(0);
        let twice = || {
            asked.set(asked.get() + 1);
            asked.get() < 3
        };
        assert_eq!(content_hash(&file, &twice).unwrap(), None);
        assert_eq!(asked.get(), 3);
    }
}
