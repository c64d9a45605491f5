//! The way to the bucket cut at every step, and gone on with.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::changes::Changes;
use super::courier::{Carried, Courier, Trip};
use super::pace::Pace;
use super::rounds::{Rounds, Turn};
use super::steward::give_up_uploads;
use super::{Grounds, Told};
use crate::index::{Change, Index};
use crate::model::{
    ConversationId, ConversationSeq, Day, Destination, FileName, Key, Object, Overlay, PageKind,
    Placement, RecordedAt, Recording, SpeakerId, TimeSource,
};
use crate::pipeline::eviction::{Retention, evict};
use crate::pipeline::publish::Shelves;
use crate::pipeline::tests::{contents, facts, recipe, talk};
use crate::pipeline::trash::Bins;
use crate::pipeline::{name_speakers, rebuild_with_bucket, rewrite, trash};
use crate::render;
use crate::store::outbox::{Event, Sizes};
use crate::store::{Bucket, FlakyStore, MemoryStore, Store, StoreError};

mod hooked;
mod threads;

use hooked::Hooked;

/// Small enough that a few hundred bytes go in parts.
const SIZES: Sizes = Sizes { single_put_bytes: 100, part_bytes: 60 };
const SMALL: usize = 90;
const LARGE: usize = 250;

/// A daemon's rooms as far as the carrier sees them.
struct World {
    dir: tempfile::TempDir,
    near: Arc<MemoryStore>,
    bucket: Arc<MemoryStore>,
    index: Index,
    /// Microseconds. It goes on with every look, and jumps to what is waited for.
    clock: AtomicI64,
    pace: Pace,
    changes: Changes,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.redb")).unwrap();
        index.settle(&Destination::Bucket { place: "s3://talks/".into() }).unwrap();
        Self {
            dir,
            near: Arc::default(),
            bucket: Arc::default(),
            index,
            clock: AtomicI64::new(1_700_000_000_000_000),
            pace: Pace::new(None),
            changes: Changes::default(),
        }
    }

    /// With one recording that goes in one request and one that goes in parts, on one day.
    fn with_two() -> Self {
        let world = Self::new();
        world.publish("standup", "small", SMALL);
        world.publish("standup", "large", LARGE);
        world
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.clock.fetch_add(1, Ordering::Relaxed)).unwrap()
    }

    fn jump_to(&self, until: Timestamp) {
        self.clock.fetch_max(until.as_microsecond(), Ordering::Relaxed);
    }

    fn publish(&self, conversation: &str, stem: &str, bytes: usize) -> Recording {
        let now = self.now();
        let id = ConversationId::new(conversation).unwrap();
        let conversation = self.index.ensure_conversation(&id, now).unwrap();
        let day = Day::from_ymd(2024, 1, 15).unwrap();
        let name = FileName::new(stem).unwrap();
        let reserved = self.index.reserve(conversation.seq, day, &name).unwrap();
        let content: Vec<u8> = stem
            .bytes()
            .cycle()
            .take(bytes - 1)
            .chain([u8::try_from(bytes % 251).unwrap()])
            .collect();
        let key = Key::audio(&conversation.filed_as, day, reserved.stem.as_bytes(), b"wav");
        self.near.put(&key, &content).unwrap();
        let blake3 = blake3::hash(&content).to_hex().to_string();
        let mut recording = Recording {
            id: reserved.id,
            audio_name: reserved.stem.with_extension(b"wav"),
            stem: reserved.stem.clone(),
            original_name: reserved.stem.with_extension(b"wav"),
            filed_as: conversation.filed_as.clone(),
            audio: Object { key, bytes: bytes as u64, blake3 },
            pages: Vec::new(),
            modified_at: now,
            published_at: now,
            recorded_at: RecordedAt {
                time: day.date().at(10, 2, 0, 0),
                zone: "UTC".to_owned(),
                source: TimeSource::Now,
                detail: String::new(),
            },
            facts: facts(),
            language: None,
            speakers: 1,
            model: "moonshine-tiny-en".to_owned(),
            placement: self.index.destination().unwrap().first_placement(),
            revision: 1,
            overlay: Overlay::default(),
        };
        let shelves = Shelves { store: self.near.as_ref(), index: &self.index };
        let transcript =
            shelves.write_pages(&conversation, &mut recording, &recipe(), &talk(), now).unwrap();
        self.index.publish(recording.clone(), transcript, None).unwrap();
        recording
    }

    fn carry(
        &self,
        bucket: &dyn Bucket,
        recording: Recording,
        rested: Option<Box<Trip>>,
        look: &dyn Fn(),
    ) -> Carried {
        let clock = || {
            look();
            self.now()
        };
        let courier = Courier {
            near: self.near.as_ref(),
            store: self.near.as_ref(),
            bucket,
            index: &self.index,
            sizes: SIZES,
            pace: &self.pace,
            changes: &self.changes,
            clock: &clock,
            chance: &|| 0.5,
            heard: &|| {},
        };
        courier.carry(recording, rested, Event::Woken).unwrap()
    }

    /// Carries the oldest again and again, as long as it takes, but no more than `trips` times.
    fn carry_all(&self, bucket: &dyn Bucket, trips: usize, look: &dyn Fn()) -> bool {
        let mut rested = None;
        for _ in 0..trips {
            let Some(recording) = self.index.unplaced(1).unwrap().pop() else { return true };
            match self.carry(bucket, recording, rested.take(), look) {
                Carried::Waits { until, trip, .. } => {
                    self.jump_to(until);
                    rested = Some(trip);
                }
                Carried::Stored | Carried::Overtaken | Carried::Stopped => {}
            }
        }
        self.index.unplaced(1).unwrap().is_empty()
    }

    /// To the end, over a bucket that answers.
    fn finish(&self) {
        assert!(self.carry_all(self.bucket.as_ref(), 50, &|| {}), "it does not come to an end");
        give_up_uploads(&self.grounds(self.bucket.clone())).unwrap();
    }

    fn grounds(&self, bucket: Arc<dyn Bucket>) -> Grounds {
        Grounds {
            near: self.near.clone(),
            store: self.near.clone(),
            bucket,
            index: self.index.clone(),
            free_bytes: Arc::new(|| None),
            alarm: Arc::new(|| {}),
        }
    }

    /// The process ends, and another one begins.
    fn restart(self) -> Self {
        self.index.close().unwrap();
        let index = Index::open(&self.dir.path().join("index.redb")).unwrap();
        Self { index, changes: Changes::default(), ..self }
    }

    fn in_bucket(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = contents(self.bucket.as_ref());
        all.retain(|key, _| !key.starts_with("_scribefs/"));
        all
    }

    fn all(&self) -> Vec<Recording> {
        let index = &self.index;
        let seqs = (1..10).map(ConversationSeq);
        let days = seqs
            .flat_map(|seq| index.filed_days(seq).unwrap().into_iter().map(move |day| (seq, day)));
        days.flat_map(|(seq, day)| index.filed_recordings(seq, day).unwrap()).collect()
    }

    /// Bucket, local disk and index say the same.
    fn check(&self, context: &str) {
        assert_eq!(self.in_bucket(), contents(self.near.as_ref()), "{context}");
        for recording in self.all() {
            assert_eq!(recording.placement, Placement::Stored, "{context}");
            for object in recording.pages.iter().map(|it| &it.object).chain([&recording.audio]) {
                let bytes = self.bucket.get_range(&object.key, 0..u64::MAX).unwrap();
                assert_eq!(blake3::hash(&bytes).to_hex().as_str(), object.blake3, "{context}");
                assert!(self.bucket.label(&object.key).is_some(), "{context}: {}", object.key);
            }
        }
        assert_eq!(self.index.uploads().unwrap(), [], "{context}");
        assert_eq!(self.index.totals().unwrap().pending, 0, "{context}");
    }

    /// Whoever finds a metadata page in the bucket finds all that it names.
    fn check_order(&self, context: &str) {
        let held = self.in_bucket();
        for (_, json) in held.iter().filter(|(key, _)| key.ends_with("_metadata.json")) {
            let (_, recording, _) = render::from_metadata(json).unwrap();
            for object in recording.pages.iter().map(|it| &it.object).chain([&recording.audio]) {
                let bytes = &held[object.key.as_str()];
                assert_eq!(blake3::hash(bytes).to_hex().as_str(), object.blake3, "{context}");
            }
        }
    }

    /// What followers are told, in order.
    fn told(&self) -> Vec<Told> {
        let found = self.bucket.list_after(Key::CHANGES, "", usize::MAX).unwrap();
        let read = |key: &Key| self.bucket.get_range(key, 0..u64::MAX).unwrap();
        found.iter().map(|found| serde_json::from_slice(&read(&found.key)).unwrap()).collect()
    }
}

