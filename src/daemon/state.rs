//! What a state folder is: a writer's, whose recordings may be nowhere else, or a follower's, which has copies
//! only. Neither is taken for the other, and both belong to one bucket.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::index::{Index, IndexError};
use crate::model::StateRole;
use crate::store::Bucket;
use crate::sync::{self, BucketIdentityError};

/// Why a state folder is refused.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A writer has worked here, and its index is missing.
    #[error("the state folder {path} has recordings that a read-only mount would not show")]
    Recordings { path: PathBuf },
    #[error(transparent)]
    Place(#[from] BucketIdentityError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Makes the index that of a writer, and marks everything in it that is not where the settings want it.
pub fn settle_writer(
    config: &Config,
    bucket: Option<&dyn Bucket>,
    index: &Index,
) -> Result<(), StateError> {
    index.claim_role(StateRole::Writer)?;
    let wanted = config.destination();
    if let Some(bucket) = bucket
        && sync::is_renamed(bucket, index, &wanted)?
    {
        log::info!("{wanted} is the bucket that already holds the recordings, under another name");
    }
    let moving = index.set_destination(&wanted)?;
    if moving != 0 {
        log::info!("{moving} recordings will be moved to {wanted}");
    }
    Ok(())
}

/// The index of a follower of that bucket, from the one that was found there. A new one is filled from what
/// the bucket tells, while it is looked at already.
pub(crate) fn open_follower(
    config: &Config,
    bucket: &dyn Bucket,
    found: Option<Index>,
) -> Result<Index, StateError> {
    let index = match found {
        Some(index) => index,
        None if has_recordings(&config.state) => {
            return Err(StateError::Recordings { path: config.state.clone() });
        }
        None => Index::open(&config.state.join("index.redb"))?,
    };
    index.claim_role(StateRole::Follower)?;
    sync::bind_follower(bucket, &index, &config.bucket_place())?;
    Ok(index)
}

/// Whether a writer has worked here, whose index was lost.
fn has_recordings(state: &Path) -> bool {
    state.join("writer").exists()
        || has_files(&state.join("uploads"))
        || has_files(&state.join("spool").join("inbox"))
}

/// Whether there is anything but hidden files. A folder that cannot be looked into may have some.
fn has_files(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.any(|entry| {
            entry.is_ok_and(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        }),
        Err(err) => err.kind() != io::ErrorKind::NotFound,
    }
}
