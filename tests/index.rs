//! The index through the API that the next room uses.

#[path = "common/sample.rs"]
mod sample;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use scribefs::index::{Change, ChangeQueue, FiledDay, Index, IndexError, PagesDue, Totals};
use scribefs::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, FileName, InboxId, Job,
    JobId, JobState, Key, Object, Page, PageKind, Placement, RecordedAt, Recording, RecordingId,
    TimeSource,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn id(text: &str) -> ConversationId {
    ConversationId::new(text).unwrap()
}

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn day(day: i8) -> Day {
    Day::from_ymd(2024, 1, day).unwrap()
}

fn object(key: Key, bytes: u64) -> Object {
    let blake3 = blake3::hash(key.as_str().as_bytes()).to_hex().to_string();
    Object { key, bytes, blake3 }
}

fn recording(conversation: &Conversation, id: RecordingId, stem: &FileName) -> Recording {
    let (filed_as, day) = (&conversation.filed_as, id.day);
    let page = |kind| Page {
        kind,
        object: object(Key::page(filed_as, day, stem.as_bytes(), kind), 10),
        written_at: None,
    };
    let pages = [PageKind::Json, PageKind::Metadata].map(page).to_vec();
    let audio = object(Key::audio(filed_as, day, stem.as_bytes(), b"wav"), 1_000);
    Recording {
        original_name: name("dropped.wav"),
        published_at: at(i64::from(id.number)),
        recorded_at: RecordedAt {
            time: "2024-01-15T10:00:00".parse().unwrap(),
            zone: "Europe/Paris".into(),
            source: TimeSource::Container,
            detail: "bext".into(),
        },
        ..sample::recording(id, filed_as, stem, audio, pages, at(0))
    }
}

fn transcript(conversation: &Conversation, day: Day, second: i64) -> DayTranscript {
    DayTranscript {
        conversation: conversation.seq,
        day,
        object: object(Key::transcript(&conversation.filed_as, day), 100),
        modified_at: at(second),
        access: None,
    }
}

fn job(number: JobId, state: JobState) -> Job {
    Job {
        id: number,
        inbox: InboxId(7),
        generation: 3,
        path: vec![name("standup"), name("meeting.wav")],
        bytes: 1_000,
        modified_ns: -1_500_000_001,
        conversation: id("standup"),
        state,
        attempts: 1,
        recipe: None,
        created_at: at(0),
        updated_at: at(1),
        failure: None,
        remark: None,
        recording: None,
    }
}

struct World {
    index: Index,
    _folder: tempfile::TempDir,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    World { index: Index::open(&folder.path().join("index.redb")).unwrap(), _folder: folder }
}

impl World {
    fn publish(&self, conversation: &str, day: Day, stem: &str) -> Recording {
        self.publish_placed(conversation, day, stem, Placement::Stored)
    }

    fn publish_placed(
        &self,
        conversation: &str,
        day: Day,
        stem: &str,
        placement: Placement,
    ) -> Recording {
        let conversation = self.index.ensure_conversation(&id(conversation), at(0)).unwrap();
        let reserved = self.index.reserve(conversation.seq, day, &name(stem)).unwrap();
        let mut recording = recording(&conversation, reserved.id, &reserved.stem);
        recording.placement = placement;
        let transcript = transcript(&conversation, day, i64::from(reserved.id.number));
        self.index.publish(recording.clone(), transcript, None).unwrap();
        recording
    }

    fn seq(&self, conversation: &str) -> ConversationSeq {
        self.index.conversation_named(&id(conversation)).unwrap().unwrap().seq
    }
}

fn all(changes: &ChangeQueue) -> Vec<Change> {
    changes.try_iter().collect()
}

#[test]
fn what_is_published_is_found_by_every_road() {
    let world = world();
    let recording = world.publish("standup", day(15), "meeting");
    let index = &world.index;
    let seq = world.seq("standup");
    let some = Some(recording.clone());
    assert_eq!(index.recording(recording.id).unwrap(), some);
    assert_eq!(index.recordings(seq, day(15)).unwrap(), vec![recording.clone()]);
    assert_eq!(index.recording_with_stem(seq, day(15), &name("meeting")).unwrap(), some);
    assert_eq!(
        index.recordings_with_audio(&recording.audio.blake3).unwrap(),
        std::slice::from_ref(&recording)
    );
    assert_eq!(index.days(seq).unwrap(), [day(15)]);
    assert_eq!(index.day_transcript(seq, day(15)).unwrap().unwrap().modified_at, at(1));
    assert_eq!(index.conversations(ConversationSeq(0), 10).unwrap().len(), 1);
    assert_eq!(index.recording_with_stem(seq, day(16), &name("meeting")).unwrap(), None);
    assert_eq!(index.recordings(ConversationSeq(99), day(15)).unwrap(), []);
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    let world = World { index: Index::open(&path).unwrap(), _folder: folder };
    let recording = world.publish("standup", day(15), "meeting");
    world.index.save_job(job(JobId(4), JobState::Queued)).unwrap();
    world.index.close().unwrap();
    let index = Index::open(&path).unwrap();
    assert_eq!(index.recording(recording.id).unwrap(), Some(recording));
    assert_eq!(index.unfinished_jobs().unwrap(), [job(JobId(4), JobState::Queued)]);
    assert_eq!(index.next_job_id().unwrap(), JobId(5));
    assert_eq!(index.totals().unwrap().recordings, 1);
}

