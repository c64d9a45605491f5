//! From talk to pages, from pages to the store, and only then to the index.
//!
//! Order: audio, pages, metadata (which names them all), index. The day's transcript is shared with other
//! recordings: it is staged before the index is told, and takes the place of the old one after it. A crash in
//! between leaves objects that nothing names yet; the job runs again and writes the same keys.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::index::IndexError;
use crate::model::{
    Access, Day, FileName, Job, JobState, Object, Overlay, Placement, Recipe, RecordedAt,
    Recording, SoundFacts, SpeakerId, Talk,
};
use crate::pipeline::claim::{self, Claimed, Wanted};
use crate::pipeline::recorded_at::{self, Clues};
use crate::pipeline::shelves::{PageError, Shelves};
use crate::pipeline::{Services, pages};
use crate::store::StoreError;

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

impl From<PageError> for PublishError {
    fn from(err: PageError) -> Self {
        match err {
            PageError::Store(err) => Self::Store(err),
            PageError::Index(err) => Self::Index(err),
        }
    }
}

/// One writer of pages at a time: two on one day would each write a transcript without the other.
static PUBLISHING: Mutex<()> = Mutex::new(());

/// Waits for the right to write pages.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    PUBLISHING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the recording part of its conversation, durably. The caller is [`alone`].
pub(crate) fn publish(
    services: &Services,
    finished: Finished<'_>,
    _alone: &MutexGuard<'static, ()>,
) -> Result<Recording, PublishError> {
    let job = finished.job;
    let recorded_at = recorded_at(&finished);
    let day = Day::new(recorded_at.time.date()).unwrap_or(Day::UNKNOWN);
    let original_name = job.path.last().cloned().unwrap_or_else(FileName::unnamed);
    let (stem, extension) = original_name.stem_and_extension(&finished.facts.container);
    let wanted = Wanted {
        conversation: &job.conversation,
        day,
        stem: &stem,
        extension: &extension,
        bytes: job.bytes,
        blake3: finished.blake3,
        recording: finished.recording,
    };
    // Held until the index has it: nobody else gets this number and this stem meanwhile.
    fail_point!("publish-before-audio");
    let claimed = claim::claim(services.store.as_ref(), &services.index, wanted, finished.now)?;
    let audio_name = claimed.reserved.stem.with_extension(&extension);
    let mut recording = describe(&finished, &claimed, audio_name, original_name, recorded_at);
    recording.placement = services.index.destination()?.first_placement();
    fail_point!("publish-audio-stored");

    let shelves = Shelves { store: services.store.as_ref(), index: &services.index };
    let talk = named(finished.talk, &recording);
    let said = (finished.recipe, &talk);
    let conversation = &claimed.conversation;
    let text = pages::write_new(shelves, conversation, &mut recording, said, finished.now)?;
    let transcript = text.transcript().map(|transcript| transcript.object.clone());
    if !services.spool.is_current(job.inbox, job.generation) {
        discard(shelves, &recording, transcript.as_ref(), claimed.is_new);
        return Err(PublishError::Withdrawn);
    }
    let mut done = job.clone();
    done.state = JobState::Done;
    done.updated_at = finished.now;
    done.recording = Some(recording.id);
    fail_point!("publish-before-index");
    services.index.publish(recording.clone(), text, Some(done))?;
    fail_point!("publish-before-install");
    if let Err(err) = pages::install(shelves, &recording, transcript.as_ref()) {
        // It is owed, and readers find it where it is staged.
        log::warn!("{}: its day's transcript is not in its place yet: {err}", recording.id);
    }
    Ok(recording)
}

/// What was said, with the names that speakers were given elsewhere.
fn named(talk: &Talk, recording: &Recording) -> Talk {
    let mut talk = talk.clone();
    for speaker in &mut talk.speakers {
        speaker.name = recording.overlay.names.get(&speaker.id).cloned();
    }
    talk
}

fn recorded_at(finished: &Finished<'_>) -> RecordedAt {
    let names: Vec<String> = finished.job.path.iter().map(FileName::display).collect();
    recorded_at::recorded_at(Clues {
        created: finished.facts.created.as_ref(),
        path: &names.join("/"),
        modified_at: modified_at(finished.job),
        now: finished.now,
        zone: finished.zone,
    })
}

fn modified_at(job: &Job) -> Timestamp {
    Timestamp::from_nanosecond(job.modified_ns).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn describe(
    finished: &Finished<'_>,
    claimed: &Claimed,
    audio_name: FileName,
    original_name: FileName,
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
        original_name,
    }
}

/// Who may read the file as it was dropped.
fn access_of(recording: &File) -> Option<Access> {
    let stat = recording.metadata().ok()?;
    Some(Access { owner: Some((stat.uid(), stat.gid())), mode: stat.mode() & 0o777 })
}

/// Takes back what was put for a recording that was withdrawn at the last moment.
fn discard(shelves: Shelves<'_>, recording: &Recording, transcript: Option<&Object>, is_new: bool) {
    // What was there before this job is not its to remove.
    let keys = recording.objects().map(|object| &object.key).filter(|_| is_new);
    let staged = transcript.map(|object| shelves.discard_staged(object));
    for discarded in keys.map(|key| shelves.store.delete(key)).chain(staged) {
        if let Err(err) = discarded {
            log::warn!("a withdrawn recording has left something in the store: {err}");
        }
    }
}

/// Reads an open file from its start without moving anybody's position.
pub(crate) struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl<'a> FromStart<'a> {
    pub(crate) fn new(file: &'a File) -> Self {
        Self { file, at: 0 }
    }
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
