//! Weights: a catalogue of what can be had, and the folder they are kept in, by hash.

mod catalogue;
mod download;
mod elf;
mod install;
mod kind;
mod manifest;
mod recipe;
mod wheel;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::ModelRef;

pub use catalogue::{CATALOGUE, DEFAULTS, Entry, RemoteFile, Source};
pub use install::{Network, Told};
pub use kind::{Kind, Purpose};
pub use manifest::{Manifest, WeightFile};

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
    #[error("{path} contains no model that scribefs knows")]
    NoModel { path: PathBuf },
    #[error("there is already a model `{name}`")]
    Exists { name: String },
    /// The network, or a server, refused.
    #[error("{what} could not be downloaded: {why}")]
    Download { what: String, why: String },
    /// PyPI is reached through `pip`, with the user's own settings.
    #[error("downloading from PyPI needs `python3` with pip, which is not on PATH")]
    NoPython,
    #[error("{what} is not the expected file: its SHA-256 is {found}")]
    WrongHash { what: String, found: String },
    #[error("{what} cannot be unpacked: {why}")]
    Broken { what: String, why: String },
    #[error("cannot use {path}")]
    Disk { path: PathBuf, source: io::Error },
}

impl ModelsError {
    /// What a person can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unknown { .. } => "`scribefs models list` lists all models.".to_owned(),
            Self::NoModel { .. } => {
                "Use a ggml file of whisper.cpp, or a model folder as published by sherpa-onnx."
                    .to_owned()
            }
            Self::Exists { name } => {
                format!("Choose another name with `--name`, or remove it: `scribefs models remove {name}`.")
            }
            Self::Download { .. } => {
                "Run the command again: it continues where it stopped. `HTTPS_PROXY` and `HF_ENDPOINT` are \
                 honoured; `scribefs models import FILE` installs a file you downloaded elsewhere."
                    .to_owned()
            }
            Self::NoPython => {
                "Install python3-pip, or download the wheel moonshine-voice 0.0.73 from pypi.org and pass it with \
                 `--from WHEEL`."
                    .to_owned()
            }
            Self::WrongHash { .. } | Self::Broken { .. } => {
                "Run the command again. If that does not help, its source has changed: please report it."
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

    /// The names of all folders that were installed as models, also of those that are no longer whole.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let is_model = |name: &String| {
            !name.starts_with('.') && self.dir.join(name).join(manifest::MANIFEST).is_file()
        };
        let mut names: Vec<String> = names.filter(is_model).collect();
        names.sort();
        names
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
