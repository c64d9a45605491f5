//! Pages that are written again: cut off at every call, withdrawn, without the bucket, and many on one day.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::fixtures::archive::Before;
use crate::fixtures::pages::{assert_readable, assert_settled, name};
use crate::fixtures::{Bench, contents};
use crate::index::{Index, PagesDue};
use crate::jobs::publish::PublishError;
use crate::model::{ConversationId, InboxId, Key, PageKind};
use crate::publishing::{RewriteError, write_pages_due};
use crate::render;
use crate::store::{Call, FlakyStore, Intercepted, MemoryStore, Store, StoreError};
use crate::sync::empty_trash;
use crate::upkeep::rebuild;

fn names_in(store: &dyn Store, kind: PageKind) -> Vec<bool> {
    let pages = contents(store).into_iter().filter(|(key, _)| key.ends_with(kind.suffix()));
    let pages = pages.filter(|(key, _)| (kind == PageKind::Metadata) == key.contains("_metadata"));
    pages.map(|(_, bytes)| String::from_utf8_lossy(&bytes).contains("Anna")).collect()
}

#[test]
fn names_that_are_cut_off_anywhere_leave_every_page_whole_and_are_given_or_not() {
    for cut in 0.. {
        let store = Arc::new(MemoryStore::default());
        let bench = Bench::new(store.clone());
        let published = bench.publish().unwrap();
        let index = &bench.services.index;
        assert_settled(store.as_ref(), index, "published");
        let context = format!("cut after {cut} calls");
        let flaky = FlakyStore::failing_after(cut, store.clone());
        let named = name(&flaky, index, &published, "Anna").is_ok();
        let was_cut = cut < flaky.calls();
        assert_readable(store.as_ref(), index, &context);
        assert_settled(store.as_ref(), index, &context);
        for kind in [PageKind::Json, PageKind::Vtt, PageKind::Metadata] {
            assert_eq!(names_in(store.as_ref(), kind), [named], "{context}");
        }
        if !was_cut {
            assert!(named && 10 < cut);
            break;
        }
    }
}

#[test]
fn a_rename_that_is_cut_off_anywhere_is_followed_by_all_pages_in_the_end() {
    for cut in 0.. {
        let store = Arc::new(MemoryStore::default());
        let mut bench = Bench::new(store.clone());
        bench.publish().unwrap();
        bench.drop_another("second.wav");
        let published = bench.publish().unwrap();
        let index = &bench.services.index;
        assert_settled(store.as_ref(), index, "published");
        let to = ConversationId::new("weekly").unwrap();
        index.rename_conversation(published.id.conversation, &to).unwrap();
        let context = format!("cut after {cut} calls");
        let flaky = FlakyStore::failing_after(cut, store.clone());
        write_pages_due(&flaky, index).unwrap();
        let was_cut = cut < flaky.calls();
        assert_readable(store.as_ref(), index, &context);
        assert_settled(store.as_ref(), index, &context);
        let mut metadata = 0;
        for (key, page) in contents(store.as_ref()) {
            let text = String::from_utf8_lossy(&page);
            if key.ends_with("_metadata.json") {
                metadata += 1;
                assert_eq!(render::from_metadata(&page).unwrap().0.id, to, "{context}");
            }
            if key.ends_with("_transcript.txt") {
                assert!(text.starts_with("weekly\n"), "{context}: {text}");
            }
        }
        assert_eq!(metadata, 2);
        if !was_cut {
            break;
        }
    }
}

#[test]
fn a_page_that_a_dead_writer_has_torn_is_rendered_again() {
    let store = Arc::new(MemoryStore::default());
    let bench = Bench::new(store.clone());
    let published = bench.publish().unwrap();
    let index = &bench.services.index;
    assert_settled(store.as_ref(), index, "published");
    // As older versions did it: new pages over old ones, and dead before the index was told.
    name(store.as_ref(), index, &published, "Anna").unwrap();
    let newer: Vec<(Key, Vec<u8>)> = index
        .recording(published.id)
        .unwrap()
        .unwrap()
        .pages
        .iter()
        .map(|page| {
            (page.object.key.clone(), store.get_range(&page.object.key, 0..u64::MAX).unwrap())
        })
        .collect();
    name(store.as_ref(), index, &published, "").unwrap();
    assert_settled(store.as_ref(), index, "named");
    for (key, bytes) in newer {
        store.put(&key, &bytes).unwrap();
    }
    index.owe_pages(vec![PagesDue::Recording(published.id)]).unwrap();
    assert_settled(store.as_ref(), index, "torn");
    assert_eq!(names_in(store.as_ref(), PageKind::Json), [false]);
    // The same where names are given to it.
    let json = index
        .recording(published.id)
        .unwrap()
        .unwrap()
        .page(PageKind::Json)
        .unwrap()
        .object
        .key
        .clone();
    let text = String::from_utf8(store.get_range(&json, 0..u64::MAX).unwrap()).unwrap();
    store.put(&json, format!("{text}\n\n").as_bytes()).unwrap();
    name(store.as_ref(), index, &published, "Anna").unwrap();
    assert_settled(store.as_ref(), index, "torn and named");
    assert_eq!(names_in(store.as_ref(), PageKind::Json), [true]);
    // Nothing is made up where nothing can be read.
    store.put(&json, b"{").unwrap();
    let refused = name(store.as_ref(), index, &published, "Ben");
    assert!(matches!(refused, Err(RewriteError::NoTalk(_))), "{refused:?}");
}

