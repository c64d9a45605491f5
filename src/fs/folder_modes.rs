//! [`FolderModes`]: the modes that a closed folder and its inbox had, on the disk, for the case that whoever has closed
//! it does not live to open it again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a folder was like before it was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FolderModes {
    pub(crate) mode: u32,
    /// `None`: there was none.
    pub(crate) inbox: Option<u32>,
}

/// Where the modes of one folder are kept.
#[derive(Debug)]
pub(crate) struct FolderModesFile {
    state: PathBuf,
    path: PathBuf,
}

impl FolderModesFile {
    /// A folder is found again by its `inode`: the number of its disk may be another one after a restart.
    pub(crate) fn new(state: &Path, inode: u64) -> Self {
        Self { state: state.to_owned(), path: state.join(format!("mountpoint-{inode}.json")) }
    }

    /// Those that are kept, if any can be read.
    pub(crate) fn read(&self) -> Option<FolderModes> {
        serde_json::from_slice(&fs::read(&self.path).ok()?).ok()
    }

    /// They are on the disk afterwards.
    pub(crate) fn write(&self, modes: &FolderModes) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.state)?;
        serde_json::to_writer(&mut file, modes)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|err| err.error)?;
        self.sync()
    }

    /// The folder is as it was.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.sync()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.state)?.sync_all()
    }
}
