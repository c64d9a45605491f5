//! What a bucket has that the writer's own index lacks: the bucket did not answer when the index was made anew, or is
//! new to it.

use std::collections::BTreeMap;

use crate::index::{Discovered, Index, IndexError, PagesDue};
use crate::model::{ConversationSeq, Day, Key, RecordingId};
use crate::publishing::StorageError;
use crate::store::Bucket;
use crate::sync::follower::reading;
use crate::sync::follower::scan::is_page;
use crate::upkeep::former_keys;

/// Keys of one listing: what S3 answers at most.
const PAGE: usize = 1000;

/// Files the recordings in the bucket that the index does not know, and tells who listens. How many those are.
/// What the index knows is left as it is, wherever it lies.
///
/// What belongs into a conversation that is in the trash here is left where it is, and looked for at each start until
/// the conversation is back, or gone.
pub fn discover(bucket: &dyn Bucket, index: &Index) -> Result<u64, StorageError> {
    let mut left_out = 0;
    let mut after = String::new();
    let mut filed = Vec::new();
    loop {
        let listed = bucket.list_after("", &after, PAGE)?;
        let mut unknown = Vec::new();
        for found in &listed {
            if is_page(&found.key) && index.filed_recording_at(&found.key)?.is_none() {
                unknown.push(found.key.clone());
            }
        }
        let mut rows = reading::recordings(bucket, &unknown)?;
        former_keys::leave_former(index, &mut rows)?;
        let found = index.discover(rows)?;
        for metadata in &found.left_out {
            log::warn!(
                "{metadata}: stays in the bucket, unlisted: its conversation is in the trash here, or its day is full"
            );
        }
        left_out += found.left_out.len();
        filed.extend(found.filed);
        match listed.last() {
            Some(last) if listed.len() == PAGE => after = last.key.to_string(),
            _ => break,
        }
    }
    owe_shared_days(index, &filed)?;
    index.set_needs_remote_scan(left_out != 0)?;
    Ok(filed.len() as u64)
}

/// The same of the one recording whose metadata lies at that key, if the index does not know it.
pub(crate) fn discover_at(
    bucket: &dyn Bucket,
    index: &Index,
    metadata: &Key,
) -> Result<Discovered, StorageError> {
    if !is_page(metadata) || index.filed_recording_at(metadata)?.is_some() {
        return Ok(Discovered::default());
    }
    let told = reading::recordings(bucket, std::slice::from_ref(metadata))?;
    let found = index.discover(told)?;
    owe_shared_days(index, &found.filed)?;
    Ok(found)
}

/// A day that had others already needs one text of all of them.
fn owe_shared_days(index: &Index, filed: &[RecordingId]) -> Result<(), IndexError> {
    // Recordings that were found on each day.
    let mut days: BTreeMap<(ConversationSeq, Day), u64> = BTreeMap::new();
    for RecordingId { conversation, day, .. } in filed {
        *days.entry((*conversation, *day)).or_insert(0) += 1;
    }
    let mut shared = Vec::new();
    for ((conversation, day), found) in days {
        if found < index.recordings_on(conversation, day)? {
            shared.push(PagesDue::Day(conversation, day));
        }
    }
    index.owe_pages(shared)
}
