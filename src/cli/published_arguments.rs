//! What the commands about published files and the trash take.

use std::path::PathBuf;

use clap::Args;

/// List removed conversations and recordings, and until when you can restore them.
#[derive(Debug, Args)]
pub(crate) struct Trash {
    /// Mount to use; not needed inside a mount, or if you have only one
    pub(crate) mount: Option<PathBuf>,
    /// Delete everything in the trash for good
    #[arg(long)]
    pub(crate) empty: bool,
}

/// Delete recordings or conversations for good, from disk and bucket.
///
/// You cannot restore them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs purge ~/Recordings/conversations/standup/2024/01/15/monday.wav
  scribefs purge ~/Recordings/conversations/standup
  scribefs purge ~/Recordings/.scribefs/trash/standup")]
pub(crate) struct Purge {
    /// Published recordings, any of their pages, conversations, or entries of the trash
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Restore a conversation or recording from the trash, or a day's removed pages.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs restore standup
  scribefs restore 'standup 2024-01-15 monday.wav'
  scribefs restore ~/Recordings/conversations/standup/2024/01/15
  scribefs restore standup --to standup-2024")]
pub(crate) struct Restore {
    /// Name, as `scribefs trash` shows it; or a day's folder, to restore pages removed from it
    pub(crate) name: String,
    /// New name, if its own has been taken meanwhile
    #[arg(long, value_name = "NAME")]
    pub(crate) to: Option<String>,
    /// Mount to use; not needed inside a mount, or if you have only one
    #[arg(long, value_name = "DIR")]
    pub(crate) mount: Option<PathBuf>,
}

/// Fetch files from the bucket, so that you can play them offline.
///
/// They stay as long as `cache_bytes` has space for them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs warm ~/Recordings/conversations/standup")]
pub(crate) struct Warm {
    /// Files or folders in a mount
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Print a link that lets anyone download a file from the bucket.
///
/// It works for an hour, or as long as you say.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs url ~/Recordings/conversations/standup/2024/01/15/monday.wav
  scribefs url --for 24h monday.wav")]
pub(crate) struct Url {
    /// Published file in a mount
    pub(crate) file: PathBuf,
    /// How long the link works, 7d at most; temporary keys may end it sooner [default: 1h]
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) lasts: Option<String>,
}
