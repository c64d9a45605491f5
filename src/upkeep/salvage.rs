//! A recording whose metadata page is lost: filed again, as far as its json page tells of it.
//!
//! The json page has the words, the names that speakers were given, the times and the format. Lost are the title,
//! custom fields, who may read it, and whether it was in the trash. As it may have been private, it is for its owner
//! alone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::index::{IndexError, PagesDue};
use crate::model::{
    Access, Conversation, ConversationId, ConversationSeq, Day, DayTranscript, FileName, Key,
    Object, Overlay, Page, PageKind, Placement, Recording, RecordingId, SpeakerId,
};
use crate::publishing::day_transcript;
use crate::publishing::stores::{self, Stores, StoresError};
use crate::render::{self, TranscriptSource};
use crate::store::StoreError;
use crate::upkeep::copies;

/// The rows of one recording.
pub(crate) type Rows = (Conversation, Recording, DayTranscript);

/// Of a recording of which nobody knows who may read it.
const PRIVATE: Access = Access { owner: None, mode: 0o600 };

/// Names that are tried to find out which one a key was made of.
const TRIED: u32 = 100;

/// What the json page at that key says of its recording; `None`: there is none, or it cannot be read.
pub(crate) fn source_at(
    stores: Stores<'_>,
    json: &Key,
) -> Result<Option<TranscriptSource>, StoresError> {
    let page = stores.read(json)?;
    Ok(page.and_then(|page| render::source_of_json(&page).ok()))
}

/// The audio that the page is about, in any place: the object beside it that has the bytes.
fn audio_beside(
    stores: Stores<'_>,
    json: &Key,
    source: &TranscriptSource,
) -> Result<Option<Object>, StoresError> {
    let metadata = json.page_of(json.recording_stem(), PageKind::Metadata);
    let folder = json.parent();
    let mut found = stores.local.list(folder)?;
    if let Some(remote) = stores.remote {
        found.extend(remote.list(folder)?);
    }
    for it in found {
        if it.bytes != source.bytes || !it.key.is_audio_beside(&metadata) {
            continue;
        }
        let audio = Object { key: it.key, bytes: it.bytes, blake3: source.blake3.clone() };
        if copies::is_there(stores, &audio)? {
            return Ok(Some(audio));
        }
    }
    Ok(None)
}

/// The rows of the recording that the json page at that key is about, if its audio is there.
pub(crate) fn rows_at(stores: Stores<'_>, json: &Key) -> Result<Option<Rows>, StoresError> {
    let Some(source) = source_at(stores, json)? else { return Ok(None) };
    let Some(audio) = audio_beside(stores, json, &source)? else { return Ok(None) };
    rows(stores, json, audio)
}

/// The rows of the recording that the json page is about, whose audio was found. `None`: the page does not tell
/// enough, or the place cannot be another conversation's.
fn rows(stores: Stores<'_>, json_key: &Key, audio: Object) -> Result<Option<Rows>, StoresError> {
    let Some(json) = stores.read(json_key)? else { return Ok(None) };
    let (Ok(source), Ok((talk, recipe))) =
        (render::source_of_json(&json), render::talk_from_json(&json))
    else {
        return Ok(None);
    };
    let published_at = stores.written_at(json_key)?.unwrap_or_else(Timestamp::now);
    let Some((conversation, day)) = conversation_of(stores, &source, &audio.key, published_at)?
    else {
        return Ok(None);
    };
    let Some((stem, audio_name)) = names(stores, &source, &conversation, day, &audio.key)? else {
        return Ok(None);
    };
    let names = talk.speakers.iter().filter_map(|it| Some((it.id, it.name.clone()?)));
    let names: BTreeMap<SpeakerId, String> = names.collect();
    let recording = Recording {
        id: RecordingId { conversation: conversation.seq, day, number: 0 },
        stem,
        audio_name,
        original_name: source.original_name,
        filed_as: conversation.filed_as.clone(),
        pages: vec![Page {
            kind: PageKind::Json,
            object: stores::object(json_key.clone(), &json),
            written_at: None,
        }],
        modified_at: stores.written_at(&audio.key)?.unwrap_or(published_at),
        published_at,
        recorded_at: source.recorded_at,
        facts: source.facts,
        language: talk.language.clone(),
        speakers: u32::try_from(talk.speakers.len()).unwrap_or(u32::MAX),
        model: recipe.recognizer.name,
        placement: Placement::Stored,
        revision: source.revision,
        overlay: Overlay { names, access: Some(PRIVATE), ..Overlay::default() },
        audio,
    };
    // Any transcript that is known is newer.
    let unwritten = day_transcript::unwritten(&conversation, day, Timestamp::UNIX_EPOCH);
    let transcript = DayTranscript { access: Some(PRIVATE), ..unwritten };
    Ok(Some((conversation, recording, transcript)))
}

