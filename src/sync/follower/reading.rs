//! Reads what markers and metadata pages say, many at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};

use crate::model::{
    Conversation, DayTranscript, Key, Object, Page, PageKind, Placement, Recording,
};
use crate::publishing::change_log::BucketChange;
use crate::render;
use crate::store::{Bucket, StoreError};

/// Markers of one listing: what S3 answers at most.
const PAGE: usize = 1000;

/// Requests under way at once. A first listing is a wait for the network, not for the machine.
const READERS: usize = 8;

/// A recording as the bucket tells it.
pub(crate) type Row = (Conversation, Recording, DayTranscript);

/// What the markers at `keys` say; of several about one page the last one counts.
pub(crate) fn markers(bucket: &dyn Bucket, keys: &[Key]) -> Result<Vec<BucketChange>, StoreError> {
    let found = many(keys, |key| whole(bucket, key))?;
    let mut last = BTreeMap::new();
    for (key, json) in keys.iter().zip(found) {
        // One that is gone was pruned.
        let Some(json) = json else { continue };
        match serde_json::from_slice(&json) {
            Ok(told) => {
                let (BucketChange::Metadata(page) | BucketChange::Removed(page)) = &told;
                last.insert(page.clone(), told);
            }
            Err(why) => {
                log::warn!("a change marker in the bucket cannot be read");
                log::debug!("{key}: cannot be read: {why}");
            }
        }
    }
    Ok(last.into_values().collect())
}

/// The recordings that the metadata pages at `keys` describe, with their days' transcripts as they are now.
/// Pages that cannot be read are left out, as are those that are gone; the log names them at debug.
pub(crate) fn recordings(bucket: &dyn Bucket, keys: &[Key]) -> Result<Vec<Row>, StoreError> {
    let found = many(keys, |key| whole(bucket, key))?;
    let mut told = Vec::new();
    for (key, json) in keys.iter().zip(found) {
        let Some(json) = json else { continue };
        match recording(key, &json) {
            Ok(rows) => told.push(rows),
            Err(why) => {
                log::warn!(
                    "a recording in the bucket is left out of the index: its metadata cannot be read"
                );
                log::debug!("{key}: left out of the index: {why}");
            }
        }
    }
    // A page names the transcript of its own time; another recording of the day may have changed it since.
    let keys: BTreeSet<Key> = told.iter().map(|(.., it)| it.object.key.clone()).collect();
    let keys: Vec<Key> = keys.into_iter().collect();
    let texts = many(&keys, |key| Ok(whole(bucket, key)?.map(|text| object(key, &text))))?;
    let texts: BTreeMap<Key, Option<Object>> = keys.into_iter().zip(texts).collect();
    for (.., transcript) in &mut told {
        if let Some(Some(present)) = texts.get(&transcript.object.key) {
            transcript.object = present.clone();
        }
    }
    Ok(told)
}

/// The last marker that is there; `None`: there is none.
pub(crate) fn last_marker(bucket: &dyn Bucket) -> Result<Option<Key>, StoreError> {
    let mut last: Option<Key> = None;
    loop {
        let after = last.as_ref().map_or("", Key::as_str);
        let listed = bucket.list_after(Key::CHANGES, after, PAGE)?;
        let is_last = listed.len() < PAGE;
        last = listed.into_iter().next_back().map(|found| found.key).or(last);
        if is_last {
            return Ok(last);
        }
    }
}

fn recording(key: &Key, json: &[u8]) -> Result<Row, String> {
    let (conversation, mut recording, transcript) = render::from_metadata_at(key, json)?;
    // It cannot name its own size.
    recording.pages.retain(|page| page.kind != PageKind::Metadata);
    recording.pages.push(Page {
        kind: PageKind::Metadata,
        object: object(key, json),
        written_at: None,
    });
    // The metadata arrives last, so everything it names is in the bucket.
    recording.placement = Placement::Stored;
    Ok((conversation, recording, transcript))
}

fn object(key: &Key, bytes: &[u8]) -> Object {
    let blake3 = blake3::hash(bytes).to_hex().to_string();
    Object { key: key.clone(), bytes: bytes.len() as u64, blake3 }
}

/// All bytes; `None`: there is no such object (any more).
fn whole(bucket: &dyn Bucket, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
    match bucket.get_range(key, 0..u64::MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(err) => Err(err),
    }
}

/// What `read` makes of each key, in their order. After a failure no further read begins.
fn many<T: Send>(
    keys: &[Key],
    read: impl Fn(&Key) -> Result<T, StoreError> + Sync,
) -> Result<Vec<T>, StoreError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(key) = keys.get(place) else { return Ok(done) };
            match read(key) {
                Ok(value) => done.push((place, value)),
                Err(err) => {
                    next.store(keys.len(), Ordering::Relaxed);
                    return Err(err);
                }
            }
        }
    };
    let done = thread::scope(|scope| {
        let helpers: Vec<_> = (1..READERS.min(keys.len()))
            .map_while(|number| {
                let thread = Builder::new().name(format!("follow-{number}"));
                // With fewer threads it only takes longer.
                thread.spawn_scoped(scope, work).ok()
            })
            .collect();
        let mut done = vec![work()];
        for helper in helpers {
            done.push(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    let mut values = BTreeMap::new();
    for some in done {
        values.extend(some?);
    }
    Ok(values.into_values().collect())
}
