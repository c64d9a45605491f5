//! Conversations that have been in the trash for long enough are removed for good: from the bucket, then from
//! local disk and the cache of blocks, and from the index last. A crash anywhere is followed by the rest of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::index::{DayText, Index};
use crate::model::{Conversation, ConversationSeq, Key, Object, PageKind, Recording, RecordingId};
use crate::publishing::change_log::{BucketChange, ChangeLog};
use crate::publishing::page_store::PageStore;
use crate::publishing::{StorageError, page_lock, staged_pages, verify};
use crate::store::{Bucket, Store};
use crate::sync::context::SyncContext;
use crate::sync::lease::Now;
use crate::sync::refusals::Refusals;

/// Nothing is removed for good for so long after the index was made anew.
const AFTER_REBUILD: SignedDuration = SignedDuration::from_hours(24);

/// Where what is in the trash is removed from.
#[derive(Clone, Copy)]
pub(crate) struct PurgeContext<'a> {
    /// Local disk, and the cache of what was read from the bucket.
    pub(crate) store: &'a dyn Store,
    /// With the way to tell those who follow the bucket; `None`: all is on local disk.
    pub(crate) remote: Option<(&'a dyn Bucket, &'a ChangeLog)>,
    pub(crate) index: &'a Index,
    /// What is refused rests, and keeps nothing else in the trash.
    pub(crate) refusals: &'a Refusals,
}

impl<'a> PurgeContext<'a> {
    pub(crate) fn of(
        context: &'a SyncContext,
        changes: &'a ChangeLog,
        refusals: &'a Refusals,
    ) -> Self {
        let SyncContext { store, bucket, index, .. } = context;
        Self { store: store.as_ref(), remote: Some((bucket.as_ref(), changes)), index, refusals }
    }

    /// Does it for one item, unless that rests; `None`: it was not done.
    fn attempt<T>(
        &self,
        item: String,
        now: Timestamp,
        remove: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<Option<T>, StorageError> {
        if self.refusals.rests(&item, now) {
            return Ok(None);
        }
        match remove() {
            Err(StorageError::Store(err)) => {
                let bucket = self.remote.map(|(bucket, _)| bucket);
                self.refusals.pass_over(bucket, item, err, now)?;
                Ok(None)
            }
            removed => removed.map(Some),
        }
    }
}

/// Decides when the trash may be looked at, and how much time was observed since it was looked at last: not in
/// the first hour, nor within an hour after the wall clock was set.
#[derive(Debug)]
pub struct TrashClock {
    last: Now,
    quiet_until: Duration,
    observed: Duration,
}

/// So long the clock is watched before anything is removed for good.
const QUIET: Duration = Duration::from_hours(1);

/// Clocks are corrected by less all the time.
const JUMP: Duration = Duration::from_mins(2);

impl TrashClock {
    pub fn new(now: Now) -> Self {
        Self { last: now, quiet_until: now.boot + QUIET, observed: Duration::ZERO }
    }

