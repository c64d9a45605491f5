//! What a failing disk and a power cut leave behind.

mod damage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use redb::{Builder, ReadableTable, ReadableTableMetadata};

use super::failing_disk::FailingDisk;
use super::tables::{
    AUDIO, COUNTERS, DAYS, DayRow, EMPTY, EVERYTHING, FORMAT, NAMES, RECORDINGS, STEMS, SUMS, Sums,
    UNPLACED, decoded, recording_key, row_at,
};
use super::*;
use crate::model::{
    InboxId, JobId, JobState, Key, Object, Placement, RecordedAt, SoundFacts, TimeSource,
};

fn day() -> Day {
    Day::from_ymd(2024, 1, 15).unwrap()
}

fn recording(conversation: &Conversation, id: RecordingId, stem: &FileName) -> Recording {
    let key = Key::audio(&conversation.filed_as, id.day, stem.as_bytes(), b"wav");
    let blake3 = blake3::hash(key.as_str().as_bytes()).to_hex().to_string();
    Recording {
        id,
        stem: stem.clone(),
        audio_name: stem.with_extension(b"wav"),
        original_name: stem.clone(),
        filed_as: conversation.filed_as.clone(),
        audio: Object { key, bytes: 1_000, blake3 },
        pages: Vec::new(),
        modified_at: Timestamp::UNIX_EPOCH,
        published_at: Timestamp::UNIX_EPOCH,
        recorded_at: RecordedAt {
            time: "2024-01-15T10:00:00".parse().unwrap(),
            zone: "UTC".into(),
            source: TimeSource::Now,
            detail: String::new(),
        },
        facts: SoundFacts {
            container: "wav".into(),
            codec: "pcm_s16le".into(),
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: None,
            duration: 1.0,
            created: None,
            tags: BTreeMap::new(),
        },
        language: None,
        speakers: 1,
        model: String::new(),
        placement: Placement::Local,
        revision: 1,
        overlay: crate::model::Overlay::default(),
    }
}

fn job(id: JobId, state: JobState) -> Job {
    Job {
        id,
        inbox: InboxId(1),
        generation: 1,
        path: Vec::new(),
        bytes: 1_000,
        modified_ns: 0,
        conversation: ConversationId::new("standup").unwrap(),
        state,
        attempts: 0,
        recipe: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        failure: None,
        remark: None,
        recording: None,
    }
}

/// One recording all the way; its stem if the index said that it is filed.
fn file_one(index: &Index, conversation: &str, stem: &str) -> Result<FileName, IndexError> {
    let conversation = ConversationId::new(conversation).unwrap();
    let conversation = index.ensure_conversation(&conversation, Timestamp::UNIX_EPOCH)?;
    let reserved = index.reserve(conversation.seq, day(), &FileName::new(stem).unwrap())?;
    let job_id = index.next_job_id()?;
    index.save_job(job(job_id, JobState::Publishing))?;
    let recording = recording(&conversation, reserved.id, &reserved.stem);
    let transcript = DayTranscript {
        conversation: conversation.seq,
        day: day(),
        object: recording.audio.clone(),
        modified_at: Timestamp::UNIX_EPOCH,
        access: None,
    };
    let done = Job { recording: Some(recording.id), ..job(job_id, JobState::Done) };
    index.publish(recording, transcript, Some(done))?;
    Ok(reserved.stem.clone())
}

