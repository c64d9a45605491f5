//! `wait`: until recordings are published.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::Value;

use crate::cli::arguments::Wait;
use crate::cli::print::{self, CliError};
use crate::cli::{attributes, find_mount};
use crate::config;
use crate::daemon::Environment;
use crate::model::printable;

const STATE: &CStr = c"user.scribefs.state";
const PROGRESS: &CStr = c"user.scribefs.progress";
const REASON: &CStr = c"user.scribefs.error";

const RETRY: &str = "If it is still in the inbox, `scribefs retry` starts it again.";

/// Longest time from the end of a recording's work to the event that tells of it.
const EVENT_TAKES: Duration = Duration::from_secs(5);

/// Time between looks at how far a file is.
const LOOK: Duration = Duration::from_millis(250);

/// Time between looks whether the model is still missing.
const LOOK_FOR_MODEL: Duration = Duration::from_secs(10);

pub(crate) fn wait(args: &Wait, environment: &Environment) -> Result<ExitCode, CliError> {
    let limit =
        args.timeout.as_deref().map(|text| config::time_limit("timeout", text)).transpose()?;
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut code = ExitCode::SUCCESS;
    let mut has_failed = false;
    for file in &args.files {
        let published = find_mount::inbox_file(file, environment.working_directory())
            .and_then(|(mount, path)| wait_for(&mount, &path, file, deadline));
        match published {
            Ok(folder) => print::print_path(&folder)?,
            // The others may be published all the same.
            Err(trouble) => {
                print::complain(&trouble);
                if !has_failed {
                    code = trouble.code();
                }
                has_failed |= !matches!(trouble, CliError::TimeOut(_));
            }
        }
    }
    Ok(code)
}

/// The folder that the recording was published in.
fn wait_for(
    mount: &Path,
    path: &Path,
    named: &Path,
    deadline: Option<Instant>,
) -> Result<PathBuf, CliError> {
    let mut events = Events::open(mount)?;
    // In this order: what is done between the two is seen either way.
    let mut last = events.last_end_so_far(path)?;
    if !mount.join("inbox").join(path).exists() {
        last = events.last_end_so_far(path)?.or(last);
        let last = last.ok_or_else(|| {
            CliError::plain(
                format!("{} is not in the inbox, and has not been recently", named.display()),
                "Look for it under conversations/, or drop it (again).",
            )
        })?;
        return end_of(mount, named, &last);
    }
    let file = mount.join("inbox").join(path);
    if let Some(over) = Standing::of(&file)?.end(&file, named) {
        return Err(over);
    }
    let mut progress = Progress::new(mount, &file);
    // Since when the file itself says that it is over, although no event has.
    let mut over_since: Option<Instant> = None;
    let end = loop {
        let look = Instant::now() + LOOK;
        let until = deadline.map_or(look, |deadline| deadline.min(look));
        match events.next(Some(until))? {
            Some(event) if is_end_of(&event, path) && !goes_on(&event, &file) => break event,
            Some(_) => {}
            None if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                return Err(CliError::TimeOut(named.to_owned()));
            }
            None => match Standing::of(&file)?.end(&file, named) {
                Some(over) if over_since.is_some_and(|it| EVENT_TAKES < it.elapsed()) => {
                    return Err(over);
                }
                Some(_) => drop(over_since.get_or_insert_with(Instant::now)),
                None => {
                    over_since = None;
                    progress.show();
                }
            },
        }
    };
    progress.spinner.finish_and_clear();
    end_of(mount, named, &end)
}

/// How a file of the inbox stands, by what it says itself.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// Something is still to come of it.
    Going,
    /// Published, moved or removed.
    Gone,
    LeftAlone,
    Failed,
    Cancelled,
    Interrupted,
}

impl Standing {
    fn of(file: &Path) -> Result<Self, CliError> {
        match attributes::get(file, STATE) {
            Ok(Some(state)) => Ok(match state.as_str() {
                "failed" => Self::Failed,
                "cancelled" => Self::Cancelled,
                "interrupted" => Self::Interrupted,
                _ => Self::Going,
            }),
            Ok(None) => Ok(Self::LeftAlone),
            Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => {
                Ok(Self::Gone)
            }
            Err(source) => Err(find_mount::unanswered(file.to_owned(), source)),
        }
    }

    /// Why nothing will come of it; `None` where something will.
    fn end(&self, file: &Path, named: &Path) -> Option<CliError> {
        let named = named.display();
        let (what, remedy) = match self {
            Self::Going => return None,
            Self::Gone => (
                format!("{named} was moved or removed"),
                "Look for it under conversations/, or drop it again.".to_owned(),
            ),
            Self::LeftAlone => (
                format!("{named} is not a recording, or its name says that it is not finished"),
                "Hidden, temporary and empty files, and files of other kinds, are left in the inbox as they are."
                    .to_owned(),
            ),
            Self::Failed => {
                let reason = attributes::get(file, REASON).ok().flatten().unwrap_or_default();
                let (message, remedy) = reason.split_once('\n').unwrap_or((&reason, ""));
                (format!("{named}: {message}"), remedy.to_owned())
            }
            Self::Cancelled => (format!("{named} was cancelled"), RETRY.to_owned()),
            Self::Interrupted => (
                format!("{named} was interrupted before it was completely written"),
                "Drop it again, or `touch` it if it is complete.".to_owned(),
            ),
        };
        Some(CliError::plain(what, remedy))
    }
}

