//! `trash`, `restore`, `warm` and `url`: what is done with published files of a running mount.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::ProgressBar;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};

use crate::cli::print::{self, CliError};
use crate::cli::published_arguments::{Restore, Trash, Url, Warm};
use crate::cli::{attributes, find_mount, progress, purge};
use crate::config;
use crate::daemon::Environment;
use crate::model::{ConversationId, printable};

/// How long a link lasts where nothing else is said.
const LINK_LASTS: Duration = Duration::from_hours(1);

/// No bucket signs for longer.
const LONGEST_LINK: Duration = Duration::from_hours(7 * 24);

pub(crate) fn trash(args: &Trash, environment: &Environment) -> Result<ExitCode, CliError> {
    let mount = find_mount::mount_of(args.mount.as_deref(), environment)?;
    if args.empty {
        return purge::empty_trash(&mount);
    }
    let folder = mount.join(".scribefs/trash");
    let mut lines = Vec::new();
    let entries = fs::read_dir(&folder);
    for entry in entries.map_err(|err| find_mount::unanswered(folder.clone(), err))? {
        let path = entry.map_err(|err| unanswered(&folder, err))?.path();
        let day = |name: &CStr| {
            let value = attributes::get(&path, name).ok().flatten().unwrap_or_default();
            value.split('T').next().unwrap_or_default().to_owned()
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = printable(&name);
        lines.push(match day(c"user.scribefs.removed_at").as_str() {
            "" => format!("{name}  since {}\n", day(c"user.scribefs.trashed_at")),
            end => format!("{name}  since {}, until {end}\n", day(c"user.scribefs.trashed_at")),
        });
    }
    lines.sort();
    print::print(lines.concat())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn restore(args: &Restore, environment: &Environment) -> Result<ExitCode, CliError> {
    if let Some(folder) = day_folder(&args.name, environment) {
        return restore_pages(&folder);
    }
    let is_name = |name: &String| ConversationId::of_folder(name.as_bytes()).is_some();
    if let Some(wrong) = args.to.as_ref().filter(|name| !is_name(name)) {
        return Err(CliError::plain(
            format!("a conversation cannot be called `{wrong}`"),
            "Use a name of 1 to 64 bytes without `/`, such as `--to standup-2024`.",
        ));
    }
    let mount = find_mount::mount_of(args.mount.as_deref(), environment)?;
    let folder = mount.join(".scribefs/trash");
    fs::symlink_metadata(&folder).map_err(|err| find_mount::unanswered(folder.clone(), err))?;
    let from = mount.join(".scribefs/trash").join(&args.name);
    let origin = attributes::get(&from, c"user.scribefs.origin").ok().flatten();
    let own = attributes::get(&from, c"user.scribefs.conversation").ok().flatten();
    if !from.exists() {
        return Err(CliError::plain(
            format!("there is nothing called `{}` in the trash", args.name),
            "`scribefs trash` shows what is in it.",
        ));
    }
    let to = args.to.clone().or(own).unwrap_or_else(|| args.name.clone());
    let to = mount.join("conversations").join(to);
    let name = args.to.as_deref().unwrap_or_default();
    let restored = attributes::set(&from, c"user.scribefs.restore", name);
    restored.map_err(|err| match err.raw_os_error() {
        Some(libc::EEXIST) => CliError::plain(
            format!("{} already exists", to.display()),
            "Choose another name: `scribefs restore NAME --to OTHER`.",
        ),
        _ => unanswered(&from, err),
    })?;
    // A recording that was there by itself comes back to its day.
    let to = origin.map_or(to, |origin| mount.join("conversations").join(origin));
    print::print_path(&to)?;
    Ok(ExitCode::SUCCESS)
}

/// The day's folder, if the name is a path to it or to a file in it: `conversations/<id>/<yyyy>/<mm>/<dd>/...`.
fn day_folder(name: &str, environment: &Environment) -> Option<PathBuf> {
    const DEPTH: usize = 5;
    let (mount, below) =
        find_mount::inside(Path::new(name), environment.working_directory()).ok()?;
    let parts: Vec<_> = below.components().collect();
    let is_day = below.starts_with("conversations") && (DEPTH..=DEPTH + 1).contains(&parts.len());
    is_day.then(|| parts[..DEPTH].iter().fold(mount, |path, part| path.join(part)))
}

/// Pages that were removed from a day's folder.
fn restore_pages(folder: &Path) -> Result<ExitCode, CliError> {
    let set = attributes::set(folder, c"user.scribefs.restore", "1");
    set.map_err(|err| unanswered(folder, err))?;
    print::print_path(folder)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads everything once: what was in the bucket only is on local disk afterwards, as far as there is room.
pub(crate) fn warm(args: &Warm, environment: &Environment) -> Result<ExitCode, CliError> {
    let mut files = Vec::new();
    for path in &args.paths {
        find_mount::inside(path, environment.working_directory())?;
        let path = environment.working_directory().join(path);
        collect(&path, &mut files).map_err(|err| unanswered(&path, err))?;
    }
    let bytes = files.iter().map(|(_, bytes)| bytes).sum();
    let bar = progress::bar(bytes, "{bar:24} {bytes}/{total_bytes} {eta}");
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

pub(crate) fn url(args: &Url, environment: &Environment) -> Result<ExitCode, CliError> {
    find_mount::inside(&args.file, environment.working_directory())?;
    let path = environment.working_directory().join(&args.file);
    let lasts = args.lasts.as_deref().map(|text| config::time_limit("for", text)).transpose()?;
    let lasts = lasts.unwrap_or(LINK_LASTS);
    if lasts < Duration::from_secs(1) || LONGEST_LINK < lasts {
        return Err(CliError::plain(
            "a link can last from one second to seven days",
            "Write a shorter time, such as `--for 24h`.",
        ));
    }
    let name = CString::new(format!("user.scribefs.url.{}", lasts.as_secs()));
    let name = name.map_err(io::Error::other)?;
    let link = attributes::get(&path, &name).map_err(|err| unanswered(&path, err))?;
    let link = link.ok_or_else(|| {
        let placement = attributes::get(&path, c"user.scribefs.placement").ok().flatten();
        no_link(&args.file, placement.as_deref())
    })?;
    print::remark(&promise(&link, lasts));
    print::print(format!("{link}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn no_link(file: &Path, placement: Option<&str>) -> CliError {
    let file = file.display();
    let what = match placement {
        Some("local" | "uploading") => {
            format!("there is no link to {file} yet: it is on its way to the bucket")
        }
        Some("paused") => format!("there is no link to {file}: its upload is paused"),
        _ => format!("there is no link to {file}"),
    };
    CliError::plain(
        what,
        "Only files in a bucket have one; `scribefs storage-info` shows the progress of uploads.",
    )
}

/// Until when the link is good, by what it says itself: it is cut short where the keys that sign it end sooner.
fn promise(link: &str, wanted: Duration) -> String {
    let field = |name: &str| {
        let (_, rest) = link.split_once(name)?;
        rest.split('&').next()
    };
    let signed_at = field("X-Amz-Date=")
        .and_then(|text| DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok())
        .and_then(|time| time.to_zoned(TimeZone::UTC).ok());
    let lasts = field("X-Amz-Expires=").and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let (signed_at, lasts) = (signed_at.unwrap_or_else(Zoned::now), lasts.unwrap_or(wanted));
    let ends = signed_at.saturating_add(SignedDuration::try_from(lasts).unwrap_or_default());
    let ends = ends.with_time_zone(TimeZone::system()).strftime("%Y-%m-%d %H:%M %Z").to_string();
    match (link.contains("X-Amz-Security-Token="), lasts < wanted) {
        (true, true) => format!("valid until {ends}, when the daemon's temporary keys expire"),
        // Keys whose end nobody has told of.
        (true, false) => format!(
            "valid until {ends}, or until the daemon's temporary keys expire, if that is sooner"
        ),
        (false, _) => format!("valid until {ends}"),
    }
}

fn unanswered(path: &Path, source: io::Error) -> CliError {
    CliError::File {
        path: path.to_owned(),
        source,
        remedy: "Check the path, and check with `scribefs status` that the mount answers."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_link_it_is_said_how_far_the_file_is() {
        let said = |placement| no_link(Path::new("a.wav"), placement).to_string();
        assert!(said(Some("local")).ends_with("it is on its way to the bucket"));
        assert!(said(Some("uploading")).ends_with("it is on its way to the bucket"));
        assert!(said(Some("paused")).ends_with("its upload is paused"));
        assert_eq!(said(Some("stored")), "there is no link to a.wav");
        assert_eq!(said(None), said(Some("stored")));
    }

    #[test]
    fn a_link_says_itself_until_when_it_is_good() {
        let link = |rest: &str| {
            format!("https://h/x?X-Amz-Date=20240115T100000Z&{rest}&X-Amz-Signature=0")
        };
        let day = Duration::from_hours(24);
        let plain = promise(&link("X-Amz-Expires=86400"), day);
        assert!(plain.starts_with("valid until 2024-01-1") && !plain.contains("keys"), "{plain}");
        let short = promise(&link("X-Amz-Expires=600&X-Amz-Security-Token=t"), day);
        assert!(short.contains("2024-01-15") && short.ends_with("temporary keys expire"));
        let unknown = promise(&link("X-Amz-Expires=86400&X-Amz-Security-Token=t"), day);
        assert!(unknown.contains("if that is sooner"), "{unknown}");
    }
}
