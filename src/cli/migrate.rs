//! `migrate`: all recordings move to the bucket, or back to local disk.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;

use crate::cli::arguments::{Goal, Migrate};
use crate::cli::print::{self, CliError};
use crate::cli::progress;
use crate::cli::stores::{Opened, hold_lease};
use crate::config::{Config, Storage};
use crate::daemon::{DaemonError, Environment, open_placed, settle_writer, uploader_config};
use crate::publishing::{self, StorageError, StoresError};
use crate::store::Bucket;
use crate::sync::{self, SyncContext, Uploader, UploaderStatus};
use crate::upkeep::{self, Old};

/// Time between looks at how far the uploader is.
const LOOK: Duration = Duration::from_millis(250);

pub(crate) fn migrate(args: &Migrate, environment: &Environment) -> Result<ExitCode, CliError> {
    let config = args.settings.config(environment)?;
    agree(args.to, &config)?;
    let opened = Opened::open(&config)?;
    let Some(bucket) = opened.bucket.clone() else { return Err(no_bucket()) };
    match args.to {
        Goal::S3 => to_bucket(&opened, bucket, &config, args.keep_old),
        Goal::Local => to_disk(&opened, &bucket, &config, args.keep_old),
    }
}

/// Where the settings say otherwise, the next mount would move everything back.
fn agree(goal: Goal, config: &Config) -> Result<(), CliError> {
    if config.bucket.is_none() {
        return Err(no_bucket());
    }
    match (goal, config.storage) {
        (Goal::S3, Storage::S3 | Storage::Both) | (Goal::Local, Storage::Local) => Ok(()),
        (Goal::S3, Storage::Local) => Err(CliError::plain(
            "the settings say storage = \"local\"",
            "Set `storage` to \"s3\" or \"both\" first.",
        )),
        (Goal::Local, Storage::S3 | Storage::Both) => Err(CliError::plain(
            format!("the settings say storage = \"{}\"", config.storage),
            "Set `storage` to \"local\" first, and leave the bucket in the settings.",
        )),
    }
}

fn no_bucket() -> CliError {
    CliError::plain(
        "no bucket is configured",
        "Set one with `bucket` in `[s3]`; moving back needs it too.",
    )
}

fn to_bucket(
    opened: &Opened,
    bucket: Arc<dyn Bucket>,
    config: &Config,
    keep_old: bool,
) -> Result<ExitCode, CliError> {
    settle_writer(config, Some(bucket.as_ref()), &opened.index).map_err(DaemonError::State)?;
    let placed = Arc::new(open_placed(config, opened.local.clone(), Some(bucket.clone()))?);
    discover(opened, bucket.as_ref())?;
    publishing::write_pages_due(placed.as_ref(), &opened.index).map_err(StoresError::Index)?;
    let context = SyncContext {
        local: opened.local.clone(),
        store: placed,
        bucket: bucket.clone(),
        index: opened.index.clone(),
        free_bytes: Arc::new(|| None),
        copied: Arc::new(|_| ()),
        health: Arc::default(),
        // The uploader ends by itself then, and its status says so.
        alarm: Arc::new(|| ()),
    };
    let uploader = Uploader::start(uploader_config(config), context)?;
    let end = carry(&uploader);
    uploader.stop();
    if let Some(why) = end? {
        return Err(CliError::plain(
            format!("the bucket refuses recordings: {why}"),
            "`scribefs doctor` tests the bucket; then run the command again: it continues where it stopped.",
        ));
    }
    let mut kept = 0;
    if config.storage == Storage::S3 && !keep_old {
        kept = upkeep::leave_disk(opened.stores(), bucket.as_ref())?.kept;
    }
    let recordings = opened.recordings()?;
    if kept == 0 {
        print::print(format!("{} in {}\n", counted(recordings), config.place()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let moved = recordings.saturating_sub(kept);
    print::print(format!("{moved} of {} in {}\n", counted(recordings), config.place()))?;
    Err(CliError::plain(
        format!("{kept} cannot be read from the bucket yet: their copies stay on local disk"),
        "Run `scribefs fsck --deep --repair`, then the command again.",
    ))
}

/// Before anything moves, the index knows all that there is.
fn discover(opened: &Opened, bucket: &dyn Bucket) -> Result<(), CliError> {
    if opened.index.needs_remote_scan().map_err(StoresError::Index)? {
        sync::discover(bucket, &opened.index).map_err(|err| match err {
            StorageError::Store(err) => StoresError::Store(err),
            StorageError::Index(err) => StoresError::Index(err),
        })?;
    }
    Ok(())
}

/// Waits until everything has arrived; or says why it cannot.
fn carry(uploader: &Uploader) -> Result<Option<String>, CliError> {
    let status = || uploader.status().map_err(StoresError::Index);
    let all = status()?.pending;
    let bar = bar(all);
    loop {
        let UploaderStatus { pending, paused, paused_because, last_error, .. } = status()?;
        bar.set_position(all.saturating_sub(pending));
        bar.set_message(last_error.unwrap_or_default());
        if pending + paused == 0 {
            bar.finish_and_clear();
            return Ok(None);
        }
        if pending == 0 || paused_because.is_some() {
            bar.finish_and_clear();
            return Ok(Some(paused_because.unwrap_or_else(|| format!("{paused} of them"))));
        }
        thread::sleep(LOOK);
    }
}

fn to_disk(
    opened: &Opened,
    bucket: &Arc<dyn Bucket>,
    config: &Config,
    keep_old: bool,
) -> Result<ExitCode, CliError> {
    let old = if keep_old { Old::Kept } else { Old::Removed };
    // Nobody else may be writing to what is emptied here.
    discover(opened, bucket.as_ref())?;
    let lease = hold_lease(opened, bucket, config)?;
    let bar = bar(opened.recordings()?);
    let moved =
        upkeep::bring_home(opened.stores(), lease.bucket().as_ref(), old, &mut |recording| {
            bar.set_message(recording.audio.key.to_string());
            bar.inc(1);
        });
    bar.finish_and_clear();
    lease.release();
    let moved = moved?;
    if moved.lost == 0 {
        print::print(format!("{} on local disk\n", counted(moved.recordings)))?;
        return Ok(ExitCode::SUCCESS);
    }
    Err(CliError::plain(
        format!(
            "{} objects are lost or damaged in the bucket; everything else is on local disk, and nothing was \
             removed from the bucket",
            moved.lost
        ),
        "Run `scribefs fsck --deep --repair` with the former `storage`, or drop the recordings again; then run the \
         command again.",
    ))
}

fn counted(recordings: u64) -> String {
    match recordings {
        1 => "1 recording is".to_owned(),
        more => format!("{more} recordings are"),
    }
}

fn bar(recordings: u64) -> ProgressBar {
    progress::bar(recordings, "{bar:24} {pos}/{len} {msg}")
}