/// Every row agrees with every other one. The recordings' stems.
fn checked(index: &Index) -> BTreeSet<FileName> {
    let moment = index.inner.database.begin_read().unwrap();
    let recordings = moment.open_table(RECORDINGS).unwrap();
    let rows: Vec<Recording> =
        recordings.iter().unwrap().map(|row| decoded(row.unwrap().1.value()).unwrap()).collect();
    let stems = moment.open_table(STEMS).unwrap();
    let audio = moment.open_table(AUDIO).unwrap();
    let days = moment.open_table(DAYS).unwrap();
    let pending_uploads = moment.open_table(UNPLACED).unwrap();
    let empty = moment.open_table(EMPTY).unwrap();
    let mut pending = 0;
    for row in &rows {
        let key = recording_key(row.id);
        let number = stems.get((key.0, key.1, row.stem.as_bytes())).unwrap().unwrap().value();
        assert_eq!(number, row.id.number);
        assert_eq!(audio.get(row.audio.blake3.as_str()).unwrap().unwrap().value(), key);
        let day: DayRow = row_at(&days, (key.0, key.1)).unwrap().unwrap();
        assert!(row.id.number <= day.last_number && day.transcript.is_some());
        assert!(empty.get(key.0).unwrap().is_none());
        let is_unplaced =
            pending_uploads.get((row.published_at.as_microsecond(), key)).unwrap().is_some();
        assert_eq!(is_unplaced, row.placement != Placement::Stored);
        pending += u64::from(is_unplaced);
    }
    let count = rows.len() as u64;
    assert_eq!(stems.len().unwrap(), count);
    assert_eq!(audio.len().unwrap(), count);
    assert_eq!(pending_uploads.len().unwrap(), pending);
    let sums = moment.open_table(SUMS).unwrap();
    let everything: Sums = row_at(&sums, EVERYTHING).unwrap().unwrap_or_default();
    let names = moment.open_table(NAMES).unwrap().len().unwrap();
    assert_eq!(everything.conversations, names - empty.len().unwrap());
    assert_eq!((everything.recordings, everything.pending), (count, pending));
    let jobs = index.recent_jobs(usize::MAX).unwrap();
    let done: BTreeSet<_> = jobs.iter().filter_map(|job| job.recording).collect();
    assert_eq!(done, rows.iter().map(|row| row.id).collect());
    rows.into_iter().map(|row| row.stem).collect()
}

#[test]
fn a_disk_that_fails_at_any_call_leaves_whole_recordings_only() {
    let mut was_filed_at_last = false;
    for calls in 0.. {
        let disk = FailingDisk::healthy();
        drop(disk.open().unwrap());
        disk.fail_after(calls);
        let mut told = BTreeSet::new();
        let tried = ["a", "b", "c"].map(|stem| FileName::new(stem).unwrap());
        let mut failed = false;
        if let Ok(index) = disk.open() {
            for stem in &tried {
                match file_one(&index, "standup", &stem.display()) {
                    Ok(stem) => {
                        assert!(!failed, "nothing may succeed after a failure");
                        told.insert(stem);
                    }
                    // The first error was another's; or of what redb does by the way.
                    Err(IndexError::Disk(_) | IndexError::Full(_)) => failed = true,
                    Err(err) => panic!("{err}"),
                }
            }
        }
        disk.power_cut(calls);
        let index = disk.open().unwrap();
        let found = checked(&index);
        assert!(
            told.is_subset(&found),
            "call {calls}: {told:?} were promised, {found:?} are there"
        );
        // And the index can be used as if nothing had been.
        let next = file_one(&index, "standup", "next").unwrap();
        assert!(checked(&index).contains(&next));
        was_filed_at_last = told.len() == tried.len();
        if was_filed_at_last {
            break;
        }
    }
    assert!(was_filed_at_last);
}

#[test]
fn a_change_that_was_refused_leaves_the_others_of_its_commit_alone() {
    let disk = FailingDisk::healthy();
    let index = disk.open().unwrap();
    file_one(&index, "standup", "a").unwrap();
    file_one(&index, "other", "a").unwrap();
    let seq = ConversationSeq(1);
    let taken = ConversationId::new("other").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (index, taken) = (&index, &taken);
            scope.spawn(move || match thread % 2 {
                0 => drop(file_one(index, "standup", "b").unwrap()),
                _ => assert!(matches!(
                    index.rename_conversation(seq, taken),
                    Err(IndexError::NameTaken(_))
                )),
            });
        }
    });
    assert_eq!(checked(&index).len(), 5);
}

#[test]
fn an_index_of_a_later_time_is_left_alone() {
    let disk = FailingDisk::healthy();
    drop(disk.open().unwrap());
    let database = Builder::new().create_with_backend(disk.clone()).unwrap();
    let writing = database.begin_write().unwrap();
    writing.open_table(COUNTERS).unwrap().insert("format", 99).unwrap();
    writing.commit().unwrap();
    drop(database);
    let refused = disk.open();
    assert!(matches!(refused, Err(IndexError::TooNew { found: 99, known: FORMAT })));
}

#[test]
fn a_row_that_cannot_be_read_is_damage_and_does_not_end_the_writing() {
    let disk = FailingDisk::healthy();
    let index = disk.open().unwrap();
    file_one(&index, "standup", "a").unwrap();
    index
        .inner
        .writer
        .change(|writing| {
            let key = (1, day().number(), 1);
            writing.begin().open_table(RECORDINGS)?.insert(key, &b"{"[..])?;
            Ok(())
        })
        .unwrap();
    let id = RecordingId { conversation: ConversationSeq(1), day: day(), number: 1 };
    assert!(matches!(index.recording(id), Err(IndexError::Damaged(_))));
    let placed = index.set_placement(id, 1, Placement::Stored);
    assert!(matches!(placed, Err(IndexError::Damaged(_))));
    file_one(&index, "other", "a").unwrap();
}

