//! Carries one recording: asks for its next step, keeps that in the index, does it, and says how it went.
//!
//! Audio is hashed while it is sent, and the bucket is asked afterwards how much has arrived. Pages are read
//! while nobody writes them, so that those of one recording belong together.

mod audio;
mod owner;
mod pages;
mod parts;

use jiff::{SignedDuration, Timestamp};

use crate::index::{Index, IndexError};
use crate::model::{Fingerprint, Key, Object, PageKind, Placement, Recording, causes};
use crate::publishing::change_log::{BucketChange, ChangeLog};
use crate::publishing::page_store::PageStore;
use crate::publishing::rewrite::RewriteError;
use crate::store::outbox::{self, Action, Event, Sizes, Trouble, UploadSteps};
use crate::store::{Bucket, Store, StoreError};
use crate::sync::follower::discover_at;
use crate::sync::lease::Fence;
use crate::sync::refile;
use crate::sync::uploader::memory_budget::MemoryBudget;
use crate::sync::uploader::object_labels;
use crate::sync::uploader::parts_ahead::PartsAhead;
use crate::sync::uploader::rate_limit::RateLimit;
use crate::sync::uploader::throughput::Throughput;
use crate::sync::uploader::upload::{Seen, Upload, UploadOutcome};
use crate::sync::uploader::upload_error::{Blame, UploadError};

/// What it takes to carry.
#[derive(Clone, Copy)]
pub(crate) struct UploadWorker<'a> {
    pub(crate) local: &'a dyn Store,
    /// Where pages are written anew, from others that may be in the bucket only.
    pub(crate) store: &'a dyn Store,
    pub(crate) bucket: &'a dyn Bucket,
    pub(crate) index: &'a Index,
    pub(crate) sizes: Sizes,
    pub(crate) rate_limit: &'a RateLimit,
    pub(crate) budget: &'a MemoryBudget,
    pub(crate) changes: &'a ChangeLog,
    pub(crate) clock: &'a dyn Fn() -> Timestamp,
    pub(crate) chance: &'a dyn Fn() -> f64,
    /// Called whenever the bucket has taken something.
    pub(crate) heard: &'a dyn Fn(),
    /// Nothing goes on without a lease.
    pub(crate) fence: &'a Fence,
}

/// How far it got: [`UploadOutcome`] without the upload itself.
enum Outcome {
    Stored,
    Overtaken,
    Waits { until: Timestamp, blame: Option<Blame>, why: String },
    Stopped,
}

/// A refusal to tell of a change is no step's: it is tried again after that.
const PROBE: SignedDuration = SignedDuration::from_mins(5);

