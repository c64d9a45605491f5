//! `wait`, `retry`, `cancel` and `name`: what is done with single recordings.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::cli::arguments::{InboxFiles, Name, Wait};
use crate::cli::place;
use crate::cli::report::{self, Trouble};
use crate::config;
use crate::daemon::Environment;
use crate::model::SpeakerId;

/// Time between looks at how far a file is.
const LOOK: Duration = Duration::from_millis(250);

pub(crate) fn wait(wish: &Wait, environment: &Environment) -> Result<ExitCode, Trouble> {
    let limit = wish.timeout.as_deref().map(config::time_limit).transpose()?;
    let deadline = limit.map(|limit| Instant::now() + limit);
    for file in &wish.files {
        let (mount, path) = place::inbox_file(file, environment.working_directory())?;
        let folder = wait_for(&mount, &path, file, deadline)?;
        report::print(format!("{}\n", folder.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder that the recording was published in.
fn wait_for(
    mount: &Path,
    path: &Path,
    named: &Path,
    deadline: Option<Instant>,
) -> Result<PathBuf, Trouble> {
    let mut events = Events::open(mount)?;
    // In this order: what is done between the two is seen either way.
    let mut last = events.last_end_so_far(path)?;
    if !mount.join("inbox").join(path).exists() {
        last = events.last_end_so_far(path)?.or(last);
        let last = last.ok_or_else(|| {
            Trouble::plain(
                format!("{} is not in the inbox, and was not of late", named.display()),
                "Look for it under conversations/, or drop it (again).",
            )
        })?;
        return end_of(mount, named, &last);
    }
    if let Some(last) = last.filter(|last| last["state"] == "failed" && has_note(mount, path)) {
        return end_of(mount, named, &last);
    }
    let spinner = ProgressBar::new_spinner();
    let end = loop {
        let look = Instant::now() + LOOK;
        let until = deadline.map_or(look, |deadline| deadline.min(look));
        match events.next(Some(until))? {
            Some(event) if is_end_of(&event, path) => break event,
            Some(_) => {}
            None if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                return Err(Trouble::TimeOut(named.to_owned()));
            }
            None => show_progress(&spinner, mount, path),
        }
    };
    spinner.finish_and_clear();
    end_of(mount, named, &end)
}

/// Where the file stands, for whoever watches. Without a terminal nothing is shown.
fn show_progress(spinner: &ProgressBar, mount: &Path, path: &Path) {
    let Ok(status) = place::status(mount) else { return };
    let files = status["inbox"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = path.to_string_lossy();
    if let Some(file) = files.iter().find(|file| file["path"] == name.as_ref()) {
        let state = file["state"].as_str().unwrap_or_default();
        let percent = file["progress"].as_f64().unwrap_or(0.0) * 100.0;
        spinner.set_message(format!("{state} {percent:.0} %"));
    }
    spinner.tick();
}

fn has_note(mount: &Path, path: &Path) -> bool {
    let mut note = mount.join("inbox").join(path).into_os_string();
    note.push(".error.txt");
    Path::new(&note).exists()
}

fn is_end_of(event: &Value, path: &Path) -> bool {
    let is_final =
        matches!(event["state"].as_str(), Some("done" | "failed" | "cancelled" | "duplicate"));
    event["event"] == "job" && is_final && event["path"] == path.to_string_lossy().as_ref()
}

fn end_of(mount: &Path, named: &Path, event: &Value) -> Result<PathBuf, Trouble> {
    let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    match event["state"].as_str() {
        Some("done" | "duplicate") => Ok(mount.join(word("folder"))),
        Some("failed") => {
            let what = format!("{}: {}", named.display(), word("message"));
            Err(Trouble::plain(what, word("remedy")))
        }
        _ => Err(Trouble::plain(
            format!("{} was withdrawn", named.display()),
            "It was changed, moved or cancelled. `scribefs retry` starts it again.",
        )),
    }
}

/// `.scribefs/events`, from its start, line by line.
struct Events {
    file: File,
    read: Vec<u8>,
}

impl Events {
    fn open(mount: &Path) -> Result<Self, Trouble> {
        let path = mount.join(".scribefs/events");
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let file = opened.map_err(|source| Trouble::File {
            path,
            source,
            remedy: "No scribefs answers there. `scribefs mount` mounts it (again).".to_owned(),
        })?;
        Ok(Self { file, read: Vec::new() })
    }

    /// The last line about the end of work on `path` among those that were not read yet.
    fn last_end_so_far(&mut self, path: &Path) -> Result<Option<Value>, Trouble> {
        let mut last = None;
        while let Some(event) = self.next(Some(Instant::now()))? {
            if is_end_of(&event, path) {
                last = Some(event);
            }
        }
        Ok(last)
    }

    /// The next line; `None` when there is none until `deadline`.
    fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Value>, Trouble> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).unwrap_or_default()));
            }
            let mut some = [0; 1 << 16];
            match self.file.read(&mut some) {
                Ok(0) => {
                    let remedy = "Mount again; nothing that was dropped is lost.";
                    return Err(Trouble::plain("the mount has ended", remedy));
                }
                Ok(count) => self.read.extend_from_slice(&some[..count]),
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {
                    if !self.becomes_readable(deadline) {
                        return Ok(None);
                    }
                }
                Err(err) => return Err(err.into()),
            }
        }
    }

    /// Waits at most until `deadline`.
    fn becomes_readable(&self, deadline: Option<Instant>) -> bool {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left =
            left.map_or(Duration::from_secs(3600), |left| left.min(Duration::from_secs(3600)));
        let milliseconds = libc::c_int::try_from(left.as_millis()).unwrap_or(libc::c_int::MAX);
        let mut poll = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` is one valid entry, and the call does not outlive it.
        let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        ready != 0 || deadline.is_none_or(|at| Instant::now() < at)
    }
}

pub(crate) fn retry(wish: &InboxFiles, environment: &Environment) -> Result<ExitCode, Trouble> {
    order_for_each(wish, environment, "retry")
}

pub(crate) fn cancel(wish: &InboxFiles, environment: &Environment) -> Result<ExitCode, Trouble> {
    order_for_each(wish, environment, "cancel")
}

fn order_for_each(
    wish: &InboxFiles,
    environment: &Environment,
    verb: &str,
) -> Result<ExitCode, Trouble> {
    for file in &wish.files {
        let (mount, path) = place::inbox_file(file, environment.working_directory())?;
        place::order(&mount, &format!("{verb} {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn name(wish: &Name, environment: &Environment) -> Result<ExitCode, Trouble> {
    let names = names(&wish.names)?;
    let (mount, below) = place::inside(&wish.file, environment.working_directory())?;
    let recording = below.strip_prefix("conversations").map_err(|_| {
        Trouble::plain(
            format!("{} is no published recording", wish.file.display()),
            format!("Published ones lie in {}/conversations.", mount.display()),
        )
    })?;
    fs::metadata(mount.join(&below)).map_err(|source| Trouble::File {
        path: wish.file.clone(),
        source,
        remedy: "Give any file of the recording.".to_owned(),
    })?;
    let order = json!({ "path": recording.display().to_string(), "names": names });
    place::order(&mount, &format!("name {order}"))?;
    Ok(ExitCode::SUCCESS)
}

fn names(said: &[String]) -> Result<BTreeMap<SpeakerId, String>, Trouble> {
    said.iter()
        .map(|text| {
            let (speaker, name) = text.split_once('=').unwrap_or((text, ""));
            let speaker = speaker.parse::<SpeakerId>().ok().filter(|_| text.contains('='));
            let speaker = speaker.ok_or_else(|| {
                Trouble::plain(
                    format!("`{text}` gives nobody a name"),
                    "Write it as S1=Anna; the json page has the speakers.",
                )
            })?;
            Ok((speaker, name.trim().to_owned()))
        })
        .collect()
}