#[test]
fn a_full_disk_refuses_changes_and_takes_them_again_when_there_is_room() {
    let disk = FailingDisk::healthy();
    let index = disk.open().unwrap();
    let publish = |name: &str| -> Result<Recording, IndexError> {
        let id = ConversationId::new(name).unwrap();
        let conversation = index.ensure_conversation(&id, Timestamp::UNIX_EPOCH)?;
        let stem = FileName::new(name).unwrap();
        let reserved = index.reserve(conversation.seq, day(), &stem)?;
        let recording = recording(&conversation, reserved.id, &reserved.stem);
        let key = Key::transcript(&conversation.filed_as, day());
        let object = Object { key, bytes: 1, blake3: String::new() };
        let transcript = DayTranscript {
            conversation: conversation.seq,
            day: day(),
            object,
            modified_at: Timestamp::UNIX_EPOCH,
            access: None,
        };
        index.publish(recording.clone(), transcript, None)?;
        Ok(recording)
    };
    let first = publish("before").unwrap();
    disk.fill(true);
    for _ in 0..3 {
        assert!(matches!(publish("during"), Err(IndexError::Full(_))));
    }
    assert!(matches!(index.recording(first.id), Err(IndexError::Full(_))));
    disk.fill(false);
    // Neither the readers nor the writer need a new daemon; and the readers need nobody who writes.
    assert_eq!(when_there_is_room(|| index.recording(first.id)).unwrap().id, first.id);
    let second = publish("after").unwrap();
    assert_eq!(index.recording(second.id).unwrap().unwrap().id, second.id);
    drop(index);
    let index = disk.open().unwrap();
    assert_eq!(index.totals().unwrap().recordings, 2);
}

/// The answer to a question that is asked again as long as the disk is full.
fn when_there_is_room<T>(ask: impl Fn() -> Result<T, IndexError>) -> T {
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(IndexError::Full(_)) => std::thread::yield_now(),
            Err(err) => panic!("{err:?}"),
        }
    }
}

#[test]
fn readers_are_never_told_that_a_full_disk_is_broken() {
    let disk = FailingDisk::healthy();
    let index = disk.open().unwrap();
    file_one(&index, "standup", "before").unwrap();
    let seq = ConversationSeq(1);
    // Also where this test fails.
    let going = Arc::new(());
    let going_on = Arc::downgrade(&going);
    std::thread::scope(|scope| {
        let _going = going;
        for _ in 0..3 {
            scope.spawn(|| {
                while going_on.strong_count() == 1 {
                    match index.recordings(seq, day()) {
                        Ok(found) => assert_eq!(found[0].stem.display(), "before"),
                        Err(IndexError::Full(_)) => {}
                        Err(err) => panic!("{err:?}"),
                    }
                }
            });
        }
        for round in 0..20 {
            // One that has its snapshot already when the database is closed under it.
            let moment = when_there_is_room(|| index.inner.database.begin_read().map(Snapshot));
            disk.fill(true);
            assert!(matches!(file_one(&index, "standup", "during"), Err(IndexError::Full(_))));
            let read = moment.recordings(seq, day());
            assert!(matches!(read, Err(IndexError::Full(_))), "{read:?}");
            disk.fill(false);
            file_one(&index, "standup", &format!("later {round}")).unwrap();
        }
    });
}

#[test]
fn what_is_asked_between_a_failed_write_and_its_cure_can_be_asked_again() {
    let disk = FailingDisk::healthy();
    drop(disk.open().unwrap());
    let database = Builder::new().create_with_backend(disk.clone()).unwrap();
    let writing = database.begin_write().unwrap();
    writing.open_table(COUNTERS).unwrap().insert("other", 1).unwrap();
    disk.fill(true);
    let failed: IndexError = writing.commit().unwrap_err().into();
    assert!(matches!(failed, IndexError::Full(_)), "{failed:?}");
    let next: Result<(), IndexError> = database.begin_write().map(drop).map_err(Into::into);
    assert!(matches!(next, Err(IndexError::Full(_))), "{next:?}");
}

