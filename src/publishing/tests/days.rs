//! The order in which a day's transcript tells of its recordings.

use std::sync::Arc;

use crate::fixtures::pages::assert_settled;
use crate::fixtures::{Bench, contents};
use crate::store::MemoryStore;

#[test]
fn parts_whose_names_tell_the_day_alone_stand_in_the_order_that_a_person_counts() {
    let store = Arc::new(MemoryStore::default());
    let mut bench = Bench::new(store.clone());
    for number in [10, 2, 1, 3] {
        bench.drop_another(&format!("2024-01-16 lecture part {number}.wav"));
        bench.publish().unwrap();
    }
    assert_settled(store.as_ref(), &bench.services.index, "published");
    let all = contents(store.as_ref());
    let text = all.iter().find(|(key, _)| key.contains("/16/") && key.ends_with("_transcript.txt"));
    let text = String::from_utf8_lossy(text.unwrap().1).into_owned();
    let places: Vec<_> =
        [1, 2, 3, 10].iter().map(|it| text.find(&format!("part {it}.wav")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}
