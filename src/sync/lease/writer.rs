//! Who writes: one name for each state folder, and another one for each copy of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ulid::Ulid;

/// Who writes: one for each state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Random.
    pub id: String,
    /// For people.
    pub host: String,
}

impl Writer {
    /// The writer whose id is in that file, which is made if it is missing.
    ///
    /// The file says where it was made. In a state folder that was copied, to another machine or to a place
    /// beside the first, it is another file: the copy is another writer, and waits for the first one's lease
    /// like everybody else.
    pub fn kept_in(path: &Path) -> io::Result<Self> {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim().to_owned();
        let kept = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => String::new(),
            Err(err) => return Err(err),
        };
        let mut lines = kept.lines().map(str::trim);
        let (id, home) = (lines.next().unwrap_or_default(), lines.next());
        // Older versions wrote no home.
        let is_ours = !id.is_empty() && (home.is_none() || home == Some(home_of(path)?.as_str()));
        if is_ours && home.is_some() {
            return Ok(Self { id: id.to_owned(), host });
        }
        if !is_ours && !id.is_empty() {
            log::warn!("the state folder was copied: it counts as another writer from now on");
        }
        let id = if is_ours { id.to_owned() } else { Ulid::generate().to_string() };
        keep(path, &id)?;
        Ok(Self { id, host })
    }
}

/// Lost in a power cut, it costs a wait until the lease of the lost id has ended.
fn keep(path: &Path, id: &str) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    let home = home_of(path)?;
    file.set_len(0)?;
    file.write_all(format!("{id}\n{home}\n").as_bytes())
}

/// This file on this machine. A copy has another inode, and a clone of the disk in another machine
/// another machine's id.
fn home_of(path: &Path) -> io::Result<String> {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let inode = fs::metadata(path)?.ino();
    let hash = blake3::hash(format!("{}:{inode}", machine.trim()).as_bytes()).to_hex();
    Ok(hash[..16].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writers_id_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("writer.id");
        assert_eq!(Writer::kept_in(&path).unwrap(), Writer::kept_in(&path).unwrap());
    }

    #[test]
    fn an_id_of_an_older_version_is_kept_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("writer.id");
        fs::write(&path, "01J0").unwrap();
        assert_eq!(Writer::kept_in(&path).unwrap().id, "01J0");
        assert_eq!(Writer::kept_in(&path).unwrap().id, "01J0");
    }

    #[test]
    fn a_state_folder_that_was_copied_is_another_writer() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("writer"), folder.path().join("copy"));
        let first = Writer::kept_in(&path).unwrap();
        fs::copy(&path, &copy).unwrap();
        let second = Writer::kept_in(&copy).unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!(Writer::kept_in(&copy).unwrap(), second);
        assert_eq!(Writer::kept_in(&path).unwrap(), first);
    }
}
