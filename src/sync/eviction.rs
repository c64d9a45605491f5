//! Local copies of audio make room, once the bucket has them: oldest first, and never one that is not there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::index::{Copy, Verification};
use crate::model::{Recording, causes};
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

/// How often it is looked whether an object is still in an archive. Whoever brings one back from there does it for days.
const ARCHIVE: SignedDuration = SignedDuration::from_hours(24);

/// What has become of the copy that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// None was: all that there are may stay.
    NotNeeded,
    Evicted,
    /// It stays, and the next one may have to go.
    Kept,
    /// The end has come first.
    Stopped,
}

/// Looks at the oldest copy and removes it, where one has to go.
///
/// The bucket is asked for it: what somebody has removed or replaced there is brought again instead, and what it has moved
/// to an archive stays here. Where it has another version than the one that was sent, or nobody knows which one that was,
/// all bytes are read first, as long as `may_go_on`. A copy that is being read stays readable, since only its name goes.
pub(crate) fn evict_next(
    context: &SyncContext,
    retention: &Retention,
    now: Timestamp,
    may_go_on: &dyn Fn() -> bool,
) -> Result<Eviction, StorageError> {
    if retention.keeps_local {
        return Ok(Eviction::NotNeeded);
    }
    let archived_before = now.saturating_sub(ARCHIVE).unwrap_or(now);
    let oldest = context.index.copies(1, archived_before)?.pop();
    let Some(copy) = oldest else { return Ok(Eviction::NotNeeded) };
    if !must_go(context, retention, &copy, now)? {
        return Ok(Eviction::NotNeeded);
    }
    let bucket = context.bucket.as_ref();
    match drop_copy(context, &copy, now, may_go_on) {
        // It rests like one in an archive, and those behind it go on.
        Err(StorageError::Store(err)) if is_of_one_object(Some(bucket), &err) => {
            let Recording { id, audio, .. } = &copy.recording;
            log::warn!("{id}: its copy stays for now");
            log::debug!("{}: {}", audio.key, causes(&err));
            context.index.note_archived(*id, now)?;
            Ok(Eviction::Kept)
        }
        dropped => dropped,
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

/// It is kept where the bucket does not have it, or cannot give it back at once, and is not among the copies that may go
/// afterwards.
fn drop_copy(
    context: &SyncContext,
    copy: &Copy,
    now: Timestamp,
    may_go_on: &dyn Fn() -> bool,
) -> Result<Eviction, StorageError> {
    let Recording { id, revision, audio, .. } = &copy.recording;
    let (bucket, index) = (context.bucket.as_ref(), &context.index);
    let proof = verify::prove(bucket, audio, copy.verification.as_ref(), may_go_on)?;
    let version = match proof {
        None => return Ok(Eviction::Stopped),
        Some(Proof::Same(version)) => version,
        Some(Proof::Nothing) => {
            log::error!("{id}: is no longer in the bucket, and is uploaded again");
            log::debug!("{}: is no longer in the bucket", audio.key);
            index.set_lost(*id, *revision, None)?;
            return Ok(Eviction::Kept);
        }
        Some(Proof::Other(version)) => {
            log::error!(
                "{id}: the bucket has other bytes under its name, which stay there; the local copy stays too and is \
                 uploaded under another name"
            );
            log::debug!("{}: the bucket has other bytes", audio.key);
            let found = Verification::Other { version };
            index.set_lost(*id, *revision, Some(found))?;
            return Ok(Eviction::Kept);
        }
    };
    if let Some(version) = version {
        let read = Verification::Same { version: version.clone() };
        if copy.verification.as_ref() != Some(&read) {
            index.set_verified(*id, version)?;
        }
    }
    if !verify::is_readable(bucket, audio)? {
        log::info!("{id}: cannot be read in the bucket as it is, so its copy stays");
        log::debug!("{}: cannot be read in the bucket as it is", audio.key);
        index.note_archived(*id, now)?;
        return Ok(Eviction::Kept);
    }
    fail_point!("evict-before-delete");
    context.local.delete(&audio.key)?;
    fail_point!("evict-before-index");
    // A crash before this leaves a row for a copy that is gone: it is removed once more.
    index.set_evicted(*id)?;
    log::debug!("{}: its local copy was evicted", audio.key);
    Ok(Eviction::Evicted)
}
