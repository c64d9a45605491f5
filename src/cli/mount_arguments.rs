//! What `mount` and `umount` take.

use std::path::PathBuf;

use clap::Args;

use crate::cli::setting_flags::MountFlags;
use crate::cli::settings::Settings;

/// Mount scribefs at a folder.
///
/// Returns when the mount is ready; with --foreground it keeps running, as service managers expect.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  scribefs mount ~/Recordings
  scribefs mount ~/Recordings --recognizer whisper-base --language de
  scribefs mount /srv/talks -o allow_other,settle=10s --foreground")]
pub(crate) struct Mount {
    /// Folder to mount at; created if it is missing
    pub(crate) mountpoint: PathBuf,
    #[command(flatten)]
    pub(crate) settings: Settings<MountFlags>,
    /// Comma-separated mount options: allow_other, noexec, ro, nonempty, foreground, fsname=NAME, and any setting
    /// as KEY=VALUE
    #[arg(short = 'o', value_name = "OPTIONS", value_delimiter = ',')]
    pub(crate) options: Vec<String>,
    /// Stay in the foreground and log to standard error
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Mount even if the folder is not empty; its files are hidden until you unmount
    #[arg(long)]
    pub(crate) nonempty: bool,
    /// With --foreground: restart the daemon if it dies (the default in the background)
    #[arg(long, requires = "foreground")]
    pub(crate) supervise: bool,
    /// In the background: do not restart the daemon if it dies
    #[arg(long, conflicts_with = "foreground")]
    pub(crate) no_supervise: bool,
    /// Show a bucket that another scribefs writes to, and change nothing
    #[arg(long)]
    pub(crate) read_only: bool,
}

/// Unmount, and wait until the daemon has finished writing.
///
/// Programs that have files open in the mount have ten seconds to close them.
#[derive(Debug, Args)]
pub(crate) struct Umount {
    /// Mount to use; not needed inside a mount, or if you have only one
    pub(crate) mountpoint: Option<PathBuf>,
    /// Return at once; the daemon exits when it has finished
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait, which is the default
    #[arg(long, hide = true, conflicts_with = "no_wait")]
    pub(crate) wait: bool,
}
