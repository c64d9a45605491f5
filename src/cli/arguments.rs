//! The command line: subcommands, flags, and the help that people read.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cli::mount_arguments::{Mount, Umount};
use crate::cli::published_arguments::{Purge, Restore, Trash, Url, Warm};
use crate::cli::setting_flags::{DoctorFlags, EngineFlags, StoreFlags};
use crate::cli::settings::Settings;

/// A filesystem that writes down what was said.
///
/// Copy a recording into the mounted folder's inbox/ and read its transcript under conversations/.
#[derive(Debug, Parser)]
#[command(
    name = "scribefs",
    version = env!("PROGRAM_VERSION"),
    max_term_width = 100,
    after_help = "\
Examples:
  scribefs mount ~/Recordings          mount and return
  cp meeting.m4a ~/Recordings/inbox/   drop a recording
  scribefs status --watch              watch the progress
  scribefs transcribe meeting.m4a      one file, without a mount
  scribefs umount ~/Recordings

Exit codes: 0 success; 1 failure; 2 invalid arguments or settings; 4 timed out (wait)"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Mount(Box<Mount>),
    Umount(Umount),
    Status(Status),
    Wait(Wait),
    /// Retry recordings that failed, were cancelled or were interrupted
    Retry(InboxFiles),
    /// Stop processing recordings; they stay in the inbox
    Cancel(InboxFiles),
    Name(Name),
    Transcribe(Transcribe),
    Models(Models),
    StorageInfo(StorageInfo),
    RetryUploads(RetryUploads),
    Trash(Trash),
    Restore(Restore),
    Purge(Purge),
    Warm(Warm),
    Url(Url),
    Import(Import),
    Migrate(Migrate),
    Fsck(Fsck),
    Gc(Gc),
    Reindex(Reindex),
    Doctor(Doctor),
    /// Show the version, the commit and the features of this program
    Version,
    /// Decodes and transcribes for the daemon.
    #[command(hide = true)]
    Worker(Worker),
}

/// Show what is in the inbox, and its progress.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs status
  scribefs status --watch
  scribefs status --json | jq .inbox")]
pub(crate) struct Status {
    /// Mount to use; not needed inside a mount, or if you have only one
    pub(crate) mountpoint: Option<PathBuf>,
    /// Keep watching, with progress bars
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Print the daemon's status as JSON
    #[arg(long, conflicts_with = "watch")]
    pub(crate) json: bool,
}

/// Wait until recordings are published.
///
/// Prints the folder of each recording. If one is not published, says why and keeps waiting for the others. If a
/// recording changes meanwhile, waits for its new version.
///
/// Exit codes: 0 all were published; 1 one of them failed (its error note says why), was cancelled or does not exist;
/// 2 invalid arguments; 4 timed out.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Recordings in an inbox
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Give up after this time, such as 90s or 2h
    #[arg(short, long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InboxFiles {
    /// Recordings in an inbox
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// Name the speakers in all pages of a recording.
///
/// Returns when the pages have been rewritten.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs name ~/Recordings/conversations/standup/2024/01/15/monday.json S1=Anna S2='Dr. Ito'
  scribefs name monday.wav S2=        removes the name")]
pub(crate) struct Name {
    /// Any file of the recording, under conversations/
    pub(crate) file: PathBuf,
    /// SPEAKER=NAME: S1 is Speaker 1 of the transcript
    #[arg(required = true, value_name = "S1=NAME")]
    pub(crate) names: Vec<String>,
}

/// Transcribe files without a mount.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs transcribe meeting.m4a
  scribefs transcribe --srt film.mkv > film.srt
  scribefs transcribe --speakers 2 --json call.wav | jq .speakers")]
pub(crate) struct Transcribe {
    /// Recordings to transcribe
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
    /// Show no progress bar
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) settings: Settings<EngineFlags>,
}

/// What is printed; a transcript to read without any of these.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Format {
    /// Print JSON: segments, words, speakers and times
    #[arg(long)]
    pub(crate) json: bool,
    /// Print SRT subtitles
    #[arg(long)]
    pub(crate) srt: bool,
    /// Print WebVTT subtitles with voice tags
    #[arg(long)]
    pub(crate) vtt: bool,
    /// Print RTTM: who speaks when
    #[arg(long)]
    pub(crate) rttm: bool,
}