/// Counts down to the end of the process.
struct Death(AtomicI64);

impl Death {
    fn after(steps: i64) -> Self {
        Self(AtomicI64::new(steps))
    }

    fn step(&self) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 0 {
            resume_unwind(Box::new("killed"));
        }
    }
}

/// Carries until death comes. Whether it came.
fn carry_until(world: &World, death: &Death) -> bool {
    let hook = |_: &str, _: bool| {
        death.step();
        Ok(())
    };
    let bucket = Hooked { bucket: world.bucket.clone(), hook: Box::new(hook) };
    let carry = || world.carry_all(&bucket, 50, &|| death.step());
    catch_unwind(AssertUnwindSafe(carry)).is_err()
}

#[test]
fn a_recording_arrives_with_its_pages_and_labels_and_is_told_of() {
    let world = World::with_two();
    world.finish();
    world.check("");
    assert_eq!(world.bucket.open_uploads(), Vec::<String>::new());
    let recordings = world.all();
    for (recording, told) in recordings.iter().zip(world.told()) {
        let label = world.bucket.label(&recording.audio.key).unwrap();
        assert_eq!(label.content_type, "audio/wav");
        assert_eq!(label.fields["blake3"], recording.audio.blake3);
        assert_eq!(label.fields["duration"], "2.000");
        assert_eq!(label.fields["original-name"], recording.audio_name.display());
        let metadata = recording.page(PageKind::Metadata).unwrap();
        assert_eq!(told, Told::Metadata(metadata.object.key.clone()));
    }
    let bytes = (SMALL + LARGE) as u64;
    assert_eq!(world.index.copied_bytes().unwrap(), bytes);
}

