//! A daemon's rooms over a real folder, for tests of what is kept where.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{facts, recipe, talk};
use crate::index::Index;
use crate::model::{
    Access, ConversationId, Destination, FileName, InboxId, Job, JobId, JobState, Placement,
    Recording,
};
use crate::pipeline::duplicates::{self, Known};
use crate::pipeline::eviction::Retention;
use crate::pipeline::publish::{self, Finished, PublishError};
use crate::pipeline::{Carrier, CarrierOptions, Grounds, Services};
use crate::spool::{Creator, Dropped, Spool, SpoolEvent, SpoolOptions};
use crate::store::outbox::Sizes;
use crate::store::{Bucket, Call, Interceptor, LocalStore, MemoryStore, Store, StoreError};

/// Called before every call of a store, which it may fail.
pub(super) struct Before<F>(pub(super) F);

impl<F: Fn(Call<'_>) -> Result<(), StoreError> + Send + Sync> Interceptor for Before<F> {
    type Passed = ();

    fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        (self.0)(call)
    }
}

/// A daemon's rooms over a real folder.
pub(super) struct Archive {
    pub(super) dir: tempfile::TempDir,
    pub(super) near: Arc<LocalStore>,
    pub(super) services: Services,
}

impl Archive {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SpoolOptions {
            settle: Duration::ZERO,
            settle_after_rename: Duration::ZERO,
            max_upload_bytes: None,
            keep_free_bytes: 0,
            sync_on_close: false,
        };
        let spool = Spool::open(&dir.path().join("spool"), options).unwrap();
        let index = Index::open(&dir.path().join("index.redb")).unwrap();
        let near = Arc::new(LocalStore::open(&dir.path().join("uploads")).unwrap());
        let services = Services { spool, store: near.clone(), index, alarm: Arc::new(|| {}) };
        Self { dir, near, services }
    }

    /// The same with everything on its way to a bucket.
    pub(super) fn for_bucket() -> Self {
        let archive = Self::new();
        let place = "s3://talks/".to_owned();
        archive.services.index.settle(&Destination::Bucket { place }).unwrap();
        archive.services.index.owe_discovery(false).unwrap();
        archive
    }

    /// The same files under an index that knows none of them.
    pub(super) fn forget(&mut self) {
        self.services.index = Index::open(&self.dir.path().join("other.redb")).unwrap();
    }

    pub(super) fn drop_file(&self, name: &str, sound: &[u8]) -> Dropped {
        self.drop_file_with_mode(0o644, name, sound)
    }

    fn drop_file_with_mode(&self, mode: u32, name: &str, sound: &[u8]) -> Dropped {
        let spool = &self.services.spool;
        let events = spool.subscribe();
        // SAFETY: both only read a number.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        let creator = Creator { uid, gid, mode, thread: 0 };
        let flags = libc::O_WRONLY | libc::O_CREAT;
        let (_, open) = spool.create(InboxId::ROOT, name.as_ref(), creator, flags).unwrap();
        open.file.write_all_at(sound, 0).unwrap();
        spool.before_write(&open, sound.len() as u64).unwrap();
        spool.release(&open);
        drop(open);
        loop {
            if let SpoolEvent::Ready(dropped) =
                events.recv_timeout(Duration::from_secs(60)).unwrap()
            {
                return dropped;
            }
        }
    }

    pub(super) fn job(&self, dropped: &Dropped, conversation: &str) -> Job {
        let now: Timestamp = "2024-01-15T10:02:00Z".parse().unwrap();
        let folder = FileName::new(conversation).unwrap();
        Job {
            id: JobId(1),
            inbox: dropped.id,
            generation: dropped.generation,
            path: vec![folder, dropped.path.last().unwrap().clone()],
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
        }
    }

    /// The recording as a lane publishes it.
    pub(super) fn try_publish(
        &self,
        conversation: &str,
        name: &str,
        sound: &[u8],
    ) -> Result<Recording, PublishError> {
        self.try_publish_with_mode(0o644, conversation, name, sound)
    }

    /// The same where what was dropped has these mode bits.
    pub(super) fn try_publish_with_mode(
        &self,
        mode: u32,
        conversation: &str,
        name: &str,
        sound: &[u8],
    ) -> Result<Recording, PublishError> {
        let dropped = self.drop_file_with_mode(mode, "dropped.wav", sound);
        let mut job = self.job(&dropped, conversation);
        job.path[1] = FileName::new(name).unwrap();
        let recording = self.services.spool.take(dropped.id, dropped.generation).unwrap();
        let finished = Finished {
            job: &job,
            blake3: &blake3::hash(sound).to_hex(),
            facts: facts(),
            talk: &talk(),
            recipe: &recipe(),
            names: BTreeMap::new(),
            recording: &recording,
            zone: &TimeZone::UTC,
            now: Timestamp::now(),
            may_go_on: &|| true,
        };
        let published = publish::publish(&self.services, finished);
        self.services.spool.finish(dropped.id, dropped.generation).unwrap();
        published
    }

    pub(super) fn publish(&self, conversation: &str, name: &str, sound: &[u8]) -> Recording {
        self.try_publish(conversation, name, sound).unwrap()
    }

    pub(super) fn audio_of(&self, recording: &Recording) -> Vec<u8> {
        self.near.get_range(&recording.audio.key, 0..u64::MAX).unwrap()
    }

    /// Somebody else's file.
    pub(super) fn write(&self, below: &str, bytes: &[u8]) {
        let path = self.near.root().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(super) fn known(&self, conversation: &str, name: &str, sound: &[u8]) -> Option<Known> {
        // SAFETY: both only read a number.
        let owner = unsafe { (libc::geteuid(), libc::getegid()) };
        self.known_to(Access { owner: Some(owner), mode: 0o644 }, conversation, name, sound)
    }

    /// The same where somebody else has dropped them.
    pub(super) fn known_to(
        &self,
        drop: Access,
        conversation: &str,
        name: &str,
        sound: &[u8],
    ) -> Option<Known> {
        let dropped = self.drop_file(name, sound);
        let job = self.job(&dropped, conversation);
        let blake3 = blake3::hash(sound).to_hex();
        let known = duplicates::known(&self.services, &job, Some(drop), &blake3).unwrap();
        self.services.spool.finish(dropped.id, dropped.generation).unwrap();
        known
    }

    pub(super) fn grounds(&self, bucket: Arc<dyn Bucket>) -> Grounds {
        Grounds {
            near: self.near.clone(),
            store: self.near.clone(),
            bucket,
            index: self.services.index.clone(),
            free_bytes: Arc::new(|| None),
            copied: Arc::new(|_| {}),
            health: Arc::default(),
            alarm: Arc::new(|| panic!("the index is sound")),
        }
    }

    /// Has everything carried to the bucket that can be.
    pub(super) fn carry(&self, bucket: &Arc<MemoryStore>) -> Option<String> {
        self.carry_on(self.grounds(bucket.clone()))
    }

    pub(super) fn carry_on(&self, grounds: Grounds) -> Option<String> {
        let options = CarrierOptions {
            uploads_at_once: 1,
            bytes_per_second: None,
            sizes: Sizes { single_put_bytes: 40, part_bytes: 16 },
            retention: keeps_all(),
            writer: self.dir.path().join("writer"),
        };
        let carrier = Carrier::start(options, grounds).unwrap();
        let begun = Instant::now();
        let end = loop {
            let status = carrier.status().unwrap();
            if status.pending + status.paused == 0 {
                break None;
            }
            if status.pending == 0 && status.paused != 0 {
                let row = self.services.index.unplaced(1).unwrap().pop();
                if let Some(Recording { placement: Placement::Paused { why, .. }, .. }) = row {
                    break Some(why);
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{status:?}");
            std::thread::sleep(Duration::from_millis(5));
        };
        carrier.stop();
        end
    }
}

pub(super) fn keeps_all() -> Retention {
    Retention {
        keeps_near: false,
        copied_bytes: u64::MAX,
        keep_free_bytes: 0,
        audio: None,
        trash: None,
    }
}