#[test]
fn a_recording_that_is_withdrawn_at_the_last_moment_leaves_no_word_behind() {
    let store = Arc::new(MemoryStore::default());
    let mut bench = Bench::new(store.clone());
    bench.publish().unwrap();
    assert_settled(store.as_ref(), &bench.services.index, "published");
    let before = contents(store.as_ref());
    bench.drop_another("secret.wav");
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
    assert_eq!(contents(store.as_ref()), before);
    assert_settled(store.as_ref(), &bench.services.index, "withdrawn");
}

#[test]
fn words_that_cannot_be_fetched_do_not_keep_another_recording_from_being_published() {
    // The bucket is away; or it forbids that page, or has it in an archive.
    for is_refused in [false, true] {
        let store = Arc::new(MemoryStore::default());
        let mut bench = Bench::new(store.clone());
        let first = bench.publish().unwrap();
        let away = first.page(PageKind::Json).unwrap().object.key.clone();
        bench.drop_another("second.wav");
        // Its chapter is remembered under another name then.
        let speaker = if is_refused { "Zara" } else { "Zoe" };
        name(store.as_ref(), &bench.services.index, &first, speaker).unwrap();
        assert_settled(store.as_ref(), &bench.services.index, "named");
        let is_away = Arc::new(Mutex::new(true));
        let (key, asked) = (away, is_away.clone());
        let refuse = move |call: Call<'_>| {
            let is_asked = call.name == "get_range" && call.at == key.as_str();
            if !is_asked || !*asked.lock().unwrap() {
                return Ok(());
            }
            let (at, source) = (call.at.to_owned(), "the bucket does not give it".into());
            Err(match is_refused {
                true => StoreError::Refused { at, source },
                false => StoreError::Unavailable { at, source },
            })
        };
        let hooked = Arc::new(Intercepted::<MemoryStore, _>::new(store.clone(), Before(refuse)));
        bench.services.store = hooked.clone();
        bench.publish().unwrap();
        let index = &bench.services.index;
        let transcript = || {
            let all = contents(store.as_ref());
            let text = all.iter().find(|(key, _)| key.ends_with("_transcript.txt")).unwrap().1;
            String::from_utf8(text.clone()).unwrap()
        };
        assert!(transcript().contains("second.wav"));
        assert!(write_pages_due(hooked.as_ref(), index).unwrap().left == 1);
        *is_away.lock().unwrap() = false;
        assert_settled(hooked.as_ref(), index, "back");
        assert!(transcript().contains("standup.wav") && transcript().contains("second.wav"));
    }
}

#[test]
fn a_long_day_costs_each_recording_the_same() {
    let store = Arc::new(MemoryStore::default());
    let counting = Arc::new(FlakyStore::failing_after(u64::MAX, store.clone()));
    let mut bench = Bench::new(counting.clone());
    let mut calls = Vec::new();
    for number in 0..60 {
        let before = counting.calls();
        bench.publish().unwrap();
        calls.push(counting.calls() - before);
        bench.drop_another(&format!("memo-{number}.wav"));
    }
    assert_eq!(calls[30..40], calls[50..60]);
    assert!(calls[59] <= calls[10], "{calls:?}");
    let index = &bench.services.index;
    let before = counting.calls();
    assert_settled(counting.as_ref(), index, "quiet");
    // One text for all of them: no more than some calls for each.
    assert!(counting.calls() - before < 60 * 20, "{}", counting.calls() - before);
    let all = contents(store.as_ref());
    let text = all.iter().find(|(key, _)| key.ends_with("_transcript.txt")).unwrap().1;
    let text = String::from_utf8_lossy(text);
    assert!((0..59).all(|number| text.contains(&format!("memo-{number}.wav"))));
}

