//! From talk to pages, from pages to the store, and only then to the index.
//!
//! Order: audio, pages, metadata (which names them all), index. The audio is copied to where the store stages files,
//! and looked at there, before anybody else has to wait; then it is named. The day's transcript is shared with other
//! recordings: it is staged before the index is told, and takes the place of the old one after it. A crash in
//! between leaves objects that nothing names but a claim, by which they are taken back before the job runs again.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::index::IndexError;
use crate::jobs::JobContext;
use crate::jobs::recorded_at::{self, TimeSources};
use crate::model::{
    Access, Day, FileName, Job, JobState, Object, Overlay, Placement, Recipe, RecordedAt,
    Recording, SoundFacts, SpeakerId, Talk,
};
use crate::publishing::claim::{self, ClaimRequest, Claimed};
use crate::publishing::content_hash::content_hash;
use crate::publishing::page_store::PageStore;
use crate::publishing::{StorageError, claims, day_transcript, page_lock, pages};
use crate::store::{StagedFile, StoreError};

/// A job whose words are known.
pub(crate) struct Finished<'a> {
    pub(crate) job: &'a Job,
    /// Of the recording, hexadecimal.
    pub(crate) blake3: &'a str,
    pub(crate) facts: SoundFacts,
    pub(crate) talk: &'a Talk,
    pub(crate) recipe: &'a Recipe,
    /// What its speakers are called elsewhere.
    pub(crate) names: BTreeMap<SpeakerId, String>,
    pub(crate) recording: &'a File,
    pub(crate) zone: &'a TimeZone,
    pub(crate) now: Timestamp,
    /// Asked while the recording is copied.
    pub(crate) may_go_on: &'a dyn Fn() -> bool,
}

/// Why a recording was not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// The file in the inbox is no longer the one that was heard.
    #[error("the recording was withdrawn")]
    Withdrawn,
    #[error("the store refused")]
    Store(#[from] StoreError),
    #[error("the index refused")]
    Index(#[from] IndexError),
}

impl From<StorageError> for PublishError {
    fn from(err: StorageError) -> Self {
        match err {
            StorageError::Store(err) => Self::Store(err),
            StorageError::Index(err) => Self::Index(err),
        }
    }
}

/// Makes the recording part of its conversation, durably.
pub(crate) fn publish(
    services: &JobContext,
    finished: Finished<'_>,
) -> Result<Recording, PublishError> {
    let Finished { job, blake3, recording, may_go_on, .. } = finished;
    fail_point!("publish-before-audio");
    let mut staged = stage(services, job, recording, blake3, may_go_on)?;
    let recorded_at = recorded_at(job, &finished.facts, finished.zone, finished.now);
    let (stem, extension) = original_name(job).stem_and_extension(&finished.facts.container);
    let wanted = ClaimRequest {
        conversation: &job.conversation,
        day: day(&recorded_at),
        stem: &stem,
        extension: &extension,
        bytes: job.bytes,
        blake3,
    };
    let (store, index) = (services.store.as_ref(), &services.index);
    let page_store = PageStore { store, index };
    let _ahead = day_transcript::read_ahead_of_new(page_store, wanted.conversation, wanted.day)?;
    let _alone = page_lock::lock();
    if !services.spool.is_current(job.inbox, job.generation) {
        return Err(PublishError::Withdrawn);
    }
    claims::take_back_all(store, index)?;
    let published = publish_staged(services, &finished, wanted, &mut staged, recorded_at);
    if published.is_err() {
        // Before anybody can move the conversation.
        claims::take_back_all(store, index)?;
    }
    published
}

/// For whoever is alone.
fn publish_staged(
    services: &JobContext,
    finished: &Finished<'_>,
    wanted: ClaimRequest<'_>,
    staged: &mut StagedFile,
    recorded_at: RecordedAt,
) -> Result<Recording, PublishError> {
    let job = finished.job;
    let (store, index) = (services.store.as_ref(), &services.index);
    let page_store = PageStore { store, index };
    // Held until the index has it: nobody else gets this number and this stem meanwhile.
    let claimed = claim::claim(store, index, wanted, staged, finished.now)?;
    let audio_name = claimed.reserved.stem.with_extension(wanted.extension);
    let mut recording = describe(finished, &claimed, audio_name, recorded_at);
    recording.placement = index.destination()?.first_placement();
    fail_point!("publish-audio-stored");

    let talk = named(finished.talk, &recording);
    let said = (finished.recipe, &talk);
    let conversation = &claimed.conversation;
    let text = pages::write_new(page_store, conversation, &mut recording, said, finished.now)?;
    let transcript = text.transcript().map(|transcript| transcript.object.clone());
    if !services.spool.is_current(job.inbox, job.generation) {
        discard(page_store, transcript.as_ref());
        return Err(PublishError::Withdrawn);
    }
    let mut done = job.clone();
    done.state = JobState::Done;
    done.updated_at = finished.now;
    done.recording = Some(recording.id);
    fail_point!("publish-before-index");
    index.publish(recording.clone(), text, Some(done))?;
    fail_point!("publish-before-install");
    if let Err(err) = pages::install(page_store, &recording, transcript.as_ref()) {
        // It is owed, and readers find it where it is staged.
        log::warn!("{}: its day's transcript is not in its place yet: {err}", recording.id);
    }
    Ok(recording)
}

/// A durable copy of a dropped file in which the bytes are that were read before.
pub(crate) fn stage(
    services: &JobContext,
    job: &Job,
    recording: &File,
    blake3: &str,
    may_go_on: &dyn Fn() -> bool,
) -> Result<StagedFile, PublishError> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| {
        PublishError::Store(StoreError::Refused { at: "the copy of a recording".into(), source })
    };
    let staged = services.store.stage_file(recording, may_go_on)?;
    let staged = staged.ok_or(PublishError::Withdrawn)?;
    let hash = content_hash(staged.file(), may_go_on).map_err(|err| refused(err.into()))?;
    let is_it = hash.ok_or(PublishError::Withdrawn)? == blake3;
    if !services.spool.is_current(job.inbox, job.generation) {
        return Err(PublishError::Withdrawn);
    }
    if !is_it {
        return Err(refused("the copy has other bytes than were read before".into()));
    }
    Ok(staged)
}

