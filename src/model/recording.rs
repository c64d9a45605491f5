//! A published recording and the objects it is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use crate::model::{
    Access, ConversationId, ConversationSeq, Day, FileName, Key, PageKind, Placement, SoundFacts,
    SpeakerId,
};

/// Names one recording. Numbers count from 1 within a day of a conversation and are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordingId {
    pub conversation: ConversationSeq,
    pub day: Day,
    pub number: u16,
}

/// For the log, which names nothing that a user has named.
impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recording {}/{}/{}", self.conversation.0, self.day, self.number)
    }
}

impl RecordingId {
    /// The highest number that an inode has room for (14 bits).
    pub const MAX_NUMBER: u16 = (1 << 14) - 1;
}

/// Bytes in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub key: Key,
    pub bytes: u64,
    /// BLAKE3 of the content, 64 hexadecimal digits.
    pub blake3: String,
}

/// A page in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub kind: PageKind,
    pub object: Object,
    /// When this content was written; `None`: with the recording's publication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<Timestamp>,
}

/// Where the day of a recording was taken from; the first that is known counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    Container,
    FileName,
    ModificationTime,
    Now,
}

/// When a recording was made, and how we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedAt {
    /// Local time in `zone`.
    pub time: DateTime,
    /// IANA name or offset that the time was read in; `local` where the file named none.
    pub zone: String,
    pub source: TimeSource,
    /// The exact place: a tag or atom, the pattern in the name.
    pub detail: String,
}

/// What the user said about a recording: laid over what the engines said, kept over a new run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Overlay {
    /// Names by speaker.
    pub names: BTreeMap<SpeakerId, String>,
    /// A title in place of the file's name.
    pub title: Option<String>,
    /// Fields that other programs keep here.
    pub custom: BTreeMap<String, serde_json::Value>,
    /// Who may read it, by the file that was dropped; `None`: everybody whom the mount lets in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Pages that were removed. They are kept in the store.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hidden: BTreeSet<PageKind>,
    /// Since when the recording is in the trash by itself; it keeps its objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trashed_at: Option<Timestamp>,
}

/// One recording's row in the index; `_metadata.json` holds all of it too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    pub id: RecordingId,
    /// What pages are named after, unique on its day: `meeting`, `meeting-2`.
    pub stem: FileName,
    /// The name that the view shows for the original recording: stem and extension.
    pub audio_name: FileName,
    /// The name it was dropped under, byte for byte.
    pub original_name: FileName,
    /// The conversation that its keys are made of.
    pub filed_as: ConversationId,
    pub audio: Object,
    /// In publishing order: metadata is last.
    pub pages: Vec<Page>,
    /// Modification time of the file as dropped: what the view shows for the audio.
    pub modified_at: Timestamp,
    pub published_at: Timestamp,
    pub recorded_at: RecordedAt,
    pub facts: SoundFacts,
    pub language: Option<String>,
    pub speakers: u32,
    /// Name of the recognizer's model.
    pub model: String,
    pub placement: Placement,
    /// How often its pages have been written: 1 at first, more after names were given.
    pub revision: u32,
    #[serde(default)]
    pub overlay: Overlay,
}

impl Recording {
    pub fn page(&self, kind: PageKind) -> Option<&Page> {
        self.pages.iter().find(|page| page.kind == kind)
    }

    /// When a page got the content it has: what the view shows as its modification time.
    pub fn written_at(&self, page: &Page) -> Timestamp {
        page.written_at.unwrap_or(self.published_at)
    }

    /// All that is kept of it: its audio, then its pages.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        std::iter::once(&self.audio).chain(self.pages.iter().map(|page| &page.object))
    }

    /// The same in the order in which they are removed for good, so that whatever is left by a crash is not filed as
    /// another recording: without its json page nothing but the metadata tells of it, which says whether it is in the
    /// trash, and without both nothing does.
    pub fn removal_order(&self) -> Vec<&Object> {
        let rank = |kind| match kind {
            PageKind::Json => 0,
            PageKind::Metadata => 1,
            PageKind::Srt | PageKind::Vtt | PageKind::Html => 2,
        };
        let mut pages: Vec<&Page> = self.pages.iter().collect();
        pages.sort_by_key(|page| rank(page.kind));
        pages.into_iter().map(|page| &page.object).chain([&self.audio]).collect()
    }
}

/// The text of a whole day: made anew whenever a recording of that day is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayTranscript {
    pub conversation: ConversationSeq,
    pub day: Day,
    pub object: Object,
    pub modified_at: Timestamp,
    /// Who may read all recordings that it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}
