//! What people are told: data on standard output, troubles on standard error with what to do about them.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::HumanCount;
use serde_json::Value;

use crate::config::{self, ConfigError};
use crate::daemon::{DaemonError, Overlap, StateError};
use crate::fs::MountError;
use crate::index::IndexError;
use crate::model::{
    self, Failure, escaped_json, printable, printable_lines, without_error_numbers,
};
use crate::models::ModelsError;
use crate::publishing::StoresError;
use crate::sync::{HoldError, LeaseError, UploaderError};
use crate::upkeep::RebuildError;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Overlap(#[from] Overlap),
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    #[error(transparent)]
    Stores(#[from] StoresError),
    #[error(transparent)]
    Uploader(#[from] UploaderError),
    #[error(transparent)]
    Lease(#[from] HoldError),
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// Said by the daemon that was started in the background.
    #[error("{0}")]
    NotMounted(String),
    /// What is wrong, and what to do.
    #[error("{what}")]
    Plain { what: String, remedy: String },
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error, remedy: String },
    #[error("{path}: {}", .failure.message)]
    Recording { path: String, failure: Failure },
    #[error("timed out before {0} was published")]
    TimeOut(PathBuf),
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

impl CliError {
    pub(crate) fn plain(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Plain { what: what.into(), remedy: remedy.into() }
    }

    /// 1: it failed; 2: it was not understood; 4: the time was over.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(2),
            Self::TimeOut(_) => ExitCode::from(4),
            _ => ExitCode::FAILURE,
        }
    }

    fn remedy(&self) -> String {
        match self {
            // Flags that are no settings say themselves what can be written.
            Self::Config(ConfigError::Value { key, .. }) if config::setting(key).is_none() => {
                String::new()
            }
            Self::Config(_) => "`scribefs mount --help` lists the settings.".to_owned(),
            Self::Daemon(err) => remedy_of(err).to_owned(),
            Self::Overlap(overlap) => overlap.remedy().to_owned(),
            Self::Rebuild(_) => "`scribefs doctor` checks store and state.".to_owned(),
            Self::Uploader(_) => "`scribefs doctor` tests the bucket.".to_owned(),
            Self::Lease(HoldError::Lease(LeaseError::Held { .. })) => {
                "Unmount that one, or run the command there.".to_owned()
            }
            Self::Lease(_) => "`scribefs doctor` tests the bucket.".to_owned(),
            Self::Stores(_) => {
                "Check store and state with `scribefs doctor`, then run the command again: it continues where it \
                 stopped."
                    .to_owned()
            }
            Self::Models(err) => err.remedy(),
            Self::Plain { remedy, .. } | Self::File { remedy, .. } => remedy.clone(),
            Self::Recording { failure, .. } => failure.remedy.clone(),
            Self::TimeOut(_) => "`scribefs status` shows its progress.".to_owned(),
            // The daemon has said what to do along with the rest.
            Self::NotMounted(_) | Self::Output(_) => String::new(),
        }
    }
}

fn remedy_of(err: &DaemonError) -> &'static str {
    match err {
        DaemonError::Folder { .. } => "Check that it exists, belongs to you and is writable.",
        DaemonError::StoreLock { .. } => {
            "Unmount that one, or give each state folder a store of its own with `--store`."
        }
        DaemonError::Overlap(overlap) => overlap.remedy(),
        DaemonError::Store(_) => "Name a folder with `--store`.",
        DaemonError::Bucket { .. } => {
            "Check `[s3]` in the settings; `scribefs doctor` tests the bucket."
        }
        DaemonError::Uploader(UploaderError::Lease(_)) => {
            "Unmount that one, mount with --read-only, or choose another prefix."
        }
        DaemonError::Uploader(UploaderError::Place(_))
        | DaemonError::State(StateError::Place(_)) => {
            "Check `[s3]` in the settings, or give each bucket a state folder of its own with `--state DIR`."
        }
        DaemonError::Uploader(_) => "`scribefs doctor` checks the bucket and the state folder.",
        DaemonError::Index(IndexError::OtherRole { .. })
        | DaemonError::State(StateError::Index(IndexError::OtherRole { .. }))
        | DaemonError::State(StateError::Recordings { .. }) => {
            "Give readers (--read-only) and writers separate state folders: `--state DIR`."
        }
        DaemonError::Index(IndexError::InUse { .. }) => {
            "Another scribefs uses this state folder: unmount that one, or use another folder with `--state DIR`."
        }
        DaemonError::Index(IndexError::OnlyInBucket { .. })
        | DaemonError::State(StateError::Index(IndexError::OnlyInBucket { .. })) => {
            "Or name that bucket again. A `.env` counts only if you start scribefs in its folder; otherwise use \
             `--env-file`."
        }
        DaemonError::Index(IndexError::TooNew { .. }) => {
            "Use the version that wrote it, or a newer one."
        }
        DaemonError::Index(IndexError::Disk(_)) => {
            "`scribefs doctor` checks permissions and space."
        }
        DaemonError::Index(_) | DaemonError::Rebuild(_) | DaemonError::State(_) => {
            "`scribefs reindex` rebuilds the index from the store."
        }
        DaemonError::Spool(_) | DaemonError::Threads(_) => {
            "`scribefs doctor` checks permissions and space."
        }
        DaemonError::Watch { .. } => {
            "Check `--watch`: each must be a folder outside the state folder."
        }
        DaemonError::Mount(MountError::Mountpoint { .. }) => {
            "Choose a folder that exists and belongs to you; `scribefs umount` frees one that is in use."
        }
        DaemonError::Mount(MountError::InUse { .. }) => {
            "Mount at another folder, or unmount that one first: `scribefs umount`."
        }
        DaemonError::Mount(MountError::Refused { said }) if said.contains("user_allow_other") => {
            "As root, remove the `#` before `user_allow_other` in /etc/fuse.conf, or mount without `allow_other`."
        }
        DaemonError::Mount(_) => {
            "`scribefs doctor` says what is missing; on Debian and Ubuntu: `apt install fuse3`."
        }
        DaemonError::Stopped => "It received a signal. Nothing is mounted.",
    }
}

