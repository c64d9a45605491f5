//! Weights: a catalogue of what can be had, and the folder they are kept in, by hash.

use std::path::{Path, PathBuf};

use crate::model::ModelRef;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Recognizer,
    Diarizer,
}

/// A model that is installed and whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub reference: ModelRef,
    pub purpose: Purpose,
    pub folder: PathBuf,
}

/// The folder of weights, shared by all mounts of a user.
#[derive(Debug, Clone)]
pub struct Library {
    _dir: PathBuf,
}

impl Library {
    pub fn new(dir: &Path) -> Self {
        Self { _dir: dir.to_owned() }
    }

    /// What is installed, in order of name. Folders that are no models are passed over.
    pub fn installed(&self) -> Vec<Installed> {
        todo!()
    }

    /// The model of that name.
    pub fn find(&self, name: &str) -> Option<Installed> {
        todo!("{name}")
    }
}