#[test]
fn a_process_that_is_killed_anywhere_goes_on_where_it_was() {
    for steps in 0.. {
        let world = World::with_two();
        let was_killed = carry_until(&world, &Death::after(steps));
        let context = format!("killed at step {steps}");
        world.check_order(&context);
        let world = world.restart();
        world.finish();
        world.check(&context);
        // One that had just begun when the process died: nobody was told its id.
        assert!(world.bucket.open_uploads().len() <= usize::from(was_killed), "{context}");
        if !was_killed {
            assert!(40 < steps, "{steps} steps are too few to be all");
            break;
        }
    }
}

#[test]
fn two_hundred_random_kills_lose_nothing_and_send_nothing_wrong() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut kills = 0;
    while kills < 200 {
        let mut world = World::with_two();
        loop {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let steps = i64::try_from(random % 25).unwrap();
            if !carry_until(&world, &Death::after(steps)) {
                break;
            }
            kills += 1;
            world.check_order("a random kill");
            world = world.restart();
        }
        world.finish();
        world.check("random kills");
    }
}

#[test]
fn a_bucket_that_goes_away_anywhere_is_waited_for() {
    for calls in 0.. {
        let world = World::with_two();
        let cut = FlakyStore::failing_after(calls, world.bucket.clone());
        let is_done = world.carry_all(&cut, 8, &|| {});
        let context = format!("away after {calls} calls");
        world.check_order(&context);
        world.finish();
        world.check(&context);
        assert_eq!(world.bucket.open_uploads(), Vec::<String>::new(), "{context}");
        if is_done {
            break;
        }
    }
}

