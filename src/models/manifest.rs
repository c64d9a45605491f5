//! `model.json`: what is in a model's folder, with sizes and hashes.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::models::Kind;
use crate::regular_file;

/// Its name in a model's folder.
pub(crate) const MANIFEST: &str = "model.json";

/// Longest manifest: a model has some ten files.
pub(crate) const MOST_BYTES: u64 = 1 << 20;

/// One file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightFile {
    pub name: String,
    pub bytes: u64,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

/// What a model's folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub kind: Kind,
    /// In order of name.
    pub files: Vec<WeightFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Manifest {
    /// Of a folder whose files are all there, by size. A folder that was put there by hand is hashed once.
    pub fn of(folder: &Path) -> Option<Self> {
        let written = regular_file::read(&folder.join(MANIFEST), MOST_BYTES).ok();
        let written = written.and_then(|json| serde_json::from_slice::<Self>(&json).ok());
        if let Some(manifest) = written {
            return manifest.has_all_files(folder).then_some(manifest);
        }
        let manifest = Self::describe(folder).ok().flatten()?;
        if let Err(err) = manifest.write(folder) {
            log::debug!("model in {}: hashed again each time: {err}", folder.display());
        }
        Some(manifest)
    }

    /// Looks at every file. `None`: no model that we know.
    pub(crate) fn describe(folder: &Path) -> io::Result<Option<Self>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if entry.path().is_file() && name != MANIFEST && !name.starts_with('.') {
                names.push(name);
            }
        }
        names.sort();
        let Some(kind) = Kind::of(&names) else { return Ok(None) };
        let files = names.into_iter().map(|name| {
            let (bytes, sha256) = hash(&folder.join(&name))?;
            Ok(WeightFile { name, bytes, sha256 })
        });
        let files = files.collect::<io::Result<_>>()?;
        Ok(Some(Self { kind, files, licence: None, source: None }))
    }

    fn has_all_files(&self, folder: &Path) -> bool {
        self.files.iter().all(|file| {
            let stat = fs::metadata(folder.join(&file.name));
            stat.is_ok_and(|stat| stat.is_file() && stat.len() == file.bytes)
        })
    }

    /// Writes it as a whole or not at all.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(folder.join(MANIFEST))?;
        Ok(())
    }

    /// SHA-256 over the lines `<hash of the file>  <name>` of all files in order of name: what `sha256sum`
    /// prints, hashed again.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        for file in &self.files {
            hasher.update(format!("{}  {}\n", file.sha256, file.name));
        }
        hex(&hasher.finalize())
    }
}

/// Length and SHA-256 of a file.
pub(crate) fn hash(path: &Path) -> io::Result<(u64, String)> {
    let mut file = regular_file::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex(&hasher.finalize()))),
            count => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["encoder_model.ort", "decoder_model_merged.ort", "tokens.txt"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        dir
    }

    #[test]
    fn a_folder_put_there_by_hand_is_adopted() {
        let dir = folder();
        let manifest = Manifest::of(dir.path()).unwrap();
        assert_eq!(manifest.kind, Kind::Moonshine);
        assert_eq!(manifest.files[2].sha256, hex(&Sha256::digest("tokens.txt")));
        assert!(dir.path().join(MANIFEST).exists());
        assert_eq!(Manifest::of(dir.path()), Some(manifest));
    }

    #[test]
    fn a_file_that_is_missing_or_cut_makes_it_no_model() {
        let dir = folder();
        assert!(Manifest::of(dir.path()).is_some());
        fs::write(dir.path().join("encoder_model.ort"), "cut").unwrap();
        assert_eq!(Manifest::of(dir.path()), None);
    }
}
