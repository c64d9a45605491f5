//! `import`: recordings of the first system.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::arguments::{Import, Wait};
use crate::cli::report::{self, Trouble};
use crate::cli::stock::Opened;
use crate::cli::{files, place};
use crate::daemon::Environment;
use crate::fs as filesystem;
use crate::pipeline::{self, Find, Imported, Survey};

pub(crate) fn import(wish: &Import, environment: &Environment) -> Result<ExitCode, Trouble> {
    let source = environment.working_directory().join(&wish.source);
    let survey = pipeline::survey(&source).map_err(|err| Trouble::File {
        path: source.clone(),
        source: err,
        remedy: "Give the folder that has <conversation>/<yyyy>/<mm>/<dd>/ in it.".to_owned(),
    })?;
    if survey.finds.is_empty() {
        return Err(Trouble::plain(
            format!("there are no recordings in {}", source.display()),
            "Give the folder that has <conversation>/<yyyy>/<mm>/<dd>/ in it.",
        ));
    }
    for path in &survey.passed_over {
        report::remark(&format!("{}: passed over", path.display()));
    }
    let config = wish.settings.config(environment)?;
    let mount = match &wish.mount {
        Some(mount) => Some(environment.working_directory().join(mount)),
        None if filesystem::mounts().is_empty() => None,
        None => Some(place::only_mount()?),
    };
    match mount {
        Some(mount) => drop_into(&mount, &survey, wish, &config.zone, environment),
        None => {
            let opened = Opened::open(&config)?;
            take_over(&opened, &survey, &config.zone)
        }
    }
}

/// Publishes those that have a transcript, without any engine.
fn take_over(opened: &Opened, survey: &Survey, zone: &TimeZone) -> Result<ExitCode, Trouble> {
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}");
    let bar = ProgressBar::new(survey.finds.len() as u64);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (mut published, mut known, mut silent) = (0, 0, 0);
    for find in &survey.finds {
        bar.set_message(find.name.display());
        match &find.text {
            None => silent += 1,
            Some(text) => {
                match pipeline::import(opened.stock(), find, text, zone, Timestamp::now())? {
                    Imported::Published(_) => published += 1,
                    Imported::Known(_) => known += 1,
                }
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    report::print(format!(
        "{published} recordings published with their transcripts, {known} known already\n"
    ))?;
    if silent != 0 {
        report::remark(&format!(
            "{silent} have no transcript: mount, and run this again to have them written down"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies those without a transcript into the inbox, each under its conversation and day.
fn drop_into(
    mount: &Path,
    survey: &Survey,
    wish: &Import,
    zone: &TimeZone,
    environment: &Environment,
) -> Result<ExitCode, Trouble> {
    let (mut dropped, mut told) = (Vec::new(), 0);
    for find in &survey.finds {
        if find.text.is_some() && !wish.again {
            told += 1;
            continue;
        }
        let target = target_of(mount, find);
        copy(find, &target, zone).map_err(|source| Trouble::File {
            path: target.clone(),
            source,
            remedy: "Check that the mount answers and has room: `scribefs status`.".to_owned(),
        })?;
        dropped.push(target);
    }
    report::print(format!("{} recordings dropped into the inbox\n", dropped.len()))?;
    if told != 0 {
        report::remark(&format!(
            "{told} have a transcript: unmount, and run this again to publish them with it; \
             or give `--again` to have them written down anew"
        ));
    }
    if wish.wait && !dropped.is_empty() {
        return files::wait(&Wait { files: dropped, timeout: None }, environment);
    }
    Ok(ExitCode::SUCCESS)
}

fn target_of(mount: &Path, find: &Find) -> PathBuf {
    let folder = mount.join("inbox").join(find.conversation.as_str());
    folder.join(find.day.to_string()).join(find.name.as_os_str())
}

/// The same bytes and time, so that the day is the folder's. One that is there already is left to its job.
fn copy(find: &Find, target: &Path, zone: &TimeZone) -> io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    fs::create_dir_all(target.parent().unwrap_or(target))?;
    let mut from = File::open(&find.audio)?;
    let modified = from.metadata()?.modified()?;
    let mut to = File::create_new(target)?;
    io::copy(&mut from, &mut to)?;
    let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
    let modified = pipeline::time_for_inbox(modified, find.day, zone);
    to.set_times(FileTimes::new().set_modified(SystemTime::from(modified)))
}