    /// The time observed since this last said that the trash may be looked at; `None`: not now.
    pub fn observe(&mut self, now: Now) -> Option<Duration> {
        let went_on = now.boot.saturating_sub(self.last.boot);
        let by_the_wall = now.wall.duration_since(self.last.wall);
        let went_on_signed = SignedDuration::try_from(went_on).unwrap_or(SignedDuration::MAX);
        let jump = by_the_wall.saturating_sub(went_on_signed).unsigned_abs();
        if JUMP < jump {
            self.quiet_until = now.boot + QUIET;
        }
        self.observed += went_on;
        self.last = now;
        (self.quiet_until <= now.boot).then(|| std::mem::take(&mut self.observed))
    }
}

/// Removes for good what has been in the trash for `kept`, where everything is on local disk. How many
/// conversations those were. `observed`: see [`TrashClock`].
pub fn empty_trash(
    store: &dyn Store,
    index: &Index,
    kept: Duration,
    now: Timestamp,
    observed: Duration,
) -> Result<u64, StorageError> {
    let refusals = &Refusals::default();
    empty(PurgeContext { store, remote: None, index, refusals }, kept, &|_| false, now, observed)
}

/// Removes what has been in the trash for `kept`. `is_busy`: something of it is being carried right now.
pub(crate) fn empty(
    context: PurgeContext<'_>,
    kept: Duration,
    is_busy: &dyn Fn(ConversationSeq) -> bool,
    now: Timestamp,
    observed: Duration,
) -> Result<u64, StorageError> {
    // An index that was just made anew repeats what it was told: somebody may still have to correct it.
    let is_new = |at: Timestamp| now.duration_since(at) < AFTER_REBUILD;
    if context.index.rebuilt_at()?.is_some_and(is_new) {
        return Ok(0);
    }
    context.index.mark_old_purging(kept, now, observed)?;
    remove_due(context, is_busy, now)
}

/// Removes what is out of everybody's sight already, where everything is on local disk: what users have purged, and
/// what a crash has left of an earlier removal.
pub fn remove_purged(
    store: &dyn Store,
    index: &Index,
    refusals: &Refusals,
    now: Timestamp,
) -> Result<u64, StorageError> {
    remove_due(PurgeContext { store, remote: None, index, refusals }, &|_| false, now)
}

/// How many conversations were removed. See [`remove_purged`].
pub(crate) fn remove_due(
    context: PurgeContext<'_>,
    is_busy: &dyn Fn(ConversationSeq) -> bool,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let purging = context.index.purging_recordings()?;
    for recording in &purging {
        if !is_busy(recording.id.conversation) {
            let item = recording.audio.key.to_string();
            context.attempt(item, now, || remove_recording(context, recording, is_busy))?;
        }
    }
    let mut removed = 0;
    for conversation in context.index.purging_conversations()? {
        // Nothing new of it is carried from now on; what is under way would come after its removal.
        if !is_busy(conversation.seq) {
            let item = format!("conversation {}", conversation.seq.0);
            let attempt = context.attempt(item, now, || remove(context, &conversation, is_busy))?;
            removed += u64::from(attempt == Some(true));
        }
    }
    if removed != 0 || !purging.is_empty() {
        // Words of theirs may have been staged more than once.
        staged_pages::sweep(PageStore { store: context.store, index: context.index })?;
    }
    Ok(removed)
}

/// One recording that is in the trash by itself.
fn remove_recording(
    context: PurgeContext<'_>,
    recording: &Recording,
    is_busy: &dyn Fn(ConversationSeq) -> bool,
) -> Result<(), StorageError> {
    let PurgeContext { remote, index, .. } = context;
    let id = recording.id;
    let objects = recording.removal_order();
    if let Some((bucket, changes)) = remote {
        objects.iter().try_for_each(|object| verify::remove(bucket, recording, object))?;
        let metadata = recording.audio.key.page_beside(PageKind::Metadata);
        changes.tell(bucket, &BucketChange::Removed(metadata), &Timestamp::now)?;
    }
    let was_last = index.is_only_recording(id)?;
    let transcript = index.filed_transcript(id.conversation, id.day)?.filter(|_| was_last);
    if let (Some((bucket, _)), Some(transcript)) = (remote, &transcript)
        && let Some(conversation) = index.filed_conversation(id.conversation)?
    {
        verify::remove_transcript(bucket, &conversation, &transcript.object)?;
    }
    // Pages may be about to be written anew, by somebody who has read the row before.
    let _alone = page_lock::lock();
    if is_busy(id.conversation) {
        // Whoever carries it was faster: all of it is removed once more.
        return Ok(());
    }
    // Else somebody has removed it meanwhile.
    let is_due = index.purging_recordings()?.iter().any(|it| it.id == id);
    let is_removed = |it: RecordingId| it == id;
    if is_due {
        objects.iter().try_for_each(|object| delete(context, object, &is_removed))?;
    }
    match transcript {
        Some(transcript) if index.is_only_recording(id)? => {
            delete(context, &transcript.object, &is_removed)?;
        }
        // Another one was published on that day meanwhile, whose text may have gone from the bucket.
        Some(_) => send_transcript_again(index, id)?,
        None => {}
    }
    if !is_due {
        return Ok(());
    }
    index.finish_purge(id)?;
    log::info!("a recording of conversation {}: removed from the trash", id.conversation.0);
    Ok(())
}

fn send_transcript_again(index: &Index, id: RecordingId) -> Result<(), StorageError> {
    let standing = index.filed_transcript(id.conversation, id.day)?;
    // The purged one may still be in it.
    Ok(standing.map_or(Ok(()), |it| index.set_transcript(DayText::Incomplete(it)))?)
}

/// Whether it was removed.
fn remove(
    context: PurgeContext<'_>,
    conversation: &Conversation,
    is_busy: &dyn Fn(ConversationSeq) -> bool,
) -> Result<bool, StorageError> {
    let PurgeContext { remote, index, .. } = context;
    let seq = conversation.seq;
    let mut removed = Vec::new();
    for day in index.filed_days(seq)? {
        for recording in index.filed_recordings(seq, day)? {
            let metadata = recording.audio.key.page_beside(PageKind::Metadata);
            let objects = recording.removal_order();
            if let Some((bucket, changes)) = remote {
                objects.iter().try_for_each(|object| verify::remove(bucket, &recording, object))?;
                changes.tell(bucket, &BucketChange::Removed(metadata), &Timestamp::now)?;
            }
            removed.extend(objects.into_iter().cloned());
        }
        let transcript = index.filed_transcript(seq, day)?;
        if let (Some((bucket, _)), Some(transcript)) = (remote, &transcript) {
            verify::remove_transcript(bucket, conversation, &transcript.object)?;
        }
        let unnamed = || {
            let key = Key::transcript(&conversation.filed_as, day);
            Object { key, bytes: 0, blake3: String::new() }
        };
        removed.push(transcript.map_or_else(unnamed, |transcript| transcript.object));
    }
    // Pages may be about to be written anew, by somebody who has read the row before.
    let _alone = page_lock::lock();
    if is_busy(seq) {
        // Whoever carries it was faster: all of it is removed once more.
        return Ok(false);
    }
    for object in &removed {
        fail_point!("trash-before-delete");
        delete(context, object, &|it| it.conversation == seq)?;
    }
    fail_point!("trash-before-index");
    index.remove_conversation(seq)?;
    log::info!("conversation {}: removed from the trash", seq.0);
    Ok(true)
}

/// From its key, from where it may be staged, and from what readers have cached of it, unless a recording that stays has
/// the same audio.
fn delete(
    context: PurgeContext<'_>,
    object: &Object,
    is_removed: &dyn Fn(RecordingId) -> bool,
) -> Result<(), StorageError> {
    let PurgeContext { store, index, .. } = context;
    store.delete(&object.key)?;
    store.delete(&object.key.staged(&object.blake3))?;
    if index.recordings_with_audio(&object.blake3)?.iter().all(|it| is_removed(it.id)) {
        store.forget(object);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u64, wall: i64) -> Now {
        let wall = Timestamp::from_second(1_700_000_000 + wall).unwrap();
        Now { boot: Duration::from_secs(boot), wall }
    }

    #[test]
    fn nothing_is_removed_in_the_first_hour_nor_after_the_clock_was_set() {
        let mut clock = TrashClock::new(at(100, 0));
        assert_eq!(clock.observe(at(3_699, 3_599)), None);
        // Of the time that was waited for nothing is lost.
        assert_eq!(clock.observe(at(3_700, 3_600)), Some(Duration::from_secs(3_600)));
        assert_eq!(clock.observe(at(7_300, 7_260)), Some(Duration::from_secs(3_600)));
        // A server of time has answered: 40 days ahead.
        let days = 40 * 24 * 3_600;
        assert_eq!(clock.observe(at(7_400, 7_360 + days)), None);
        assert_eq!(clock.observe(at(10_999, 10_959 + days)), None);
        assert_eq!(clock.observe(at(11_000, 10_960 + days)), Some(Duration::from_secs(3_700)));
        // And back.
        assert_eq!(clock.observe(at(11_100, 11_060)), None);
    }
}