#[test]
fn a_closed_index_refuses_everything() {
    let world = world();
    world.index.close().unwrap();
    assert!(matches!(world.index.totals(), Err(IndexError::Disk(_))));
    let made = world.index.ensure_conversation(&id("late"), at(0));
    assert!(matches!(made, Err(IndexError::Disk(_))));
}

#[test]
fn a_second_daemon_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    let _first = Index::open(&path).unwrap();
    assert!(matches!(Index::open(&path), Err(IndexError::InUse { .. })));
}

#[test]
fn a_file_that_is_no_index_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    std::fs::write(&path, "not an index at all".repeat(1_000)).unwrap();
    assert!(matches!(Index::open(&path), Err(IndexError::Damaged(_))));
}

#[test]
fn a_conversation_is_seen_from_its_first_recording_on() {
    let world = world();
    let made = world.index.ensure_conversation(&id("standup"), at(0)).unwrap();
    assert_eq!(world.index.conversations(ConversationSeq(0), 10).unwrap(), []);
    assert_eq!(world.index.conversation_named(&id("standup")).unwrap(), None);
    assert_eq!(world.index.ensure_conversation(&id("standup"), at(9)).unwrap(), made);
    assert_eq!(world.index.totals().unwrap().conversations, 0);
    world.publish("standup", day(15), "meeting");
    assert_eq!(world.index.conversations(ConversationSeq(0), 10).unwrap(), [made]);
    assert_eq!(world.index.totals().unwrap().conversations, 1);
}

#[test]
fn days_come_in_the_order_of_their_keys_a_few_at_a_time() {
    let world = world();
    for (conversation, of_month) in [("b", 2), ("a", 3), ("a-b", 1), ("a", 1), ("a.b", 1), ("b", 1)]
    {
        world.publish(conversation, day(of_month), "monday");
        world.publish(conversation, day(of_month), "monday");
    }
    let all = world.index.filed_days_after(None, 99).unwrap();
    let mut sorted = all.clone();
    sorted.sort_by(|one, other| one.folder.cmp(&other.folder));
    assert_eq!((all.len(), &all), (6, &sorted));
    for limit in [1, 2, 5] {
        let mut read = Vec::new();
        loop {
            let page = world.index.filed_days_after(read.last(), limit).unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            read.extend(page);
        }
        assert_eq!(read, all, "{limit} at a time");
    }
    let FiledDay { conversation, day, ref folder, .. } = all[0];
    let first = RecordingId { conversation, day, number: 0 };
    let page = world.index.filed_recordings_after(first, 1).unwrap();
    assert_eq!((page.len(), page[0].id.number), (1, 1));
    assert!(page[0].audio.key.as_str().starts_with(folder.as_str()), "{folder}");
    let rest = world.index.filed_recordings_after(page[0].id, 99).unwrap();
    assert_eq!(rest.iter().map(|it| it.id.number).collect::<Vec<_>>(), [2]);
}

#[test]
fn listings_go_on_after_any_number() {
    let world = world();
    for count in 0..5 {
        world.publish(&format!("c{count}"), day(15), "a");
    }
    let seqs = |after, limit| -> Vec<u32> {
        let found = world.index.conversations(ConversationSeq(after), limit).unwrap();
        found.into_iter().map(|conversation| conversation.seq.0).collect()
    };
    assert_eq!(seqs(0, 2), [1, 2]);
    assert_eq!(seqs(2, 100), [3, 4, 5]);
    assert!(seqs(5, 100).is_empty());
    assert!(seqs(u32::MAX, 100).is_empty());
}

#[test]
fn a_second_recording_of_that_name_gets_a_number() {
    let world = world();
    assert_eq!(world.publish("standup", day(15), "meeting").stem, name("meeting"));
    let second = world.publish("standup", day(15), "meeting");
    assert_eq!((second.stem, second.id.number), (name("meeting-2"), 2));
    assert_eq!(world.publish("standup", day(16), "meeting").stem, name("meeting"));
    assert_eq!(world.publish("other", day(15), "meeting").stem, name("meeting"));
}

