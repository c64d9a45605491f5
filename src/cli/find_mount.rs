//! Where mounts are, and what a path means inside of one.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::print::CliError;
use crate::daemon::{Environment, last_server};
use crate::effective_user::effective_user;
use crate::fs::{self as filesystem, Liveness};

/// The mount that is meant where none is named: the one that the user stands in, or else his only one.
pub(crate) fn only_mount(working_directory: &Path) -> Result<PathBuf, CliError> {
    let mounts = filesystem::mounts();
    if let Some(mount) = around(&mounts, working_directory) {
        return Ok(mount.clone());
    }
    let own = filesystem::mounts_of(effective_user());
    match own.as_slice() {
        [mount] => Ok(mount.clone()),
        [] if mounts.is_empty() => {
            Err(CliError::plain("nothing is mounted", "Mount one with `scribefs mount FOLDER`."))
        }
        // That of somebody else, who may let this user in.
        [] if mounts.len() == 1 => Ok(mounts[0].clone()),
        [] => Err(CliError::plain(
            format!("you have no mount; others are at {}", listed(&mounts)),
            "Name the one you mean, or mount your own: `scribefs mount FOLDER`.",
        )),
        several => Err(CliError::plain(
            format!("you have several mounts: {}", listed(several)),
            "Name the one you mean.",
        )),
    }
}

/// The mount that serves a state folder, if there is one and it answers. Another state folder may be mounted by now
/// where this one was.
pub(crate) fn of_state(state: &Path) -> Option<PathBuf> {
    let mount = last_server(state)?.mountpoint;
    answering(&mount).ok()?;
    let told = status(&mount).ok()?;
    let same =
        Path::new(told["state"].as_str()?).canonicalize().ok()? == state.canonicalize().ok()?;
    same.then_some(mount)
}

/// Checks that a scribefs is mounted at `mount` and answers.
pub(crate) fn answering(mount: &Path) -> Result<(), CliError> {
    if !filesystem::is_mounted(mount).unwrap_or(false) {
        return Err(not_mounted(mount));
    }
    match filesystem::liveness(mount) {
        Liveness::Alive => Ok(()),
        Liveness::Dead | Liveness::Silent => Err(CliError::plain(
            format!("the scribefs mounted at {} does not answer", mount.display()),
            format!("Unmount it with `scribefs umount {}`, then mount again.", mount.display()),
        )),
    }
}

fn not_mounted(mount: &Path) -> CliError {
    CliError::plain(
        format!("scribefs is not mounted at {}", mount.display()),
        "`findmnt -t fuse.scribefs` lists mounts; mount one with `scribefs mount FOLDER`.",
    )
}

/// A mount, and a path below it.
pub(crate) fn inside(
    path: &Path,
    working_directory: &Path,
) -> Result<(PathBuf, PathBuf), CliError> {
    let path = working_directory.join(path);
    // The file may be gone already; its folder may be reached through a link.
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    let name = path.file_name().map(OsString::from).unwrap_or_default();
    let path = folder.map_or(path.clone(), |folder| folder.join(name));
    let mounts = filesystem::mounts();
    let Some(mount) = around(&mounts, &path) else {
        return Err(CliError::plain(
            format!("{} is not in a scribefs mount", path.display()),
            "Use a path inside a mount; `findmnt -t fuse.scribefs` lists them.",
        ));
    };
    let below = path.strip_prefix(mount).unwrap_or(Path::new("")).to_owned();
    Ok((mount.clone(), below))
}

fn listed(mounts: &[PathBuf]) -> String {
    let paths: Vec<String> = mounts.iter().map(|it| it.display().to_string()).collect();
    paths.join(", ")
}

/// The innermost mount that `path` lies in.
fn around<'a>(mounts: &'a [PathBuf], path: &Path) -> Option<&'a PathBuf> {
    mounts.iter().filter(|mount| path.starts_with(mount)).max_by_key(|it| it.as_os_str().len())
}

/// The mount that was named, or the one that is meant where none was.
pub(crate) fn mount_of(
    named: Option<&Path>,
    environment: &Environment,
) -> Result<PathBuf, CliError> {
    match named {
        Some(path) => Ok(environment.working_directory().join(path)),
        None => only_mount(environment.working_directory()),
    }
}

/// A path below `inbox/` of a mount.
pub(crate) fn inbox_file(
    path: &Path,
    working_directory: &Path,
) -> Result<(PathBuf, PathBuf), CliError> {
    let (mount, below) = inside(path, working_directory)?;
    match below.strip_prefix("inbox") {
        Ok(file) if file != Path::new("") => Ok((mount, file.to_owned())),
        _ => Err(CliError::plain(
            format!("{} is not in the inbox", path.display()),
            format!("Recordings that are being processed are in {}/inbox.", mount.display()),
        )),
    }
}

/// `.scribefs/status.json` of a mount.
pub(crate) fn status(mount: &Path) -> Result<Value, CliError> {
    told(mount, "status.json")
}

/// A file of `.scribefs/` that holds JSON.
pub(crate) fn told(mount: &Path, name: &str) -> Result<Value, CliError> {
    let path = mount.join(".scribefs").join(name);
    let text = fs::read(&path).map_err(|source| unanswered(path.clone(), source))?;
    serde_json::from_slice(&text).map_err(|err| {
        CliError::plain(
            format!("cannot parse {}: {err}", path.display()),
            "Is the daemon another version? Mount again with this one.",
        )
    })
}

/// Whether recordings are brought to a bucket.
pub(crate) fn has_bucket(mount: &Path) -> Result<bool, CliError> {
    let storage = told(mount, "storage.json")?;
    Ok(matches!(storage["backend"]["storage"].as_str(), Some("s3" | "both")))
}

/// A file of `.scribefs/` cannot be read.
pub(crate) fn unanswered(path: PathBuf, source: io::Error) -> CliError {
    // What lies in `.scribefs` is there as long as a mount is.
    let is_missing = matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
    let mount = path.ancestors().find(|it| it.ends_with(".scribefs")).and_then(Path::parent);
    if let (true, Some(mount)) = (is_missing, mount) {
        return not_mounted(mount);
    }
    let remedy = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "Only the owner of the mount and members of its group can see the queue."
        }
        _ => "No scribefs answers there. Mount it with `scribefs mount`.",
    };
    CliError::File { path, source, remedy: remedy.to_owned() }
}

/// Writes an order to `.scribefs/control`.
pub(crate) fn order(mount: &Path, line: &str) -> Result<(), CliError> {
    let path = mount.join(".scribefs/control");
    fs::write(&path, format!("{line}\n")).map_err(|source| match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENOTCONN) => unanswered(path, source),
        _ => CliError::File {
            path,
            source,
            remedy: "The daemon did not accept the command: check the path with `scribefs status`."
                .to_owned(),
        },
    })
}
