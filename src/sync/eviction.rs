//! Local copies of audio make room, once the bucket has them: oldest first, and never one that is not there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::index::{Copy, Verification};
use crate::model::causes;
use crate::publishing::StorageError;
use crate::publishing::verify::{self, Proof};
use crate::sync::context::SyncContext;
use crate::sync::refusals::is_of_one_object;

/// What is kept on local disk, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Local copies stay for good.
    pub keeps_local: bool,
    /// Most bytes of local copies of audio that is in the bucket.
    pub copied_bytes: u64,
    /// They make room for what is new as long as less than that is free on their disk. Default 1 GiB.
    pub keep_free_bytes: u64,
    /// They go when they have been in the bucket for so long. `None`: they stay as long as there is room.
    pub audio: Option<Duration>,
    /// Conversations are removed for good when they have been in the trash for so long. `None`: they stay.
    pub trash: Option<Duration>,
}

/// Copies that are looked at in one step.
const AT_ONCE: usize = 64;

/// How often it is looked whether an object is still in an archive. Whoever brings one back from there does it for days.
const ARCHIVE: SignedDuration = SignedDuration::from_hours(24);

/// Removes copies until what is left may stay. How many have gone.
///
/// The bucket is asked for each of them: what somebody has removed or replaced there is brought again instead, and
/// what it has moved to an archive stays here. Where it has another version than the one that was sent, or nobody knows
/// which one that was, all bytes are read first. A copy that is being read stays readable, since only its name
/// goes.
pub(crate) fn evict(
    context: &SyncContext,
    retention: &Retention,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let mut evicted = 0;
    if retention.keeps_local {
        return Ok(evicted);
    }
    let bucket = context.bucket.as_ref();
    let archived_before = now.saturating_sub(ARCHIVE).unwrap_or(now);
    loop {
        let copies = context.index.copies(AT_ONCE, archived_before)?;
        if copies.is_empty() {
            return Ok(evicted);
        }
        for copy in &copies {
            if !must_go(context, retention, copy, now)? {
                return Ok(evicted);
            }
            match drop_copy(context, copy, now) {
                // It rests like one in an archive, and those behind it go on.
                Err(StorageError::Store(err)) if is_of_one_object(Some(bucket), &err) => {
                    let key = &copy.recording.audio.key;
                    log::warn!("{key}: its copy stays for now: {}", causes(&err));
                    context.index.note_archived(copy.recording.id, now)?;
                }
                dropped => evicted += u64::from(dropped?),
            }
        }
    }
}

fn must_go(
    context: &SyncContext,
    retention: &Retention,
    copy: &Copy,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let is_too_much = retention.copied_bytes < context.index.copied_bytes()?;
    let is_tight = (context.free_bytes)().is_some_and(|free| free < retention.keep_free_bytes);
    let age = retention.audio.and_then(|age| SignedDuration::try_from(age).ok());
    let is_old = age.is_some_and(|age| age <= now.duration_since(copy.since));
    Ok(is_too_much || is_tight || is_old)
}

/// Whether it is gone: not where the bucket does not have it, or cannot give it back at once. It is not among the copies
/// that may go afterwards, however it ended.
fn drop_copy(context: &SyncContext, copy: &Copy, now: Timestamp) -> Result<bool, StorageError> {
    let recording = &copy.recording;
    let (bucket, audio) = (context.bucket.as_ref(), &recording.audio);
    let version = match verify::prove(bucket, audio, copy.verification.as_ref())? {
        Proof::Same(version) => version,
        Proof::Nothing => {
            log::error!("{}: is no longer in the bucket, and is uploaded again", audio.key);
            context.index.set_lost(recording.id, recording.revision, None)?;
            return Ok(false);
        }
        Proof::Other(version) => {
            log::error!(
                "{}: the bucket has other bytes under this name, which stay there; the local copy stays too and is \
                 uploaded under another name",
                audio.key
            );
            let found = Verification::Other { version };
            context.index.set_lost(recording.id, recording.revision, Some(found))?;
            return Ok(false);
        }
    };
    if let Some(version) = version {
        let read = Verification::Same { version: version.clone() };
        if copy.verification.as_ref() != Some(&read) {
            context.index.set_verified(recording.id, version)?;
        }
    }
    if !verify::is_readable(bucket, audio)? {
        log::info!("{}: cannot be read in the bucket as it is, so its copy stays", audio.key);
        context.index.note_archived(recording.id, now)?;
        return Ok(false);
    }
    fail_point!("evict-before-delete");
    context.local.delete(&audio.key)?;
    fail_point!("evict-before-index");
    // A crash before this leaves a row for a copy that is gone: it is removed once more.
    context.index.set_evicted(recording.id)?;
    log::debug!("{}: its local copy was evicted", audio.key);
    Ok(true)
}