#[test]
fn a_change_that_is_refused_half_way_takes_no_other_with_it() {
    let index = FailingDisk::healthy().open().unwrap();
    let writer = &index.inner.writer;
    // Holds the writer until all three wait: they share a commit, with this one or the next.
    let (go, wait) = channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let held = writer.send(move |_| Ok(wait.lock().unwrap().recv().is_err())).unwrap();
    let change = |refuse: bool, name: &'static str| {
        writer
            .send(move |writing| {
                let id = ConversationId::new(name).unwrap();
                let made = conversations::ensure(writing, &id, Timestamp::UNIX_EPOCH, &[])?;
                if refuse { Err(IndexError::NumbersExhausted) } else { Ok(made.seq) }
            })
            .unwrap()
    };
    let changes = [change(false, "before"), change(true, "refused"), change(false, "behind")];
    drop(go);
    assert!(held.recv().unwrap().unwrap());
    let outcomes = changes.map(|answer| answer.recv().unwrap());
    assert!(matches!(outcomes[1], Err(IndexError::NumbersExhausted)), "{outcomes:?}");
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    for (name, is_there) in [("before", true), ("refused", false), ("behind", true)] {
        let found = index
            .inner
            .writer
            .change(move |writing| Ok(writing.tables().open_table(NAMES)?.get(name)?.is_some()));
        assert_eq!(found.unwrap(), is_there, "{name}");
    }
}

#[test]
fn a_row_that_cannot_be_read_is_left_out_of_listings_and_nothing_else_is() {
    let disk = FailingDisk::healthy();
    let index = disk.open().unwrap();
    for name in ["a", "b", "c"] {
        file_one(&index, "standup", name).unwrap();
        file_one(&index, name, "alone").unwrap();
    }
    index.close().unwrap();
    let index = disk.open().unwrap();
    let seq = index.conversation_named(&ConversationId::new("standup").unwrap()).unwrap().unwrap();
    let other = index.conversation_named(&ConversationId::new("b").unwrap()).unwrap().unwrap();
    let (seq, other) = (seq.seq, other.seq);
    index
        .inner
        .writer
        .change(move |writing| {
            let tables = writing.begin();
            let future = &br#"{"state":"of the future"}"#[..];
            tables.open_table(RECORDINGS)?.insert((seq.0, day().number(), 2), future)?;
            tables.open_table(tables::CONVERSATIONS)?.insert(other.0, future)?;
            tables.open_table(tables::JOBS)?.insert(77, future)?;
            tables.open_table(tables::UNFINISHED)?.insert(77, ())?;
            Ok(())
        })
        .unwrap();
    index.close().unwrap();
    // The daemon starts all the same.
    let index = disk.open().unwrap();
    assert!(index.unfinished_jobs().unwrap().iter().all(|job| job.id != JobId(77)));
    assert!(index.recent_jobs(99).unwrap().iter().all(|job| job.id != JobId(77)));
    let stems: Vec<String> =
        index.recordings(seq, day()).unwrap().iter().map(|it| it.stem.display()).collect();
    assert_eq!(stems, ["a", "c"]);
    let names: Vec<String> = index
        .conversations(ConversationSeq(0), 99)
        .unwrap()
        .iter()
        .map(|it| it.id.to_string())
        .collect();
    assert_eq!(names, ["standup", "a", "c"]);
    // Pages of a listing are as long as they were asked to be.
    assert_eq!(index.every_recording(None, 5).unwrap().len(), 5);
    file_one(&index, "standup", "d").unwrap();
}

#[test]
fn what_was_removed_is_told_also_to_those_who_have_missed_something() {
    let index = FailingDisk::healthy().open().unwrap();
    let removed = ["a", "b"].map(|stem| {
        file_one(&index, "standup", stem).unwrap();
        let stem = FileName::new(stem).unwrap();
        index.recording_with_stem(ConversationSeq(1), day(), &stem).unwrap().unwrap()
    });
    let changes = index.subscribe();
    let jobs = (100..20_000).map(|number| job(JobId(number), JobState::Failed));
    index.save_jobs(jobs.collect()).unwrap();
    for recording in &removed {
        index.forget_recording(recording.id).unwrap();
    }
    let told = changes.try_iter().skip_while(|change| *change != Change::Missed).skip(1);
    let names: Vec<_> = told
        .map(|change| match change {
            Change::Removed { recording, conversation, last_of_conversation, .. } => {
                assert_eq!(conversation.id.as_str(), "standup");
                (recording.stem.display(), last_of_conversation)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, [("a".to_owned(), false), ("b".to_owned(), true)]);
}
