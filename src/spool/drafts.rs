//! [`Drafts`]: where notes are written before they get their names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where notes and copies are written before they appear in the inbox, whole.
#[derive(Debug)]
pub(crate) struct Drafts {
    pub(crate) dir: PathBuf,
}

impl Drafts {
    /// What a crash has left behind is of no use to anybody.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    pub(crate) fn draft(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}
