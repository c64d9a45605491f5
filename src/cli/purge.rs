//! `purge` and `trash --empty`: removing for good, at once.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::published_arguments::Purge;
use crate::cli::report::{self, Trouble};
use crate::cli::{attributes, place};
use crate::daemon::Environment;

const PURGE: &CStr = c"user.scribefs.purge";

pub(crate) fn purge(wish: &Purge, environment: &Environment) -> Result<ExitCode, Trouble> {
    let mut code = ExitCode::SUCCESS;
    let mut mount_of_last = None;
    for path in &wish.paths {
        match purge_one(path, environment) {
            Ok(mount) => mount_of_last = Some(mount),
            Err(trouble) => {
                report::complain(&trouble);
                code = ExitCode::FAILURE;
            }
        }
    }
    if let Some(mount) = mount_of_last {
        tell_what_remains(&mount);
    }
    Ok(code)
}

/// The mount that it was in.
fn purge_one(path: &Path, environment: &Environment) -> Result<std::path::PathBuf, Trouble> {
    let (mount, below) = place::inside(path, environment.working_directory())?;
    let is_published = below.starts_with("conversations") || below.starts_with(".scribefs/trash");
    if !is_published {
        return Err(Trouble::plain(
            format!("{} is neither published nor in the trash", path.display()),
            "Remove files in the inbox with `rm`.",
        ));
    }
    let full = mount.join(&below);
    // What is not there is told as such, whatever the attribute would say.
    fs::symlink_metadata(&full).map_err(|err| unusable(path, err))?;
    attributes::set(&full, PURGE, "1").map_err(|err| unusable(path, err))?;
    report::print(format!("{}: removed for good\n", path.display()))?;
    Ok(mount)
}

/// Removes all that is in the trash. How many entries those were.
pub(crate) fn empty_trash(mount: &Path) -> Result<ExitCode, Trouble> {
    let folder = mount.join(".scribefs/trash");
    let entries = fs::read_dir(&folder).map_err(|err| place::unanswered(folder.clone(), err))?;
    let entries: Result<Vec<_>, io::Error> = entries.map(|it| it.map(|it| it.path())).collect();
    let (mut removed, mut code) = (0, ExitCode::SUCCESS);
    for entry in entries.map_err(|err| place::unanswered(folder, err))? {
        match attributes::set(&entry, PURGE, "1") {
            Ok(()) => removed += 1,
            // Restored or removed meanwhile.
            Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => {}
            Err(err) => {
                report::complain(&unusable(&entry, err));
                code = ExitCode::FAILURE;
            }
        }
    }
    report::print(match removed {
        0 => "nothing to remove\n".to_owned(),
        1 => "1 entry removed for good\n".to_owned(),
        more => format!("{more} entries removed for good\n"),
    })?;
    if removed != 0 {
        tell_what_remains(mount);
    }
    Ok(code)
}

fn unusable(path: &Path, source: io::Error) -> Trouble {
    let remedy = match source.raw_os_error() {
        Some(libc::EROFS) => {
            "This mount is read-only: run the command on the mount that writes to the bucket."
        }
        Some(libc::EINVAL) => {
            "Name a recording or one of its pages, a conversation, or an entry of the trash."
        }
        _ => "Check the path, and check with `scribefs status` that the mount answers.",
    };
    Trouble::File { path: path.to_owned(), source, remedy: remedy.to_owned() }
}

/// Buckets may keep what was removed from them, and nobody but their owner can tell.
fn tell_what_remains(mount: &Path) {
    if place::has_bucket(mount).unwrap_or(false) {
        report::remark(
            "It leaves the bucket within seconds, or when the bucket answers again. If the bucket keeps old versions \
             (versioning, object lock), those stay until its lifecycle rules remove them.",
        );
    }
}