#[test]
fn what_is_reserved_is_nobody_elses_until_it_is_dropped() {
    let world = world();
    let seq = world.index.ensure_conversation(&id("standup"), at(0)).unwrap().seq;
    let first = world.index.reserve(seq, day(15), &name("a")).unwrap();
    let second = world.index.reserve(seq, day(15), &name("a")).unwrap();
    assert_eq!((&first.stem, first.id.number), (&name("a"), 1));
    assert_eq!((&second.stem, second.id.number), (&name("a-2"), 2));
    drop(first);
    let third = world.index.reserve(seq, day(15), &name("a")).unwrap();
    assert_eq!((&third.stem, third.id.number), (&name("a"), 3));
    let none = world.index.reserve(ConversationSeq(99), day(15), &name("a"));
    assert!(matches!(none, Err(IndexError::NoConversation)));
}

#[test]
fn a_stem_that_was_not_reserved_cannot_take_anothers_place() {
    let world = world();
    let first = world.publish("standup", day(15), "a");
    let conversation = world.index.conversation_named(&id("standup")).unwrap().unwrap();
    let intruder = RecordingId { number: 9, ..first.id };
    let refused = world.index.publish(
        recording(&conversation, intruder, &name("a")),
        transcript(&conversation, day(15), 9),
        None,
    );
    assert!(matches!(refused, Err(IndexError::StemTaken(_))));
    assert_eq!(world.index.recordings(first.id.conversation, day(15)).unwrap(), [first]);
}

#[test]
fn the_trash_hides_a_conversation_and_gives_it_back() {
    let world = world();
    let recording = world.publish_placed("standup", day(15), "a", Placement::Local);
    let (index, seq) = (&world.index, world.seq("standup"));
    let before = index.totals().unwrap();
    index.trash_conversation(seq, at(5)).unwrap();
    assert_eq!(index.conversation(seq).unwrap(), None);
    assert_eq!(index.conversation_named(&id("standup")).unwrap(), None);
    assert_eq!(index.conversations(ConversationSeq(0), 9).unwrap(), []);
    assert_eq!(index.days(seq).unwrap(), []);
    assert_eq!(index.day_transcript(seq, day(15)).unwrap(), None);
    assert_eq!(index.recordings(seq, day(15)).unwrap(), []);
    assert_eq!(index.recording(recording.id).unwrap(), None);
    assert_eq!(index.recording_with_stem(seq, day(15), &recording.stem).unwrap(), None);
    // The bucket is to know of the trash too.
    assert_eq!(index.pending_uploads(9).unwrap(), std::slice::from_ref(&recording));
    assert_eq!(index.totals().unwrap(), Totals::default());
    assert_eq!(index.trashed_conversations().unwrap()[0].trashed_at, Some(at(5)));
    let same = index.recordings_with_audio(&recording.audio.blake3).unwrap();
    assert_eq!(same, std::slice::from_ref(&recording));
    assert!(matches!(index.trash_conversation(seq, at(6)), Err(IndexError::NoConversation)));

    index.restore_conversation(seq).unwrap();
    assert_eq!(index.recording(recording.id).unwrap(), Some(recording));
    assert_eq!(index.totals().unwrap(), before);
    assert_eq!(index.trashed_conversations().unwrap(), []);
}

#[test]
fn a_new_conversation_of_an_old_name_shares_neither_numbers_nor_keys() {
    let world = world();
    world.publish("standup", day(15), "a");
    let old = world.index.conversation_named(&id("standup")).unwrap().unwrap();
    world.index.trash_conversation(old.seq, at(5)).unwrap();
    world.publish("standup", day(15), "a");
    let new = world.index.conversation_named(&id("standup")).unwrap().unwrap();
    assert_ne!(new.seq, old.seq);
    assert_eq!((new.id.as_str(), new.filed_as.as_str()), ("standup", "standup-2"));
    let back = world.index.restore_conversation(old.seq);
    assert!(matches!(back, Err(IndexError::NameTaken(_))));
}

#[test]
fn renaming_changes_the_name_and_never_the_keys() {
    let world = world();
    let recording = world.publish("standup", day(15), "a");
    world.publish("other", day(15), "a");
    let seq = world.seq("standup");
    let taken = world.index.rename_conversation(seq, &id("other"));
    assert!(matches!(taken, Err(IndexError::NameTaken(_))));
    world.index.rename_conversation(seq, &id("weekly")).unwrap();
    let renamed = world.index.conversation_named(&id("weekly")).unwrap().unwrap();
    assert_eq!((renamed.seq, renamed.filed_as.as_str()), (seq, "standup"));
    assert_eq!(world.index.conversation_named(&id("standup")).unwrap(), None);
    assert_eq!(world.index.recording(recording.id).unwrap().unwrap().audio, recording.audio);
    let new = world.index.ensure_conversation(&id("standup"), at(0)).unwrap();
    assert_eq!(new.filed_as.as_str(), "standup-2");
}

