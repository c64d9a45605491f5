//! Tools over the stores, against what was published.

mod importing;

use std::sync::Arc;

use crate::fixtures::Bench;
use crate::index::Index;
use crate::store::{MemoryStore, Store};
use crate::upkeep::rebuild;

#[test]
fn an_index_is_made_anew_from_the_store_alone() {
    let store = Arc::new(MemoryStore::default());
    let bench = Bench::new(store.clone());
    let published = bench.publish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.redb")).unwrap();
    let rebuilt = rebuild(store.as_ref(), &index).unwrap();
    assert_eq!((rebuilt.recordings, rebuilt.unreadable.len()), (1, 0));
    let found = index.recordings_with_audio(&published.audio.blake3).unwrap().remove(0);
    assert_eq!(found.stem, published.stem);
    assert_eq!(found.pages.len(), published.pages.len());

    // What is not whole is left out, and named.
    store.delete(&published.audio.key).unwrap();
    let rebuilt = rebuild(store.as_ref(), &index).unwrap();
    assert_eq!((rebuilt.recordings, rebuilt.incomplete.len()), (0, 1));
}
