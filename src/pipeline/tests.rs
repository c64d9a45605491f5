//! The road cut at every step, and travelled again.

mod archive;
mod days;
mod discovering;
mod duplicates;
mod faults;
mod faulty_store;
mod following;
mod identity;
mod identity_in_bucket;
mod importing;
mod left_behind;
mod links;
mod page_times;
mod pages;
mod purging;
mod refiling;
mod verified;
mod waiting;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::publish::{self, Finished, PublishError};
use super::{Services, name_speakers, rebuild, write_pages_due};
use crate::index::Index;
use crate::model::{
    ConversationId, InboxId, Job, JobId, JobState, ModelRef, Recipe, Recording, Segment,
    SoundFacts, Speaker, SpeakerBounds, SpeakerId, Talk,
};
use crate::spool::{Creator, Dropped, Spool, SpoolEvent, SpoolOptions};
use crate::store::{FlakyStore, MemoryStore, Store};

/// What is dropped under that name.
fn sound_of(name: &str) -> Vec<u8> {
    format!("RIFF....WAVE and the sound of {name}").into_bytes()
}

/// A daemon's rooms in a temporary folder, with one recording that is complete.
pub(super) struct Bench {
    dir: tempfile::TempDir,
    pub(super) services: Services,
    events: Receiver<SpoolEvent>,
    pub(super) dropped: Dropped,
}

impl Bench {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = open_spool(dir.path());
        let events = spool.subscribe();
        let index = Index::open(&dir.path().join("index.redb")).unwrap();
        let dropped = drop_file(&spool, &events, "standup.wav");
        let services = Services { spool, store, index, alarm: Arc::new(|| {}) };
        Self { dir, services, events, dropped }
    }

    /// As after a stop: what is in the inbox is offered again.
    pub(super) fn restart(&mut self) {
        self.services.spool.close();
        self.services.index.close().unwrap();
        let offered = self.services.spool.is_current(self.dropped.id, self.dropped.generation);
        self.services.spool = open_spool(self.dir.path());
        self.services.index = Index::open(&self.dir.path().join("index.redb")).unwrap();
        self.events = self.services.spool.subscribe();
        if offered {
            self.dropped = next_offer(&self.events, &self.dropped.path[0].display());
        }
    }

    /// What was published leaves the inbox.
    pub(super) fn finish(&self) {
        self.services.spool.finish(self.dropped.id, self.dropped.generation).unwrap();
    }

    /// Drops another recording, which is published next.
    pub(super) fn drop_another(&mut self, name: &str) {
        self.dropped = drop_file(&self.services.spool, &self.events, name);
    }

    pub(super) fn publish(&self) -> Result<Recording, PublishError> {
        self.publish_in("standup")
    }

    pub(super) fn publish_in(&self, conversation: &str) -> Result<Recording, PublishError> {
        let dropped = &self.dropped;
        let recording = self.services.spool.take(dropped.id, dropped.generation).unwrap();
        let now: Timestamp = "2024-01-15T10:02:00Z".parse().unwrap();
        let job = Job {
            id: JobId(1),
            inbox: dropped.id,
            generation: dropped.generation,
            path: dropped.path.clone(),
            bytes: dropped.bytes,
            modified_ns: now.as_nanosecond(),
            conversation: ConversationId::new(conversation).unwrap(),
            state: JobState::Publishing,
            attempts: 0,
            recipe: None,
            created_at: now,
            updated_at: now,
            failure: None,
            remark: None,
            recording: None,
        };
        let blake3 = blake3::hash(&sound_of(&dropped.path[0].display())).to_hex();
        let finished = Finished {
            job: &job,
            blake3: &blake3,
            facts: facts(),
            talk: &talk(),
            recipe: &recipe(),
            names: BTreeMap::new(),
            recording: &recording,
            zone: &TimeZone::UTC,
            now,
            may_go_on: &|| true,
        };
        publish::publish(&self.services, finished)
    }
}