#[test]
fn numbers_of_a_day_go_on_after_a_restart_and_after_the_trash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    let world = World { index: Index::open(&path).unwrap(), _folder: folder };
    world.publish("standup", day(15), "a");
    let seq = world.seq("standup");
    world.index.trash_conversation(seq, at(1)).unwrap();
    world.index.restore_conversation(seq).unwrap();
    world.index.close().unwrap();
    let world = World { index: Index::open(&path).unwrap(), _folder: world._folder };
    assert_eq!(world.publish("standup", day(15), "b").id.number, 2);
}

#[test]
fn unplaced_recordings_come_oldest_first_and_leave_when_stored() {
    let world = world();
    let first = world.publish_placed("b", day(15), "a", Placement::Local);
    let second = world.publish_placed("a", day(15), "x", Placement::Stored);
    let third = world.publish_placed("a", day(15), "y", Placement::Local);
    let ids = || -> Vec<RecordingId> {
        world.index.pending_uploads(9).unwrap().iter().map(|recording| recording.id).collect()
    };
    assert_eq!(ids(), [first.id, third.id]);
    let paused = Placement::paused("no such bucket");
    world.index.set_placement(first.id, 1, paused.clone()).unwrap();
    let totals = world.index.totals().unwrap();
    assert_eq!((totals.pending, totals.paused), (1, 1));
    assert_eq!(world.index.pending_uploads(1).unwrap()[0].placement, paused);
    world.index.set_placement(first.id, 1, Placement::Stored).unwrap();
    world.index.set_placement(third.id, 1, Placement::Stored).unwrap();
    assert_eq!(ids(), []);
    let totals = world.index.totals().unwrap();
    assert_eq!((totals.recordings, totals.pending, totals.paused), (3, 0, 0));
    let missing = RecordingId { number: 99, ..second.id };
    assert!(!world.index.set_placement(missing, 1, Placement::Stored).unwrap());
}

#[test]
fn jobs_are_kept_and_the_unfinished_are_known() {
    let world = world();
    let index = &world.index;
    let ids: Vec<JobId> = (0..3).map(|_| index.next_job_id().unwrap()).collect();
    assert_eq!(ids, [JobId(1), JobId(2), JobId(3)]);
    for id in &ids {
        index.save_job(job(*id, JobState::Queued)).unwrap();
    }
    index.save_job(job(JobId(2), JobState::Failed)).unwrap();
    let numbers = |jobs: Vec<Job>| jobs.iter().map(|job| job.id.0).collect::<Vec<u64>>();
    assert_eq!(numbers(index.unfinished_jobs().unwrap()), [1, 3]);
    assert_eq!(numbers(index.recent_jobs(2).unwrap()), [3, 2]);
    assert_eq!(index.job(JobId(2)).unwrap(), Some(job(JobId(2), JobState::Failed)));
    index.save_job(job(JobId(2), JobState::Queued)).unwrap();
    assert_eq!(numbers(index.unfinished_jobs().unwrap()), [1, 2, 3]);
}

#[test]
fn a_job_that_was_only_touched_is_not_written() {
    let world = world();
    world.index.save_job(job(JobId(1), JobState::Queued)).unwrap();
    let changes = world.index.subscribe();
    let touched = Job { updated_at: at(99), ..job(JobId(1), JobState::Queued) };
    world.index.save_job(touched).unwrap();
    assert_eq!(all(&changes), []);
    world.index.save_job(job(JobId(1), JobState::Decoding)).unwrap();
    assert_eq!(all(&changes), [Change::Job(Box::new(job(JobId(1), JobState::Decoding)))]);
}

#[test]
fn subscribers_hear_of_every_change_in_order() {
    let world = world();
    let changes = world.index.subscribe();
    let one = world.publish("standup", day(15), "a");
    let (seq, told_day) = (one.id.conversation, day(15));
    let published = |recording: &Recording, new_conversation, new_day| Change::Published {
        recording: Box::new(recording.clone()),
        new_conversation,
        new_day,
    };
    let transcribed = Change::DayTranscript { conversation: seq, day: told_day };
    assert_eq!(all(&changes), [published(&one, true, true), transcribed.clone()]);
    let two = world.publish("standup", day(15), "a");
    assert_eq!(all(&changes), [published(&two, false, false), transcribed]);
    let three = world.publish("standup", day(16), "a");
    assert_eq!(all(&changes)[0], published(&three, false, true));
    world.index.rename_conversation(seq, &id("weekly")).unwrap();
    world.index.trash_conversation(seq, at(1)).unwrap();
    world.index.restore_conversation(seq).unwrap();
    world.index.set_placement(one.id, 1, Placement::Local).unwrap();
    assert_eq!(
        all(&changes),
        [
            Change::Renamed { seq, from: id("standup"), to: id("weekly") },
            Change::Trashed { seq, id: id("weekly") },
            Change::Restored { seq, id: id("weekly") },
            Change::Placed { id: one.id, placement: Placement::Local },
        ]
    );
}

