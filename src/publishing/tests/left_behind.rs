//! What is left of pages when their recording is withdrawn, purged or damaged: nothing that should be gone, and all that
//! should be there.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::fixtures::archive::Before;
use crate::fixtures::pages::{assert_settled, name};
use crate::fixtures::{Bench, contents};
use crate::index::Index;
use crate::jobs::publish::PublishError;
use crate::model::{Access, ConversationId, InboxId, Key, PageKind};
use crate::publishing::write_pages_due;
use crate::store::{Call, FlakyStore, Intercepted, MemoryStore, Store, StoreError};
use crate::sync::empty_trash;
use crate::upkeep::rebuild;

#[test]
fn a_withdrawn_recording_takes_no_page_along_that_was_there_before() {
    let store = Arc::new(MemoryStore::default());
    let mut bench = Bench::new(store.clone());
    let published = bench.publish().unwrap();
    name(store.as_ref(), &bench.services.index, &published, "Anna").unwrap();
    // Its audio is lost, and so is the index: what users said about it stands in its pages alone.
    store.delete(&published.audio.key).unwrap();
    let before: Vec<String> = contents(store.as_ref()).into_keys().collect();
    let dir = tempfile::tempdir().unwrap();
    bench.services.index = Index::open(&dir.path().join("index.redb")).unwrap();
    let id = ConversationId::new("standup").unwrap();
    bench.services.index.ensure_conversation(&id, Timestamp::now()).unwrap();
    let (spool, dropped) = (bench.services.spool.clone(), bench.dropped.clone());
    let withdraw = move |call: Call<'_>| {
        if call.name == "put" && Key::new(call.at).is_some_and(|key| key.is_metadata()) {
            spool.unlink(InboxId::ROOT, dropped.path[0].as_os_str()).unwrap();
        }
        Ok(())
    };
    bench.services.store =
        Arc::new(Intercepted::<MemoryStore, _>::new(store.clone(), Before(withdraw)));
    let withdrawn = bench.publish();
    assert!(matches!(withdrawn, Err(PublishError::Withdrawn)), "{withdrawn:?}");
    let after = contents(store.as_ref());
    assert_eq!(after.keys().cloned().collect::<Vec<_>>(), before);
    let key = published.audio.key.page_beside(PageKind::Metadata);
    assert!(String::from_utf8_lossy(&after[key.as_str()]).contains("Anna"));
}

#[test]
fn what_is_purged_leaves_no_staged_word_behind() {
    for as_a_whole in [true, false] {
        let store = Arc::new(MemoryStore::default());
        let mut bench = Bench::new(store.clone());
        let published = bench.publish().unwrap();
        bench.drop_another("second.wav");
        let second = bench.publish().unwrap();
        let index = &bench.services.index;
        // Pages get no further than to where they are staged, twice.
        let refuse = |call: Call<'_>| match call.name {
            "put" | "rename" if !call.at.starts_with(Key::STAGED) => {
                let source = "the disk is in a mood".into();
                Err(StoreError::Unavailable { at: call.at.to_owned(), source })
            }
            _ => Ok(()),
        };
        let hooked = Intercepted::<MemoryStore, _>::new(store.clone(), Before(refuse));
        for speaker in ["Anna", "Ben"] {
            name(&hooked, index, &published, speaker).unwrap();
        }
        let staged =
            || contents(store.as_ref()).into_keys().filter(|key| key.starts_with(Key::STAGED));
        assert!(staged().count() > 4);
        match as_a_whole {
            true => index.trash_conversation(published.id.conversation, Timestamp::now()).unwrap(),
            false => index.trash_recording(published.id, Timestamp::now()).unwrap(),
        }
        let long = Duration::from_hours(9_999);
        for _ in 0..2 {
            empty_trash(store.as_ref(), index, Duration::ZERO, Timestamp::now(), long).unwrap();
        }
        assert_eq!(index.filed_recording(published.id).unwrap(), None);
        let words = |text: &[u8]| String::from_utf8_lossy(text).contains("Ben");
        if as_a_whole {
            assert_eq!(contents(store.as_ref()).into_keys().collect::<Vec<_>>(), [""; 0]);
        } else {
            assert_settled(store.as_ref(), index, "purged");
            assert!(index.filed_recording(second.id).unwrap().is_some());
            assert!(contents(store.as_ref()).values().all(|text| !words(text)));
        }
        assert_eq!(staged().count(), 0);
    }
}

