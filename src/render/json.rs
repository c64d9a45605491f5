//! `meeting.json`: segments, words, speakers and times, for programs.
//!
//! A superset of the usual `verbose_json`, with times in seconds to three decimals.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, Serializer};

use crate::model::{
    FileName, ModelRef, Recipe, RecordedAt, Segment, SoundFacts, Speaker, SpeakerBounds, Talk,
    TimeSource, Turn, Warning, Word, escaped_json,
};
use crate::render::Chapter;

const SCHEMA: &str = "scribefs.transcript/1";

#[derive(Serialize, Deserialize)]
struct Document {
    schema: String,
    task: String,
    language: Option<String>,
    duration: f64,
    text: String,
    segments: Vec<Segment>,
    /// All words of all segments once more, as `verbose_json` has them.
    #[serde(default)]
    words: Vec<Word>,
    conversation_id: String,
    revision: u32,
    source: Source,
    engine: Engine,
    speakers: Vec<Speaker>,
    turns: Vec<Turn>,
    warnings: Vec<Warning>,
}

#[derive(Serialize, Deserialize)]
struct Source {
    file: FileName,
    blake3: String,
    bytes: u64,
    container: String,
    codec: String,
    channels: u16,
    sample_rate: u32,
    duration: f64,
    recorded_at: String,
    recorded_at_source: String,
}

#[derive(Serialize, Deserialize)]
struct Engine {
    asr: ModelRef,
    diarization: Option<ModelRef>,
    version: String,
    options: Options,
}

#[derive(Serialize, Deserialize)]
struct Options {
    language: Option<String>,
    speakers: SpeakerBounds,
    threads: u16,
    #[serde(flatten)]
    more: BTreeMap<String, String>,
}

/// The page of a chapter.
pub(crate) fn write(chapter: Chapter<'_>) -> Vec<u8> {
    let talk = rounded(chapter.talk);
    let words = talk.segments.iter().flat_map(|segment| segment.words.clone()).collect();
    let document = Document {
        schema: SCHEMA.to_owned(),
        task: "transcribe".to_owned(),
        text: talk.text(),
        language: talk.language,
        duration: talk.duration,
        segments: talk.segments,
        words,
        conversation_id: chapter.conversation.id.to_string(),
        revision: chapter.recording.revision,
        source: source(chapter),
        engine: engine(chapter.recipe),
        speakers: talk.speakers,
        turns: talk.turns,
        warnings: talk.warnings,
    };
    lines(&document)
}

/// One line for each field, and one for each entry of its list: small, and still to be read and compared.
fn lines(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::new();
    let mut writer = Serializer::with_formatter(&mut json, Lines { depth: 0 });
    value
        .serialize(&mut writer)
        .expect("numbers were rounded to finite ones, and all keys are strings");
    json.push(b'\n');
    json
}

/// Line ends between what stands on the first two levels, and no blanks below.
struct Lines {
    depth: usize,
}

impl Lines {
    /// Levels whose values have lines of their own.
    const LEVELS: usize = 2;

    fn open<W: io::Write + ?Sized>(&mut self, writer: &mut W, mark: &[u8]) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(mark)
    }

    fn close<W: io::Write + ?Sized>(&mut self, writer: &mut W, mark: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(mark)
    }

    fn next<W: io::Write + ?Sized>(&self, writer: &mut W, is_first: bool) -> io::Result<()> {
        if !is_first {
            writer.write_all(b",")?;
        }
        if self.depth <= Self::LEVELS { writer.write_all(b"\n") } else { Ok(()) }
    }
}

impl Formatter for Lines {
    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        is_first: bool,
    ) -> io::Result<()> {
        self.next(writer, is_first)
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        is_first: bool,
    ) -> io::Result<()> {
        if self.depth == 1 {
            return self.next(writer, is_first);
        }
        if is_first { Ok(()) } else { writer.write_all(b",") }
    }
}

/// Two blanks a level, and a line end behind the last brace.
pub(crate) fn pretty(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_string_pretty(value)
        .expect("numbers were rounded to finite ones, and all keys are strings");
    let mut json = escaped_json(&json).into_owned();
    json.push('\n');
    json.into_bytes()
}

fn source(chapter: Chapter<'_>) -> Source {
    let recording = chapter.recording;
    let facts = &recording.facts;
    Source {
        file: recording.original_name.clone(),
        blake3: recording.audio.blake3.clone(),
        bytes: recording.audio.bytes,
        container: facts.container.clone(),
        codec: facts.codec.clone(),
        channels: facts.channels,
        sample_rate: facts.sample_rate,
        duration: thousandths(facts.duration),
        recorded_at: recording.recorded_at.time.to_string(),
        recorded_at_source: serde_json::to_value(recording.recorded_at.source)
            .ok()
            .and_then(|word| word.as_str().map(str::to_owned))
            .unwrap_or_default(),
    }
}

