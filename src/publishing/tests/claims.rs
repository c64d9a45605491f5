//! Publications that are cut off: what they have put into the store is taken back, wherever the recording is filed then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use jiff::Timestamp;

use crate::fixtures::archive::Before;
use crate::fixtures::{Bench, contents};
use crate::index::failing_disk::FailingDisk;
use crate::index::{Claim, Index};
use crate::jobs::publish::PublishError;
use crate::model::{ConversationId, InboxId, Key, Object};
use crate::publishing::{take_back_claims, write_pages_due};
use crate::store::{Call, FlakyStore, Intercepted, MemoryStore, Store, StoreError};
use crate::upkeep::rebuild;

fn id(text: &str) -> ConversationId {
    ConversationId::new(text).unwrap()
}

/// How many recordings an index has that is made of the store alone.
fn rebuilt(store: &dyn Store) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    rebuild(store, &Index::open(&dir.path().join("index.redb")).unwrap()).unwrap().recordings
}

/// One recording is published, and the publication of another one is cut off after so many calls of the store. `None`:
/// it takes fewer.
fn cut_off(cut: u64) -> Option<(Bench, Arc<MemoryStore>)> {
    let store = Arc::new(MemoryStore::default());
    let mut bench = Bench::new(store.clone());
    bench.publish().unwrap();
    bench.finish();
    bench.drop_another("talk.wav");
    bench.services.store = Arc::new(FlakyStore::failing_after(cut, store.clone()));
    let published = bench.publish();
    bench.services.store = store.clone();
    let is_cut_off = matches!(published, Err(PublishError::Store(_)));
    is_cut_off.then_some((bench, store))
}

#[test]
fn a_publication_that_was_cut_off_is_there_once_where_its_conversation_has_been_moved_since() {
    for is_trashed in [false, true] {
        let mut cut = 0;
        while let Some((mut bench, store)) = cut_off(cut) {
            if cut % 2 == 0 {
                bench.restart();
            }
            let index = &bench.services.index;
            let moved = index.conversation_named(&id("standup")).unwrap().unwrap().seq;
            match is_trashed {
                true => index.trash_conversation(moved, Timestamp::now()).unwrap(),
                false => index.rename_conversation(moved, &id("renamed")).unwrap(),
            }
            let published = bench.publish().unwrap();
            assert_ne!(published.id.conversation, moved, "call {cut}");
            write_pages_due(store.as_ref(), index).unwrap();
            assert!(index.claims().unwrap().is_empty(), "call {cut}");
            let keys: Vec<String> = contents(store.as_ref()).into_keys().collect();
            assert_eq!(rebuilt(store.as_ref()), 2, "call {cut}: {keys:?}");
            // Two recordings with their pages, and two transcripts.
            assert_eq!(keys.len(), 12, "call {cut}: {keys:?}");
            cut += 1;
        }
        assert!(12 < cut, "{cut}");
    }
}

#[test]
fn what_was_cut_off_and_is_not_done_again_is_taken_back_at_the_next_start() {
    let mut cut = 0;
    while let Some((mut bench, store)) = cut_off(cut) {
        bench.restart();
        let index = &bench.services.index;
        // Taking back is cut off too, wherever that is possible.
        let is_done = (0..100).any(|calls| {
            let flaky = FlakyStore::failing_after(calls, store.clone());
            take_back_claims(&flaky, index).unwrap();
            index.claims().unwrap().is_empty()
        });
        assert!(is_done, "call {cut}");
        write_pages_due(store.as_ref(), index).unwrap();
        let keys: Vec<String> = contents(store.as_ref()).into_keys().collect();
        assert_eq!(keys.len(), 6, "call {cut}: {keys:?}");
        assert_eq!(rebuilt(store.as_ref()), 1);
        cut += 1;
    }
    assert!(12 < cut, "{cut}");
}

#[test]
fn a_withdrawn_recording_is_gone_in_the_end_wherever_its_removal_is_cut_off() {
    for deletes in 0.. {
        let store = Arc::new(MemoryStore::default());
        let mut bench = Bench::new(store.clone());
        let (spool, dropped) = (bench.services.spool.clone(), bench.dropped.clone());
        let left = AtomicU64::new(deletes);
        let withdraw = move |call: Call<'_>| match call.name {
            "put" if Key::new(call.at).is_some_and(|key| key.is_metadata()) => {
                spool.unlink(InboxId::ROOT, dropped.path[0].as_os_str()).unwrap();
                Ok(())
            }
            "delete" if left.fetch_update(Relaxed, Relaxed, |it| it.checked_sub(1)).is_err() => {
                let source = "cut off".into();
                Err(StoreError::Unavailable { at: call.at.to_owned(), source })
            }
            _ => Ok(()),
        };
        bench.services.store =
            Arc::new(Intercepted::<MemoryStore, _>::new(store.clone(), Before(withdraw)));
        assert!(matches!(bench.publish(), Err(PublishError::Withdrawn)));
        let is_last = contents(store.as_ref()).is_empty();
        take_back_claims(store.as_ref(), &bench.services.index).unwrap();
        write_pages_due(store.as_ref(), &bench.services.index).unwrap();
        let keys: Vec<String> = contents(store.as_ref()).into_keys().collect();
        assert!(keys.is_empty(), "delete {deletes}: {keys:?}");
        if is_last {
            assert!(5 < deletes);
            break;
        }
    }
}

#[test]
fn what_has_been_filed_since_or_has_other_bytes_is_never_taken_back() {
    let store = Arc::new(MemoryStore::default());
    let bench = Bench::new(store.clone());
    let published = bench.publish().unwrap();
    write_pages_due(store.as_ref(), &bench.services.index).unwrap();
    let before = contents(store.as_ref());
    let index = &bench.services.index;
    let new: Vec<Key> =
        published.removal_order().into_iter().map(|object| object.key.clone()).collect();
    let audio = published.audio.clone();
    index.claim(Claim { audio: audio.clone(), new: new.clone() }).unwrap();
    take_back_claims(store.as_ref(), index).unwrap();
    assert_eq!(contents(store.as_ref()), before);
    // The index knows nothing of it, and the bytes are not those that were claimed for.
    index.clear_recordings().unwrap();
    let other = Object { blake3: blake3::hash(b"other").to_hex().to_string(), ..audio };
    index.claim(Claim { audio: other, new }).unwrap();
    take_back_claims(store.as_ref(), index).unwrap();
    assert_eq!(contents(store.as_ref()), before);
    assert!(index.claims().unwrap().is_empty());
}

#[test]
fn what_a_commit_of_unknown_outcome_may_have_filed_is_left_to_the_next_start() {
    let disk = FailingDisk::healthy();
    let index = disk.open().unwrap();
    let store = MemoryStore::default();
    let key = Key::new("standup/2024/01/15/talk.wav").unwrap();
    store.put(&key, b"sound").unwrap();
    let blake3 = blake3::hash(b"sound").to_hex().to_string();
    let audio = Object { key: key.clone(), bytes: 5, blake3 };
    index.claim(Claim { audio, new: vec![key.clone()] }).unwrap();
    disk.fail_after(0);
    index.set_note("last", "commit").unwrap_err();
    disk.fail_after(u64::MAX);
    take_back_claims(&store, &index).unwrap_err();
    assert!(store.head(&key).is_ok());
    drop(index);
    disk.power_cut(1);
    take_back_claims(&store, &disk.open().unwrap()).unwrap();
    assert!(store.head(&key).is_err());
}