fn drop_file(spool: &Spool, events: &Receiver<SpoolEvent>, name: &str) -> Dropped {
    // SAFETY: both only read a number.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let creator = Creator { uid, gid, mode: 0o644, thread: 0 };
    let flags = libc::O_WRONLY | libc::O_CREAT;
    let (_, open) = spool.create(InboxId::ROOT, name.as_ref(), creator, flags).unwrap();
    let sound = sound_of(name);
    open.file.write_all_at(&sound, 0).unwrap();
    spool.before_write(&open, sound.len() as u64).unwrap();
    spool.release(&open);
    drop(open);
    next_offer(events, name)
}

fn open_spool(dir: &Path) -> Spool {
    let options = SpoolOptions {
        settle: Duration::ZERO,
        settle_after_rename: Duration::ZERO,
        max_upload_bytes: None,
        keep_free_bytes: 0,
        sync_on_close: false,
    };
    Spool::open(&dir.join("spool"), options).unwrap()
}

fn next_offer(events: &Receiver<SpoolEvent>, name: &str) -> Dropped {
    loop {
        match events.recv_timeout(Duration::from_secs(60)).unwrap() {
            SpoolEvent::Ready(dropped) if dropped.path[0].display() == name => break dropped,
            _ => continue,
        }
    }
}

pub(super) fn facts() -> SoundFacts {
    SoundFacts {
        container: "wav".to_owned(),
        codec: "pcm_s16le".to_owned(),
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: Some(16),
        duration: 2.0,
        created: None,
        tags: BTreeMap::new(),
    }
}

pub(super) fn talk() -> Talk {
    let id = SpeakerId(0);
    let segment = Segment {
        id: 0,
        start: 0.5,
        end: 1.5,
        text: "Good morning.".to_owned(),
        speaker: Some(id),
        avg_logprob: None,
        no_speech_prob: None,
        confidence: None,
        flags: Vec::new(),
        words: Vec::new(),
    };
    let speaker = Speaker { id, label: id.label(), name: None, talk_seconds: 1.0, turns: 1 };
    Talk { duration: 2.0, segments: vec![segment], speakers: vec![speaker], ..Talk::default() }
}

pub(super) fn recipe() -> Recipe {
    Recipe {
        recognizer: ModelRef { name: "moonshine-tiny-en".to_owned(), sha256: "cd".repeat(32) },
        diarizer: None,
        language: None,
        speakers: SpeakerBounds::default(),
        threads: 1,
        version: "0.1.0".to_owned(),
        options: BTreeMap::new(),
    }
}

/// Keys and contents of all that a store holds.
pub(super) fn contents(store: &dyn Store) -> BTreeMap<String, Vec<u8>> {
    let all = store.list("").unwrap().into_iter();
    all.map(|found| (found.key.to_string(), store.get_range(&found.key, 0..u64::MAX).unwrap()))
        .collect()
}

#[test]
fn a_publication_that_is_cut_anywhere_is_done_again_and_comes_out_the_same() {
    let whole = Arc::new(MemoryStore::default());
    let calls = {
        let counting = Arc::new(FlakyStore::failing_after(u64::MAX, whole.clone()));
        Bench::new(counting.clone()).publish().unwrap();
        counting.calls()
    };
    assert!(5 < calls);
    let metadata =
        |store: &dyn Store| contents(store).into_keys().any(|key| key.ends_with("_metadata.json"));
    for cut in 0..calls {
        let store = Arc::new(MemoryStore::default());
        let mut bench = Bench::new(Arc::new(FlakyStore::failing_after(cut, store.clone())));
        let published = bench.publish();
        let recordings = bench.services.index.totals().unwrap().recordings;
        bench.services.store = store.clone();
        match published {
            // The index has it: what is left to be done is owed.
            Ok(_) => assert_eq!(recordings, 1, "call {cut}"),
            Err(PublishError::Store(_)) => {
                // The metadata page says that the rest is there, so it never comes before it.
                assert!(!metadata(store.as_ref()), "call {cut}");
                assert_eq!(recordings, 0, "call {cut}");
                let dropped = &bench.dropped;
                assert!(bench.services.spool.is_current(dropped.id, dropped.generation));
                bench.publish().unwrap();
            }
            Err(err) => panic!("call {cut}: {err:?}"),
        }
        write_pages_due(store.as_ref(), &bench.services.index).unwrap();
        assert_eq!(contents(store.as_ref()), contents(whole.as_ref()), "call {cut}");
        assert_eq!(bench.services.index.totals().unwrap().recordings, 1, "call {cut}");
    }
}

