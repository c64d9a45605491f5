//! What is removed for good from a bucket, while others publish and carry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::fixtures::archive::{Archive, Before};
use crate::fixtures::pages::assert_settled;
use crate::publishing::change_log::ChangeLog;
use crate::publishing::pages_due::write_pages_due;
use crate::store::{
    BlockCache, CacheOptions, Call, Intercepted, MemoryStore, ReadOptions, Store, StoreError,
    TieredStore,
};
use crate::sync::SyncContext;
use crate::sync::purge::{self, PurgeContext};
use crate::sync::refusals::Refusals;

#[test]
fn a_recording_that_is_published_while_its_days_last_one_is_purged_keeps_its_transcript() {
    let archive = Archive::for_bucket();
    let (index, local) = (&archive.services.index, &archive.local);
    let bucket = Arc::new(MemoryStore::default());
    // Another day keeps the conversation.
    archive.publish("standup", "2024-03-01_10-00-00.wav", b"other");
    let first = archive.publish("standup", "first.wav", b"first");
    write_pages_due(local.as_ref(), index).unwrap();
    assert_eq!(archive.carry(&bucket), None);
    let (seq, day) = (first.id.conversation, first.id.day);
    let key = index.filed_transcript(seq, day).unwrap().unwrap().object.key;
    index.trash_recording(first.id, Timestamp::now()).unwrap();
    write_pages_due(local.as_ref(), index).unwrap();
    // Where the bucket is asked for the day's text, it is the last one's no longer.
    let is_published = AtomicBool::new(false);
    let at = key.clone();
    let publish = |call: Call<'_>| {
        if call.at == at.as_str() && !is_published.swap(true, Ordering::Relaxed) {
            archive.publish("standup", "second.wav", b"second");
            assert_eq!(archive.carry(&bucket), None);
        }
        Ok::<(), StoreError>(())
    };
    let hooked = Intercepted::new(bucket.clone(), Before(publish));
    let changes = ChangeLog::default();
    let refusals = Refusals::default();
    let context = PurgeContext {
        store: local.as_ref(),
        remote: Some((&hooked, &changes)),
        index,
        refusals: &refusals,
    };
    let long = Duration::from_hours(9_999);
    for _ in 0..2 {
        purge::empty(context, Duration::ZERO, &|_| false, Timestamp::now(), long).unwrap();
    }
    assert!(is_published.load(Ordering::Relaxed));
    assert_eq!(index.filed_recording(first.id).unwrap(), None);
    let second = index.filed_recordings(seq, day).unwrap().remove(0);
    assert_eq!(second.audio_name.display(), "second.wav");
    let has_second = |store: &dyn Store| {
        let text = store.get_range(&key, 0..u64::MAX).unwrap();
        String::from_utf8(text).unwrap().contains("second.wav")
    };
    assert!(has_second(local.as_ref()));
    assert_settled(local.as_ref(), index, "purged");
    assert_eq!(archive.carry(&bucket), None);
    assert!(has_second(bucket.as_ref()));
}

/// One recording that was read from the bucket, and another one with the same audio.
#[test]
fn what_was_read_of_a_purged_recording_is_no_longer_in_the_cache() {
    for is_whole_conversation in [false, true] {
        let archive = Archive::for_bucket();
        let index = &archive.services.index;
        let bucket = Arc::new(MemoryStore::default());
        let once = archive.publish("standup", "once.wav", b"said once");
        let twice = archive.publish("standup", "twice.wav", b"said twice");
        let elsewhere = archive.publish("retro", "twice.wav", b"said twice");
        assert_eq!(archive.carry(&bucket), None);
        let cache = CacheOptions { limit_bytes: u64::MAX, keep_free_bytes: 0 };
        let cache = BlockCache::open(&archive.dir.path().join("cache"), cache).unwrap();
        let (local, remote) = (archive.local.clone(), bucket.clone());
        let store =
            Arc::new(TieredStore::with_bucket(local, remote, cache, ReadOptions::default()));
        for recording in [&once, &twice, &elsewhere] {
            archive.local.delete(&recording.audio.key).unwrap();
        }
        for recording in [&once, &twice] {
            assert!(!store.read(&recording.audio, 0..u64::MAX).unwrap().is_empty());
        }
        // Readers do not wait for it.
        while store.cached().len() < 2 {
            std::thread::yield_now();
        }

        let context = SyncContext { store: store.clone(), ..archive.context(bucket.clone()) };
        let (changes, refusals) = (ChangeLog::default(), Refusals::default());
        let remove = || {
            let context = PurgeContext::of(&context, &changes, &refusals);
            purge::remove_due(context, &|_| false, Timestamp::now()).unwrap()
        };
        match is_whole_conversation {
            true => index.purge_conversation(once.id.conversation, Timestamp::now()).unwrap(),
            false => {
                index.purge_recording(once.id, Timestamp::now()).unwrap();
                index.purge_recording(twice.id, Timestamp::now()).unwrap();
            }
        }
        remove();
        // The other one can still be played from it.
        assert_eq!(store.cached(), std::slice::from_ref(&twice.audio.blake3));
        index.purge_conversation(elsewhere.id.conversation, Timestamp::now()).unwrap();
        remove();
        assert_eq!(store.cached(), Vec::<String>::new());
    }
}

#[test]
fn a_copy_that_cannot_be_looked_at_counts_as_a_copy() {
    let archive = Archive::for_bucket();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let bucket = Arc::new(MemoryStore::default());
    let key = recording.audio.key.clone();
    let fail = move |call: Call<'_>| match call.name == "head" && call.at == key.as_str() {
        true => Err(StoreError::Refused { at: call.at.to_owned(), source: "an I/O error".into() }),
        false => Ok(()),
    };
    let mut context = archive.context(bucket);
    context.local = Arc::new(Intercepted::new(archive.local.clone(), Before(fail)));
    assert_eq!(archive.carry_on(context), None);
    let index = &archive.services.index;
    assert_eq!(index.copied_bytes().unwrap(), recording.audio.bytes);
    assert_eq!(index.copies(9, Timestamp::now()).unwrap().len(), 1);
}
