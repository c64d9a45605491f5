//! What is known about a sound file before anybody has listened to it.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

/// What the decoder found out about a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SoundFacts {
    /// Short name of the container: `wav`, `mp4`, `ogg`, `matroska`, `mp3`, `flac`, ...
    pub container: String,
    /// Short name of the codec: `pcm_s16le`, `aac`, `alac`, `opus`, `vorbis`, `mp3`, `flac`, ...
    pub codec: String,
    pub channels: u16,
    /// In Hz, of the file; the engines always hear 16 kHz.
    pub sample_rate: u32,
    pub bits_per_sample: Option<u32>,
    /// Seconds of sound that could be decoded.
    pub duration: f64,
    pub created: Option<CreationTime>,
    /// Title, artist, comment and the like, as the file has them.
    pub tags: BTreeMap<String, String>,
}

impl SoundFacts {
    /// Facts of a recording that could not be looked into; `codec` says what is known of it.
    pub fn unknown(codec: &str) -> Self {
        Self {
            container: "unknown".to_owned(),
            codec: codec.to_owned(),
            channels: 0,
            sample_rate: 0,
            bits_per_sample: None,
            duration: 0.0,
            created: None,
            tags: BTreeMap::new(),
        }
    }
}

/// The tag that holds TimeReference of a Broadcast Wave file: samples since midnight at its beginning, by which
/// parts of one recording are put in order.
pub const TIME_REFERENCE: &str = "time_reference";

/// When the file says it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreationTime {
    /// The time as written down.
    pub time: DateTime,
    /// Seconds east of Greenwich where the file says so; local time of nobody knows where otherwise.
    pub utc_offset_seconds: Option<i32>,
    /// Where it stood: `bext`, `INFO/ICRD`, `mvhd`, `TDRC`, `vorbis DATE`, `DateUTC`, ...
    pub place: String,
}
