//! From talk to pages, from pages to the store, and only then to the index.
//!
//! Order: audio, pages, the day's transcript, metadata (which names them all), index. A crash in between
//! leaves objects that nothing names yet; the job runs again and writes the same keys.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::index::{Index, IndexError, Reservation};
use crate::model::{
    Conversation, Day, DayTranscript, FileName, Job, JobState, Key, Object, Overlay, Page,
    PageKind, Placement, Recipe, RecordedAt, Recording, RecordingId, SoundFacts, Talk,
};
use crate::pipeline::Services;
use crate::pipeline::recorded_at::{self, Clues};
use crate::render::{self, Chapter};
use crate::store::{Store, StoreError};

/// A job whose words are known.
pub(crate) struct Finished<'a> {
    pub(crate) job: &'a Job,
    /// Of the recording, hexadecimal.
    pub(crate) blake3: &'a str,
    pub(crate) facts: SoundFacts,
    pub(crate) talk: &'a Talk,
    pub(crate) recipe: &'a Recipe,
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

/// One writer of pages at a time: two on one day would each write a transcript without the other.
static PUBLISHING: Mutex<()> = Mutex::new(());

/// Waits for the right to write pages.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    PUBLISHING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the recording part of its conversation, durably.
pub(crate) fn publish(
    services: &Services,
    finished: Finished<'_>,
) -> Result<Recording, PublishError> {
    let _alone = alone();
    let job = finished.job;
    let recorded_at = recorded_at(&finished);
    let conversation = services.index.ensure_conversation(&job.conversation, finished.now)?;
    // Dropped after the index knows the recording: nobody else may get its number and stem before.
    let day = Day::new(recorded_at.time.date()).unwrap_or(Day::UNKNOWN);
    let original_name = job.path.last().cloned().unwrap_or_else(FileName::unnamed);
    let wanted = FileName::new(original_name.split_extension().0).unwrap_or_else(FileName::unnamed);
    // Held until the index has it: nobody else gets this number and this stem meanwhile.
    let reserved = services.index.reserve(conversation.seq, day, &wanted)?;
    let mut recording = describe(&finished, &conversation, &reserved, original_name, recorded_at);
    recording.placement = services.index.destination()?.first_placement();
    fail_point!("publish-before-audio");
    services.store.put_file(&recording.audio.key, finished.recording)?;
    fail_point!("publish-audio-stored");

    let shelves = Shelves { store: services.store.as_ref(), index: &services.index };
    let (recipe, talk) = (finished.recipe, finished.talk);
    let transcript =
        shelves.write_pages(&conversation, &mut recording, recipe, talk, finished.now)?;
    if !services.spool.is_current(job.inbox, job.generation) {
        discard(services, &recording);
        return Err(PublishError::Withdrawn);
    }
    let mut done = job.clone();
    done.state = JobState::Done;
    done.updated_at = finished.now;
    done.recording = Some(recording.id);
    fail_point!("publish-before-index");
    services.index.publish(recording.clone(), transcript, Some(done))?;
    Ok(recording)
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
    conversation: &Conversation,
    reserved: &Reservation,
    original_name: FileName,
    recorded_at: RecordedAt,
) -> Recording {
    let job = finished.job;
    let (id, stem) = (reserved.id, reserved.stem.clone());
    let extension = original_name.split_extension().1.unwrap_or_default();
    let key = Key::audio(&conversation.filed_as, id.day, stem.as_bytes(), extension);
    Recording {
        id,
        audio_name: stem.with_extension(extension),
        stem,
        filed_as: conversation.filed_as.clone(),
        audio: Object { key, bytes: job.bytes, blake3: finished.blake3.to_owned() },
        pages: Vec::new(),
        modified_at: modified_at(job),
        published_at: finished.now,
        recorded_at,
        facts: finished.facts.clone(),
        language: finished.talk.language.clone(),
        speakers: u32::try_from(finished.talk.speakers.len()).unwrap_or(u32::MAX),
        model: finished.recipe.recognizer.name.clone(),
        placement: Placement::Stored,
        revision: 1,
        overlay: Overlay::default(),
        original_name,
    }
}