impl UploadWorker<'_> {
    /// Carries on until the recording has arrived or has to wait, on the upload that it rested from if there is
    /// one. `event` is `Woken`, or `Called` if it need not wait for its time. `is_requested`: somebody asks for it.
    ///
    /// # Errors
    /// The index could not be read or written: nothing can be done safely any more.
    pub(crate) fn carry(
        &self,
        recording: Recording,
        rested: Option<Box<Upload>>,
        event: Event,
        is_requested: bool,
    ) -> Result<UploadOutcome, IndexError> {
        let mut upload = match rested {
            Some(upload) if upload.is_of(&recording) => upload,
            other => match self.set_out(recording, other) {
                Ok(Some(upload)) => upload,
                Ok(None) => return Ok(UploadOutcome::Overtaken),
                Err(IndexError::Full(_)) => return Ok(UploadOutcome::DiskFull(None)),
                Err(err) => return Err(err),
            },
        };
        let Some(event) = self.first_event(&mut upload, event, is_requested) else {
            let now = (self.clock)();
            let until = now.checked_add(PROBE).unwrap_or(now);
            return Ok(UploadOutcome::Waits { until, blame: None, why: String::new(), upload });
        };
        match self.travel(&mut upload, event) {
            Ok(Outcome::Stored) => Ok(UploadOutcome::Stored),
            Ok(Outcome::Overtaken) => Ok(UploadOutcome::Overtaken),
            Ok(Outcome::Stopped) => Ok(UploadOutcome::Stopped),
            Ok(Outcome::Waits { until, blame, why }) => {
                Ok(UploadOutcome::Waits { until, blame, why, upload })
            }
            Err(UploadError::Index(IndexError::Full(_))) => {
                Ok(UploadOutcome::DiskFull(Some(upload)))
            }
            Err(UploadError::Index(err)) => Err(err),
            Err(_) => Ok(UploadOutcome::Overtaken),
        }
    }

    /// What to begin with. A local copy that was found damaged is not sent, or even read, before it has changed or
    /// somebody asks for it; and then it is hashed first. `None`: it is left alone.
    fn first_event(&self, upload: &mut Upload, event: Event, is_requested: bool) -> Option<Event> {
        let audio = &upload.recording.audio;
        let Placement::Paused { damaged: Some(known), .. } = &upload.recording.placement else {
            return Some(event);
        };
        let copy = self.fingerprint(audio);
        if copy == *known && !is_requested {
            return None;
        }
        upload.throughput = Throughput::default();
        match upload.throughput.catch_up(audio.bytes, |from, to| self.read(audio, from, to)) {
            Ok(()) if upload.throughput.is(audio) => Some(event),
            _ => {
                let fault = UploadError::Damaged { key: audio.key.clone(), copy: copy.clone() };
                Some(Event::Failed(Trouble::Damaged { why: causes(&fault), copy }))
            }
        }
    }

    /// Of the local copy. One that is gone has none that any file has.
    fn fingerprint(&self, object: &Object) -> Fingerprint {
        let bytes = self.local.head(&object.key).map_or(0, |found| found.bytes);
        let modified_at = self.local.written_at(&object.key).ok().flatten();
        Fingerprint { bytes, modified_at }
    }

    pub(crate) fn damaged(&self, object: &Object) -> UploadError {
        UploadError::Damaged { key: object.key.clone(), copy: self.fingerprint(object) }
    }

    /// The bucket has something else under the recording's name: it gets another one, and goes there anew.
    fn refile(&self, recording: &Recording) -> UploadError {
        let standing = match self.standing(recording) {
            Ok(standing) => standing,
            Err(fault) => return fault,
        };
        let page_store = PageStore { store: self.store, index: self.index };
        match refile::refile(self.local, page_store, &standing) {
            Ok(()) => {
                self.discover_other(&standing);
                UploadError::Overtaken
            }
            Err(RewriteError::Missing) => UploadError::Overtaken,
            Err(RewriteError::Index(
                err @ (IndexError::Disk(_) | IndexError::Damaged(_) | IndexError::Full(_)),
            )) => UploadError::Index(err),
            Err(err) => UploadError::Rewrite(err),
        }
    }

    /// Whose recording it is that `former` has made way for: the day's text in the bucket may be one of it alone, and
    /// ours can take its place only when both are known. Maintenance tries again what fails.
    fn discover_other(&self, former: &Recording) {
        let metadata = former.audio.key.page_beside(PageKind::Metadata);
        if let Err(err) = discover_at(self.bucket, self.index, &metadata) {
            log::debug!("{metadata}: whose it is is asked later: {}", causes(&err));
        }
    }

    /// Begins anew. An upload of `stale` that its row does not know of would never be given up.
    fn set_out(
        &self,
        recording: Recording,
        stale: Option<Box<Upload>>,
    ) -> Result<Option<Box<Upload>>, IndexError> {
        if let Some(upload_id) = stale.as_ref().and_then(|it| it.steps.placement().upload_id())
            && recording.placement.upload_id() != Some(upload_id)
            && let Some(stale) = &stale
        {
            self.drop_upload(&stale.recording.audio.key, Some(upload_id.to_owned()))?;
        }
        let (seq, day) = (recording.id.conversation, recording.id.day);
        let Some(transcript) = self.index.filed_transcript(seq, day)? else { return Ok(None) };
        let cargo = outbox::cargo(&recording, &transcript);
        let cargo = cargo.into_iter().map(|object| object.bytes).collect();
        let steps = UploadSteps::new(recording.placement.clone(), cargo, self.sizes);
        Ok(Some(Box::new(Upload {
            recording,
            transcript,
            steps,
            throughput: Throughput::default(),
            seen: Seen::default(),
            sent_transcript: None,
            version: None,
            parts_ahead: PartsAhead::default(),
        })))
    }

    fn travel(&self, upload: &mut Upload, mut event: Event) -> Result<Outcome, UploadError> {
        let mut failed: Option<(Blame, String)> = None;
        loop {
            let began = match &event {
                Event::Began { upload_id } => Some(upload_id.clone()),
                _ => None,
            };
            let action = upload.steps.step(event, (self.clock)(), (self.chance)());
            if action == Action::Rest {
                return self.arrive(upload);
            }
            if !self.save(upload)? {
                self.drop_upload(&upload.recording.audio.key, began)?;
                return Err(UploadError::Overtaken);
            }
            let until = match action {
                Action::Wait { until } => Some(until),
                _ => failed.as_ref().map(|_| (self.clock)()),
            };
            if let Some(until) = until {
                let (blame, why) = failed.unzip();
                return Ok(Outcome::Waits { until, blame, why: why.unwrap_or_default() });
            }
            if self.rate_limit.is_closed() || !self.fence.is_open() {
                return Ok(Outcome::Stopped);
            }
            fail_point!("outbox-before-step");
            event = match self.act(upload, &action) {
                Ok(event) => {
                    // An answer to a question is no sign: it may refuse all the same.
                    if action != Action::LookForAudio {
                        (self.heard)();
                    }
                    event
                }
                Err(fault) => {
                    let fault = match fault {
                        UploadError::Taken { .. } => self.refile(&upload.recording),
                        fault => fault,
                    };
                    let Some(blame) = fault.blame() else { return Err(fault) };
                    let trouble = blame.trouble().clone();
                    failed = Some((blame, causes(&fault)));
                    Event::Failed(trouble)
                }
            };
        }
    }

    /// What is to be done next is durable before it is done.
    fn save(&self, upload: &mut Upload) -> Result<bool, UploadError> {
        let Recording { id, revision, .. } = upload.recording;
        let placement = upload.steps.placement().clone();
        let is_ours = self.index.set_placement(id, revision, placement.clone())?;
        // Not before: a row that could not be written is the one to go on from.
        upload.recording.placement = placement;
        Ok(is_ours)
    }

    /// An upload that nobody will go on with.
    fn drop_upload(&self, key: &Key, upload_id: Option<String>) -> Result<(), IndexError> {
        let Some(upload_id) = upload_id else { return Ok(()) };
        match self.bucket.abort_upload(key, &upload_id) {
            Ok(()) => Ok(()),
            // Maintenance tries again.
            Err(_) => self.index.remember_upload(&upload_id, key),
        }
    }

    /// Everything is in the bucket: those who follow it are told, and then the index.
    fn arrive(&self, upload: &Upload) -> Result<Outcome, UploadError> {
        if let Err(err) = self.tell(&upload.recording) {
            return Ok(self.tell_later(&UploadError::Bucket(err)));
        }
        let recording = &upload.recording;
        fail_point!("outbox-before-stored");
        // A copy that cannot be looked at now is to be evicted all the same.
        let found = self.local.head(&recording.audio.key);
        let is_local = !matches!(found, Err(StoreError::Missing { .. }));
        let copied_at = is_local.then(|| (self.clock)());
        let Recording { id, revision, .. } = *recording;
        let version = upload.version.clone();
        let is_ours = self.index.set_stored_as(id, revision, copied_at, version)?;
        if is_ours && !self.has_sent_transcript(upload)? {
            // The day's text was rendered again after it was sent, while no placement could say so.
            self.index.set_placement(id, revision, Placement::PagesChanged)?;
            return Ok(Outcome::Overtaken);
        }
        Ok(if is_ours { Outcome::Stored } else { Outcome::Overtaken })
    }

    fn has_sent_transcript(&self, upload: &Upload) -> Result<bool, IndexError> {
        let (seq, day) = (upload.recording.id.conversation, upload.recording.id.day);
        let present = self.index.filed_transcript(seq, day)?;
        Ok(present.is_none_or(|it| upload.sent_transcript.as_ref() == Some(&it.object.blake3)))
    }

    fn tell(&self, recording: &Recording) -> Result<(), StoreError> {
        let Some(metadata) = recording.page(PageKind::Metadata) else { return Ok(()) };
        let told = BucketChange::Metadata(metadata.object.key.clone());
        self.changes.tell(self.bucket, &told, self.clock)
    }

    /// The upload is done; what is left waits for the bucket like everything else.
    fn tell_later(&self, fault: &UploadError) -> Outcome {
        let now = (self.clock)();
        let blame = fault.blame();
        let until = match blame.as_ref().map(Blame::trouble) {
            Some(Trouble::Refused { .. }) => now.checked_add(PROBE).unwrap_or(now),
            Some(Trouble::Passing | Trouble::UploadLost | Trouble::Damaged { .. }) | None => now,
        };
        Outcome::Waits { until, blame, why: causes(fault) }
    }

    fn act(&self, upload: &mut Upload, action: &Action) -> Result<Event, UploadError> {
        let audio = &upload.recording.audio;
        match action {
            Action::LookForAudio => {
                let is_there = self.has_audio(&upload.recording)?;
                upload.seen.lacks_audio = !is_there;
                Ok(if is_there { Event::Found } else { Event::NotFound })
            }
            // Nothing is sent that would have to be thrown away.
            Action::Begin if !upload.seen.lacks_audio && self.has_audio(&upload.recording)? => {
                Ok(Event::Found)
            }
            Action::Begin => {
                upload.seen.lacks_audio = true;
                let label = object_labels::of_audio(&upload.recording);
                let begun = self.bucket.begin_upload(&audio.key, &label);
                Ok(Event::Began { upload_id: begun.map_err(UploadError::Bucket)? })
            }
            Action::PutPart { upload_id, number, range } => {
                self.put_part(upload, upload_id, *number, range.clone())
            }
            Action::Complete { upload_id, parts } => self.complete(upload, upload_id, parts),
            Action::Put { place: 0 } => self.put_audio(upload),
            Action::Put { place } => self.put_page(upload, *place),
            // Nothing to be done: the caller sees to both.
            Action::Wait { .. } | Action::Rest => Ok(Event::Woken),
        }
    }

    /// The row, if it is still the one that we carry.
    fn standing(&self, recording: &Recording) -> Result<Recording, UploadError> {
        let standing = self.index.filed_recording(recording.id)?;
        standing.filter(|it| it.revision == recording.revision).ok_or(UploadError::Overtaken)
    }
}

pub(crate) fn upload_fault(err: StoreError) -> UploadError {
    match err {
        StoreError::Missing { .. } => UploadError::UploadLost,
        err => UploadError::Bucket(err),
    }
}
