//! Models out of the PyPI wheel of moonshine-voice.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zip::ZipArchive;

use crate::models::catalogue::{PinnedWheel, REQUIREMENT, WHEELS};
use crate::models::{Kind, ModelsError, manifest, recipe};

/// The wheel in `folder`, by `pip`, with whatever index its user has set up.
pub(crate) fn download(python: &Path, folder: &Path) -> Result<PathBuf, ModelsError> {
    let output = Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--dest"])
        .arg(folder)
        .arg(REQUIREMENT)
        .output();
    let failed = |why: String| ModelsError::Download { what: REQUIREMENT.to_owned(), why };
    let output =
        output.map_err(|err| failed(format!("{} cannot be run: {err}", python.display())))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last =
            said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("pip gave no reason");
        return Err(failed(last.trim().to_owned()));
    }
    let wheel = WHEELS.iter().map(|wheel| folder.join(wheel.file)).find(|path| path.is_file());
    wheel.ok_or_else(|| failed("pip downloaded another file than was requested".to_owned()))
}

/// Compares a wheel with those that we know.
pub(crate) fn check(path: &Path) -> Result<(), ModelsError> {
    let (_, sha256) = manifest::hash(path)
        .map_err(|source| ModelsError::Disk { path: path.to_owned(), source })?;
    let is_known = |wheel: &PinnedWheel| wheel.sha256 == sha256;
    if WHEELS.iter().any(is_known) {
        return Ok(());
    }
    Err(ModelsError::WrongHash { what: path.display().to_string(), found: sha256 })
}

/// The files of a model out of a wheel.
pub(crate) fn files(wheel: &Path, kind: Kind) -> Result<Vec<(String, Vec<u8>)>, ModelsError> {
    let broken = |why: String| ModelsError::Broken { what: wheel.display().to_string(), why };
    let disk = |source| ModelsError::Disk { path: wheel.to_owned(), source };
    let mut archive =
        ZipArchive::new(File::open(wheel).map_err(disk)?).map_err(|err| broken(err.to_string()))?;
    let mut read = |name: &str| -> Result<Vec<u8>, ModelsError> {
        let mut entry = archive.by_name(name).map_err(|err| broken(format!("{name}: {err}")))?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(disk)?;
        Ok(bytes)
    };
    if kind == Kind::CommunityOne {
        return recipe::follow(&read("moonshine_voice/libmoonshine.so")?).map_err(broken);
    }
    let asset = |name: &str| format!("moonshine_voice/assets/tiny-en/{name}");
    let mut files = Vec::new();
    for name in ["decoder_model_merged.ort", "encoder_model.ort"] {
        files.push((name.to_owned(), read(&asset(name))?));
    }
    let tokens = tokens(&read(&asset("tokenizer.bin"))?)
        .ok_or_else(|| broken("its list of tokens is truncated".to_owned()))?;
    files.push(("tokens.txt".to_owned(), tokens.into_bytes()));
    Ok(files)
}

/// The list of tokens as sherpa-onnx reads it: base 64, a tab, the number. In the wheel each token stands
/// behind its length: one byte up to 127, else two of seven bits, low ones first.
fn tokens(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut rest = bytes;
    let mut number = 0;
    while let Some((&first, tail)) = rest.split_first() {
        let (length, tail) = match first {
            0..=127 => (usize::from(first), tail),
            _ => {
                let (&second, tail) = tail.split_first()?;
                (usize::from(first) - 128 + usize::from(second) * 128, tail)
            }
        };
        let (token, tail) = tail.split_at_checked(length)?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\t{number}", BASE64_STANDARD.encode(token));
        number += 1;
        rest = tail;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_behind_their_lengths() {
        let mut bytes = vec![2, b'a', b'b', 0, 130, 1];
        bytes.extend([b'x'; 130]);
        let text = tokens(&bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines.len()), ("YWI=\t0", "\t1", 3));
        assert_eq!(tokens(&bytes[..20]), None);
    }
}
