//! [`StagedFile`]: a copy that has no name in its store yet.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A copy of a file that is looked at before it gets its name. What never gets one is removed.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    /// Where the copy lies; `None`: the store makes it when it names it.
    path: Option<PathBuf>,
}

impl StagedFile {
    pub(crate) fn at(path: PathBuf, file: File) -> Self {
        Self { file, path: Some(path) }
    }

    /// Not copied yet.
    pub(crate) fn original(file: File) -> Self {
        Self { file, path: None }
    }

    /// What will have the name: to be read from any place.
    pub fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// It was moved to its name.
    pub(crate) fn is_named(&mut self) {
        self.path = None;
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It is swept later, should this fail.
            let _ = fs::remove_file(path);
        }
    }
}