/// What was said, with the names that speakers were given elsewhere.
fn named(talk: &Talk, recording: &Recording) -> Talk {
    let mut talk = talk.clone();
    for speaker in &mut talk.speakers {
        speaker.name = recording.overlay.names.get(&speaker.id).cloned();
    }
    talk
}

fn recorded_at(job: &Job, facts: &SoundFacts, zone: &TimeZone, now: Timestamp) -> RecordedAt {
    let names: Vec<String> = job.path.iter().map(FileName::display).collect();
    recorded_at::recorded_at(TimeSources {
        created: facts.created.as_ref(),
        path: &names.join("/"),
        modified_at: modified_at(job),
        now,
        zone,
    })
}

fn day(recorded_at: &RecordedAt) -> Day {
    Day::new(recorded_at.time.date()).unwrap_or(Day::UNKNOWN)
}

/// The day that a job's recording will be filed under.
pub(crate) fn day_of(job: &Job, facts: &SoundFacts, zone: &TimeZone, now: Timestamp) -> Day {
    day(&recorded_at(job, facts, zone, now))
}

fn modified_at(job: &Job) -> Timestamp {
    Timestamp::from_nanosecond(job.modified_ns).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn describe(
    finished: &Finished<'_>,
    claimed: &Claimed,
    audio_name: FileName,
    recorded_at: RecordedAt,
) -> Recording {
    let mut overlay = claimed.overlay.clone();
    overlay.names.extend(finished.names.clone());
    Recording {
        id: claimed.reserved.id,
        audio_name,
        stem: claimed.reserved.stem.clone(),
        filed_as: claimed.conversation.filed_as.clone(),
        audio: claimed.audio.clone(),
        pages: Vec::new(),
        modified_at: modified_at(finished.job),
        published_at: finished.now,
        recorded_at,
        facts: finished.facts.clone(),
        language: finished.talk.language.clone(),
        speakers: u32::try_from(finished.talk.speakers.len()).unwrap_or(u32::MAX),
        model: finished.recipe.recognizer.name.clone(),
        placement: Placement::Stored,
        revision: 1,
        overlay: Overlay { access: access_of(finished.recording), trashed_at: None, ..overlay },
        original_name: original_name(finished.job),
    }
}

/// Who may read the file as it was dropped.
pub(crate) fn access_of(recording: &File) -> Option<Access> {
    let stat = recording.metadata().ok()?;
    Some(Access { owner: Some((stat.uid(), stat.gid())), mode: stat.mode() & 0o777 })
}

/// The day's transcript of a recording that was withdrawn at the last moment. What is left is swept at the next start.
fn discard(page_store: PageStore<'_>, transcript: Option<&Object>) {
    let discarded = transcript.map_or(Ok(()), |object| page_store.discard_staged(object));
    if let Err(err) = discarded {
        log::warn!("a withdrawn recording has left something in the store: {err}");
    }
}

fn original_name(job: &Job) -> FileName {
    job.path.last().cloned().unwrap_or_else(FileName::unnamed)
}
