//! What the index keeps of recordings that were removed one by one, and what is removed for good.

mod common;

use std::time::Duration;

use common::{day, quiet_spool, services_in};
use jiff::{SignedDuration, Timestamp};
use scribefs::fs::FsContext;
use scribefs::index::{Change, IndexError, Trashed};
use scribefs::model::{ConversationSeq, FileName, PageKind, Recording};
use scribefs::store::StoreError;
use scribefs::sync;

struct Bench {
    _dir: tempfile::TempDir,
    services: FsContext,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    Bench { services: services_in(dir.path(), quiet_spool()), _dir: dir }
}

fn at(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
}

impl Bench {
    fn publish(&self, on: i8, name: &str) -> Recording {
        common::publish(&self.services, "standup", day(2024, 1, on), name)
    }

    fn trash(&self) -> Vec<String> {
        let entries = self.services.index.trash_entries(0, usize::MAX).unwrap();
        entries.iter().map(|entry| entry.name.display()).collect()
    }

    fn shown_days(&self) -> Vec<i8> {
        let is_shown = |on: &i8| {
            let from = self.services.index.shown_day_from(ConversationSeq(1), day(2024, 1, *on));
            from.unwrap() == Some(day(2024, 1, *on))
        };
        (1..=31).filter(is_shown).collect()
    }

    fn recordings(&self) -> u64 {
        self.services.index.totals().unwrap().recordings
    }
}

#[test]
fn what_was_removed_shortly_before_the_last_one_comes_back_with_the_conversation() {
    let bench = bench();
    let index = &bench.services.index;
    let [early, one, two, last] =
        [(1, "early.wav"), (15, "one.wav"), (15, "two.wav"), (16, "last.wav")]
            .map(|(on, name)| bench.publish(on, name));
    index.trash_recording(early.id, at(0)).unwrap();
    assert_eq!(bench.shown_days(), [15, 16]);
    index.trash_recording(one.id, at(5)).unwrap();
    assert_eq!(bench.shown_days(), [15, 16]);
    index.trash_recording(two.id, at(5)).unwrap();
    assert_eq!(bench.shown_days(), [16]);
    assert_eq!(bench.recordings(), 1);
    index.trash_recording(last.id, at(5)).unwrap();
    assert_eq!(bench.recordings(), 0);
    assert_eq!(bench.trash(), ["standup", "standup 2024-01-01 early.wav"]);
    index.restore_conversation(ConversationSeq(1)).unwrap();
    assert_eq!(bench.shown_days(), [15, 16]);
    assert_eq!(bench.recordings(), 3);
    assert_eq!(bench.trash(), ["standup 2024-01-01 early.wav"]);
    index.restore_recording(early.id).unwrap();
    assert_eq!(bench.shown_days(), [1, 15, 16]);
    assert_eq!(bench.recordings(), 4);
    assert!(bench.trash().is_empty());
}

#[test]
fn a_recording_out_of_the_trash_is_what_it_was() {
    let bench = bench();
    let index = &bench.services.index;
    let (monday, _) = (bench.publish(15, "monday.wav"), bench.publish(15, "tuesday.wav"));
    let before = index.totals().unwrap();
    index.hide_page(monday.id, PageKind::Srt).unwrap();
    let changes = index.subscribe();
    index.trash_recording(monday.id, at(0)).unwrap();
    index.trash_recording(monday.id, at(1)).unwrap();
    let told: Vec<Change> = changes.try_iter().collect();
    assert!(matches!(&told[..], [Change::RecordingMoved { with_day: false, .. }]), "{told:?}");
    // Its name is not given to another meanwhile.
    assert_eq!(bench.publish(15, "monday.wav").stem, FileName::new("monday-2").unwrap());
    index.restore_recording(monday.id).unwrap();
    index.restore_recording(monday.id).unwrap();
    assert_eq!(index.recording(monday.id).unwrap(), Some(monday));
    assert_eq!(index.totals().unwrap().recordings, before.recordings + 1);
}

#[test]
fn a_recording_cannot_come_back_into_a_conversation_that_is_in_the_trash() {
    let bench = bench();
    let index = &bench.services.index;
    let (monday, _) = (bench.publish(15, "monday.wav"), bench.publish(15, "tuesday.wav"));
    index.trash_recording(monday.id, at(0)).unwrap();
    index.trash_conversation(ConversationSeq(1), at(5)).unwrap();
    assert!(matches!(index.restore_recording(monday.id), Err(IndexError::NoConversation)));
    index.restore_conversation(ConversationSeq(1)).unwrap();
    index.restore_recording(monday.id).unwrap();
    assert_eq!(bench.recordings(), 2);
}