/// What went wrong with all its causes in one line, then what to do in another.
pub(crate) fn explain(err: &DaemonError) -> String {
    format!("{}\n{}", printable(&causes(err)), remedy_of(err))
}

/// Prints a trouble as people are to read it.
pub(crate) fn complain(trouble: &CliError) {
    if let CliError::Output(err) = trouble
        && err.kind() == io::ErrorKind::BrokenPipe
    {
        // Whoever reads us has seen enough.
        return;
    }
    let what = causes(trouble);
    let what = match trouble {
        // Two lines, and what strangers chose was taken out by `explain`.
        CliError::NotMounted(_) => printable_lines(&what),
        _ => printable(&what),
    };
    let mut text = format!("scribefs: {what}\n");
    let remedy = trouble.remedy();
    if !remedy.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", printable(&remedy));
    }
    // Without standard error there is nowhere left to complain.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// An error and all that caused it, without the numbers of errors.
pub(crate) fn causes(err: &dyn Error) -> String {
    without_error_numbers(&model::causes(err)).into_owned()
}

/// Data, to standard output. On a terminal nothing in it can do more than be read; what is no text is left alone.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match std::str::from_utf8(text.as_ref()) {
        Ok(text) if out.is_terminal() => out.write_all(printable_lines(text).as_bytes())?,
        _ => out.write_all(text.as_ref())?,
    }
    Ok(out.flush()?)
}

/// A JSON document for programs.
pub(crate) fn print_json(value: &Value) -> Result<(), CliError> {
    print(format!("{}\n", escaped_json(&format!("{value:#}"))))
}

/// A path that a script may go on with: as it is, unless a person reads it.
pub(crate) fn print_path(path: &Path) -> Result<(), CliError> {
    if io::stdout().is_terminal() {
        return print(format!("{}\n", printable(&path.display().to_string())));
    }
    print([path.as_os_str().as_bytes(), b"\n"].concat())
}

/// A number and what is counted: `1 recording`, `2,100 recordings`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", HumanCount(count))
}

/// A remark for people, to standard error.
pub(crate) fn remark(text: &str) {
    // Without standard error nobody wants to know.
    let _ = writeln!(io::stderr(), "{}", printable(&without_error_numbers(text)));
}
