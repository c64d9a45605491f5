//! A daemon's rooms as far as the uploader sees them, and the end of its process.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::hooked::hooked;
use crate::fixtures::{contents, facts, recipe, talk};
use crate::index::Index;
use crate::model::{
    ConversationId, ConversationSeq, Day, Destination, FileName, Key, Object, Overlay, Placement,
    RecordedAt, Recording, TimeSource,
};
use crate::publishing::change_log::{BucketChange, ChangeLog};
use crate::publishing::page_store::PageStore;
use crate::publishing::pages;
use crate::render;
use crate::store::outbox::{Event, Sizes};
use crate::store::{Bucket, MemoryStore, Store};
use crate::sync::SyncContext;
use crate::sync::eviction::Retention;
use crate::sync::lease::{Fence, Now};
use crate::sync::refusals::Refusals;
use crate::sync::uploader::maintenance::give_up_uploads;
use crate::sync::uploader::memory_budget::MemoryBudget;
use crate::sync::uploader::rate_limit::RateLimit;
use crate::sync::uploader::upload::{Upload, UploadOutcome};
use crate::sync::uploader::upload_worker::UploadWorker;

/// Small enough that a few hundred bytes go in parts.
pub(super) const SIZES: Sizes = Sizes { single_put_bytes: 100, part_bytes: 60 };
pub(super) const SMALL: usize = 90;
pub(super) const LARGE: usize = 250;

