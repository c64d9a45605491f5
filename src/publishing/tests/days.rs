//! The order in which a day's transcript tells of its recordings.

use std::sync::Arc;

use crate::fixtures::pages::assert_settled;
use crate::fixtures::{Bench, contents};
use crate::index::PageWork;
use crate::publishing::page_store::PageStore;
use crate::publishing::pages_update;
use crate::publishing::stores::{StorageTarget, Stores, Tiered};
use crate::store::{MemoryStore, Store};

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

#[test]
fn a_day_whose_words_in_the_bucket_have_no_room_in_memory_gets_its_whole_transcript() {
    let (local, remote) = (Arc::new(MemoryStore::default()), MemoryStore::default());
    let mut bench = Bench::new(local.clone());
    let names = ["morning", "noon", "evening"];
    for name in names {
        bench.drop_another(&format!("long {name}.wav"));
        // More than is kept of any one, and more than all of them may take while they wait.
        bench.talk.segments[0].text = format!("{name} ").repeat((5 << 20) / 2 / name.len());
        let recording = bench.publish().unwrap();
        for page in &recording.pages {
            let key = &page.object.key;
            remote.put(key, &local.get_range(key, 0..u64::MAX).unwrap()).unwrap();
            local.delete(key).unwrap();
        }
    }
    let index = &bench.services.index;
    let first = index.every_recording(None, 1).unwrap().remove(0);
    let (seq, day) = (first.id.conversation, first.id.day);
    let store = Tiered(Stores {
        local: local.as_ref(),
        remote: Some(&remote),
        index,
        home: StorageTarget::Bucket,
    });
    let page_store = PageStore { store: &store, index };
    assert!(pages_update::day(page_store, seq, day, PageWork::Render).unwrap(), "it is incomplete");
    let transcript = index.filed_transcript(seq, day).unwrap().unwrap().object;
    let text = local.get_range(&transcript.key, 0..u64::MAX).unwrap();
    let text = String::from_utf8(text).unwrap();
    for name in names {
        let words = text.matches(&format!("{name} ")).count();
        assert!((5 << 20) / 2 / name.len() - 1 <= words, "{words} words of the {name}");
    }
}
