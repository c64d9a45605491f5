//! Carries one recording: asks its errand what is next, keeps that in the index, does it, and says how it went.
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
use crate::publishing::change_log::{Changes, Told};
use crate::publishing::page_store::Shelves;
use crate::publishing::rewrite::RewriteError;
use crate::store::outbox::{self, Action, Errand, Event, Sizes, Trouble};
use crate::store::{Bucket, Store, StoreError};
use crate::sync::follower::discover_at;
use crate::sync::lease::Fence;
use crate::sync::refile;
use crate::sync::uploader::memory_budget::MemoryBudget;
use crate::sync::uploader::object_labels;
use crate::sync::uploader::parts_ahead::PartsAhead;
use crate::sync::uploader::rate_limit::Pace;
use crate::sync::uploader::throughput::Tally;
use crate::sync::uploader::upload::{Carried, Seen, Trip};
use crate::sync::uploader::upload_error::{Blame, Fault};

/// What it takes to carry.
#[derive(Clone, Copy)]
pub(crate) struct Courier<'a> {
    pub(crate) near: &'a dyn Store,
    /// Where pages are written anew, from others that may be in the bucket only.
    pub(crate) store: &'a dyn Store,
    pub(crate) bucket: &'a dyn Bucket,
    pub(crate) index: &'a Index,
    pub(crate) sizes: Sizes,
    pub(crate) pace: &'a Pace,
    pub(crate) budget: &'a MemoryBudget,
    pub(crate) changes: &'a Changes,
    pub(crate) clock: &'a dyn Fn() -> Timestamp,
    pub(crate) chance: &'a dyn Fn() -> f64,
    /// Called whenever the bucket has taken something.
    pub(crate) heard: &'a dyn Fn(),
    /// Nothing goes on without a lease.
    pub(crate) fence: &'a Fence,
}

/// How far it got: [`Carried`] without the upload itself.
enum Outcome {
    Stored,
    Overtaken,
    Waits { until: Timestamp, blame: Option<Blame>, why: String },
    Stopped,
}

/// A refusal to tell of a change is no errand's: it is tried again after that.
const PROBE: SignedDuration = SignedDuration::from_mins(5);

