//! Recordings of the first system, taken over with the transcripts that they have.
//!
//! Its tree is `<conversation>/<yyyy>/<mm>/<dd>/` with audio, `<stem>.txt` or `<conversation>_transcript.txt`
//! beside it, and metadata. Nothing in it is changed.

mod bucket;
mod not_taken;
mod text;
mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::index::{Index, IndexError};
use crate::model::{
    Access, Day, Overlay, Recipe, RecordedAt, Recording, RecordingId, SoundFacts, Talk, TimeSource,
};
use crate::publishing::claim::{self, ClaimRequest};
use crate::publishing::content_hash::content_hash;
use crate::publishing::page_store::PageStore;
use crate::publishing::stores::{Stores, StoresError, Tiered};
use crate::publishing::{day_transcript, page_lock, pages};
use crate::regular_file;

pub use crate::upkeep::import::bucket::{BucketDays, days, fetch_day};
pub use crate::upkeep::import::not_taken::{NotTaken, Reason};
pub use crate::upkeep::import::tree::{Find, Survey, survey};

/// Stands for the model of a transcript that no model of ours has written.
const MODEL: &str = "imported";

/// Longest transcript or metadata: a day of talk is a megabyte.
const MOST_TEXT_BYTES: u64 = 16 << 20;

/// Whether a folder is another one or lies in it: what is in the store is not imported into it once more.
pub fn lies_in(folder: &Path, other: &Path) -> io::Result<bool> {
    Ok(folder.canonicalize()?.starts_with(other.canonicalize()?))
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    Published(RecordingId),
    /// A recording with these bytes is there already.
    Known(RecordingId),
}

/// Why a recording was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// One of its files cannot be read. Other recordings can still be imported.
    #[error("cannot read {path}")]
    Source { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Stores(#[from] StoresError),
}

/// Publishes a recording with the transcript `text`, as if scribefs had written it, and says that it has not.
pub fn import(
    stores: Stores<'_>,
    find: &Find,
    text: &Path,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Imported, ImportError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| ImportError::Source { path, source }
    };
    let audio = regular_file::open(&find.audio).map_err(unreadable(&find.audio))?;
    let blake3 = hash(&audio).map_err(unreadable(&find.audio))?;
    if let Some(known) = known(stores.index, &blake3).map_err(StoresError::Index)? {
        return Ok(Imported::Known(known));
    }
    let stat = audio.metadata().map_err(unreadable(&find.audio))?;
    let modified_at = stat.modified().map_err(unreadable(&find.audio))?;
    let modified_at = Timestamp::try_from(modified_at).unwrap_or(Timestamp::UNIX_EPOCH);
    let told = match &find.metadata {
        Some(path) => told_in(path).map_err(unreadable(path))?,
        None => Told::default(),
    };
    // Whoever could read it still can, and nobody else.
    let access = Access { owner: Some((stat.uid(), stat.gid())), mode: stat.mode() & 0o777 };
    let text = regular_file::read(text, MOST_TEXT_BYTES).map_err(unreadable(text))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (talk, names) = text::talk(&text, told.duration, &told.participants);
    let facts = SoundFacts {
        container: find.name.extension(),
        duration: talk.duration,
        ..SoundFacts::unknown("unknown")
    };
    let heard = Heard {
        audio: &audio,
        blake3,
        bytes: stat.len(),
        modified_at,
        recorded_at: recorded_at(modified_at, find.day, zone),
        facts,
        overlay: Overlay { names, custom: told.custom, access: Some(access), ..Overlay::default() },
    };
    Ok(publish(stores, find, heard, &talk, now).map(Imported::Published)?)
}

fn hash(file: &File) -> io::Result<String> {
    let hash = content_hash(file, &|| true)?;
    hash.ok_or_else(|| io::ErrorKind::Interrupted.into())
}

/// A recording with these bytes that is there for users: in the trash nothing is.
fn known(index: &Index, blake3: &str) -> Result<Option<RecordingId>, IndexError> {
    for recording in index.recordings_with_audio(blake3)? {
        let is_trashed = recording.overlay.trashed_at.is_some();
        if !is_trashed && index.conversation(recording.id.conversation)?.is_some() {
            return Ok(Some(recording.id));
        }
    }
    Ok(None)
}

/// What is known of a recording that nobody has heard.
struct Heard<'a> {
    audio: &'a File,
    blake3: String,
    bytes: u64,
    modified_at: Timestamp,
    recorded_at: RecordedAt,
    facts: SoundFacts,
    overlay: Overlay,
}

