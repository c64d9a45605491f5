//! The command line: subcommands, flags, and the help that people read.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cli::mount_arguments::{Mount, Umount};
use crate::cli::published_arguments::{Purge, Restore, Trash, Url, Warm};
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
  scribefs mount ~/Recordings          mount, and go to the background
  cp meeting.m4a ~/Recordings/inbox/   drop a recording
  scribefs status --watch              see how far it is
  scribefs transcribe meeting.m4a      one file, without any mount
  scribefs umount ~/Recordings

Exit codes: 0 done; 1 failed; 2 arguments or settings were not understood; 4 the time was over (wait)"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Mount(Mount),
    Umount(Umount),
    Status(Status),
    Wait(Wait),
    /// Try recordings again that failed, were cancelled or were interrupted
    Retry(InboxFiles),
    /// Stop the work on recordings; they stay in the inbox
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

/// Show what is in the inbox, and how far it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs status
  scribefs status --watch
  scribefs status --json | jq .inbox")]
pub(crate) struct Status {
    /// The mount; not needed inside of one, or where you have only one
    pub(crate) mountpoint: Option<PathBuf>,
    /// Go on showing, with progress bars
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// As the daemon tells it
    #[arg(long, conflicts_with = "watch")]
    pub(crate) json: bool,
}

/// Wait until recordings are published.
///
/// Prints the folder of each, or what became of it instead, and waits for the others all the same. A recording that
/// is changed meanwhile is waited for again.
///
/// Exit codes: 0 all are published; 1 one of them could not be used (its error note says why), was
/// cancelled or is not there; 2 the command was not understood; 4 the time was over.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Recordings in an inbox
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Longest time, such as 90s or 2h
    #[arg(short, long)]
    pub(crate) timeout: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InboxFiles {
    /// Recordings in an inbox
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// Give speakers their names, in all pages of a recording.
///
/// Returns when the pages are written anew.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs name ~/Recordings/conversations/standup/2024/01/15/monday.json S1=Anna S2='Dr. Ito'
  scribefs name monday.wav S2=        takes the name back")]
pub(crate) struct Name {
    /// Any file of the recording, under conversations/
    pub(crate) file: PathBuf,
    /// SPEAKER=NAME: S1 is Speaker 1 of the transcript
    #[arg(required = true, value_name = "S1=NAME")]
    pub(crate) names: Vec<String>,
}

/// Transcribe files here and now, without any mount.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs transcribe meeting.m4a
  scribefs transcribe --srt film.mkv > film.srt
  scribefs transcribe --speakers 2 --json call.wav | jq .speakers")]
pub(crate) struct Transcribe {
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
    /// No progress bar
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What is printed; a transcript to read without any of these.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Format {
    /// Segments, words, speakers and times
    #[arg(long)]
    pub(crate) json: bool,
    /// Subtitles
    #[arg(long)]
    pub(crate) srt: bool,
    /// Subtitles with voice tags
    #[arg(long)]
    pub(crate) vtt: bool,
    /// Who speaks when
    #[arg(long)]
    pub(crate) rttm: bool,
}

/// List, get, check and remove speech models.
#[derive(Debug, Args)]
pub(crate) struct Models {
    #[command(subcommand)]
    pub(crate) action: ModelsAction,
    /// Folder of models [default: $XDG_DATA_HOME/scribefs/models]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsAction {
    /// What is installed, and what can be had
    List {
        #[arg(long)]
        json: bool,
    },
    /// Download and install models; without a name the default ones
    Pull {
        names: Vec<String>,
        /// A wheel of moonshine-voice that is here already
        #[arg(long, value_name = "WHEEL")]
        from: Option<PathBuf>,
    },
    /// Install a model from a ggml file or a folder
    Import {
        path: PathBuf,
        /// Its name from now on [default: that of the file or folder]
        #[arg(long)]
        name: Option<String>,
    },
    /// Compare installed models with their hashes
    Verify { names: Vec<String> },
    /// Delete models
    Remove {
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Make the index anew from the store. Nothing may be mounted meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Reindex {
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Show where recordings are kept, and how much room there is.
#[derive(Debug, Args)]
pub(crate) struct StorageInfo {
    /// The mount; not needed inside of one, or where you have only one
    pub(crate) mountpoint: Option<PathBuf>,
    #[arg(long)]
    pub(crate) json: bool,
}

/// Try at once what the bucket has refused, after you have mended why.
#[derive(Debug, Args)]
pub(crate) struct RetryUploads {
    /// The mount; not needed inside of one, or where you have only one
    pub(crate) mountpoint: Option<PathBuf>,
}

/// Take over an uploads/ folder of the first system, and leave it as it is.
///
/// Recordings that have a transcript are published with it while nothing is mounted. The others are
/// dropped into the inbox of the mount, under their conversation and day. Recordings that are known
/// already are passed over, so that an import can be run again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs import ~/old/uploads                     those with transcripts, before mounting
  scribefs import ~/old/uploads --mount ~/Recordings --wait   the others
  scribefs import s3://old-talks                    from a bucket, with the keys of `[s3]`")]
pub(crate) struct Import {
    /// Folder or bucket with conversations, and below them years, months and days
    #[arg(value_name = "DIR|s3://BUCKET/PREFIX")]
    pub(crate) source: String,
    /// Drop recordings into the inbox of this mount; not needed where there is only one
    #[arg(long, value_name = "DIR")]
    pub(crate) mount: Option<PathBuf>,
    /// Write recordings down anew that have a transcript
    #[arg(long)]
    pub(crate) again: bool,
    /// Wait until those in the inbox are published
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Move all recordings to the bucket, or to local disk. Nothing may be mounted meanwhile.
///
/// It can be stopped at any time and run again: it goes on where it was. Every byte is verified before
/// the old copy goes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs migrate --to s3               with a bucket and storage = \"s3\" in the settings
  scribefs migrate --to local            with the bucket still there, and storage = \"local\"")]
pub(crate) struct Migrate {
    #[arg(long)]
    pub(crate) to: Goal,
    /// Leave the old copies where they are
    #[arg(long)]
    pub(crate) keep_old: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Where recordings move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    S3,
    Local,
}

/// Check that index, local disk and bucket agree. Nothing may be mounted meanwhile.
///
/// Exit code 1: something was found that is not mended.
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Mend what can be mended; nothing is deleted
    #[arg(long)]
    pub(crate) repair: bool,
    /// Read all bytes and compare their hashes; from a bucket this costs traffic
    #[arg(long)]
    pub(crate) deep: bool,
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// List what scribefs has left behind: what no recording names and nobody has written to for an hour. Nothing may
/// be mounted meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Remove it
    #[arg(long)]
    pub(crate) yes: bool,
    /// Only list it, which is the default
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Check everything that scribefs needs, and say how to mend what is wrong.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) settings: Settings,
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