#[test]
fn a_job_ends_in_the_same_step_as_its_recording_appears() {
    let world = world();
    let conversation = world.index.ensure_conversation(&id("standup"), at(0)).unwrap();
    let reserved = world.index.reserve(conversation.seq, day(15), &name("a")).unwrap();
    world.index.save_job(job(JobId(1), JobState::Publishing)).unwrap();
    let recording = recording(&conversation, reserved.id, &reserved.stem);
    let done = Job { recording: Some(recording.id), ..job(JobId(1), JobState::Done) };
    let transcript = transcript(&conversation, day(15), 1);
    world.index.publish(recording, transcript, Some(done.clone())).unwrap();
    assert_eq!(world.index.unfinished_jobs().unwrap(), []);
    assert_eq!(world.index.job(JobId(1)).unwrap(), Some(done));
}

#[test]
fn a_replaced_recording_keeps_its_place() {
    let world = world();
    let mut recording = world.publish("standup", day(15), "a");
    let conversation = world.index.conversation_named(&id("standup")).unwrap().unwrap();
    recording.audio.bytes = 5;
    recording.model = "whisper".into();
    let changes = world.index.subscribe();
    world.index.replace(recording.clone(), transcript(&conversation, day(15), 50)).unwrap();
    assert_eq!(world.index.recordings(conversation.seq, day(15)).unwrap(), [recording.clone()]);
    assert_eq!(all(&changes)[0], Change::Replaced { recording: Box::new(recording.clone()) });
    let totals = world.index.totals().unwrap();
    assert_eq!((totals.recordings, totals.audio_bytes), (1, 5));
}

#[test]
fn what_is_being_removed_for_good_does_not_come_back_into_the_trash() {
    let world = world();
    let index = &world.index;
    let recording = world.publish("standup", day(15), "a");
    world.publish("standup", day(15), "b");
    index.trash_recording(recording.id, at(5)).unwrap();
    for _ in 0..2 {
        index.mark_old_purging(Duration::ZERO, Timestamp::now(), Duration::from_secs(1)).unwrap();
    }
    assert_eq!(index.purging_recordings().unwrap().len(), 1);
    assert_eq!(index.trash_entries(0, 9).unwrap(), []);
    // Whoever has read its row before still writes to it.
    let (id, revision) = (recording.id, recording.revision);
    assert!(!index.set_placement(id, revision, Placement::PagesChanged).unwrap());
    assert!(!index.set_stored(id, revision, Some(at(6))).unwrap());
    assert!(index.hide_page(id, PageKind::Srt).is_err());
    let conversation = index.conversation(id.conversation).unwrap().unwrap();
    let text = transcript(&conversation, day(15), 50);
    assert!(index.replace(recording.clone(), text).is_err());
    assert_eq!(index.trash_entries(0, 9).unwrap(), []);
    assert_eq!(index.filed_recording(id).unwrap(), None);
    index.finish_purge(id).unwrap();
    assert_eq!(index.purging_recordings().unwrap(), []);
}

#[test]
fn equal_names_in_the_trash_cost_few_looks_each() {
    let world = world();
    let began = world.index.trash_entries(0, 9).unwrap();
    assert_eq!(began, []);
    for _ in 0..40 {
        let id = world.publish("standup", day(15), "a").id.conversation;
        world.index.trash_conversation(id, at(5)).unwrap();
    }
    let entries = world.index.trash_entries(0, 99).unwrap();
    let names: std::collections::BTreeSet<FileName> =
        entries.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!((entries.len(), names.len()), (40, 40));
    for entry in entries {
        assert_eq!(world.index.trash_entry_named(&entry.name).unwrap(), Some(entry));
    }
}

/// Everything that questions can see.
fn tree(index: &Index) -> Vec<(Conversation, Vec<Recording>, Vec<Option<DayTranscript>>)> {
    let conversations = index.conversations(ConversationSeq(0), usize::MAX).unwrap();
    let all = conversations.into_iter().map(|conversation| {
        let days = index.days(conversation.seq).unwrap();
        let recordings =
            days.iter().flat_map(|day| index.recordings(conversation.seq, *day).unwrap());
        let recordings = recordings.collect();
        let transcripts =
            days.iter().map(|day| index.day_transcript(conversation.seq, *day).unwrap());
        let transcripts = transcripts.collect();
        (conversation, recordings, transcripts)
    });
    all.collect()
}

