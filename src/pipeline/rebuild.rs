//! What the store holds is enough: the index made anew from the metadata pages.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::index::{Index, IndexError};
use crate::model::{Key, Object, Page, PageKind, Recording};
use crate::render;
use crate::store::{Store, StoreError};

/// Recordings that share one commit.
const BATCH: usize = 1_000;

/// What a rebuild found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    pub recordings: u64,
    /// Metadata pages that could not be read, and why.
    pub unreadable: Vec<(Key, String)>,
    /// Recordings whose audio or pages are not all in the store with the right size.
    pub incomplete: Vec<Key>,
}

/// Why a rebuild could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("the store could not be read")]
    Store(#[from] StoreError),
    #[error("the index could not be written")]
    Index(#[from] IndexError),
}

/// Forgets what the index says of recordings and fills it from the store. Jobs stay.
pub fn rebuild(store: &dyn Store, index: &Index) -> Result<Rebuilt, RebuildError> {
    let sizes: BTreeMap<Key, u64> =
        store.list("")?.into_iter().map(|found| (found.key, found.bytes)).collect();
    let mut rebuilt = Rebuilt::default();
    let mut transcripts: BTreeMap<Key, Object> = BTreeMap::new();
    let mut told = Vec::new();
    index.clear_recordings()?;
    for key in sizes.keys().filter(|key| key.is_metadata()) {
        let json = store.get_range(key, 0..u64::MAX)?;
        let (conversation, mut recording, mut transcript) = match render::from_metadata(&json) {
            Ok(rows) => rows,
            Err(why) => {
                rebuilt.unreadable.push((key.clone(), why));
                continue;
            }
        };
        if !is_complete(&recording, &sizes) {
            rebuilt.incomplete.push(key.clone());
            continue;
        }
        recording.pages.retain(|page| page.kind != PageKind::Metadata);
        recording.pages.push(Page { kind: PageKind::Metadata, object: object(key.clone(), &json) });
        // Each metadata page names the transcript as it was then; the last one written counts.
        match transcripts.entry(transcript.object.key.clone()) {
            Entry::Occupied(known) => transcript.object = known.get().clone(),
            Entry::Vacant(new) => {
                transcript.object = new.insert(present(store, transcript.object)?).clone();
            }
        }
        told.push((conversation, recording, transcript));
        rebuilt.recordings += 1;
        if told.len() == BATCH {
            index.adopt(std::mem::take(&mut told))?;
        }
    }
    index.adopt(told)?;
    Ok(rebuilt)
}

fn is_complete(recording: &Recording, sizes: &BTreeMap<Key, u64>) -> bool {
    let has = |key: &Key, bytes: u64| sizes.get(key) == Some(&bytes);
    // The metadata page is the one that was just read: it cannot name its own size.
    let mut pages = recording.pages.iter().filter(|page| page.kind != PageKind::Metadata);
    has(&recording.audio.key, recording.audio.bytes)
        && pages.all(|page| has(&page.object.key, page.object.bytes))
}

fn present(store: &dyn Store, named: Object) -> Result<Object, StoreError> {
    match store.get_range(&named.key, 0..u64::MAX) {
        Ok(text) => Ok(object(named.key, &text)),
        // Written anew with the next recording of that day.
        Err(StoreError::Missing { .. }) => Ok(named),
        Err(err) => Err(err),
    }
}

fn object(key: Key, bytes: &[u8]) -> Object {
    Object { key, bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
}
