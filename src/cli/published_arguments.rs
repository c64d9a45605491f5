//! What the commands about published files and the trash take.

use std::path::PathBuf;

use clap::Args;

/// List the conversations and recordings that were removed, and until when each can be restored.
#[derive(Debug, Args)]
pub(crate) struct Trash {
    /// The mount; not needed inside of one, or where you have only one
    pub(crate) mount: Option<PathBuf>,
    /// Remove everything in it for good, now
    #[arg(long)]
    pub(crate) empty: bool,
}

/// Remove recordings or conversations for good, now, from everywhere. They cannot be restored.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs purge ~/Recordings/conversations/standup/2024/01/15/monday.wav
  scribefs purge ~/Recordings/conversations/standup
  scribefs purge ~/Recordings/.scribefs/trash/standup")]
pub(crate) struct Purge {
    /// Published recordings, one of their pages, whole conversations, or entries of the trash
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Take a conversation or a recording out of the trash, or bring removed pages of a day back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs restore standup
  scribefs restore 'standup 2024-01-15 monday.wav'
  scribefs restore ~/Recordings/conversations/standup/2024/01/15
  scribefs restore standup --to standup-2024")]
pub(crate) struct Restore {
    /// Its name, as `scribefs trash` shows it; or a day's folder, for pages that were removed from it
    pub(crate) name: String,
    /// Another name, where its own was taken meanwhile
    #[arg(long, value_name = "NAME")]
    pub(crate) to: Option<String>,
    /// The mount; not needed inside of one, or where you have only one
    #[arg(long, value_name = "DIR")]
    pub(crate) mount: Option<PathBuf>,
}

/// Fetch files from the bucket, so that they can be heard without the network.
///
/// They stay as long as `cache_bytes` has room for them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs warm ~/Recordings/conversations/standup")]
pub(crate) struct Warm {
    /// Files or folders of a mount
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Print a link with which anybody can get a file from the bucket.
///
/// It works for an hour, or as long as you say.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs url ~/Recordings/conversations/standup/2024/01/15/monday.wav
  scribefs url --for 24h monday.wav")]
pub(crate) struct Url {
    /// A published file of a mount
    pub(crate) file: PathBuf,
    /// How long the link works, 7d at most; temporary keys may end it sooner [default: 1h]
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) lasts: Option<String>,
}
