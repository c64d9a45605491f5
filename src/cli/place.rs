//! Where mounts are, and what a path means inside of one.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::report::Trouble;
use crate::fs as filesystem;

/// The mount that is meant where none is named.
pub(crate) fn only_mount() -> Result<PathBuf, Trouble> {
    match filesystem::mounts().as_slice() {
        [mount] => Ok(mount.clone()),
        [] => Err(Trouble::plain("nothing is mounted", "`scribefs mount FOLDER` mounts.")),
        several => {
            let paths: Vec<String> = several.iter().map(|it| it.display().to_string()).collect();
            Err(Trouble::plain(
                format!("there are several mounts: {}", paths.join(", ")),
                "Name the one that you mean.",
            ))
        }
    }
}

/// A mount, and a path below it.
pub(crate) fn inside(path: &Path, working_directory: &Path) -> Result<(PathBuf, PathBuf), Trouble> {
    let path = working_directory.join(path);
    // The file may be gone already; its folder may be reached through a link.
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    let name = path.file_name().map(OsString::from).unwrap_or_default();
    let path = folder.map_or(path.clone(), |folder| folder.join(name));
    let mounts = filesystem::mounts();
    let mount =
        mounts.iter().filter(|mount| path.starts_with(mount)).max_by_key(|it| it.as_os_str().len());
    let Some(mount) = mount else {
        return Err(Trouble::plain(
            format!("{} is in no scribefs", path.display()),
            "Give a path inside of a mount; `findmnt -t fuse.scribefs` shows them.",
        ));
    };
    let below = path.strip_prefix(mount).unwrap_or(Path::new("")).to_owned();
    Ok((mount.clone(), below))
}

/// A path below `inbox/` of a mount.
pub(crate) fn inbox_file(
    path: &Path,
    working_directory: &Path,
) -> Result<(PathBuf, PathBuf), Trouble> {
    let (mount, below) = inside(path, working_directory)?;
    match below.strip_prefix("inbox") {
        Ok(file) if file != Path::new("") => Ok((mount, file.to_owned())),
        _ => Err(Trouble::plain(
            format!("{} is not in the inbox", path.display()),
            format!("Recordings that are being worked on lie in {}/inbox.", mount.display()),
        )),
    }
}

/// `.scribefs/status.json` of a mount.
pub(crate) fn status(mount: &Path) -> Result<Value, Trouble> {
    told(mount, "status.json")
}

/// A file of `.scribefs/` that holds JSON.
pub(crate) fn told(mount: &Path, name: &str) -> Result<Value, Trouble> {
    let path = mount.join(".scribefs").join(name);
    let text = fs::read(&path).map_err(|source| Trouble::File {
        path: path.clone(),
        source,
        remedy: "No scribefs answers there. `scribefs mount` mounts it (again).".to_owned(),
    })?;
    serde_json::from_slice(&text).map_err(|err| {
        Trouble::plain(
            format!("{} cannot be understood: {err}", path.display()),
            "Is the daemon of another version? Mount again with this one.",
        )
    })
}

/// Writes an order to `.scribefs/control`.
pub(crate) fn order(mount: &Path, line: &str) -> Result<(), Trouble> {
    let path = mount.join(".scribefs/control");
    fs::write(&path, format!("{line}\n")).map_err(|source| Trouble::File {
        path,
        source,
        remedy: "The daemon did not take the order: check the path with `scribefs status`."
            .to_owned(),
    })
}
