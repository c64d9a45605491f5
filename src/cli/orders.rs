//! `retry`, `cancel` and `name`: single recordings are told what to do, and what came of it is reported.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::arguments::{InboxFiles, Name};
use crate::cli::print::{self, CliError};
use crate::cli::{attributes, find_mount};
use crate::daemon::Environment;
use crate::model::{SpeakerId, printable};

const STATE: &CStr = c"user.scribefs.state";
const SPEAKERS: &CStr = c"user.scribefs.speakers";
const REVISION: &CStr = c"user.scribefs.revision";

/// How long pages may take to be written anew before `name` says that it did not see it.
const PAGES_TAKE: Duration = Duration::from_secs(60);

/// Time between looks at whether they are.
const LOOK: Duration = Duration::from_millis(50);

/// What an inbox file can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Retry,
    Cancel,
}

impl Order {
    fn attribute(self) -> &'static CStr {
        match self {
            Self::Retry => c"user.scribefs.retry",
            Self::Cancel => c"user.scribefs.cancel",
        }
    }
}

pub(crate) fn retry(args: &InboxFiles, environment: &Environment) -> Result<ExitCode, CliError> {
    each(args, environment, Order::Retry)
}

pub(crate) fn cancel(args: &InboxFiles, environment: &Environment) -> Result<ExitCode, CliError> {
    each(args, environment, Order::Cancel)
}

/// All of them, also where one cannot be done.
fn each(args: &InboxFiles, environment: &Environment, order: Order) -> Result<ExitCode, CliError> {
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        match give(file, environment.working_directory(), order) {
            Ok(state) => {
                let file = file.display().to_string();
                print::print(format!("{}: {state}\n", printable(&file)))?;
            }
            Err(trouble) => {
                print::complain(&trouble);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// The state that the file is in then.
fn give(file: &Path, working_directory: &Path, order: Order) -> Result<String, CliError> {
    let (mount, path) = find_mount::inbox_file(file, working_directory)?;
    let path = mount.join("inbox").join(path);
    let state = || attributes::get(&path, STATE).map_err(|err| unusable(file, err));
    let Some(before) = state()? else {
        return Err(CliError::plain(
            format!("{} is not a recording that is being processed", file.display()),
            "`scribefs status` lists those that are.",
        ));
    };
    let is_over = matches!(before.as_str(), "failed" | "cancelled" | "interrupted");
    if is_over != (order == Order::Retry) {
        let verb = if is_over { "cancel" } else { "try again" };
        return Err(CliError::plain(
            format!("{}: there is nothing to {verb}, it is {before}", file.display()),
            "`scribefs status` shows its progress.",
        ));
    }
    attributes::set(&path, order.attribute(), "1").map_err(|err| match err.raw_os_error() {
        Some(libc::EBUSY) => CliError::plain(
            format!("{}: it is {before}, which cannot be stopped", file.display()),
            "Remove the file if you no longer want it, or wait until it is published.",
        ),
        _ => unusable(file, err),
    })?;
    Ok(state()?.unwrap_or_else(|| "gone".to_owned()))
}

fn unusable(file: &Path, source: io::Error) -> CliError {
    CliError::File {
        path: file.to_owned(),
        source,
        remedy: "`scribefs status` shows what is in the inbox.".to_owned(),
    }
}

pub(crate) fn name(args: &Name, environment: &Environment) -> Result<ExitCode, CliError> {
    let names = names(&args.names)?;
    let (mount, below) = find_mount::inside(&args.file, environment.working_directory())?;
    let file = mount.join(&below);
    let recording = below.strip_prefix("conversations").map_err(|_| {
        CliError::plain(
            format!("{} is not a published recording", args.file.display()),
            format!("Published recordings are in {}/conversations.", mount.display()),
        )
    })?;
    let attribute = |name: &CStr| {
        attributes::get(&file, name).map_err(|source| CliError::File {
            path: args.file.clone(),
            source,
            remedy: "Name any file of the recording.".to_owned(),
        })
    };
    let Some(speakers) = attribute(SPEAKERS)?.and_then(|text| text.parse::<u32>().ok()) else {
        return Err(CliError::plain(
            format!("{} does not belong to one recording", args.file.display()),
            "Name the original, or a page named after it, such as its .json or .srt.",
        ));
    };
    if let Some(unknown) = names.keys().find(|speaker| speakers <= u32::from(speaker.0)) {
        return Err(no_such_speaker(&args.file, *unknown, speakers));
    }
    let before = attribute(REVISION)?;
    let order = json!({ "path": recording.display().to_string(), "names": names });
    find_mount::order(&mount, &format!("name {order}"))?;
    let begun = Instant::now();
    while attribute(REVISION)? == before {
        if PAGES_TAKE < begun.elapsed() {
            return Err(CliError::plain(
                format!("the pages of {} have not been rewritten yet", args.file.display()),
                "The daemon's log says why. It rewrites them as soon as it can.",
            ));
        }
        thread::sleep(LOOK);
    }
    print::print(said(&names))?;
    Ok(ExitCode::SUCCESS)
}

fn no_such_speaker(file: &Path, unknown: SpeakerId, speakers: u32) -> CliError {
    let there = match speakers {
        0 => "nobody speaks in it".to_owned(),
        1 => "its only speaker is S1".to_owned(),
        2 => "its speakers are S1 and S2".to_owned(),
        more => format!("its speakers are S1 to S{more}"),
    };
    CliError::plain(
        format!("{} has no speaker {unknown}; {there}", file.display()),
        "The transcript shows who says what: Speaker 1 is S1.",
    )
}

fn said(names: &BTreeMap<SpeakerId, String>) -> String {
    let line = |(speaker, name): (&SpeakerId, &String)| match name.as_str() {
        "" => format!("{speaker} no longer has a name\n"),
        name => format!("{speaker} is {}\n", printable(name)),
    };
    names.iter().map(line).collect()
}

fn names(said: &[String]) -> Result<BTreeMap<SpeakerId, String>, CliError> {
    said.iter()
        .map(|text| {
            let pair = text.split_once('=');
            let pair = pair.and_then(|(who, name)| Some((speaker(who.trim())?, name)));
            let (speaker, name) = pair.ok_or_else(|| {
                CliError::plain(
                    format!("`{text}` does not name a speaker"),
                    "Write S1=Anna, or \"Speaker 1=Anna\".",
                )
            })?;
            Ok((speaker, name.trim().to_owned()))
        })
        .collect()
}

/// `S1`, or `Speaker 1` as transcripts have it.
fn speaker(text: &str) -> Option<SpeakerId> {
    let number = text.strip_prefix("Speaker ").or_else(|| text.strip_prefix("speaker "));
    match number {
        Some(number) => format!("S{}", number.trim()).parse().ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speakers_are_named_as_the_transcript_or_the_json_page_calls_them() {
        let wanted = |text: &str| names(&[text.to_owned()]).map(|names| said(&names)).ok();
        assert_eq!(wanted("S2=Anna").unwrap(), "S2 is Anna\n");
        assert_eq!(wanted("Speaker 2=Dr. Ito").unwrap(), "S2 is Dr. Ito\n");
        assert_eq!(wanted("S1=").unwrap(), "S1 no longer has a name\n");
        for wrong in ["Anna", "S1", "S=Anna", "Speaker=Anna", "S0=Anna", "=Anna"] {
            assert_eq!(wanted(wrong), None, "{wrong}");
        }
    }
}
