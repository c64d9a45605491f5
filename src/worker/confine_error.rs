//! Why a process could not be confined.

use std::io;

use landlock::RulesetError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    #[error("a limit could not be set: {0}")]
    Limit(#[from] io::Error),
    #[error("the daemon that started this worker is gone")]
    Orphaned,
    #[error("files could not be put out of reach: {0}")]
    Files(#[from] RulesetError),
    #[error("system calls could not be put out of reach: {0}")]
    Calls(String),
}