#[test]
fn answers_that_are_lost_are_looked_for() {
    for nth in 2..12 {
        let world = World::with_two();
        let lossy = FlakyStore::losing_every(nth, world.bucket.clone());
        let context = format!("every answer number {nth} is lost");
        assert!(world.carry_all(&lossy, 200, &|| {}), "{context}");
        world.check_order(&context);
        world.finish();
        world.check(&context);
    }
}

#[test]
fn names_that_are_given_at_any_moment_arrive_too() {
    for at in 0.. {
        let world = World::with_two();
        let recordings = world.all();
        let calls = AtomicU64::new(0);
        let hook = |_: &str, _: bool| {
            if calls.fetch_add(1, Ordering::Relaxed) == at {
                let names = BTreeMap::from([(SpeakerId(0), "Anna".to_owned())]);
                for recording in &recordings {
                    name_speakers(world.near.as_ref(), &world.index, recording.id, &names).unwrap();
                }
            }
            Ok(())
        };
        let bucket = Hooked { bucket: world.bucket.clone(), hook: Box::new(hook) };
        let context = format!("names at call {at}");
        assert!(world.carry_all(&bucket, 50, &|| {}), "{context}");
        drop(bucket);
        world.finish();
        world.check(&context);
        assert_eq!(world.bucket.open_uploads(), Vec::<String>::new(), "{context}");
        if calls.load(Ordering::Relaxed) <= at {
            break;
        }
        let json = &world.in_bucket()["standup/2024/01/15/large.json"];
        assert!(String::from_utf8_lossy(json).contains("Anna"), "{context}");
    }
}

#[test]
fn changed_pages_go_without_the_audio() {
    let world = World::with_two();
    world.finish();
    let recording = world.all().pop().unwrap();
    let names = BTreeMap::from([(SpeakerId(0), "Anna".to_owned())]);
    name_speakers(world.near.as_ref(), &world.index, recording.id, &names).unwrap();
    let row = world.index.recording(recording.id).unwrap().unwrap();
    assert_eq!(row.placement, Placement::PagesChanged);
    // The local copy of the audio is not needed for it.
    world.near.delete(&recording.audio.key).unwrap();
    world.index.set_evicted(recording.id).unwrap();
    world.finish();
    let row = world.index.recording(recording.id).unwrap().unwrap();
    assert_eq!(row.placement, Placement::Stored);
    assert_eq!(world.index.copied_bytes().unwrap(), (SMALL + LARGE) as u64 - row.audio.bytes);
}

#[test]
fn a_trashed_conversation_says_so_in_its_metadata_here_and_in_the_bucket() {
    let world = World::with_two();
    world.finish();
    let seq = ConversationSeq(1);
    let id = ConversationId::new("standup").unwrap();
    let follow = |change| rewrite::follow(world.near.as_ref(), &world.index, &change);
    let is_trashed = |json: &[u8]| render::from_metadata(json).unwrap().0.trashed_at.is_some();
    let check = |expected: bool| {
        world.finish();
        world.check("");
        let held = world.in_bucket();
        let metadata = held.iter().filter(|(key, _)| key.ends_with("_metadata.json"));
        assert!(metadata.clone().count() == 2);
        assert!(metadata.clone().all(|(_, json)| is_trashed(json) == expected));
        let transcript = &held["standup/2024/01/15/standup_transcript.txt"];
        let text = String::from_utf8_lossy(transcript);
        assert!(text.contains("small.wav") && text.contains("large.wav"));
    };
    world.index.trash_conversation(seq, world.now()).unwrap();
    follow(Change::Trashed { seq, id: id.clone() });
    check(true);
    world.index.restore_conversation(seq).unwrap();
    follow(Change::Restored { seq, id });
    check(false);
}

