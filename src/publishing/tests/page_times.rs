//! Times of pages that are written again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fixtures::Bench;
use crate::model::SpeakerId;
use crate::publishing::name_speakers;
use crate::store::MemoryStore;

#[test]
fn pages_of_the_same_size_have_times_in_other_seconds() {
    let store = Arc::new(MemoryStore::default());
    let bench = Bench::new(store.clone());
    let recording = bench.publish().unwrap();
    let index = &bench.services.index;
    let seen = || {
        let now = index.recording(recording.id).unwrap().unwrap();
        let pages = now.pages.iter().map(|it| (it.object.clone(), now.written_at(it).as_second()));
        let text = index.day_transcript(recording.id.conversation, recording.id.day);
        let text = text.unwrap().unwrap();
        pages.chain([(text.object, text.modified_at.as_second())]).collect::<Vec<_>>()
    };
    let name = |name: &str| {
        let names = BTreeMap::from([(SpeakerId(0), name.to_owned())]);
        name_speakers(store.as_ref(), index, recording.id, &names).unwrap();
    };
    name("Anna");
    for other in ["Bert", "Cara", "Dora"] {
        let before = seen();
        name(other);
        for ((old, before), (new, after)) in before.iter().zip(&seen()) {
            let looks_the_same = old.bytes == new.bytes && before == after;
            assert_eq!(looks_the_same, old == new, "{other}: {}", new.key);
        }
    }
}
