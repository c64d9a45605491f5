//! Weights: a catalogue of what can be had, and the folder they are kept in, by hash.

mod kind;
mod manifest;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::ModelRef;

pub use kind::Kind;
pub use manifest::{Manifest, WeightFile};

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
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
    pub bytes: u64,
}

/// What went wrong with models, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    #[error("there is no model `{name}` {place}")]
    Unknown { name: String, place: &'static str },
    #[error("{path} holds no model that scribefs knows")]
    NoModel { path: PathBuf },
    #[error("cannot use {path}")]
    Disk { path: PathBuf, source: io::Error },
}

impl ModelsError {
    /// What a person can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unknown { .. } => "`scribefs models list` shows what there is.".to_owned(),
            Self::NoModel { .. } => {
                "Give a ggml file of whisper.cpp, or a folder as sherpa-onnx publishes them."
                    .to_owned()
            }
            Self::Disk { .. } => "Check permissions and free space.".to_owned(),
        }
    }
}

/// The folder of weights, shared by all mounts of a user. Each model is a folder in it.
#[derive(Debug, Clone)]
pub struct Library {
    dir: PathBuf,
}

impl Library {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is installed, in order of name. Folders that are no models are passed over.
    pub fn installed(&self) -> Vec<Installed> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names.iter().filter_map(|name| self.find(name)).collect()
    }

    /// The model of that name. Cheap: sizes are compared, nothing is hashed, except once where a folder was
    /// put there by hand.
    pub fn find(&self, name: &str) -> Option<Installed> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return None;
        }
        let folder = self.dir.join(name);
        let manifest = Manifest::of(&folder)?;
        Some(Installed {
            reference: ModelRef { name: name.to_owned(), sha256: manifest.sha256() },
            purpose: manifest.kind.purpose(),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            folder,
        })
    }
}