/// Where pages are kept, and where it is written what there is.
#[derive(Clone, Copy)]
pub(crate) struct Shelves<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) index: &'a Index,
}

impl Shelves<'_> {
    /// Writes all pages of a recording and its day's transcript; the recording then lists them.
    pub(crate) fn write_pages(
        self,
        conversation: &Conversation,
        recording: &mut Recording,
        recipe: &Recipe,
        talk: &Talk,
        now: Timestamp,
    ) -> Result<DayTranscript, PublishError> {
        let chapter = Chapter { conversation, recording, recipe, talk };
        let mut pages = Vec::new();
        for (kind, bytes) in [
            (PageKind::Json, render::json(chapter)),
            (PageKind::Srt, render::srt(chapter)),
            (PageKind::Vtt, render::vtt(chapter)),
        ] {
            pages.push(self.put_page(recording, kind, &bytes)?);
        }
        let transcript = self.write_transcript(chapter, now)?;
        fail_point!("publish-transcript-written");
        let metadata = render::metadata(chapter, &pages, &transcript);
        pages.push(self.put_page(recording, PageKind::Metadata, &metadata)?);
        recording.pages = pages;
        Ok(transcript)
    }

    fn put_page(
        self,
        recording: &Recording,
        kind: PageKind,
        bytes: &[u8],
    ) -> Result<Page, StoreError> {
        let RecordingId { day, .. } = recording.id;
        let key = Key::page(&recording.filed_as, day, recording.stem.as_bytes(), kind);
        fail_point!("publish-before-page");
        Ok(Page { kind, object: self.put(key, bytes)? })
    }

    fn put(self, key: Key, bytes: &[u8]) -> Result<Object, StoreError> {
        self.store.put(&key, bytes)?;
        let blake3 = blake3::hash(bytes).to_hex().to_string();
        Ok(Object { key, bytes: bytes.len() as u64, blake3 })
    }

    /// The transcript of the day that `chapter` belongs to, with all other recordings of that day.
    fn write_transcript(
        self,
        chapter: Chapter<'_>,
        now: Timestamp,
    ) -> Result<DayTranscript, PublishError> {
        let RecordingId { conversation, day, number } = chapter.recording.id;
        let mut others = Vec::new();
        for other in self.index.filed_recordings(conversation, day)? {
            if other.id.number == number {
                continue;
            }
            match self.read_talk(&other)? {
                Some((talk, recipe)) => others.push((other, talk, recipe)),
                None => log::warn!("{}: left out of its day's transcript", other.audio.key),
            }
        }
        let mut chapters: Vec<Chapter<'_>> = others
            .iter()
            .map(|(recording, talk, recipe)| Chapter { recording, talk, recipe, ..chapter })
            .collect();
        chapters.push(chapter);
        chapters.sort_by_key(|chapter| (chapter.recording.recorded_at.time, chapter.recording.id));
        let text = render::day_transcript(&chapters);
        let key = Key::transcript(&chapter.recording.filed_as, day);
        let object = self.put(key, text.as_bytes())?;
        Ok(DayTranscript { conversation, day, object, modified_at: now })
    }

    /// What was said in a published recording, from its json page; `None` where that is not readable.
    pub(crate) fn read_talk(
        self,
        recording: &Recording,
    ) -> Result<Option<(Talk, Recipe)>, StoreError> {
        let Some(page) = recording.page(PageKind::Json) else { return Ok(None) };
        let json = match self.store.get_range(&page.object.key, 0..page.object.bytes) {
            Ok(json) => json,
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(err) => return Err(err),
        };
        Ok(render::talk_from_json(&json).ok())
    }
}

/// Takes back what was put for a recording that was withdrawn at the last moment.
fn discard(services: &Services, recording: &Recording) {
    let pages = recording.pages.iter().map(|page| &page.object.key);
    for key in std::iter::once(&recording.audio.key).chain(pages) {
        if let Err(err) = services.store.delete(key) {
            log::warn!("{key}: left behind in the store: {err}");
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