#[test]
fn a_removed_transcript_is_written_again_with_the_next_recording_of_the_day() {
    let bench = bench();
    let index = &bench.services.index;
    bench.publish(15, "monday.wav");
    let shown = || index.shown_transcript(ConversationSeq(1), day(2024, 1, 15)).unwrap().is_some();
    index.hide_transcript(ConversationSeq(1), day(2024, 1, 15)).unwrap();
    assert!(!shown());
    bench.publish(16, "other.wav");
    assert!(!shown());
    bench.publish(15, "tuesday.wav");
    assert!(shown());
}

#[test]
fn an_index_that_is_made_anew_knows_what_is_in_the_trash() {
    let (old, new) = (bench(), bench());
    let index = &old.services.index;
    let [one, two] = [(15, "one.wav"), (16, "two.wav")].map(|(on, name)| old.publish(on, name));
    index.trash_recording(one.id, at(0)).unwrap();
    for id in [one.id, two.id] {
        let recording = index.filed_recording(id).unwrap().unwrap();
        let conversation = index.conversation(id.conversation).unwrap().unwrap();
        let transcript = index.filed_transcript(id.conversation, id.day).unwrap().unwrap();
        new.services.index.adopt(vec![(conversation, recording, transcript)]).unwrap();
    }
    assert_eq!(new.trash(), old.trash());
    assert_eq!(new.shown_days(), [16]);
    assert_eq!(new.recordings(), 1);
    new.services.index.restore_recording(one.id).unwrap();
    assert_eq!(new.shown_days(), [15, 16]);
    assert_eq!(new.recordings(), 2);
}

#[test]
fn the_trash_is_listed_in_parts_and_looked_up_by_name() {
    let bench = bench();
    let index = &bench.services.index;
    let mut ids = Vec::new();
    for number in 0..30 {
        ids.push(bench.publish(15, &format!("{number}.wav")).id);
    }
    ids.iter().skip(1).for_each(|id| index.trash_recording(*id, at(0)).unwrap());
    for number in 0..30 {
        common::publish(&bench.services, "retro", day(2024, 1, 15), &format!("{number}.wav"));
        let seq = ConversationSeq(2 + number);
        index.trash_conversation(seq, at(0)).unwrap();
    }
    let all = index.trash_entries(0, usize::MAX).unwrap();
    assert_eq!(all.len(), 59);
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let part = index.trash_entries(after, 7).unwrap();
        let Some(last) = part.last() else { break };
        after = last.place;
        found.extend(part);
    }
    assert_eq!(found, all);
    for entry in &all {
        assert_eq!(index.trash_entry_named(&entry.name).unwrap().as_ref(), Some(entry));
    }
    let named = |name: &str| index.trash_entry_named(&FileName::new(name).unwrap()).unwrap();
    assert!(matches!(named("retro-7").unwrap().what, Trashed::Conversation(_)));
    assert!(matches!(named("standup 2024-01-15 7.wav").unwrap().what, Trashed::Recording(_)));
    assert_eq!(named("standup"), None);
}

#[test]
fn a_recording_whose_time_in_the_trash_is_over_is_removed_for_good() {
    let bench = bench();
    let FsContext { index, store, .. } = &bench.services;
    let (monday, tuesday) = (bench.publish(15, "monday.wav"), bench.publish(16, "tuesday.wav"));
    index.trash_recording(monday.id, Timestamp::now() - SignedDuration::from_hours(48)).unwrap();
    let empty = |days: u64, observed_hours: u64| {
        let (kept, observed) = (days * 24, observed_hours);
        let (kept, observed) = (Duration::from_hours(kept), Duration::from_hours(observed));
        sync::empty_trash(&**store, index, kept, Timestamp::now(), observed).unwrap();
    };
    // By the clock it is over, but for all that was seen the clock may be wrong.
    empty(1, 0);
    empty(1, 23);
    empty(30, 700);
    assert_eq!(bench.trash(), ["standup 2024-01-15 monday.wav"]);
    empty(1, 1);
    assert!(bench.trash().is_empty());
    assert_eq!(index.filed_recording(monday.id).unwrap(), None);
    for object in monday.objects() {
        assert!(
            matches!(store.head(&object.key), Err(StoreError::Missing { .. })),
            "{}",
            object.key
        );
    }
    for object in tuesday.objects() {
        store.head(&object.key).unwrap();
    }
    assert_eq!(bench.shown_days(), [16]);
    // Its number is never given to another.
    assert!(monday.id.number < bench.publish(15, "again.wav").id.number);
    assert_eq!(bench.shown_days(), [15, 16]);
}

