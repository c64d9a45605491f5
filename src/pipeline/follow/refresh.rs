//! What became of a page that is no longer the one that the index knows: its writer has put another one in its
//! place, and the metadata and the marker that say so may be on their way.

use std::time::Duration;

use crate::index::Index;
use crate::model::{Key, Object, PageKind};
use crate::pipeline::follow::discovery::DiscoveryError;
use crate::pipeline::follow::reading;
use crate::store::Bucket;

/// The metadata comes last: usually within a second or two of the pages.
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(1);

/// Reads the metadata again, a few times, until it names another page in the place of `stale`, and files what it
/// says. Whether it does.
pub fn refresh_page(
    bucket: &dyn Bucket,
    index: &Index,
    stale: &Object,
) -> Result<bool, DiscoveryError> {
    for number in 0..TRIES {
        if 0 < number {
            std::thread::sleep(BETWEEN);
        }
        let Some(metadata) = metadata_of(index, &stale.key)? else { return Ok(false) };
        let told = reading::recordings(bucket, &[metadata])?;
        let named = told.iter().find_map(|(_, recording, transcript)| {
            let mut objects = recording.objects().chain([&transcript.object]);
            objects.find(|object| object.key == stale.key).cloned()
        });
        if named.is_some_and(|named| named != *stale) {
            index.follow(told)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The metadata page of the recording that has that page. A day's transcript is told of by any of the day.
fn metadata_of(index: &Index, page: &Key) -> Result<Option<Key>, DiscoveryError> {
    let Some(end) = page.as_str().rfind('/') else { return Ok(None) };
    let folder = &page.as_str()[..=end];
    // No key has a character behind this one.
    let beside = index.metadata_between(folder, Some(&format!("{folder}~")))?;
    let is_its = |metadata: &Key| {
        metadata == page || PageKind::ALL.into_iter().any(|it| page.is_page_beside(metadata, it))
    };
    let its = beside.iter().find(|object| is_its(&object.key)).or(beside.first());
    Ok(its.map(|object| object.key.clone()))
}