#[test]
fn the_trash_is_emptied_from_the_bucket_first_and_from_the_index_last() {
    let day = Duration::from_hours(24);
    for calls in 0.. {
        let world = World::with_two();
        let kept = world.publish("other", "kept", SMALL);
        world.finish();
        let seq = ConversationSeq(1);
        let trashed_at = world.now();
        world.index.trash_conversation(seq, trashed_at).unwrap();
        let empty = |bucket: Arc<dyn Bucket>, hours: i64| {
            let now = trashed_at + SignedDuration::from_hours(hours);
            trash::empty(Bins::of(&world.grounds(bucket), &world.changes), day, &|_| false, now)
        };
        assert_eq!(empty(world.bucket.clone(), 23).unwrap(), 0);
        let cut = Arc::new(FlakyStore::failing_after(calls, world.bucket.clone()));
        let is_done = empty(cut, 24).is_ok();
        let context = format!("cut after {calls} calls");
        if !is_done {
            // It is too late to have it back, and nothing of it is seen any more.
            assert!(world.index.restore_conversation(seq).is_err(), "{context}");
            assert_eq!(world.index.trashed_conversations().unwrap(), [], "{context}");
            assert_eq!(empty(world.bucket.clone(), 24).unwrap(), 1, "{context}");
        }
        assert_eq!(world.all().iter().map(|it| it.id).collect::<Vec<_>>(), [kept.id], "{context}");
        world.check(&context);
        let removed: BTreeSet<String> = world
            .told()
            .iter()
            .filter_map(|told| match told {
                Told::Removed(key) => Some(key.file_name().to_owned()),
                Told::Metadata(_) => None,
            })
            .collect();
        let expected = ["large_metadata.json", "small_metadata.json"].map(str::to_owned);
        assert_eq!(removed, BTreeSet::from(expected), "{context}");
        assert_eq!(world.index.copied_bytes().unwrap(), SMALL as u64);
        if is_done {
            break;
        }
    }
}

#[test]
fn a_conversation_on_its_way_is_not_removed_under_it() {
    let world = World::with_two();
    world.index.trash_conversation(ConversationSeq(1), world.now()).unwrap();
    let empty = |is_busy: bool| {
        let now = world.now() + SignedDuration::from_hours(1);
        let grounds = world.grounds(world.bucket.clone());
        trash::empty(Bins::of(&grounds, &world.changes), Duration::ZERO, &|_| is_busy, now).unwrap()
    };
    assert_eq!(empty(true), 0);
    // And nothing of it begins any more.
    assert_eq!(world.index.unplaced(9).unwrap(), []);
    assert_eq!(empty(false), 1);
    assert_eq!((world.all(), world.in_bucket().len()), (Vec::new(), 0));
}

#[test]
fn a_local_copy_that_is_damaged_is_never_sent_as_if_it_were_right() {
    let world = World::with_two();
    for recording in world.all() {
        let mut bytes = world.near.get_range(&recording.audio.key, 0..u64::MAX).unwrap();
        bytes[3] ^= 1;
        world.near.put(&recording.audio.key, &bytes).unwrap();
        let carried = world.carry(world.bucket.as_ref(), recording.clone(), None, &|| {});
        let Carried::Waits { why, .. } = carried else { panic!("{carried:?}") };
        assert!(why.contains("damaged"), "{why}");
        let row = world.index.recording(recording.id).unwrap().unwrap();
        assert!(matches!(row.placement, Placement::Paused { .. }));
        assert!(world.bucket.head(&recording.audio.key).is_err());
    }
    give_up_uploads(&world.grounds(world.bucket.clone())).unwrap();
    assert_eq!(world.bucket.open_uploads(), Vec::<String>::new());
}