#[test]
fn a_recording_and_later_its_conversation_are_removed_for_good_together() {
    let bench = bench();
    let FsContext { index, store, .. } = &bench.services;
    let (monday, tuesday) = (bench.publish(15, "monday.wav"), bench.publish(16, "tuesday.wav"));
    let days_ago = |days: i64| Timestamp::now() - SignedDuration::from_hours(24 * days);
    index.trash_recording(monday.id, days_ago(9)).unwrap();
    index.trash_conversation(ConversationSeq(1), days_ago(5)).unwrap();
    // Another conversation comes after them, and must not wait for them.
    common::publish(&bench.services, "retro", day(2024, 1, 15), "first.wav");
    index.trash_conversation(ConversationSeq(2), days_ago(5)).unwrap();
    let day = Duration::from_hours(24);
    for _ in 0..2 {
        sync::empty_trash(&**store, index, day, Timestamp::now(), day).unwrap();
    }
    assert!(bench.trash().is_empty());
    assert!(index.purging_conversations().unwrap().is_empty());
    for object in monday.objects().chain(tuesday.objects()) {
        assert!(
            matches!(store.head(&object.key), Err(StoreError::Missing { .. })),
            "{}",
            object.key
        );
    }
}

#[test]
fn what_is_purged_is_out_of_sight_at_once_and_removed_by_whoever_comes_next() {
    let bench = bench();
    let FsContext { index, store, .. } = &bench.services;
    let [early, one, two, three] =
        [(14, "early.wav"), (15, "one.wav"), (15, "two.wav"), (16, "three.wav")]
            .map(|(on, name)| bench.publish(on, name));
    let remove = || {
        sync::remove_purged(&**store, index, &sync::Refusals::default(), Timestamp::now()).unwrap()
    };
    let is_gone = |recording: &Recording| {
        recording
            .objects()
            .all(|object| matches!(store.head(&object.key), Err(StoreError::Missing { .. })))
    };
    let now = Timestamp::now();
    index.trash_recording(early.id, now).unwrap();
    index.purge_recording(one.id, now).unwrap();
    assert_eq!(bench.trash(), ["standup 2024-01-14 early.wav"]);
    assert_eq!(index.filed_recording(one.id).unwrap(), None);
    assert!(!is_gone(&one));
    remove();
    assert!(is_gone(&one) && !is_gone(&early) && !is_gone(&two));
    assert_eq!((bench.shown_days(), bench.recordings()), (vec![15, 16], 2));

    // Of what is in the trash already, only that.
    index.purge_recording(two.id, now).unwrap();
    index.purge_recording(three.id, now).unwrap();
    remove();
    assert!(is_gone(&two) && is_gone(&three) && !is_gone(&early));
    // The conversation had nothing else that was shown; what was removed before stays, and can come back.
    assert_eq!(bench.trash(), ["standup"]);
    index.restore_conversation(ConversationSeq(1)).unwrap();
    assert_eq!(bench.shown_days(), [14]);

    // With the last one of all, nothing is left of the conversation.
    index.purge_recording(early.id, now).unwrap();
    assert!(bench.trash().is_empty());
    assert_eq!(remove(), 1);
    assert!(is_gone(&early));
    assert_eq!(index.conversation(ConversationSeq(1)).unwrap(), None);
}

#[test]
fn a_conversation_is_purged_from_the_trash_and_from_where_it_stands() {
    let bench = bench();
    let FsContext { index, store, .. } = &bench.services;
    let monday = bench.publish(15, "monday.wav");
    let first = common::publish(&bench.services, "retro", day(2024, 1, 15), "first.wav");
    let now = Timestamp::now();
    index.trash_conversation(ConversationSeq(1), now).unwrap();
    for seq in [1, 2] {
        index.purge_conversation(ConversationSeq(seq), now).unwrap();
    }
    assert!(bench.trash().is_empty());
    let refusals = sync::Refusals::default();
    assert_eq!(sync::remove_purged(&**store, index, &refusals, now).unwrap(), 2);
    for object in monday.objects().chain(first.objects()) {
        assert!(matches!(store.head(&object.key), Err(StoreError::Missing { .. })));
    }
}