/// Writes the rows down, and that all pages are to be rendered. `has_copy`: what is in the bucket is here too.
pub(crate) fn file(
    stores: Stores<'_>,
    rows: Rows,
    has_copy: bool,
    now: Timestamp,
) -> Result<(), IndexError> {
    let audio = rows.1.audio.key.clone();
    stores.index.adopt_with_copies(vec![(rows, has_copy)], now)?;
    let Some(recording) = stores.index.filed_recording_at(&audio)? else { return Ok(()) };
    let RecordingId { conversation, day, .. } = recording.id;
    stores
        .index
        .owe_pages(vec![PagesDue::Recording(recording.id), PagesDue::Day(conversation, day)])
}

/// The conversation that is filed in that folder: the one that the index knows, else a new one.
fn conversation_of(
    stores: Stores<'_>,
    source: &TranscriptSource,
    audio: &Key,
    at: Timestamp,
) -> Result<Option<(Conversation, Day)>, StoresError> {
    if let Some((seq, day)) = stores.index.day_at(audio)? {
        let conversation = stores.index.filed_conversation(seq)?;
        return Ok(conversation.map(|conversation| (conversation, day)));
    }
    let Some((prefix, day)) = audio.folder() else { return Ok(None) };
    let filed_as = ConversationId::new(prefix.trim_end_matches('/'));
    let Some(filed_as) = filed_as.filter(|it| Key::conversation_prefix(it) == prefix) else {
        return Ok(None);
    };
    let id = ConversationId::new(&source.conversation).unwrap_or_else(|| filed_as.clone());
    let seq = ConversationSeq(0);
    Ok(Some((Conversation { seq, id, filed_as, created_at: at, trashed_at: None }, day)))
}

/// Stem and name of the audio: those that its key was made of, as far as that can be found out.
fn names(
    stores: Stores<'_>,
    source: &TranscriptSource,
    conversation: &Conversation,
    day: Day,
    audio: &Key,
) -> Result<Option<(FileName, FileName)>, StoresError> {
    let (wanted, extension) = source.original_name.stem_and_extension(&source.facts.container);
    let key_extension = audio.file_name()[audio.stem().len()..].trim_start_matches('.');
    let spelled = |stem: &FileName| {
        Key::audio(&conversation.filed_as, day, stem.as_bytes(), &extension) == *audio
    };
    let numbered = (1..=TRIED).filter_map(|number| wanted.numbered_stem(number)).find(spelled);
    let named = numbered.map(|stem| (stem.clone(), stem.with_extension(&extension)));
    let by_key = FileName::new(audio.stem())
        .map(|stem| (stem.clone(), stem.with_extension(key_extension.as_bytes())));
    for (stem, name) in named.into_iter().chain(by_key) {
        let known = stores.index.filed_recording_with_stem(conversation.seq, day, &stem)?;
        if known.is_none_or(|known| known.audio.key == *audio) {
            return Ok(Some((stem, name)));
        }
    }
    Ok(None)
}

impl Stores<'_> {
    /// An object from local disk, else from the bucket; `None`: neither has it.
    pub(crate) fn read(self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        match (self.local.get_range(key, 0..u64::MAX), self.remote) {
            (Err(StoreError::Missing { .. }), Some(remote)) => {
                match remote.get_range(key, 0..u64::MAX) {
                    Err(StoreError::Missing { .. }) => Ok(None),
                    found => found.map(Some),
                }
            }
            (Err(StoreError::Missing { .. }), None) => Ok(None),
            (found, _) => found.map(Some),
        }
    }

    fn written_at(self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        match (self.local.written_at(key), self.remote) {
            (Err(StoreError::Missing { .. }), Some(remote)) => remote.written_at(key),
            (found, _) => found,
        }
    }
}
