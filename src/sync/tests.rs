//! Local disk and a bucket that go apart and come together again.

use jiff::Timestamp;

use crate::publishing::StorageError;
use crate::sync::SyncContext;
use crate::sync::eviction::{Eviction, Retention, evict_next};

mod discovering;
mod following;
mod identity_in_bucket;
mod links;
mod purging;
mod refiling;
mod verified;

/// Removes copies until what is left may stay. How many have gone.
pub(crate) fn evict(
    context: &SyncContext,
    retention: &Retention,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let mut evicted = 0;
    loop {
        match evict_next(context, retention, now, &|| true)? {
            Eviction::NotNeeded | Eviction::Stopped => return Ok(evicted),
            Eviction::Evicted => evicted += 1,
            Eviction::Kept => {}
        }
    }
}