#[test]
fn a_recording_that_lacks_a_page_is_taken_over_and_rendered_again() {
    for kind in [PageKind::Srt, PageKind::Vtt] {
        let store = Arc::new(MemoryStore::default());
        let bench = Bench::new(store.clone());
        let published = bench.publish().unwrap();
        store.delete(&published.page(kind).unwrap().object.key).unwrap();
        let rebuilt = rebuild(store.as_ref(), &bench.services.index).unwrap();
        assert_eq!((rebuilt.recordings, rebuilt.torn.len(), rebuilt.incomplete.len()), (1, 1, 0));
        assert_settled(store.as_ref(), &bench.services.index, "rendered again");
    }
}

#[test]
fn nothing_is_filed_under_the_names_of_what_a_rebuild_could_not_read() {
    let store = Arc::new(MemoryStore::default());
    let mut bench = Bench::new(store.clone());
    let published = bench.publish().unwrap();
    assert_settled(store.as_ref(), &bench.services.index, "published");
    let metadata = published.page(PageKind::Metadata).unwrap().object.key.clone();
    store.put(&metadata, b"{ torn").unwrap();
    let before = contents(store.as_ref());
    let rebuilt = rebuild(store.as_ref(), &bench.services.index).unwrap();
    assert_eq!((rebuilt.recordings, rebuilt.unreadable.len()), (0, 1));
    // Another recording of that name on that day.
    bench.drop_another("standup.wav");
    let second = bench.publish().unwrap();
    assert_ne!(second.audio.key, published.audio.key);
    let after = contents(store.as_ref());
    let is_text = |key: &str| key.ends_with("_transcript.txt");
    for (key, bytes) in before.into_iter().filter(|(key, _)| !is_text(key)) {
        assert_eq!(after.get(&key), Some(&bytes), "{key}");
    }
}

#[test]
fn what_comes_back_in_the_trash_is_kept_as_if_it_had_been_put_there_now() {
    let store = Arc::new(MemoryStore::default());
    let bench = Bench::new(store.clone());
    let published = bench.publish().unwrap();
    let index = &bench.services.index;
    let seq = published.id.conversation;
    index.trash_conversation(seq, "2024-03-01T00:00:00Z".parse().unwrap()).unwrap();
    assert_settled(store.as_ref(), index, "trashed");
    let begun = Timestamp::now();
    rebuild(store.as_ref(), index).unwrap();
    let trashed = index.trashed_conversations().unwrap();
    assert!(begun <= trashed[0].trashed_at.unwrap());
    // Not even with no time to be kept at all: the index was made anew a moment ago.
    let long = Duration::from_hours(9_999);
    for _ in 0..2 {
        let now = Timestamp::now();
        assert_eq!(empty_trash(store.as_ref(), index, Duration::ZERO, now, long).unwrap(), 0);
    }
    assert_eq!(index.trashed_conversations().unwrap().len(), 1);
}

#[test]
fn what_goes_to_the_trash_leaves_its_days_text_and_is_there_in_an_index_made_anew() {
    let store = Arc::new(MemoryStore::default());
    let mut bench = Bench::new(store.clone());
    let first = bench.publish().unwrap();
    bench.drop_another("second.wav");
    let second = bench.publish().unwrap();
    let index = &bench.services.index;
    assert_settled(store.as_ref(), index, "published");
    let text_names_second = || {
        let texts = contents(store.as_ref()).into_iter();
        let mut texts = texts.filter(|(key, _)| key.ends_with("_transcript.txt"));
        texts.any(|(_, text)| String::from_utf8_lossy(&text).contains("second.wav"))
    };
    assert!(text_names_second());
    index.hide_page(first.id, PageKind::Srt).unwrap();
    index.trash_recording(second.id, Timestamp::now()).unwrap();
    assert_settled(store.as_ref(), index, "in the trash");
    assert!(!text_names_second());
    let dir = tempfile::tempdir().unwrap();
    let anew = Index::open(&dir.path().join("index.redb")).unwrap();
    rebuild(store.as_ref(), &anew).unwrap();
    let trash = |index: &Index| -> Vec<_> {
        let entries = index.trash_entries(0, 9).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(trash(&anew), trash(index));
    assert_eq!(trash(&anew).len(), 1);
    let hidden = anew.recording(first.id).unwrap().unwrap().overlay.hidden;
    assert!(hidden.contains(&PageKind::Srt));
    index.restore_recording(second.id).unwrap();
    assert_settled(store.as_ref(), index, "back");
    assert!(text_names_second());
}
