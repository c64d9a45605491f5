//! Tells those who follow the bucket what has changed: one small object for each change, in the order of
//! their names.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::Key;
use crate::store::{Bucket, Bytes, Label, StoreError};

/// What a follower is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketChange {
    /// The recording with this metadata page is new or has new pages.
    Metadata(Key),
    /// The recording that had this metadata page is gone.
    Removed(Key),
}

/// A follower that has not looked for longer lists the bucket.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Names that are removed in one go.
const AT_ONCE: usize = 1_000;

/// Names in one listing: what S3 answers at most.
const LISTED: usize = 1_000;

/// Writes them.
#[derive(Debug, Default)]
pub(crate) struct ChangeLog {
    /// Held while a change is written: were a later name to arrive first, whoever has read on behind it would never
    /// see the earlier one.
    writing: Mutex<()>,
    /// Guards the last name's time, and is never held over a request: the lease is renewed with it.
    last: Mutex<Option<Timestamp>>,
}

impl ChangeLog {
    pub(crate) fn tell(
        &self,
        bucket: &dyn Bucket,
        told: &BucketChange,
        clock: &dyn Fn() -> Timestamp,
    ) -> Result<(), StoreError> {
        let _in_order = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key::change(self.next_time(clock), 0);
        let label = Label { content_type: "application/json", ..Label::default() };
        let json = serde_json::to_vec(told)
            .map_err(|err| StoreError::Refused { at: key.to_string(), source: Box::new(err) })?;
        bucket.put_labelled(&key, Bytes::from(json), &label)
    }

    fn next_time(&self, clock: &dyn Fn() -> Timestamp) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let tick = SignedDuration::from_micros(1);
        let next = last.and_then(|last| last.checked_add(tick).ok());
        let at = next.map_or_else(clock, |next| next.max(clock()));
        *last = Some(at);
        at
    }

    /// The last name that was given. Waits for no request.
    pub(crate) fn last(&self) -> Option<Key> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|at| Key::change(at, 0))
    }

    /// Gives only names behind those of all writers before: a follower that has read on looks for nothing
    /// earlier, and the clock of another machine may have been ahead of ours. `known` saves looking at older
    /// ones.
    pub(crate) fn go_on_after(
        &self,
        bucket: &dyn Bucket,
        known: Option<&Key>,
    ) -> Result<(), StoreError> {
        let mut after = known.map_or_else(String::new, Key::to_string);
        let mut newest = known.and_then(Key::changed_at);
        loop {
            let listed = bucket.list_after(Key::CHANGES, &after, LISTED)?;
            newest = newest.max(listed.iter().filter_map(|found| found.key.changed_at()).max());
            match listed.last() {
                Some(last) if listed.len() == LISTED => after = last.key.to_string(),
                _ => break,
            }
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = newest.max(*last);
        Ok(())
    }

    /// Removes those that everybody has read who follows at all.
    pub(crate) fn prune(bucket: &dyn Bucket, now: Timestamp) -> Result<(), StoreError> {
        let Ok(limit) = now.checked_sub(KEPT) else { return Ok(()) };
        loop {
            let found = bucket.list_after(Key::CHANGES, "", AT_ONCE)?;
            let is_old = |key: &Key| key.changed_at().is_some_and(|at| at < limit);
            let old: Vec<Key> =
                found.into_iter().map(|found| found.key).take_while(is_old).collect();
            bucket.delete_many(&old)?;
            if old.len() < AT_ONCE {
                return Ok(());
            }
        }
    }
}