#[test]
fn a_cleared_index_is_the_same_again_once_everything_is_adopted() {
    let world = world();
    world.publish("gone", day(1), "a");
    world.publish("standup", day(15), "a");
    world.publish("standup", day(15), "a");
    world.publish("standup", day(16), "a");
    world.publish_placed("other", day(15), "a", Placement::Local);
    world.index.rename_conversation(world.seq("other"), &id("weekly")).unwrap();
    world.index.save_job(job(JobId(1), JobState::Queued)).unwrap();
    let (before, totals) = (tree(&world.index), world.index.totals().unwrap());
    let mut told = Vec::new();
    for (conversation, recordings, _) in &before {
        for recording in recordings {
            let second = i64::from(recording.id.number);
            let transcript = transcript(conversation, recording.id.day, second);
            told.push((conversation.clone(), recording.clone(), transcript));
        }
    }
    // A store is listed in no order.
    told.reverse();
    world.index.clear_recordings().unwrap();
    assert_eq!(tree(&world.index), []);
    assert_eq!(world.index.totals().unwrap(), Totals::default());
    for _ in 0..2 {
        world.index.adopt(told.clone()).unwrap();
        assert_eq!(tree(&world.index), before);
        assert_eq!(world.index.totals().unwrap(), totals);
    }
    assert_eq!(world.index.unfinished_jobs().unwrap().len(), 1);
    assert_eq!(world.publish("standup", day(15), "a").id.number, 3);
}

#[test]
fn adopting_from_two_indexes_keeps_both() {
    let (one, two) = (world(), world());
    one.publish("standup", day(15), "a");
    two.publish("planning", day(15), "a");
    let (conversation, recordings, transcripts) = tree(&two.index).remove(0);
    let transcript = transcripts[0].clone().unwrap();
    one.index.adopt(vec![(conversation, recordings[0].clone(), transcript)]).unwrap();
    let names: Vec<String> =
        tree(&one.index).iter().map(|(conversation, ..)| conversation.id.to_string()).collect();
    assert_eq!(names, ["standup", "planning"]);
    assert_eq!(one.index.totals().unwrap().recordings, 2);
}

/// What the metadata of the only recording of a conversation tells.
fn told(index: &Index, seq: ConversationSeq) -> (Conversation, Recording, DayTranscript) {
    let conversation = index.filed_conversation(seq).unwrap().unwrap();
    let recording = index.filed_recordings(seq, day(15)).unwrap().remove(0);
    let transcript = index.filed_transcript(seq, day(15)).unwrap().unwrap();
    (conversation, recording, transcript)
}

#[test]
fn a_follower_takes_over_names_and_the_trash_and_tells_of_it() {
    let (writer, reader) = (world(), world());
    let recording = writer.publish("standup", day(15), "a");
    let seq = recording.id.conversation;
    let follow = || reader.index.follow(vec![told(&writer.index, seq)]).unwrap();
    let changes = reader.index.subscribe();
    follow();
    let boxed = Box::new(recording.clone());
    let published = Change::Published { recording: boxed, new_conversation: true, new_day: true };
    let transcribed = Change::DayTranscript { conversation: seq, day: day(15) };
    assert_eq!(all(&changes), [published, transcribed]);
    follow();
    assert_eq!(all(&changes), [], "what is known already is no news");

    writer.index.rename_conversation(seq, &id("daily")).unwrap();
    follow();
    let renamed = Change::Renamed { seq, from: id("standup"), to: id("daily") };
    assert_eq!(all(&changes), [renamed]);
    writer.index.trash_conversation(seq, at(9)).unwrap();
    follow();
    assert_eq!(all(&changes), [Change::Trashed { seq, id: id("daily") }]);
    assert_eq!(reader.index.trashed_conversations().unwrap()[0].trashed_at, Some(at(9)));
    assert_eq!(reader.index.totals().unwrap(), Totals::default());
    writer.index.restore_conversation_as(seq, &id("weekly")).unwrap();
    follow();
    let renamed = Change::Renamed { seq, from: id("daily"), to: id("weekly") };
    assert_eq!(all(&changes), [renamed, Change::Restored { seq, id: id("weekly") }]);
    assert_eq!(tree(&reader.index), tree(&writer.index));
    assert_eq!(reader.index.totals().unwrap(), writer.index.totals().unwrap());
}

#[test]
fn a_name_that_is_taken_when_it_is_told_is_given_when_it_is_free() {
    let (writer, reader) = (world(), world());
    let one = writer.publish("one", day(15), "a").id.conversation;
    let two = writer.publish("two", day(15), "a").id.conversation;
    let follow = |seq| reader.index.follow(vec![told(&writer.index, seq)]).unwrap();
    follow(one);
    follow(two);
    writer.index.rename_conversation(two, &id("three")).unwrap();
    writer.index.rename_conversation(one, &id("two")).unwrap();
    follow(one);
    let name = |seq| reader.index.conversation(seq).unwrap().unwrap().id;
    assert_eq!((name(one), name(two)), (id("two-2"), id("two")));
    follow(two);
    assert_eq!((name(one), name(two)), (id("two"), id("three")));
}