/// A daemon's rooms as far as the uploader sees them.
pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) local: Arc<MemoryStore>,
    pub(super) bucket: Arc<MemoryStore>,
    pub(super) index: Index,
    /// Microseconds. It goes on with every look, and jumps to what is waited for.
    pub(super) clock: AtomicI64,
    pub(super) rate_limit: RateLimit,
    budget: MemoryBudget,
    pub(super) changes: ChangeLog,
    pub(super) fence: Fence,
}

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.redb")).unwrap();
        Self::on(index, dir)
    }

    fn on(index: Index, dir: tempfile::TempDir) -> Self {
        index.set_destination(&Destination::Bucket { place: "s3://talks/".into() }).unwrap();
        index.set_needs_remote_scan(false).unwrap();
        Self {
            dir,
            local: Arc::default(),
            bucket: Arc::default(),
            index,
            clock: AtomicI64::new(1_700_000_000_000_000),
            rate_limit: RateLimit::new(None),
            budget: MemoryBudget::default(),
            changes: ChangeLog::default(),
            fence: open_fence(),
        }
    }

    /// With one recording that goes in one request and one that goes in parts, on one day.
    pub(super) fn with_two() -> Self {
        Self::new().publishing_two()
    }

    /// The same in that index.
    pub(super) fn with_two_on(index: Index) -> Self {
        Self::on(index, tempfile::tempdir().unwrap()).publishing_two()
    }

    fn publishing_two(self) -> Self {
        let world = self;
        world.publish("standup", "small", SMALL);
        world.publish("standup", "large", LARGE);
        world
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.clock.fetch_add(1, Ordering::Relaxed)).unwrap()
    }

    /// By both clocks. The one that is never set goes on with the other.
    pub(super) fn both_clocks(&self) -> Now {
        let wall = self.now();
        Now { boot: Duration::from_micros(wall.as_microsecond().cast_unsigned()), wall }
    }

    pub(super) fn jump_to_boot(&self, until: Duration) {
        let micros = i64::try_from(until.as_micros()).unwrap();
        self.clock.fetch_max(micros, Ordering::Relaxed);
    }

    pub(super) fn jump_to(&self, until: Timestamp) {
        self.clock.fetch_max(until.as_microsecond(), Ordering::Relaxed);
    }

    pub(super) fn publish(&self, conversation: &str, stem: &str, bytes: usize) -> Recording {
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
        self.local.put(&key, &content).unwrap();
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
        let page_store = PageStore { store: self.local.as_ref(), index: &self.index };
        let said = (&recipe(), &talk());
        let text = pages::write_new(page_store, &conversation, &mut recording, said, now).unwrap();
        let transcript = text.transcript().map(|transcript| transcript.object.clone());
        self.index.publish(recording.clone(), text, None).unwrap();
        pages::install(page_store, &recording, transcript.as_ref()).unwrap();
        recording
    }

    pub(super) fn carry(
        &self,
        bucket: &dyn Bucket,
        recording: Recording,
        rested: Option<Box<Upload>>,
        look: &dyn Fn(),
    ) -> UploadOutcome {
        let clock = || {
            look();
            self.now()
        };
        let worker = UploadWorker {
            local: self.local.as_ref(),
            store: self.local.as_ref(),
            bucket,
            index: &self.index,
            sizes: SIZES,
            rate_limit: &self.rate_limit,
            budget: &self.budget,
            changes: &self.changes,
            clock: &clock,
            chance: &|| 0.5,
            heard: &|| {},
            fence: &self.fence,
        };
        worker.carry(recording, rested, Event::Woken, false).unwrap()
    }

    /// Carries the oldest again and again, as long as it takes, but no more than `attempts` times.
    pub(super) fn carry_all(&self, bucket: &dyn Bucket, attempts: usize, look: &dyn Fn()) -> bool {
        let mut rested = None;
        for _ in 0..attempts {
            let Some(recording) = self.index.pending_uploads(1).unwrap().pop() else { return true };
            match self.carry(bucket, recording, rested.take(), look) {
                UploadOutcome::Waits { until, upload, .. } => {
                    self.jump_to(until);
                    rested = Some(upload);
                }
                UploadOutcome::DiskFull(upload) => rested = upload,
                UploadOutcome::Stored | UploadOutcome::Overtaken | UploadOutcome::Stopped => {}
            }
        }
        self.index.pending_uploads(1).unwrap().is_empty()
    }

    /// To the end, over a bucket that answers.
    pub(super) fn finish(&self) {
        assert!(self.carry_all(self.bucket.as_ref(), 50, &|| {}), "it does not come to an end");
        give_up_uploads(&self.context(self.bucket.clone()), &Refusals::default(), self.now())
            .unwrap();
    }

    pub(super) fn context(&self, bucket: Arc<dyn Bucket>) -> SyncContext {
        SyncContext {
            local: self.local.clone(),
            store: self.local.clone(),
            bucket,
            index: self.index.clone(),
            free_bytes: Arc::new(|| None),
            copied: Arc::new(|_| {}),
            health: Arc::default(),
            alarm: Arc::new(|| {}),
        }
    }

    /// The process ends, and another one begins.
    pub(super) fn restart(self) -> Self {
        self.index.close().unwrap();
        let index = Index::open(&self.dir.path().join("index.redb")).unwrap();
        Self { index, changes: ChangeLog::default(), ..self }
    }

    pub(super) fn in_bucket(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = contents(self.bucket.as_ref());
        all.retain(|key, _| !key.starts_with("_scribefs/"));
        all
    }

    pub(super) fn all(&self) -> Vec<Recording> {
        let index = &self.index;
        let seqs = (1..10).map(ConversationSeq);
        let days = seqs
            .flat_map(|seq| index.filed_days(seq).unwrap().into_iter().map(move |day| (seq, day)));
        days.flat_map(|(seq, day)| index.filed_recordings(seq, day).unwrap()).collect()
    }

    /// Bucket, local disk and index say the same.
    pub(super) fn check(&self, context: &str) {
        assert_eq!(self.in_bucket(), contents(self.local.as_ref()), "{context}");
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
    pub(super) fn check_order(&self, context: &str) {
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
    pub(super) fn told(&self) -> Vec<BucketChange> {
        let found = self.bucket.list_after(Key::CHANGES, "", usize::MAX).unwrap();
        let read = |key: &Key| self.bucket.get_range(key, 0..u64::MAX).unwrap();
        found.iter().map(|found| serde_json::from_slice(&read(&found.key)).unwrap()).collect()
    }
}

fn open_fence() -> Fence {
    let fence = Fence::default();
    fence.open_until(Duration::MAX);
    fence
}

/// Counts down to the end of the process.
pub(super) struct Death(AtomicI64);

impl Death {
    pub(super) fn after(steps: i64) -> Self {
        Self(AtomicI64::new(steps))
    }

    pub(super) fn step(&self) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 0 {
            resume_unwind(Box::new("killed"));
        }
    }
}

/// Carries until death comes. Whether it came.
pub(super) fn carry_until(world: &World, death: &Death) -> bool {
    let hook = |_: &str, _: bool| {
        death.step();
        Ok(())
    };
    let bucket = hooked(&world.bucket, hook);
    let carry = || world.carry_all(&bucket, 50, &|| death.step());
    catch_unwind(AssertUnwindSafe(carry)).is_err()
}

pub(super) fn retention() -> Retention {
    Retention {
        keeps_local: false,
        copied_bytes: u64::MAX,
        keep_free_bytes: 0,
        audio: None,
        trash: None,
    }
}