#[test]
fn an_index_is_made_anew_from_the_store_alone() {
    let store = Arc::new(MemoryStore::default());
    let bench = Bench::new(store.clone());
    let published = bench.publish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.redb")).unwrap();
    let rebuilt = rebuild(store.as_ref(), &index).unwrap();
    assert_eq!((rebuilt.recordings, rebuilt.unreadable.len()), (1, 0));
    let found = index.recordings_with_audio(&published.audio.blake3).unwrap().remove(0);
    assert_eq!(found.stem, published.stem);
    assert_eq!(found.pages.len(), published.pages.len());

    // What is not whole is left out, and named.
    store.delete(&published.audio.key).unwrap();
    let rebuilt = rebuild(store.as_ref(), &index).unwrap();
    assert_eq!((rebuilt.recordings, rebuilt.incomplete.len()), (0, 1));
}

#[test]
fn names_are_laid_over_all_pages_and_can_be_taken_back() {
    let store = Arc::new(MemoryStore::default());
    let bench = Bench::new(store.clone());
    let published = bench.publish().unwrap();
    let name = |name: &str| {
        let names = BTreeMap::from([(SpeakerId(0), name.to_owned())]);
        name_speakers(store.as_ref(), &bench.services.index, published.id, &names)
    };
    let pages = |word: &str| {
        let contains = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).contains(word);
        contents(store.as_ref()).values().filter(|bytes| contains(bytes)).count()
    };
    name("Anna").unwrap();
    // Transcript, json, vtt and metadata; one speaker needs no names in subtitles.
    assert_eq!(pages("Anna"), 4);
    name("").unwrap();
    assert_eq!((pages("Anna"), pages("[00:00:00] Speaker 1")), (0, 1));
    let nobody = BTreeMap::from([(SpeakerId(7), "Anna".to_owned())]);
    assert!(name_speakers(store.as_ref(), &bench.services.index, published.id, &nobody).is_err());
}

/// Rows of recordings that only their numbers tell apart.
pub(super) fn recordings_of_a_day(count: u16) -> Vec<Recording> {
    let recording = Bench::new(Arc::new(MemoryStore::default())).publish().unwrap();
    let numbered = |number| Recording {
        id: crate::model::RecordingId { number, ..recording.id },
        ..recording.clone()
    };
    (1..=count).map(numbered).collect()
}

/// How recordings are worked on, where nothing is installed.
pub(super) fn setup(dir: &Path) -> super::Setup {
    super::Setup {
        executable: "/nonexistent".into(),
        variables: std::env::vars().filter(|(name, _)| name == "PATH").collect(),
        library: crate::models::Library::new(&dir.join("models")),
        models_dir: dir.join("models"),
        recognizer: "moonshine-tiny-en".to_owned(),
        diarizer: None,
        language: None,
        speakers: SpeakerBounds::default(),
        threads: 1,
        workers: 1,
        longest: Duration::from_hours(24),
        keep_free_bytes: 0,
        memory_mb: 512,
        stall: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        scratch: dir.join("scratch"),
        uploads: dir.join("uploads"),
        ffmpeg: None,
        zone: TimeZone::UTC,
    }
}