#[test]
fn pages_that_a_power_cut_has_left_behind_are_written_anew() {
    let world = World::with_two();
    let recording = world.all().remove(0);
    let srt = recording.page(PageKind::Srt).unwrap();
    world.near.put(&srt.object.key, b"of another time").unwrap();
    world.finish();
    world.check("");
    assert!(world.index.recording(recording.id).unwrap().unwrap().revision == 2);
}

/// A thousand recordings that wait, as cheap as can be.
fn a_thousand() -> World {
    let world = World::new();
    let recording = world.publish("standup", "first", SMALL);
    let conversation = world.index.conversation(ConversationSeq(1)).unwrap().unwrap();
    let transcript = world.index.filed_transcript(ConversationSeq(1), recording.id.day);
    let transcript = transcript.unwrap().unwrap();
    let told = (2..=1_000_u16).map(|number| {
        let mut other = recording.clone();
        other.id.number = number;
        other.stem = FileName::new(format!("other-{number}")).unwrap();
        other.published_at = recording.published_at + SignedDuration::from_secs(number.into());
        (conversation.clone(), other, transcript.clone())
    });
    world.index.adopt(told.collect()).unwrap();
    world
}

/// Four threads at once until then, over a bucket that takes nothing.
fn simulate(world: &World, bucket: &dyn Bucket, rounds: &Rounds, until: Timestamp) {
    loop {
        let mut going = Vec::new();
        let mut wait = None;
        while going.len() < 4 && wait.is_none() {
            match rounds.turn(&world.index, world.now()).unwrap() {
                Turn::Carry(recording, rested, ticket) => {
                    going.push((recording, rested, ticket));
                }
                Turn::Wait { until, .. } => wait = Some(until.unwrap_or(Timestamp::MAX)),
                Turn::Closed => panic!("nobody has closed it"),
            }
        }
        if going.is_empty() {
            let wake = wait.unwrap_or(until);
            if until <= wake {
                return;
            }
            world.jump_to(wake);
        }
        for (recording, rested, ticket) in going {
            let id = recording.id;
            let carried = world.carry(bucket, *recording, rested, &|| {});
            assert!(matches!(carried, Carried::Waits { .. }), "{carried:?}");
            rounds.done(id, &ticket, carried, world.now(), 1.0);
        }
    }
}

#[test]
fn a_thousand_that_wait_for_a_dead_bucket_make_few_requests() {
    let world = a_thousand();
    let dead = FlakyStore::failing_after(0, world.bucket.clone());
    let rounds = Rounds::default();
    let hour = world.now() + SignedDuration::from_hours(1);
    simulate(&world, &dead, &rounds, hour);
    assert!(dead.calls() < 40, "{} requests in an hour", dead.calls());
    assert!(rounds.status(hour).away_until.is_some());
    assert_eq!(rounds.status(hour).paused_because, None);
    // When it is back all go by themselves, within the longest wait, and the oldest first.
    world.jump_to(hour);
    let soon = hour + SignedDuration::from_mins(5);
    let arrived = arrivals(&world, world.bucket.as_ref(), &rounds, soon, 20);
    let expected: Vec<u16> = (1..=20).collect();
    assert_eq!(arrived, expected);
}

/// The first `count` that arrive over a bucket that answers, none of which waits for longer than `until`.
fn arrivals(
    world: &World,
    bucket: &dyn Bucket,
    rounds: &Rounds,
    until: Timestamp,
    count: usize,
) -> Vec<u16> {
    let mut arrived = Vec::new();
    while arrived.len() < count {
        match rounds.turn(&world.index, world.now()).unwrap() {
            Turn::Carry(recording, rested, ticket) => {
                let id = recording.id;
                let carried = world.carry(bucket, *recording, rested, &|| {});
                assert!(matches!(carried, Carried::Stored), "{carried:?}");
                arrived.push(id.number);
                rounds.done(id, &ticket, carried, world.now(), 1.0);
            }
            Turn::Wait { until: wake, .. } => {
                let wake = wake.unwrap();
                assert!(wake <= until, "nobody goes before {wake}");
                world.jump_to(wake);
            }
            Turn::Closed => panic!("nobody has closed it"),
        }
    }
    arrived
}

