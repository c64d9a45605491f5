//! What tests of several rooms work on: a daemon's rooms in a temporary folder, and recordings that were published in
//! them.

pub(crate) mod archive;
pub(crate) mod faulty_store;
pub(crate) mod pages;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::effective_user::{effective_group, effective_user};
use crate::index::Index;
use crate::jobs::publish::{self, Finished, PublishError};
use crate::jobs::{JobConfig, JobContext};
use crate::model::{
    ConversationId, InboxId, Job, JobId, JobState, ModelRef, Recipe, Recording, RecordingId,
    Segment, SoundFacts, Speaker, SpeakerBounds, SpeakerId, Talk,
};
use crate::models::Library;
use crate::spool::{Creator, Dropped, Spool, SpoolEvent, SpoolOptions};
use crate::store::{MemoryStore, Store};

/// What is dropped under that name.
pub(crate) fn sound_of(name: &str) -> Vec<u8> {
    format!("RIFF....WAVE and the sound of {name}").into_bytes()
}

/// A daemon's rooms in a temporary folder, with one recording that is complete.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    pub(crate) services: JobContext,
    events: Receiver<SpoolEvent>,
    pub(crate) dropped: Dropped,
    /// What is said in what is published next.
    pub(crate) talk: Talk,
}

impl Bench {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = open_spool(dir.path());
        let events = spool.subscribe();
        let index = Index::open(&dir.path().join("index.redb")).unwrap();
        let dropped = drop_file(&spool, &events, "standup.wav");
        let services = JobContext { spool, store, index, alarm: Arc::new(|| {}) };
        Self { dir, services, events, dropped, talk: talk() }
    }

    /// As after a stop: what is in the inbox is offered again.
    pub(crate) fn restart(&mut self) {
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
    pub(crate) fn finish(&self) {
        self.services.spool.finish(self.dropped.id, self.dropped.generation).unwrap();
    }

    /// Drops another recording, which is published next.
    pub(crate) fn drop_another(&mut self, name: &str) {
        self.dropped = drop_file(&self.services.spool, &self.events, name);
    }

    pub(crate) fn publish(&self) -> Result<Recording, PublishError> {
        self.publish_in("standup")
    }

    pub(crate) fn publish_in(&self, conversation: &str) -> Result<Recording, PublishError> {
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
            talk: &self.talk,
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
    let (uid, gid) = (effective_user(), effective_group());
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

pub(crate) fn facts() -> SoundFacts {
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

pub(crate) fn talk() -> Talk {
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

pub(crate) fn recipe() -> Recipe {
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
pub(crate) fn contents(store: &dyn Store) -> BTreeMap<String, Vec<u8>> {
    let all = store.list("").unwrap().into_iter();
    all.map(|found| (found.key.to_string(), store.get_range(&found.key, 0..u64::MAX).unwrap()))
        .collect()
}

/// Rows of recordings that only their numbers tell apart.
pub(crate) fn recordings_of_a_day(count: u16) -> Vec<Recording> {
    let recording = Bench::new(Arc::new(MemoryStore::default())).publish().unwrap();
    let numbered =
        |number| Recording { id: RecordingId { number, ..recording.id }, ..recording.clone() };
    (1..=count).map(numbered).collect()
}

/// How recordings are worked on, where nothing is installed.
pub(crate) fn setup(dir: &Path) -> JobConfig {
    JobConfig {
        executable: "/nonexistent".into(),
        variables: std::env::vars().filter(|(name, _)| name == "PATH").collect(),
        library: Library::new(&dir.join("models")),
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
