//! `trash`, `restore`, `warm` and `url`: what is done with published files of a running mount.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::arguments::{Restore, Trash, Url, Warm};
use crate::cli::place;
use crate::cli::report::{self, Trouble};
use crate::daemon::Environment;

/// Longest value of an attribute that is read here: links are some hundred bytes.
const VALUE_BYTES: usize = 16 << 10;

pub(crate) fn trash(wish: &Trash, environment: &Environment) -> Result<ExitCode, Trouble> {
    let mount = mount_of(wish.mount.as_deref(), environment)?;
    let folder = mount.join(".scribefs/trash");
    let mut lines = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|err| unanswered(&folder, err))? {
        let path = entry.map_err(|err| unanswered(&folder, err))?.path();
        let day = |name: &CStr| {
            let value = attribute(&path, name).unwrap_or_default();
            value.split('T').next().unwrap_or_default().to_owned()
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push(match day(c"user.scribefs.removed_at").as_str() {
            "" => format!("{name}  since {}\n", day(c"user.scribefs.trashed_at")),
            end => format!("{name}  since {}, until {end}\n", day(c"user.scribefs.trashed_at")),
        });
    }
    lines.sort();
    report::print(lines.concat())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn restore(wish: &Restore, environment: &Environment) -> Result<ExitCode, Trouble> {
    let mount = mount_of(wish.mount.as_deref(), environment)?;
    let from = mount.join(".scribefs/trash").join(&wish.name);
    let to = mount.join("conversations").join(wish.to.as_ref().unwrap_or(&wish.name));
    if !from.exists() {
        return Err(Trouble::plain(
            format!("there is no conversation `{}` in the trash", wish.name),
            "`scribefs trash` shows what is in it.",
        ));
    }
    if to.exists() {
        return Err(Trouble::plain(
            format!("a conversation has the name of {} by now", to.display()),
            "Give another name: `scribefs restore NAME --to OTHER`.",
        ));
    }
    fs::rename(&from, &to).map_err(|err| unanswered(&from, err))?;
    report::print(format!("{}\n", to.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Reads everything once: what was in the bucket only is on local disk afterwards, as far as there is room.
pub(crate) fn warm(wish: &Warm, environment: &Environment) -> Result<ExitCode, Trouble> {
    let mut files = Vec::new();
    for path in &wish.paths {
        place::inside(path, environment.working_directory())?;
        let path = environment.working_directory().join(path);
        collect(&path, &mut files).map_err(|err| unanswered(&path, err))?;
    }
    let bytes = files.iter().map(|(_, bytes)| bytes).sum();
    let style = ProgressStyle::with_template("{bar:24} {bytes}/{total_bytes} {eta}");
    let bar = ProgressBar::new(bytes);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    for (path, _) in &files {
        read_all(path, &bar).map_err(|err| unanswered(path, err))?;
    }
    bar.finish_and_clear();
    Ok(ExitCode::SUCCESS)
}

fn collect(path: &Path, files: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    let stat = fs::metadata(path)?;
    if !stat.is_dir() {
        files.push((path.to_owned(), stat.len()));
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

fn read_all(path: &Path, bar: &ProgressBar) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => bar.inc(count as u64),
        }
    }
}

pub(crate) fn url(wish: &Url, environment: &Environment) -> Result<ExitCode, Trouble> {
    place::inside(&wish.file, environment.working_directory())?;
    let path = environment.working_directory().join(&wish.file);
    let link = attribute(&path, c"user.scribefs.url").map_err(|err| {
        if err.raw_os_error() == Some(libc::ENODATA) {
            return Trouble::plain(
                format!("there is no link to {}", wish.file.display()),
                "Only files that are in a bucket have one; `scribefs storage-info` tells how far they are.",
            );
        }
        unanswered(&path, err)
    })?;
    report::print(format!("{link}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn mount_of(named: Option<&Path>, environment: &Environment) -> Result<PathBuf, Trouble> {
    match named {
        Some(path) => Ok(environment.working_directory().join(path)),
        None => place::only_mount(),
    }
}

fn unanswered(path: &Path, source: io::Error) -> Trouble {
    Trouble::File {
        path: path.to_owned(),
        source,
        remedy: "Check the path, and with `scribefs status` that the mount answers.".to_owned(),
    }
}

/// An extended attribute, as text.
fn attribute(path: &Path, name: &CStr) -> io::Result<String> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut value = vec![0u8; VALUE_BYTES];
    // SAFETY: both names end in NUL, and `value` has room for as many bytes as are asked for.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    value.truncate(length);
    Ok(String::from_utf8_lossy(&value).into_owned())
}
