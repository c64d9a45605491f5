//! Conversations that have been in the trash for long enough are removed for good: from the bucket, then from
//! local disk, and from the index last. A crash anywhere is followed by the rest of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::index::Index;
use crate::model::{Conversation, ConversationSeq, Key, PageKind, Recording};
use crate::pipeline::Grounds;
use crate::pipeline::eviction::RemovalError;
use crate::pipeline::placement::{Changes, Told};
use crate::pipeline::publish;
use crate::store::{Bucket, Store};

/// Nothing is removed for good for so long after the index was made anew.
const AFTER_REBUILD: SignedDuration = SignedDuration::from_hours(24);

/// Where what is in the trash is removed from.
#[derive(Clone, Copy)]
pub(crate) struct Bins<'a> {
    pub(crate) near: &'a dyn Store,
    /// With the way to tell those who follow the bucket; `None`: all is on local disk.
    pub(crate) far: Option<(&'a dyn Bucket, &'a Changes)>,
    pub(crate) index: &'a Index,
}

impl<'a> Bins<'a> {
    pub(crate) fn of(grounds: &'a Grounds, changes: &'a Changes) -> Self {
        let Grounds { near, bucket, index, .. } = grounds;
        Self { near: near.as_ref(), far: Some((bucket.as_ref(), changes)), index }
    }
}

/// Removes for good what has been in the trash for `kept`, where everything is on local disk. How many
/// conversations those were.
pub fn empty_trash(near: &dyn Store, index: &Index, kept: Duration) -> Result<u64, RemovalError> {
    empty(Bins { near, far: None, index }, kept, &|_| false, Timestamp::now())
}

/// Removes what has been in the trash for `kept`. `is_busy`: something of it is being carried right now.
pub(crate) fn empty(
    bins: Bins<'_>,
    kept: Duration,
    is_busy: &dyn Fn(ConversationSeq) -> bool,
    now: Timestamp,
) -> Result<u64, RemovalError> {
    let kept = SignedDuration::try_from(kept).unwrap_or(SignedDuration::MAX);
    let limit = now.checked_sub(kept).unwrap_or(Timestamp::MIN);
    // An index that was just made anew repeats what it was told: somebody may still have to correct it.
    let is_new = |at: Timestamp| now.duration_since(at) < AFTER_REBUILD;
    if bins.index.rebuilt_at()?.is_some_and(is_new) {
        return Ok(0);
    }
    for conversation in bins.index.trashed_conversations()? {
        if conversation.trashed_at.is_some_and(|at| at <= limit) {
            bins.index.condemn(conversation.seq, limit)?;
        }
    }
    let mut removed = 0;
    for conversation in bins.index.condemned()? {
        // Nothing new of it is carried from now on; what is under way would come after its removal.
        if !is_busy(conversation.seq) {
            remove(bins, &conversation)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove(bins: Bins<'_>, conversation: &Conversation) -> Result<(), RemovalError> {
    let Bins { near, far, index } = bins;
    let seq = conversation.seq;
    let mut keys = Vec::new();
    for day in index.filed_days(seq)? {
        for recording in index.filed_recordings(seq, day)? {
            let metadata =
                Key::page(&recording.filed_as, day, recording.stem.as_bytes(), PageKind::Metadata);
            let recordings_keys = keys_of(&recording);
            if let Some((bucket, changes)) = far {
                recordings_keys.iter().try_for_each(|key| bucket.delete(key))?;
                changes.tell(bucket, &Told::Removed(metadata), &Timestamp::now)?;
            }
            keys.extend(recordings_keys);
        }
        let transcript = Key::transcript(&conversation.filed_as, day);
        if let Some((bucket, _)) = far {
            bucket.delete(&transcript)?;
        }
        keys.push(transcript);
    }
    // Pages may be about to be written anew, by somebody who has read the row before.
    let _alone = publish::alone();
    for key in &keys {
        fail_point!("trash-before-delete");
        near.delete(key)?;
    }
    fail_point!("trash-before-index");
    index.remove_conversation(seq)?;
    log::info!("conversation {}: removed from the trash", seq.0);
    Ok(())
}

/// The metadata first: without it nobody takes what is left for a recording.
fn keys_of(recording: &Recording) -> Vec<Key> {
    let pages = recording.pages.iter().rev().map(|page| page.object.key.clone());
    pages.chain(std::iter::once(recording.audio.key.clone())).collect()
}