#[test]
fn a_recording_that_is_forgotten_takes_its_day_and_its_conversation_along() {
    let world = world();
    let first = world.publish("standup", day(15), "a");
    let second = world.publish("standup", day(15), "b");
    let third = world.publish("standup", day(16), "a");
    let before = world.index.totals().unwrap();
    assert_eq!(world.index.filed_recording_at(&second.audio.key).unwrap(), Some(second.clone()));
    let changes = world.index.subscribe();
    let seq = first.id.conversation;
    for (recording, days_left) in [(&second, 2), (&first, 1), (&third, 0)] {
        world.index.forget_recording(recording.id).unwrap();
        assert_eq!(world.index.days(seq).unwrap().len(), days_left);
        assert_eq!(world.index.filed_recording_at(&recording.audio.key).unwrap(), None);
    }
    let ends: Vec<(bool, bool)> = all(&changes)
        .iter()
        .map(|change| match change {
            Change::Removed { last_of_day, last_of_conversation, .. } => {
                (*last_of_day, *last_of_conversation)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ends, [(false, false), (true, false), (true, true)]);
    assert_eq!(before.recordings, 3);
    assert_eq!(world.index.totals().unwrap(), Totals::default());
    assert_eq!(tree(&world.index), []);
    // The name and the keys are free again, the number is not.
    let again = world.publish("standup", day(15), "a");
    assert_eq!(again.audio.key, first.audio.key);
    assert_ne!(again.id.conversation, seq);
}

#[test]
fn many_at_once_are_all_filed() {
    let world = world();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let world = &world;
            scope.spawn(move || {
                for _ in 0..20 {
                    world.publish(&format!("c{}", thread % 3), day(15), "a");
                }
            });
        }
    });
    let totals = world.index.totals().unwrap();
    assert_eq!((totals.conversations, totals.recordings), (3, 160));
    let mut stems: Vec<FileName> = Vec::new();
    for conversation in 0..3 {
        let recordings = world.index.recordings(world.seq(&format!("c{conversation}")), day(15));
        stems.extend(recordings.unwrap().into_iter().map(|recording| recording.stem));
    }
    assert_eq!(stems.len(), 160);
}

#[test]
fn a_start_that_was_cut_off_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    std::fs::write(folder.path().join("index.redb.new"), vec![0; 4096]).unwrap();
    let index = Index::open(&path).unwrap();
    assert_eq!(index.totals().unwrap(), Totals::default());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_was_cut_short_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    let world = World { index: Index::open(&path).unwrap(), _folder: folder };
    world.publish("standup", day(15), "a");
    world.index.close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for kept in [1, 100, 4096, whole.len() / 2, whole.len() - 4096] {
        std::fs::write(&path, &whole[..kept]).unwrap();
        let opened = Index::open(&path);
        assert!(matches!(opened, Err(IndexError::Damaged(_))), "{kept}: {opened:?}");
    }
}

fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() >> 10
}

/// Fills an index through the road that a rebuild takes.
fn fill(index: &Index, conversations: u32, days: u32) {
    let mut told = Vec::new();
    for seq in 1..=conversations {
        let conversation = Conversation {
            seq: ConversationSeq(seq),
            id: id(&format!("conv_{seq:012}")),
            filed_as: id(&format!("conv_{seq:012}")),
            created_at: at(0),
            trashed_at: None,
        };
        for number in 0..days {
            let day = Day::from_number(738_000 + number).unwrap();
            let id = RecordingId { conversation: conversation.seq, day, number: 1 };
            let recording = recording(&conversation, id, &name("meeting"));
            told.push((conversation.clone(), recording, transcript(&conversation, day, 1)));
            if told.len() == 2_000 {
                index.adopt(std::mem::take(&mut told)).unwrap();
            }
        }
    }
    index.adopt(told).unwrap();
}