#[test]
fn a_refusal_pauses_everybody_loudly_and_heals() {
    let world = a_thousand();
    let calls = AtomicU64::new(0);
    let hook = |name: &str, is_over: bool| {
        calls.fetch_add(u64::from(!is_over), Ordering::Relaxed);
        // Looking is allowed and writing is not, as a policy with a gap would have it.
        match name {
            "head" => Ok(()),
            _ => Err(StoreError::Refused { at: name.to_owned(), source: "access denied".into() }),
        }
    };
    let refusing = Hooked { bucket: world.bucket.clone(), hook: Box::new(hook) };
    let rounds = Rounds::default();
    let hour = world.now() + SignedDuration::from_hours(1);
    simulate(&world, &refusing, &rounds, hour);
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls < 60, "{calls} requests in an hour");
    let why = rounds.status(hour).paused_because.unwrap();
    assert!(why.contains("access denied"), "{why}");
    assert!(0 < world.index.totals().unwrap().paused);
    // Somebody has mended it and says so.
    rounds.call();
    let now = world.now();
    assert_eq!(arrivals(&world, world.bucket.as_ref(), &rounds, now, 3), [1, 2, 3]);
    assert_eq!(rounds.status(now).paused_because, None);
}

fn retention() -> Retention {
    Retention {
        keeps_near: false,
        copied_bytes: u64::MAX,
        keep_free_bytes: 0,
        audio: None,
        trash: None,
    }
}

#[test]
fn copies_make_room_oldest_first_and_only_if_the_bucket_has_them() {
    let world = World::with_two();
    let [small, large] = world.all().try_into().unwrap();
    let grounds = world.grounds(world.bucket.clone());
    let limit = Retention { copied_bytes: LARGE as u64, ..retention() };
    // Nothing that has not arrived goes, whatever the limit.
    let nothing = Retention { copied_bytes: 0, ..retention() };
    assert_eq!(evict(&grounds, &nothing, world.now()).unwrap(), 0);
    world.finish();
    let both = Retention { keeps_near: true, ..nothing.clone() };
    assert_eq!(evict(&grounds, &both, world.now()).unwrap(), 0);
    assert_eq!(evict(&grounds, &limit, world.now()).unwrap(), 1);
    assert!(world.near.head(&small.audio.key).is_err());
    assert!(world.near.head(&large.audio.key).is_ok());
    assert_eq!(world.index.copied_bytes().unwrap(), LARGE as u64);
    // Somebody has removed it from the bucket: the copy is all there is.
    world.bucket.delete(&large.audio.key).unwrap();
    assert_eq!(evict(&grounds, &nothing, world.now()).unwrap(), 0);
    assert!(world.near.head(&large.audio.key).is_ok());
    world.finish();
    assert!(world.bucket.head(&large.audio.key).is_ok());
    let away = world.grounds(Arc::new(FlakyStore::failing_after(0, world.bucket.clone())));
    assert!(evict(&away, &nothing, world.now()).is_err());
    assert!(world.near.head(&large.audio.key).is_ok());
}

