//! `purge` and `trash --empty`: removing for good, at once.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::print::{self, CliError};
use crate::cli::published_arguments::Purge;
use crate::cli::{attributes, find_mount};
use crate::daemon::Environment;

const PURGE: &CStr = c"user.scribefs.purge";

pub(crate) fn purge(args: &Purge, environment: &Environment) -> Result<ExitCode, CliError> {
    let mut code = ExitCode::SUCCESS;
    let mut mount_of_last = None;
    for path in &args.paths {
        match purge_one(path, environment) {
            Ok(mount) => mount_of_last = Some(mount),
            Err(trouble) => {
                print::complain(&trouble);
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
fn purge_one(path: &Path, environment: &Environment) -> Result<std::path::PathBuf, CliError> {
    let (mount, below) = find_mount::inside(path, environment.working_directory())?;
    let is_published = below.starts_with("conversations") || below.starts_with(".scribefs/trash");
    if !is_published {
        return Err(CliError::plain(
            format!("{} is neither published nor in the trash", path.display()),
            "Remove files in the inbox with `rm`.",
        ));
    }
    let full = mount.join(&below);
    // What is not there is told as such, whatever the attribute would say.
    fs::symlink_metadata(&full).map_err(|err| unusable(path, err))?;
    attributes::set(&full, PURGE, "1").map_err(|err| unusable(path, err))?;
    print::print(format!("{}: removed for good\n", path.display()))?;
    Ok(mount)
}

/// Removes all that is in the trash. How many entries those were.
pub(crate) fn empty_trash(mount: &Path) -> Result<ExitCode, CliError> {
    let folder = mount.join(".scribefs/trash");
    let entries =
        fs::read_dir(&folder).map_err(|err| find_mount::unanswered(folder.clone(), err))?;
    let entries: Result<Vec<_>, io::Error> = entries.map(|it| it.map(|it| it.path())).collect();
    let (mut removed, mut code) = (0, ExitCode::SUCCESS);
    for entry in entries.map_err(|err| find_mount::unanswered(folder, err))? {
        match attributes::set(&entry, PURGE, "1") {
            Ok(()) => removed += 1,
            // Restored or removed meanwhile.
            Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => {}
            Err(err) => {
                print::complain(&unusable(&entry, err));
                code = ExitCode::FAILURE;
            }
        }
    }
    print::print(match removed {
        0 => "nothing to remove\n".to_owned(),
        1 => "1 entry removed for good\n".to_owned(),
        more => format!("{more} entries removed for good\n"),
    })?;
    if removed != 0 {
        tell_what_remains(mount);
    }
    Ok(code)
}

fn unusable(path: &Path, source: io::Error) -> CliError {
    let remedy = match source.raw_os_error() {
        Some(libc::EROFS) => {
            "This mount is read-only: run the command on the mount that writes to the bucket."
        }
        Some(libc::EINVAL) => {
            "Name a recording (the original, not one of its pages), a conversation, or an entry of the trash."
        }
        _ => "Check the path, and check with `scribefs status` that the mount answers.",
    };
    CliError::File { path: path.to_owned(), source, remedy: remedy.to_owned() }
}

/// Buckets may keep what was removed from them, and nobody but their owner can tell.
fn tell_what_remains(mount: &Path) {
    if find_mount::has_bucket(mount).unwrap_or(false) {
        print::remark(
            "It leaves the bucket within seconds, or when the bucket answers again. If the bucket keeps old versions \
             (versioning, object lock), those stay until its lifecycle rules remove them.",
        );
    }
}
