//! What `mount` and `umount` take.

use std::path::PathBuf;

use clap::Args;

use crate::cli::settings::Settings;

/// Mount scribefs at a folder.
///
/// Returns when the mount answers; with --foreground it stays, as service managers want it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs mount ~/Recordings
  scribefs mount ~/Recordings --recognizer whisper-base --language de
  scribefs mount /srv/talks -o allow_other,settle=10s --foreground")]
pub(crate) struct Mount {
    /// Folder to mount at; made if it is missing
    pub(crate) mountpoint: PathBuf,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Mount options, separated by commas: allow_other, noexec, ro, nonempty, foreground, fsname=NAME, and any setting
    /// as KEY=VALUE
    #[arg(short = 'o', value_name = "OPTIONS", value_delimiter = ',')]
    pub(crate) options: Vec<String>,
    /// Stay in the foreground, and log to standard error
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Mount even if the folder is not empty; its files are hidden until you unmount
    #[arg(long)]
    pub(crate) nonempty: bool,
    /// With --foreground: start the daemon again if it dies. In the background that is the default
    #[arg(long, requires = "foreground")]
    pub(crate) supervise: bool,
    /// In the background: do not start the daemon again if it dies
    #[arg(long, conflicts_with = "foreground")]
    pub(crate) no_supervise: bool,
    /// Show a bucket that another scribefs writes to, and change nothing
    #[arg(long)]
    pub(crate) read_only: bool,
}

/// Unmount, and wait until the daemon has finished what it is writing.
///
/// Programs that have files open in the mount have ten seconds to close them.
#[derive(Debug, Args)]
pub(crate) struct Umount {
    /// The mount; not needed inside of one, or where you have only one
    pub(crate) mountpoint: Option<PathBuf>,
    /// Return at once; the daemon ends in its own time
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait, which is the default
    #[arg(long, hide = true, conflicts_with = "no_wait")]
    pub(crate) wait: bool,
}