fn publish(
    stores: Stores<'_>,
    find: &Find,
    heard: Heard<'_>,
    talk: &Talk,
    now: Timestamp,
) -> Result<RecordingId, StoresError> {
    let staged = stores.local.stage_file(heard.audio, &|| true)?;
    let mut staged = staged.ok_or(io::ErrorKind::Interrupted).map_err(io::Error::from)?;
    if hash(staged.file())? != heard.blake3 {
        return Err(io::Error::other("the recording has changed while it was copied").into());
    }
    // Words of other recordings of the day may be in the bucket only.
    let tiered = Tiered(stores);
    let page_store = PageStore { store: &tiered, index: stores.index };
    let ahead = day_transcript::read_ahead_of_new(page_store, &find.conversation, find.day);
    let _ahead = ahead?;
    let _alone = page_lock::lock();
    let (stem, extension) = find.name.stem_and_extension(&heard.facts.container);
    let wanted = ClaimRequest {
        conversation: &find.conversation,
        day: find.day,
        stem: &stem,
        extension: &extension,
        bytes: heard.bytes,
        blake3: &heard.blake3,
    };
    let claimed = claim::claim(stores.local, stores.index, wanted, &mut staged, now);
    let claimed = claimed?;
    let conversation = claimed.conversation;
    let mut recording = Recording {
        id: claimed.reserved.id,
        audio_name: claimed.reserved.stem.with_extension(&extension),
        stem: claimed.reserved.stem.clone(),
        original_name: find.name.clone(),
        filed_as: conversation.filed_as.clone(),
        audio: claimed.audio,
        pages: Vec::new(),
        modified_at: heard.modified_at,
        published_at: now,
        recorded_at: heard.recorded_at,
        facts: heard.facts,
        language: None,
        speakers: u32::try_from(talk.speakers.len()).unwrap_or(u32::MAX),
        model: MODEL.to_owned(),
        placement: stores.index.destination()?.first_placement(),
        revision: 1,
        overlay: heard.overlay,
    };
    let said = (&Recipe::of_model(MODEL, None), talk);
    let text = pages::write_new(page_store, &conversation, &mut recording, said, now)?;
    let id = recording.id;
    let transcript = text.transcript().map(|transcript| transcript.object.clone());
    stores.index.publish(recording.clone(), text, None)?;
    pages::install(page_store, &recording, transcript.as_ref())?;
    Ok(id)
}

/// The file's own time if it is of the folder's day, else noon of that day.
pub(crate) fn recorded_at(modified_at: Timestamp, day: Day, zone: &TimeZone) -> RecordedAt {
    let time = zone.to_datetime(modified_at);
    let (time, detail) = match Day::new(time.date()) {
        Some(own) if own == day => (time, "mtime"),
        _ => (noon(day), "folder"),
    };
    RecordedAt {
        time,
        zone: zone.iana_name().unwrap_or("local").to_owned(),
        source: TimeSource::ModificationTime,
        detail: detail.to_owned(),
    }
}

fn noon(day: Day) -> DateTime {
    day.date().at(12, 0, 0, 0)
}

/// The time that a copy for the inbox gets, so that it is filed under the day of its folder.
pub fn time_for_inbox(modified_at: Timestamp, day: Day, zone: &TimeZone) -> Timestamp {
    let told = recorded_at(modified_at, day, zone);
    match told.detail.as_str() {
        "mtime" => modified_at,
        _ => zone.to_timestamp(told.time).unwrap_or(modified_at),
    }
}

/// What we take from the first system's metadata.
#[derive(Debug, Default)]
struct Told {
    /// Seconds; 0 where it does not say.
    duration: f64,
    /// Names of participants by what the transcript calls them.
    participants: BTreeMap<String, String>,
    /// What users had written there.
    custom: BTreeMap<String, Value>,
}

fn told_in(path: &Path) -> io::Result<Told> {
    // Metadata that cannot be read says nothing: the transcript is worth more.
    let json: Value =
        serde_json::from_slice(&regular_file::read(path, MOST_TEXT_BYTES)?).unwrap_or_default();
    let duration = ["duration", "duration_seconds"].iter().find_map(|key| json[*key].as_f64());
    let people = json["participants"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = people.iter().filter_map(|person| {
        let label = ["label", "speaker", "id"].iter().find_map(|key| person[*key].as_str())?;
        Some((label.to_owned(), person["name"].as_str()?.to_owned()))
    });
    let mut custom: BTreeMap<String, Value> = BTreeMap::new();
    for (key, value) in json.as_object().into_iter().flatten() {
        match (key.as_str(), value.as_object()) {
            ("custom" | "custom_fields", Some(fields)) => {
                custom.extend(fields.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            // We say these ourselves.
            ("duration" | "duration_seconds" | "participants", _) => {}
            // What we do not know may be what somebody looks for.
            _ => drop(custom.entry(key.clone()).or_insert_with(|| value.clone())),
        }
    }
    Ok(Told {
        duration: duration.filter(|it| it.is_finite() && 0.0 <= *it).unwrap_or(0.0),
        participants: named.collect(),
        custom,
    })
}
