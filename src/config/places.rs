//! [`Places`]: folders that defaults and relative paths are made of.

use std::path::PathBuf;

/// Folders that defaults and relative paths are made of.
#[derive(Debug, Clone)]
pub struct Places {
    pub home: PathBuf,
    pub working_directory: PathBuf,
    /// Default for `state`.
    pub state: PathBuf,
    /// Default for `models`.
    pub models: PathBuf,
    /// Cores of this machine: default for `threads`.
    pub cores: u16,
}
