//! [`Refusals`]: what was refused of one object, which rests for a day and keeps nothing else waiting.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::model::causes;
use crate::store::{Bucket, StoreError};

/// So long it is not asked for again.
const REST: SignedDuration = SignedDuration::from_hours(24);

/// Kept in memory only: the next process asks again.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Guards until when each rests.
    until: Mutex<HashMap<String, Timestamp>>,
}

impl Refusals {
    pub(crate) fn rests(&self, item: &str, now: Timestamp) -> bool {
        self.until().get(item).is_some_and(|until| now < *until)
    }

    /// Lets the item rest, so that the caller goes on with the next one.
    ///
    /// # Errors
    /// `err`: it is not about one object, and the next one would fare no better.
    pub(crate) fn pass_over(
        &self,
        bucket: Option<&dyn Bucket>,
        item: String,
        err: StoreError,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if !is_of_one_object(bucket, &err) {
            return Err(err);
        }
        log::warn!("something that is to be removed is refused, and skipped for a day");
        log::debug!("{item}: is skipped for a day: {}", causes(&err));
        let mut all = self.until();
        all.retain(|_, until| now < *until);
        all.insert(item, now.saturating_add(REST).unwrap_or(Timestamp::MAX));
        Ok(())
    }

    /// Somebody may have mended what was refused.
    pub(crate) fn forget(&self) {
        self.until().clear();
    }

    fn until(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a failure says something about one object, and not that the bucket is away or lets nobody in: with keys that
/// have expired, all objects would have to rest.
pub(crate) fn is_of_one_object(bucket: Option<&dyn Bucket>, err: &StoreError) -> bool {
    match err {
        StoreError::Unavailable { .. } => false,
        StoreError::Missing { .. } | StoreError::Refused { .. } => {
            bucket.is_none_or(|bucket| bucket.list_after("", "", 1).is_ok())
        }
    }
}
