//! Who said what, and when. Times are seconds from the start of the recording.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One voice of a recording, numbered from 0 in order of appearance. Written `S1`, `S2`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpeakerId(pub u16);

impl SpeakerId {
    /// What a person reads until somebody says the name: `Speaker 1`.
    pub fn label(self) -> String {
        format!("Speaker {}", self.0 + 1)
    }
}

impl std::fmt::Display for SpeakerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S{}", self.0 + 1)
    }
}

impl std::str::FromStr for SpeakerId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix('S').and_then(|digits| digits.parse::<u16>().ok());
        let number = number.and_then(|number| number.checked_sub(1));
        number.map(Self).ok_or_else(|| format!("`{text}` is no speaker id such as S1"))
    }
}

impl Serialize for SpeakerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpeakerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Somebody speaks from `start` to `end`. Turns of different speakers may overlap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// `None` is a voice that was heard beside others and could not be told: never a participant.
    pub speaker: Option<SpeakerId>,
    pub start: f64,
    pub end: f64,
}

/// One word of the transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    pub word: String,
    pub start: f64,
    pub end: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f32>,
    pub speaker: Option<SpeakerId>,
    /// The engine gave no time for it: it was spread over its segment by length.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interpolated: bool,
}

/// Why a segment is not quite like the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The recognizer repeated itself: the loop was cut, or the window heard again in parts.
    Loop,
    /// The window was cut in two because it had more words than anybody speaks.
    TooFast,
    /// More than one person speaks here.
    Overlap,
}

/// A stretch of text by one speaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// From 0, in order of `start`.
    pub id: u32,
    pub start: f64,
    pub end: f64,
    pub text: String,
    pub speaker: Option<SpeakerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avg_logprob: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_speech_prob: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
    #[serde(default)]
    pub flags: Vec<Flag>,
    #[serde(default)]
    pub words: Vec<Word>,
}

/// One participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    pub id: SpeakerId,
    pub label: String,
    /// Said by the user; an overlay that survives a new run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub talk_seconds: f64,
    pub turns: u32,
}

impl Speaker {
    /// The name where there is one, else the label.
    pub fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.label)
    }
}

/// Something that a reader should know about this transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// For programs: `truncated`, `corrupt`, `no_speech`, `loops_dropped`, ...
    pub code: String,
    /// For people: what it is and what it means.
    pub message: String,
}

/// What the engines made of one recording.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Talk {
    /// BCP 47 code such as `en`, where the engine knows.
    pub language: Option<String>,
    /// Seconds of sound.
    pub duration: f64,
    /// In order of `start`.
    pub segments: Vec<Segment>,
    /// Who spoke when, overlaps included, in order of `start`.
    pub turns: Vec<Turn>,
    /// In order of appearance.
    pub speakers: Vec<Speaker>,
    pub warnings: Vec<Warning>,
}

impl Talk {
    /// The whole text, segments joined by blanks.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.segments.iter().map(|segment| segment.text.trim()).collect();
        texts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speakers_are_counted_from_one_in_writing() {
        assert_eq!(SpeakerId(0).to_string(), "S1");
        assert_eq!("S2".parse(), Ok(SpeakerId(1)));
        assert!("S0".parse::<SpeakerId>().is_err());
        assert!("X1".parse::<SpeakerId>().is_err());
    }
}