fn engine(recipe: &Recipe) -> Engine {
    Engine {
        asr: recipe.recognizer.clone(),
        diarization: recipe.diarizer.clone(),
        version: recipe.version.clone(),
        options: Options {
            language: recipe.language.clone(),
            speakers: recipe.speakers,
            threads: recipe.threads,
            more: recipe.options.clone(),
        },
    }
}

/// Talk and recipe of a page.
pub(crate) fn read(json: &[u8]) -> Result<(Talk, Recipe), String> {
    let document: Document = serde_json::from_slice(json).map_err(|err| err.to_string())?;
    if document.schema != SCHEMA {
        return Err(format!("its schema is {}, not {SCHEMA}", document.schema));
    }
    let talk = Talk {
        language: document.language,
        duration: document.duration,
        segments: document.segments,
        turns: document.turns,
        speakers: document.speakers,
        warnings: document.warnings,
    };
    let Engine { asr, diarization, version, options } = document.engine;
    let recipe = Recipe {
        recognizer: asr,
        diarizer: diarization,
        language: options.language,
        speakers: options.speakers,
        threads: options.threads,
        version,
        options: options.more,
    };
    Ok((talk, recipe))
}

/// The hash of the recording that a page is about.
pub(crate) fn audio(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Page {
        source: Source,
    }
    serde_json::from_slice::<Page>(json).ok().map(|page| page.source.blake3)
}

/// What a page says of the recording that it is about: enough to file it again when its metadata page is lost.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscriptSource {
    /// What its conversation was called when the page was rendered.
    pub conversation: String,
    pub original_name: FileName,
    /// BLAKE3 of the audio, hexadecimal.
    pub blake3: String,
    pub bytes: u64,
    /// Without tags.
    pub facts: SoundFacts,
    /// Without a zone.
    pub recorded_at: RecordedAt,
    pub revision: u32,
}

/// What the page says of its recording.
pub(crate) fn read_source(json: &[u8]) -> Result<TranscriptSource, String> {
    let document: Document = serde_json::from_slice(json).map_err(|err| err.to_string())?;
    if document.schema != SCHEMA {
        return Err(format!("its schema is {}, not {SCHEMA}", document.schema));
    }
    let source = document.source;
    let time = source.recorded_at.parse().map_err(|err| format!("its time: {err}"))?;
    let time_source = serde_json::from_value(source.recorded_at_source.into());
    Ok(TranscriptSource {
        conversation: document.conversation_id,
        original_name: source.file,
        blake3: source.blake3,
        bytes: source.bytes,
        facts: SoundFacts {
            container: source.container,
            codec: source.codec,
            channels: source.channels,
            sample_rate: source.sample_rate,
            bits_per_sample: None,
            duration: source.duration,
            created: None,
            tags: BTreeMap::new(),
        },
        recorded_at: RecordedAt {
            time,
            zone: "local".to_owned(),
            source: time_source.unwrap_or(TimeSource::Now),
            detail: "json page".to_owned(),
        },
        revision: document.revision,
    })
}

/// Times and probabilities to three decimals, all of them finite.
fn rounded(talk: &Talk) -> Talk {
    let mut talk = talk.clone();
    talk.duration = thousandths(talk.duration);
    for turn in &mut talk.turns {
        (turn.start, turn.end) = (thousandths(turn.start), thousandths(turn.end));
    }
    for speaker in &mut talk.speakers {
        speaker.talk_seconds = thousandths(speaker.talk_seconds);
    }
    for segment in &mut talk.segments {
        (segment.start, segment.end) = (thousandths(segment.start), thousandths(segment.end));
        for share in
            [&mut segment.avg_logprob, &mut segment.no_speech_prob, &mut segment.confidence]
        {
            *share = share.filter(|share| share.is_finite()).map(short);
        }
        for word in &mut segment.words {
            (word.start, word.end) = (thousandths(word.start), thousandths(word.end));
            word.probability = word.probability.filter(|share| share.is_finite()).map(short);
        }
    }
    talk
}

pub(crate) fn thousandths(value: f64) -> f64 {
    if value.is_finite() { (value * 1000.0).round() / 1000.0 } else { 0.0 }
}

fn short(value: f32) -> f32 {
    (value * 1000.0).round() / 1000.0
}
