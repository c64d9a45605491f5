//! Where mounts are, and what a path means inside of one.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::report::Trouble;

/// Every scribefs that this process can see, dead ones too.
pub(crate) fn mounts() -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    mounts_in(&table)
}

fn mounts_in(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let ours = lines.filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        // Optional fields lie between the sixth and a lone dash; the type follows that.
        let dash = fields.iter().position(|field| *field == b"-")?;
        (fields.get(dash + 1) == Some(&&b"fuse.scribefs"[..])).then(|| unescaped(fields[4]))
    });
    ours.collect()
}

/// Blanks and the like are written as three octal digits behind a backslash.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if byte == b'\\' => {
                bytes.push(code);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The mount that is meant where none is named.
pub(crate) fn only_mount() -> Result<PathBuf, Trouble> {
    match mounts().as_slice() {
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
    let mounts = mounts();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_their_type_whatever_their_path() {
        let table = b"30 1 0:5 / /a\\040b rw,nosuid - fuse.scribefs scribefs rw\n\
                      31 1 0:6 / /proc rw shared:13 - proc proc rw\n\
                      32 1 0:7 / /c rw shared:1 master:2 - fuse.scribefs scribefs rw\n";
        assert_eq!(mounts_in(table), [Path::new("/a b"), Path::new("/c")]);
        assert_eq!(mounts_in(b""), Vec::<PathBuf>::new());
    }
}