#[test]
fn a_day_whose_words_are_damaged_stays_due_until_they_are_mended() {
    let store = Arc::new(MemoryStore::default());
    let mut bench = Bench::new(store.clone());
    let first = bench.publish().unwrap();
    let index = bench.services.index.clone();
    // Its chapter is remembered under another name then.
    name(store.as_ref(), &index, &first, "Ilse").unwrap();
    let first = index.recording(first.id).unwrap().unwrap();
    let json = first.page(PageKind::Json).unwrap().object.key.clone();
    let whole = store.get_range(&json, 0..u64::MAX).unwrap();
    store.put(&json, b"{").unwrap();
    bench.drop_another("second.wav");
    bench.publish().unwrap();
    assert_eq!(write_pages_due(store.as_ref(), &index).unwrap().left, 1);
    store.put(&json, &whole).unwrap();
    assert_settled(store.as_ref(), &index, "mended");
    let all = contents(store.as_ref());
    let text = all.iter().find(|(key, _)| key.ends_with("_transcript.txt")).unwrap().1;
    assert!(String::from_utf8_lossy(text).contains("Ilse"));
}

#[test]
fn a_recording_that_is_filed_by_its_json_page_is_for_its_owner_alone() {
    let store = Arc::new(MemoryStore::default());
    let bench = Bench::new(store.clone());
    let published = bench.publish().unwrap();
    store.delete(&published.page(PageKind::Metadata).unwrap().object.key).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let anew = Index::open(&dir.path().join("index.redb")).unwrap();
    assert_eq!(rebuild(store.as_ref(), &anew).unwrap().salvaged.len(), 1);
    let private = Some(Access { owner: None, mode: 0o600 });
    let accesses = || {
        let recording = anew.every_recording(None, 9).unwrap().remove(0);
        (recording.overlay.access, anew.every_transcript(None, 9).unwrap()[0].access)
    };
    assert_eq!(accesses(), (private, private));
    assert_settled(store.as_ref(), &anew, "filed");
    assert_eq!(accesses(), (private, private));
}

#[test]
fn a_purge_that_is_cut_off_brings_nothing_back() {
    for as_a_whole in [true, false] {
        for calls in 0.. {
            let store = Arc::new(MemoryStore::default());
            let bench = Bench::new(store.clone());
            let published = bench.publish().unwrap();
            let index = &bench.services.index;
            match as_a_whole {
                true => {
                    index.trash_conversation(published.id.conversation, Timestamp::now()).unwrap();
                }
                false => index.trash_recording(published.id, Timestamp::now()).unwrap(),
            }
            write_pages_due(store.as_ref(), index).unwrap();
            let flaky = FlakyStore::failing_after(calls, store.clone());
            let long = Duration::from_hours(9_999);
            // Its time in the trash begins.
            empty_trash(store.as_ref(), index, Duration::ZERO, Timestamp::now(), long).unwrap();
            let emptied = empty_trash(&flaky, index, Duration::ZERO, Timestamp::now(), long);
            let dir = tempfile::tempdir().unwrap();
            let anew = Index::open(&dir.path().join("index.redb")).unwrap();
            rebuild(store.as_ref(), &anew).unwrap();
            for it in anew.every_recording(None, 9).unwrap() {
                let is_shown = it.overlay.trashed_at.is_none()
                    && anew.conversation(it.id.conversation).unwrap().is_some();
                assert!(!is_shown, "{calls} calls, as a whole: {as_a_whole}");
            }
            if emptied.is_ok() {
                assert_eq!(index.every_recording(None, 9).unwrap(), []);
                assert!(4 < calls);
                break;
            }
        }
    }
}
