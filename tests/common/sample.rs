//! A recording as rows have it, for tests and benches: each changes in it what it is about.

use std::collections::BTreeMap;

use jiff::Timestamp;
use scribefs::model::{
    ConversationId, FileName, Object, Overlay, Page, Placement, RecordedAt, Recording, RecordingId,
    SoundFacts, TimeSource,
};

pub(crate) fn recording(
    id: RecordingId,
    filed_as: &ConversationId,
    stem: &FileName,
    audio: Object,
    pages: Vec<Page>,
    at: Timestamp,
) -> Recording {
    Recording {
        id,
        stem: stem.clone(),
        audio_name: stem.with_extension(b"wav"),
        original_name: stem.with_extension(b"wav"),
        filed_as: filed_as.clone(),
        audio,
        pages,
        modified_at: at,
        published_at: at,
        recorded_at: RecordedAt {
            time: id.day.date().at(10, 2, 0, 0),
            zone: "UTC".to_owned(),
            source: TimeSource::ModificationTime,
            detail: String::new(),
        },
        facts: SoundFacts {
            container: "wav".to_owned(),
            codec: "pcm_s16le".to_owned(),
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: Some(16),
            duration: 12.5,
            created: None,
            tags: BTreeMap::new(),
        },
        language: Some("en".to_owned()),
        speakers: 2,
        model: "moonshine-tiny-en".to_owned(),
        placement: Placement::Stored,
        revision: 1,
        overlay: Overlay::default(),
    }
}