/// Figures for people: `cargo test --test index -- --ignored --nocapture figures`.
#[test]
#[ignore = "takes minutes and asserts nothing"]
fn figures_for_100_000_recordings() {
    for (conversations, days) in [(1_000, 100), (100_000, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.redb");
        let index = Index::open(&path).unwrap();
        let begun = Instant::now();
        fill(&index, conversations, days);
        eprintln!("{conversations} conversations x {days} days");
        eprintln!("  filled in {:.1?}", begun.elapsed());
        let begun = Instant::now();
        index.close().unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        eprintln!("  closed in {:.1?}, {} MiB on disk", begun.elapsed(), bytes >> 20);
        drop(index);
        figures(&path);
    }
}

fn figures(path: &std::path::Path) {
    let before = resident_mib();
    let begun = Instant::now();
    let index = Index::open(path).unwrap();
    eprintln!("  opened in {:.1?}", begun.elapsed());
    let begun = Instant::now();
    let (mut seq, mut listed, mut files) = (ConversationSeq(0), 0, 0);
    loop {
        let some = index.conversations(seq, 200).unwrap();
        let Some(last) = some.last() else { break };
        seq = last.seq;
        listed += some.len();
    }
    eprintln!("  {listed} conversations listed in {:.1?}", begun.elapsed());
    let begun = Instant::now();
    for seq in 1..=u32::try_from(listed).unwrap() {
        let seq = ConversationSeq(seq);
        for day in index.days(seq).unwrap() {
            files += usize::from(index.day_transcript(seq, day).unwrap().is_some());
            for recording in index.recordings(seq, day).unwrap() {
                files += 1 + recording.pages.len();
            }
        }
    }
    let took = begun.elapsed();
    eprintln!("  {files} files of all days listed in {took:.1?}");
    eprintln!("  memory grew by {} MiB", resident_mib().saturating_sub(before));
    let begun = Instant::now();
    for count in 0..100_000_u32 {
        let seq = ConversationSeq(1 + count.wrapping_mul(7_919) % u32::try_from(listed).unwrap());
        let day = index.days(seq).unwrap()[0];
        assert!(index.recording_with_stem(seq, day, &name("meeting")).unwrap().is_some());
    }
    let rate = 200_000.0 / begun.elapsed().as_secs_f64();
    eprintln!("  {rate:.0} questions a second on one thread");
    for threads in [1_u64, 8] {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let index = &index;
                scope.spawn(move || {
                    for count in 0..50 {
                        let number = 1 + thread * 50 + count;
                        let state = [JobState::Queued, JobState::Decoding][(threads == 1) as usize];
                        index.save_job(job(JobId(number), state)).unwrap();
                    }
                });
            }
        });
        let took = begun.elapsed();
        let each = took / 50;
        let rate = (50 * threads) as f64 / took.as_secs_f64();
        eprintln!("  {threads} threads: {each:.1?} for a durable change, {rate:.0} a second");
    }
    // As the file is when the process is killed.
    let killed = path.with_extension("killed");
    std::fs::copy(path, &killed).unwrap();
    std::fs::File::open(&killed).unwrap().sync_all().unwrap();
    let begun = Instant::now();
    let opened = Index::open(&killed).unwrap();
    eprintln!("  opened after a crash in {:.1?}", begun.elapsed());
    opened.close().unwrap();
    drop(index);
    let begun = Instant::now();
    drop(Index::open(path).unwrap());
    eprintln!("  opened again in {:.1?}", begun.elapsed());
}

#[test]
fn jobs_of_long_ago_are_forgotten_and_unfinished_ones_are_not() {
    let world = world();
    let finished = |id| job(JobId(id), JobState::Done);
    world.index.save_jobs(vec![job(JobId(1), JobState::Queued)]).unwrap();
    world.index.save_jobs((2..1_502).map(finished).collect()).unwrap();
    let jobs = world.index.recent_jobs(usize::MAX).unwrap();
    let ids: Vec<u64> = jobs.iter().map(|job| job.id.0).collect();
    assert_eq!((ids.len(), ids[0], ids[999], ids[1_000]), (1_001, 1_501, 502, 1));
    assert_eq!(world.index.unfinished_jobs().unwrap().len(), 1);
}

#[test]
fn jobs_that_are_saved_together_share_a_commit() {
    let world = world();
    let before = world.index.commits();
    world.index.save_jobs((1..100).map(|id| job(JobId(id), JobState::Queued)).collect()).unwrap();
    world.index.save_jobs(Vec::new()).unwrap();
    assert_eq!(world.index.commits(), before + 1);
    assert_eq!(world.index.unfinished_jobs().unwrap().len(), 99);
}

#[test]
fn pages_that_are_done_cost_no_commit_and_are_looked_at_again_at_the_worst() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    let index = Index::open(&path).unwrap();
    index.owe_pages(vec![PagesDue::Conversation(ConversationSeq(1))]).unwrap();
    let (commits, entries) = (index.commits(), index.pages_due(None, 10).unwrap());
    index.clear_pages_due(entries).unwrap();
    assert_eq!(index.pages_due(None, 10).unwrap(), []);
    assert_eq!(index.commits(), commits);
    // With the next change that costs one it is on the disk: as it is then, a killed process leaves it.
    index.owe_pages(vec![PagesDue::Conversation(ConversationSeq(2))]).unwrap();
    let copy = folder.path().join("killed.redb");
    std::fs::copy(&path, &copy).unwrap();
    let left = Index::open(&copy).unwrap().pages_due(None, 10).unwrap();
    let left: Vec<PagesDue> = left.into_iter().map(|entry| entry.due).collect();
    assert_eq!(left, [PagesDue::Conversation(ConversationSeq(2))]);
}