/// List, install, check and remove speech models.
#[derive(Debug, Args)]
pub(crate) struct Models {
    #[command(subcommand)]
    pub(crate) action: ModelsAction,
    /// Models folder [default: $XDG_DATA_HOME/scribefs/models]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsAction {
    /// List installed and available models
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Download and install models; without names, the default ones
    Pull {
        /// Names, as `scribefs models list` shows them
        names: Vec<String>,
        /// Wheel of moonshine-voice that you have already downloaded
        #[arg(long, value_name = "WHEEL")]
        from: Option<PathBuf>,
    },
    /// Install a model from a ggml file or a folder
    Import {
        /// ggml file of whisper.cpp, or model folder as published by sherpa-onnx
        path: PathBuf,
        /// Name of the model [default: name of the file or folder]
        #[arg(long)]
        name: Option<String>,
    },
    /// Check installed models against their hashes
    Verify {
        /// Models to check [default: all]
        names: Vec<String>,
    },
    /// Delete models
    Remove {
        /// Models to delete
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Rebuild the index from the store (unmount first).
#[derive(Debug, Args)]
pub(crate) struct Reindex {
    #[command(flatten)]
    pub(crate) settings: Settings<StoreFlags>,
}

/// Show where recordings are stored, and how much space is left.
#[derive(Debug, Args)]
pub(crate) struct StorageInfo {
    /// Mount to use; not needed inside a mount, or if you have only one
    pub(crate) mountpoint: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Retry uploads that the bucket refused, once you have fixed the cause.
#[derive(Debug, Args)]
pub(crate) struct RetryUploads {
    /// Mount to use; not needed inside a mount, or if you have only one
    pub(crate) mountpoint: Option<PathBuf>,
}

/// Import an uploads/ folder of the first system, and leave it unchanged.
///
/// While nothing is mounted, recordings that have a transcript are published with it. While mounted, the others are
/// dropped into the inbox, under their conversation and day. Recordings that are already known are skipped, so you
/// can run an import again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs import ~/old/uploads                     those with transcripts, before mounting
  scribefs import ~/old/uploads --mount ~/Recordings --wait   the others
  scribefs import s3://old-talks                    from a bucket, with the keys of `[s3]`")]
pub(crate) struct Import {
    /// Folder or bucket that contains conversations, and in them years, months and days
    #[arg(value_name = "DIR|s3://BUCKET/PREFIX")]
    pub(crate) source: String,
    /// Mount to drop recordings into [default: the one that uses the state folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) mount: Option<PathBuf>,
    /// Transcribe recordings anew even if they have a transcript
    #[arg(long)]
    pub(crate) again: bool,
    /// Wait until the dropped recordings are published
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) settings: Settings<StoreFlags>,
}

/// Move all recordings to the bucket or to local disk (unmount first).
///
/// You can stop it at any time and run it again: it continues where it stopped. Every byte is verified before the old
/// copy is removed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs migrate --to s3               with a bucket and storage = \"s3\" in the settings
  scribefs migrate --to local            with the bucket still there, and storage = \"local\"")]
pub(crate) struct Migrate {
    /// Where to move them
    #[arg(long)]
    pub(crate) to: Goal,
    /// Keep the old copies
    #[arg(long)]
    pub(crate) keep_old: bool,
    #[command(flatten)]
    pub(crate) settings: Settings<StoreFlags>,
}

/// Where recordings move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    /// The bucket
    S3,
    /// Local disk
    Local,
}

/// Check that index, local disk and bucket agree (unmount first).
///
/// Exit code 1: something was found and not repaired.
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Repair what can be repaired; no intact copy is deleted
    #[arg(long)]
    pub(crate) repair: bool,
    /// Read all bytes and compare their hashes; reading from a bucket costs traffic
    #[arg(long)]
    pub(crate) deep: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Settings<StoreFlags>,
}

/// List files that no recording names and nothing has written to for an hour (unmount first).
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Remove them
    #[arg(long)]
    pub(crate) yes: bool,
    /// Only list them (the default)
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) settings: Settings<StoreFlags>,
}

/// Check everything scribefs needs, and say how to fix what is wrong.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) settings: Settings<DoctorFlags>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Run the engines, with the models below this folder; without it and `--convert`: decode
    #[arg(long)]
    pub(crate) models: Option<PathBuf>,
    #[arg(long, value_name = "FFMPEG")]
    pub(crate) convert: Option<PathBuf>,
    #[arg(long)]
    pub(crate) memory_mb: u64,
    #[arg(long, default_value_t = 0)]
    pub(crate) file_bytes: u64,
    #[arg(long)]
    pub(crate) cpu_seconds: Option<u64>,
    /// Process that started this one
    #[arg(long)]
    pub(crate) parent: u32,
}