#[test]
fn copies_go_when_they_are_old_or_when_the_disk_is_full() {
    let world = World::with_two();
    world.finish();
    let mut grounds = world.grounds(world.bucket.clone());
    let days = Retention { audio: Some(Duration::from_hours(24)), ..retention() };
    let later = |hours| world.now() + SignedDuration::from_hours(hours);
    assert_eq!(evict(&grounds, &days, later(23)).unwrap(), 0);
    grounds.free_bytes = Arc::new(|| Some(10));
    let floor = Retention { keep_free_bytes: 10, ..retention() };
    assert_eq!(evict(&grounds, &floor, later(0)).unwrap(), 0);
    assert_eq!(evict(&grounds, &days, later(25)).unwrap(), 2);
    assert_eq!(evict(&grounds, &days, later(25)).unwrap(), 0);
}

#[test]
fn another_bucket_is_filled_and_local_disk_is_gone_back_to_only_with_everything() {
    let world = World::with_two();
    world.finish();
    let [small, _] = world.all().try_into().unwrap();
    let other = Destination::Bucket { place: "s3://other/".into() };
    assert_eq!(world.index.settle(&other).unwrap(), 2);
    assert_eq!(world.index.settle(&other).unwrap(), 0);
    assert_eq!(world.index.totals().unwrap().pending, 2);
    world.finish();
    world.near.delete(&small.audio.key).unwrap();
    world.index.set_evicted(small.id).unwrap();
    let refused = world.index.settle(&Destination::Here).unwrap_err().to_string();
    assert_eq!(
        refused,
        "1 recordings are in s3://other/ only: bring them back with `scribefs migrate --to local` first"
    );
    assert_eq!(world.index.destination().unwrap(), other);
}

#[test]
fn an_index_is_made_anew_from_local_disk_and_bucket_together() {
    let world = World::with_two();
    world.finish();
    let waiting = world.publish("other", "waiting", LARGE);
    let [small, large, _] = world.all().try_into().unwrap();
    world.near.delete(&small.audio.key).unwrap();
    for page in &small.pages {
        world.near.delete(&page.object.key).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.redb")).unwrap();
    index.settle(&world.index.destination().unwrap()).unwrap();
    let rebuilt = rebuild_with_bucket(world.near.as_ref(), world.bucket.as_ref(), &index).unwrap();
    assert_eq!((rebuilt.recordings, rebuilt.incomplete.len()), (3, 0));
    let placement = |recording: &Recording| {
        index.recording_with_audio(&recording.audio.blake3).unwrap().unwrap().placement
    };
    assert_eq!(placement(&small), Placement::Stored);
    assert_eq!(placement(&large), Placement::Stored);
    assert_eq!(placement(&waiting), Placement::Local);
    // Only what has a local copy may lose it.
    assert_eq!(index.copied_bytes().unwrap(), large.audio.bytes);
}

#[test]
fn old_markers_are_removed_and_young_ones_kept() {
    let world = World::with_two();
    world.finish();
    let days = |days: i64| world.now() + SignedDuration::from_hours(24 * days);
    Changes::prune(world.bucket.as_ref(), days(29)).unwrap();
    assert_eq!(world.told().len(), 2);
    Changes::prune(world.bucket.as_ref(), days(31)).unwrap();
    assert_eq!(world.told(), []);
}

#[test]
fn a_marker_never_comes_before_an_earlier_one() {
    let bucket = MemoryStore::default();
    let changes = Changes::default();
    let told = |count: u64| Told::Removed(Key::new(&format!("a/{count}")).unwrap());
    // A clock that stands still, and one that was set back.
    for (count, second) in [(0, 9), (1, 9), (2, 1)] {
        let clock = || Timestamp::from_second(second).unwrap();
        changes.tell(&bucket, &told(count), &clock).unwrap();
    }
    let found = bucket.list_after(Key::CHANGES, "", 9).unwrap();
    let read = |key: &Key| bucket.get_range(key, 0..u64::MAX).unwrap();
    let all: Vec<Told> =
        found.iter().map(|it| serde_json::from_slice(&read(&it.key)).unwrap()).collect();
    assert_eq!(all, [told(0), told(1), told(2)]);
    assert_eq!(serde_json::to_string(&told(0)).unwrap(), r#"{"removed":"a/0"}"#);
}
