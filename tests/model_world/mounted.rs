//! Operations as programs do them, on a real mount.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use scribefs::fs::FsContext;

use super::naive::Outcome;
use super::operation::Rename;
use super::{Inbox, Seen};
use crate::common::{World, c_path, errno_of, setxattr};

pub(crate) struct Mounted {
    world: World,
    held: Vec<File>,
}

impl Mounted {
    pub(crate) fn start(test: &str) -> Self {
        Self { world: World::new(test).expect("the caller has looked"), held: Vec::new() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.world.path("inbox").join(path)
    }

    /// Audio of each conversation in a folder as `dd/name`.
    fn audio_in(&self, folder: &str) -> BTreeMap<String, Vec<String>> {
        let root = self.world.path(folder);
        let mut found = BTreeMap::new();
        for folder in listed(&root) {
            let mut names = Vec::new();
            walk(&folder, &mut |path| {
                let below = path.strip_prefix(&folder).unwrap().to_str().unwrap();
                // yyyy/mm/dd/name
                if let Some((_, day)) = below.split_once("/01/").filter(|it| it.1.ends_with(".wav"))
                {
                    let is_there = if_there(fs::symlink_metadata(path)).is_some();
                    names.push(if is_there { day.to_owned() } else { format!("no {day}") });
                }
            });
            let name = folder.file_name().unwrap().to_str().unwrap();
            found.insert(name.to_owned(), names);
        }
        found
    }
}

impl Inbox for Mounted {
    fn write(&mut self, path: &str, bytes: &[u8]) -> Outcome {
        outcome(fs::write(self.at(path), bytes))
    }

    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Outcome {
        let file = OpenOptions::new().write(true).open(self.at(path));
        outcome(file.and_then(|file| file.write_all_at(bytes, offset)))
    }

    fn truncate(&mut self, path: &str, length: u64) -> Outcome {
        outcome(
            OpenOptions::new().write(true).open(self.at(path)).and_then(|it| it.set_len(length)),
        )
    }

    fn make_folder(&mut self, path: &str) -> Outcome {
        outcome(fs::create_dir(self.at(path)))
    }

    fn make_link(&mut self, path: &str) -> Outcome {
        outcome(symlink("nowhere", self.at(path)))
    }

    fn remove_folder(&mut self, path: &str) -> Outcome {
        outcome(fs::remove_dir(self.at(path)))
    }

    fn remove(&mut self, path: &str) -> Outcome {
        outcome(fs::remove_file(self.at(path)))
    }

    fn rename(&mut self, from: &str, to: &str, how: Rename) -> Outcome {
        let (from, to) = (c_path(&self.at(from)), c_path(&self.at(to)));
        let flags = match how {
            Rename::Replace => 0,
            Rename::NoReplace => libc::RENAME_NOREPLACE,
            Rename::Exchange => libc::RENAME_EXCHANGE,
        };
        let here = libc::AT_FDCWD;
        // SAFETY: two strings that end in NUL.
        let result = unsafe { libc::renameat2(here, from.as_ptr(), here, to.as_ptr(), flags) };
        match errno_of(result) {
            0 => Ok(()),
            errno => Err(errno),
        }
    }

    fn touch(&mut self, path: &str) -> Outcome {
        let file = File::open(self.at(path));
        outcome(file.and_then(|file| file.set_modified(SystemTime::now())))
    }

    fn commit(&mut self, path: &str) -> Outcome {
        outcome(setxattr(&self.at(path), "user.scribefs.commit", b"1"))
    }

    fn hold(&mut self, path: &str) -> Outcome {
        let file = OpenOptions::new().read(true).write(true).open(self.at(path));
        outcome(file.map(|file| self.held.push(file)))
    }

    fn write_held(&mut self, bytes: &[u8]) -> Outcome {
        let Some(file) = self.held.last() else { return Ok(()) };
        outcome(file.metadata().and_then(|stat| file.write_all_at(bytes, stat.len())))
    }

    fn release(&mut self) {
        self.held.pop();
    }

    fn held(&self) -> Vec<Vec<u8>> {
        let read = |file: &File| {
            let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        self.held.iter().map(read).collect()
    }

    fn tree(&self) -> BTreeMap<String, Seen> {
        let root = self.at("");
        let mut found = BTreeMap::new();
        walk(&root, &mut |path| {
            let below = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            found.insert(below, look_at(path).unwrap_or(Seen::Missing));
        });
        found
    }

    fn conversations(&self) -> BTreeMap<String, Vec<String>> {
        self.audio_in("conversations")
    }

    fn trash(&self) -> BTreeMap<String, Vec<String>> {
        self.audio_in(".scribefs/trash")
    }

    fn rename_conversation(&mut self, from: &str, to: &str) -> Outcome {
        let folder = self.world.path("conversations");
        outcome(fs::rename(folder.join(from), folder.join(to)))
    }

    fn trash_conversation(&mut self, id: &str) -> Outcome {
        outcome(fs::remove_dir_all(self.world.path("conversations").join(id)))
    }

    fn restore_conversation(&mut self, id: &str, to: &str) -> Outcome {
        let from = self.world.path(".scribefs/trash").join(id);
        outcome(fs::rename(from, self.world.path("conversations").join(to)))
    }

    fn restart(&mut self) {
        self.held.clear();
        self.world.remount();
    }

    fn services(&self) -> &FsContext {
        &self.world.services
    }

    fn agrees(&self, wanted: Outcome, got: Outcome) -> bool {
        wanted == got
    }
}

/// Every path below `folder`. The daemon removes entries by itself: what was listed may be gone when it is looked at,
/// a folder with all that is in it.
fn walk(folder: &Path, found: &mut impl FnMut(&Path)) {
    for path in listed(folder) {
        found(&path);
        if if_there(fs::symlink_metadata(&path)).is_some_and(|stat| stat.is_dir()) {
            walk(&path, found);
        }
    }
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = if_there(fs::read_dir(folder)).into_iter().flatten();
    entries.filter_map(|entry| Some(if_there(entry)?.path())).collect()
}

/// `None`: it has gone since it was listed.
fn look_at(path: &Path) -> Option<Seen> {
    let kind = if_there(fs::symlink_metadata(path))?.file_type();
    Some(match (kind.is_dir(), kind.is_symlink()) {
        (true, _) => Seen::Folder,
        (_, true) => Seen::Link,
        _ => Seen::File(if_there(fs::read(path))?),
    })
}

/// `None` for what is not there any more; any other failure is one of the mount.
fn if_there<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(found) => Some(found),
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => None,
        Err(err) => panic!("{err}"),
    }
}

fn outcome<T>(result: io::Result<T>) -> Outcome {
    result.map(drop).map_err(|err| err.raw_os_error().expect("the kernel has said no"))
}