/// Whether the file that the work was withdrawn from is work again: a writer has come back to it, or another file has
/// its name now.
fn goes_on(event: &Value, file: &Path) -> bool {
    let state = || attributes::get(file, STATE).ok().flatten();
    event["state"] == "cancelled" && state().is_some_and(|state| state != "cancelled")
}

/// Where the file stands, for whoever watches. Without a terminal only what keeps it waiting is told.
struct Progress<'a> {
    mount: &'a Path,
    file: &'a Path,
    spinner: ProgressBar,
    /// When to look again whether a model is missing; `None` when that was told.
    look_for_model: Option<Instant>,
}

impl<'a> Progress<'a> {
    fn new(mount: &'a Path, file: &'a Path) -> Self {
        let spinner = ProgressBar::new_spinner();
        Self { mount, file, spinner, look_for_model: Some(Instant::now()) }
    }

    fn show(&mut self) {
        let attribute = |name| attributes::get(self.file, name).ok().flatten();
        let Some(state) = attribute(STATE) else { return };
        let percent = attribute(PROGRESS).unwrap_or_default();
        self.spinner.set_message(format!("{} {} %", printable(&state), printable(&percent)));
        self.spinner.tick();
        if state == "queued" && self.look_for_model.is_some_and(|at| at <= Instant::now()) {
            self.look_for_model = Some(Instant::now() + LOOK_FOR_MODEL);
            if let Some(name) = missing_model(self.mount) {
                self.look_for_model = None;
                self.spinner.suspend(|| print::remark(&format!(
                    "scribefs: waiting for the model `{name}`; install it with `scribefs models pull {name}`"
                )));
            }
        }
    }
}

/// The recognizer that recordings wait for.
fn missing_model(mount: &Path) -> Option<String> {
    let status = find_mount::status(mount).ok()?;
    let recognizer = &status["recognizer"];
    (recognizer["installed"] == false).then(|| recognizer["name"].as_str().map(str::to_owned))?
}

fn is_end_of(event: &Value, path: &Path) -> bool {
    let is_final =
        matches!(event["state"].as_str(), Some("done" | "failed" | "cancelled" | "duplicate"));
    event["event"] == "job" && is_final && event["path"] == path.to_string_lossy().as_ref()
}

fn end_of(mount: &Path, named: &Path, event: &Value) -> Result<PathBuf, CliError> {
    let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    match event["state"].as_str() {
        Some("done" | "duplicate") => {
            // What is remarkable about it: that the same bytes were there already, say.
            if let Some(remark) = event["message"].as_str() {
                print::remark(&format!("{}: {remark}", named.display()));
            }
            Ok(mount.join(word("folder")))
        }
        Some("failed") => {
            let what = format!("{}: {}", named.display(), word("message"));
            Err(CliError::plain(what, word("remedy")))
        }
        _ => Err(CliError::plain(
            format!("{} was cancelled, moved or removed", named.display()),
            RETRY,
        )),
    }
}

/// How waiting at the end of the events has ended.
enum Waited {
    Readable,
    TooLong,
    Ended,
}

/// `.scribefs/events`, from its start, line by line.
struct Events {
    file: File,
    read: Vec<u8>,
}

impl Events {
    fn open(mount: &Path) -> Result<Self, CliError> {
        let path = mount.join(".scribefs/events");
        let file = File::open(&path).map_err(|source| find_mount::unanswered(path, source))?;
        Ok(Self { file, read: Vec::new() })
    }

    /// The last line about the end of work on `path` among those that were not read yet.
    fn last_end_so_far(&mut self, path: &Path) -> Result<Option<Value>, CliError> {
        let mut last = None;
        while let Some(event) = self.next(Some(Instant::now()))? {
            if is_end_of(&event, path) {
                last = Some(event);
            }
        }
        Ok(last)
    }

    /// The next line; `None` when there is none until `deadline`.
    fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Value>, CliError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).unwrap_or_default()));
            }
            let mut some = [0; 1 << 16];
            match self.file.read(&mut some) {
                Ok(0) => match self.wait_for_more(deadline) {
                    Waited::Readable => {}
                    Waited::TooLong => return Ok(None),
                    Waited::Ended => {
                        let remedy = "Mount again; nothing that was dropped is lost.";
                        return Err(CliError::plain("the mount is gone", remedy));
                    }
                },
                Ok(count) => self.read.extend_from_slice(&some[..count]),
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err.into()),
            }
        }
    }

    /// Waits at most until `deadline`.
    fn wait_for_more(&self, deadline: Option<Instant>) -> Waited {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left =
            left.map_or(Duration::from_secs(3600), |left| left.min(Duration::from_secs(3600)));
        let milliseconds = libc::c_int::try_from(left.as_millis()).unwrap_or(libc::c_int::MAX);
        let mut poll = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` is one valid entry, and the call does not outlive it.
        let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        match ready {
            1.. if poll.revents & (libc::POLLHUP | libc::POLLERR) != 0 => Waited::Ended,
            0 if deadline.is_some_and(|at| at <= Instant::now()) => Waited::TooLong,
            // Interrupted, or there is something: reading tells.
            _ => Waited::Readable,
        }
    }
}
