//! Pages and what names them, cut off at every step and brought up to date.

mod claims;
mod days;
mod faults;
mod identity;
mod left_behind;
mod page_times;
mod pages;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fixtures::{Bench, contents};
use crate::model::SpeakerId;
use crate::publishing::name_speakers;
use crate::store::MemoryStore;

#[test]
fn names_are_laid_over_all_pages_and_can_be_taken_back() {
    let store = Arc::new(MemoryStore::default());
    let bench = Bench::new(store.clone());
    let published = bench.publish().unwrap();
    let name = |name: &str| {
        let names = BTreeMap::from([(SpeakerId(0), name.to_owned())]);
        name_speakers(store.as_ref(), &bench.services.index, published.id, &names)
    };
    let pages = |word: &str| {
        let contains = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).contains(word);
        contents(store.as_ref()).values().filter(|bytes| contains(bytes)).count()
    };
    name("Anna").unwrap();
    // Transcript, json, vtt and metadata; one speaker needs no names in subtitles.
    assert_eq!(pages("Anna"), 4);
    name("").unwrap();
    assert_eq!((pages("Anna"), pages("[00:00:00] Speaker 1")), (0, 1));
    let nobody = BTreeMap::from([(SpeakerId(7), "Anna".to_owned())]);
    assert!(name_speakers(store.as_ref(), &bench.services.index, published.id, &nobody).is_err());
}