impl Courier<'_> {
    /// Carries on until the recording has arrived or has to wait, on the trip that it rested from if there is
    /// one. `event` is `Woken`, or `Called` if it need not wait for its time. `is_requested`: somebody asks for it.
    ///
    /// # Errors
    /// The index could not be read or written: nothing can be done safely any more.
    pub(crate) fn carry(
        &self,
        recording: Recording,
        rested: Option<Box<Trip>>,
        event: Event,
        is_requested: bool,
    ) -> Result<Carried, IndexError> {
        let mut trip = match rested {
            Some(trip) if trip.is_of(&recording) => trip,
            other => match self.set_out(recording, other) {
                Ok(Some(trip)) => trip,
                Ok(None) => return Ok(Carried::Overtaken),
                Err(IndexError::Full(_)) => return Ok(Carried::DiskFull(None)),
                Err(err) => return Err(err),
            },
        };
        let Some(event) = self.first_event(&mut trip, event, is_requested) else {
            let now = (self.clock)();
            let until = now.checked_add(PROBE).unwrap_or(now);
            return Ok(Carried::Waits { until, blame: None, why: String::new(), trip });
        };
        match self.travel(&mut trip, event) {
            Ok(Outcome::Stored) => Ok(Carried::Stored),
            Ok(Outcome::Overtaken) => Ok(Carried::Overtaken),
            Ok(Outcome::Stopped) => Ok(Carried::Stopped),
            Ok(Outcome::Waits { until, blame, why }) => {
                Ok(Carried::Waits { until, blame, why, trip })
            }
            Err(Fault::Index(IndexError::Full(_))) => Ok(Carried::DiskFull(Some(trip))),
            Err(Fault::Index(err)) => Err(err),
            Err(_) => Ok(Carried::Overtaken),
        }
    }

    /// What to begin with. A local copy that was found damaged is not sent, or even read, before it has changed or
    /// somebody asks for it; and then it is hashed first. `None`: it is left alone.
    fn first_event(&self, trip: &mut Trip, event: Event, is_requested: bool) -> Option<Event> {
        let audio = &trip.recording.audio;
        let Placement::Paused { damaged: Some(known), .. } = &trip.recording.placement else {
            return Some(event);
        };
        let copy = self.fingerprint(audio);
        if copy == *known && !is_requested {
            return None;
        }
        trip.tally = Tally::default();
        match trip.tally.catch_up(audio.bytes, |from, to| self.read(audio, from, to)) {
            Ok(()) if trip.tally.is(audio) => Some(event),
            _ => {
                let fault = Fault::Damaged { key: audio.key.clone(), copy: copy.clone() };
                Some(Event::Failed(Trouble::Damaged { why: causes(&fault), copy }))
            }
        }
    }

    /// Of the local copy. One that is gone has none that any file has.
    fn fingerprint(&self, object: &Object) -> Fingerprint {
        let bytes = self.near.head(&object.key).map_or(0, |found| found.bytes);
        let modified_at = self.near.written_at(&object.key).ok().flatten();
        Fingerprint { bytes, modified_at }
    }

    pub(crate) fn damaged(&self, object: &Object) -> Fault {
        Fault::Damaged { key: object.key.clone(), copy: self.fingerprint(object) }
    }

    /// The bucket has something else under the recording's name: it gets another one, and goes there anew.
    fn refile(&self, recording: &Recording) -> Fault {
        let standing = match self.standing(recording) {
            Ok(standing) => standing,
            Err(fault) => return fault,
        };
        let shelves = Shelves { store: self.store, index: self.index };
        match refile::refile(self.near, shelves, &standing) {
            Ok(()) => {
                self.discover_other(&standing);
                Fault::Overtaken
            }
            Err(RewriteError::Missing) => Fault::Overtaken,
            Err(RewriteError::Index(
                err @ (IndexError::Disk(_) | IndexError::Damaged(_) | IndexError::Full(_)),
            )) => Fault::Index(err),
            Err(err) => Fault::Rewrite(err),
        }
    }

    /// Whose recording it is that `former` has made way for: the day's text in the bucket may be one of it alone, and
    /// ours can take its place only when both are known. The steward tries again what fails.
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
        stale: Option<Box<Trip>>,
    ) -> Result<Option<Box<Trip>>, IndexError> {
        if let Some(upload_id) = stale.as_ref().and_then(|it| it.errand.placement().upload_id())
            && recording.placement.upload_id() != Some(upload_id)
            && let Some(stale) = &stale
        {
            self.drop_upload(&stale.recording.audio.key, Some(upload_id.to_owned()))?;
        }
        let (seq, day) = (recording.id.conversation, recording.id.day);
        let Some(transcript) = self.index.filed_transcript(seq, day)? else { return Ok(None) };
        let cargo = outbox::cargo(&recording, &transcript);
        let cargo = cargo.into_iter().map(|object| object.bytes).collect();
        let errand = Errand::new(recording.placement.clone(), cargo, self.sizes);
        Ok(Some(Box::new(Trip {
            recording,
            transcript,
            errand,
            tally: Tally::default(),
            seen: Seen::default(),
            sent_transcript: None,
            version: None,
            parts_ahead: PartsAhead::default(),
        })))
    }

    fn travel(&self, trip: &mut Trip, mut event: Event) -> Result<Outcome, Fault> {
        let mut failed: Option<(Blame, String)> = None;
        loop {
            let began = match &event {
                Event::Began { upload_id } => Some(upload_id.clone()),
                _ => None,
            };
            let action = trip.errand.step(event, (self.clock)(), (self.chance)());
            if action == Action::Rest {
                return self.arrive(trip);
            }
            if !self.save(trip)? {
                self.drop_upload(&trip.recording.audio.key, began)?;
                return Err(Fault::Overtaken);
            }
            let until = match action {
                Action::Wait { until } => Some(until),
                _ => failed.as_ref().map(|_| (self.clock)()),
            };
            if let Some(until) = until {
                let (blame, why) = failed.unzip();
                return Ok(Outcome::Waits { until, blame, why: why.unwrap_or_default() });
            }
            if self.pace.is_closed() || !self.fence.is_open() {
                return Ok(Outcome::Stopped);
            }
            fail_point!("outbox-before-step");
            event = match self.act(trip, &action) {
                Ok(event) => {
                    // An answer to a question is no sign: it may refuse all the same.
                    if action != Action::LookForAudio {
                        (self.heard)();
                    }
                    event
                }
                Err(fault) => {
                    let fault = match fault {
                        Fault::Taken { .. } => self.refile(&trip.recording),
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
    fn save(&self, trip: &mut Trip) -> Result<bool, Fault> {
        let Recording { id, revision, .. } = trip.recording;
        let placement = trip.errand.placement().clone();
        let is_ours = self.index.set_placement(id, revision, placement.clone())?;
        // Not before: a row that could not be written is the one to go on from.
        trip.recording.placement = placement;
        Ok(is_ours)
    }

    /// An upload that nobody will go on with.
    fn drop_upload(&self, key: &Key, upload_id: Option<String>) -> Result<(), IndexError> {
        let Some(upload_id) = upload_id else { return Ok(()) };
        match self.bucket.abort_upload(key, &upload_id) {
            Ok(()) => Ok(()),
            // The steward tries again.
            Err(_) => self.index.remember_upload(&upload_id, key),
        }
    }

    /// Everything is in the bucket: those who follow it are told, and then the index.
    fn arrive(&self, trip: &Trip) -> Result<Outcome, Fault> {
        if let Err(err) = self.tell(&trip.recording) {
            return Ok(self.tell_later(&Fault::Bucket(err)));
        }
        let recording = &trip.recording;
        fail_point!("outbox-before-stored");
        // A copy that cannot be looked at now is to be evicted all the same.
        let found = self.near.head(&recording.audio.key);
        let is_near = !matches!(found, Err(StoreError::Missing { .. }));
        let copied_at = is_near.then(|| (self.clock)());
        let Recording { id, revision, .. } = *recording;
        let version = trip.version.clone();
        let is_ours = self.index.set_stored_as(id, revision, copied_at, version)?;
        if is_ours && !self.has_sent_transcript(trip)? {
            // The day's text was rendered again after it was sent, while no placement could say so.
            self.index.set_placement(id, revision, Placement::PagesChanged)?;
            return Ok(Outcome::Overtaken);
        }
        Ok(if is_ours { Outcome::Stored } else { Outcome::Overtaken })
    }

    fn has_sent_transcript(&self, trip: &Trip) -> Result<bool, IndexError> {
        let (seq, day) = (trip.recording.id.conversation, trip.recording.id.day);
        let present = self.index.filed_transcript(seq, day)?;
        Ok(present.is_none_or(|it| trip.sent_transcript.as_ref() == Some(&it.object.blake3)))
    }

    fn tell(&self, recording: &Recording) -> Result<(), StoreError> {
        let Some(metadata) = recording.page(PageKind::Metadata) else { return Ok(()) };
        let told = Told::Metadata(metadata.object.key.clone());
        self.changes.tell(self.bucket, &told, self.clock)
    }

    /// The errand is done; what is left waits for the bucket like everything else.
    fn tell_later(&self, fault: &Fault) -> Outcome {
        let now = (self.clock)();
        let blame = fault.blame();
        let until = match blame.as_ref().map(Blame::trouble) {
            Some(Trouble::Refused { .. }) => now.checked_add(PROBE).unwrap_or(now),
            Some(Trouble::Passing | Trouble::UploadLost | Trouble::Damaged { .. }) | None => now,
        };
        Outcome::Waits { until, blame, why: causes(fault) }
    }

    fn act(&self, trip: &mut Trip, action: &Action) -> Result<Event, Fault> {
        let audio = &trip.recording.audio;
        match action {
            Action::LookForAudio => {
                let is_there = self.has_audio(&trip.recording)?;
                trip.seen.lacks_audio = !is_there;
                Ok(if is_there { Event::Found } else { Event::NotFound })
            }
            // Nothing is sent that would have to be thrown away.
            Action::Begin if !trip.seen.lacks_audio && self.has_audio(&trip.recording)? => {
                Ok(Event::Found)
            }
            Action::Begin => {
                trip.seen.lacks_audio = true;
                let label = object_labels::of_audio(&trip.recording);
                let begun = self.bucket.begin_upload(&audio.key, &label);
                Ok(Event::Began { upload_id: begun.map_err(Fault::Bucket)? })
            }
            Action::PutPart { upload_id, number, range } => {
                self.put_part(trip, upload_id, *number, range.clone())
            }
            Action::Complete { upload_id, parts } => self.complete(trip, upload_id, parts),
            Action::Put { place: 0 } => self.put_audio(trip),
            Action::Put { place } => self.put_page(trip, *place),
            // Nothing to be done: the caller sees to both.
            Action::Wait { .. } | Action::Rest => Ok(Event::Woken),
        }
    }

    /// The row, if it is still the one that we carry.
    fn standing(&self, recording: &Recording) -> Result<Recording, Fault> {
        let standing = self.index.filed_recording(recording.id)?;
        standing.filter(|it| it.revision == recording.revision).ok_or(Fault::Overtaken)
    }
}

pub(crate) fn upload_fault(err: StoreError) -> Fault {
    match err {
        StoreError::Missing { .. } => Fault::UploadLost,
        err => Fault::Bucket(err),
    }
}
