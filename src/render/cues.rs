//! Cues: what of a talk is shown at once, and from when to when.
//!
//! Two lines of 42 columns, the speaker's name among them, 1 to 7 seconds, no more than 20 characters a second where there is room: what
//! broadcasters and podcast directories ask for.

use crate::model::{Segment, SpeakerId, Talk, Word};
use crate::render::text;

/// Columns of a line.
pub(crate) const LINE: usize = 42;
/// Columns of a cue: two lines, less what a break at a word's end costs.
const CUE: usize = 2 * LINE - 6;

const LONGEST: f64 = 7.0;
const SHORTEST: f64 = 1.0;
/// Characters that are read in a second.
const READING_SPEED: f64 = 20.0;
/// Cues of one speaker that are so close are shown together where they fit, in seconds.
const CLOSE: f64 = 0.4;
/// Between two cues, so that the change is seen.
const GAP: f64 = 0.04;

/// One cue, cleaned but not escaped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cue {
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) speaker: Option<SpeakerId>,
    /// One or two lines.
    pub(crate) lines: Vec<String>,
}

/// Part of a segment.
#[derive(Debug, Clone)]
struct Piece {
    start: f64,
    end: f64,
    speaker: Option<SpeakerId>,
    words: Vec<Word>,
}

impl Piece {
    fn text(&self) -> String {
        joined(&self.words)
    }
}

fn joined(words: &[Word]) -> String {
    text::join(words.iter().map(|word| word.word.as_str()))
}

/// All cues of a talk, in order, without overlap.
pub(crate) fn of(talk: &Talk) -> Vec<Cue> {
    timed(ordered(talk), talk.duration)
}

/// The same, with what `prefix` says at the head of the first cue of each turn.
pub(crate) fn with_prefixes(talk: &Talk, prefix: &dyn Fn(Option<SpeakerId>) -> String) -> Vec<Cue> {
    let mut before = None;
    let mut pieces = Vec::new();
    for mut piece in ordered(talk) {
        if before == Some(piece.speaker) {
            pieces.push(piece);
            continue;
        }
        before = Some(piece.speaker);
        let head = Word { word: prefix(piece.speaker), ..piece.words[0].clone() };
        piece.words.insert(0, head);
        // The name, and at least one word with it.
        let fits =
            |count: &usize| lines(&piece.words[..*count]).iter().all(|it| text::width(it) <= LINE);
        let count = (2..=piece.words.len()).rev().find(fits).unwrap_or(2);
        let rest = piece.words.split_off(count.min(piece.words.len()));
        let Some(first) = rest.first().map(|word| word.start) else {
            pieces.push(piece);
            continue;
        };
        let rest = Piece { start: first, words: rest, ..piece.clone() };
        piece.end = piece.words[piece.words.len() - 1].end;
        pieces.extend([piece, rest]);
    }
    timed(pieces, talk.duration)
}

/// What is shown, in order.
fn ordered(talk: &Talk) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = talk.segments.iter().flat_map(pieces).collect();
    pieces.sort_by(|a, b| a.start.total_cmp(&b.start));
    let mut together: Vec<Piece> = Vec::new();
    for piece in pieces {
        match together.last_mut() {
            Some(last) if go_together(last, &piece) => {
                last.end = piece.end;
                last.words.extend(piece.words);
            }
            _ => together.push(piece),
        }
    }
    together
}

fn go_together(a: &Piece, b: &Piece) -> bool {
    let columns = text::width(&a.text()) + 1 + text::width(&b.text());
    a.speaker == b.speaker
        && (b.start - a.end).abs() <= CLOSE
        && b.end - a.start <= LONGEST
        && columns <= CUE
        && columns <= LINE
}

/// A segment in pieces that fit.
fn pieces(segment: &Segment) -> Vec<Piece> {
    let words: Vec<Word> = segment
        .words
        .iter()
        .map(|word| Word { word: clean(&word.word), ..word.clone() })
        .filter(|word| !word.word.is_empty())
        .collect();
    let words = if words.is_empty() { evenly(segment) } else { words };
    let words: Vec<Word> = words.iter().flat_map(broken).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let piece = |words: &[Word]| Piece {
        start: words[0].start,
        end: words[words.len() - 1].end,
        speaker: segment.speaker,
        words: words.to_vec(),
    };
    fitting(&words).into_iter().map(piece).collect()
}

/// Words of a segment that has only text, spread over its time.
fn evenly(segment: &Segment) -> Vec<Word> {
    let text = clean(&segment.text);
    let parts: Vec<&str> = text.split_whitespace().collect();
    let step = (segment.end - segment.start).max(0.0) / parts.len().max(1) as f64;
    let word = |(at, part): (usize, &&str)| Word {
        word: (*part).to_owned(),
        start: segment.start + step * at as f64,
        end: segment.start + step * (at + 1) as f64,
        probability: None,
        speaker: segment.speaker,
        interpolated: true,
    };
    parts.iter().enumerate().map(word).collect()
}

/// A word that is too long for a line, in parts: scripts without blanks may be broken between any two characters.
fn broken(word: &Word) -> Vec<Word> {
    if text::width(&word.word) <= LINE {
        return vec![word.clone()];
    }
    let parts = text::breakable(&word.word);
    let step = (word.end - word.start) / parts.len().max(1) as f64;
    let part = |(at, part): (usize, &str)| Word {
        word: part.to_owned(),
        start: word.start + step * at as f64,
        end: word.start + step * (at + 1) as f64,
        interpolated: true,
        ..word.clone()
    };
    parts.into_iter().enumerate().map(part).collect()
}

/// No line of a cue may look like the beginning of another.
fn clean(word: &str) -> String {
    text::line(word).replace("-->", "→")
}

fn fitting(words: &[Word]) -> Vec<&[Word]> {
    let columns = text::width(&joined(words));
    let seconds = words[words.len() - 1].end - words[0].start;
    if words.len() < 2 || (columns <= CUE && seconds <= LONGEST) {
        return vec![words];
    }
    let best = (1..words.len()).max_by(|a, b| worth(words, *a).total_cmp(&worth(words, *b)));
    let (left, right) = words.split_at(best.unwrap_or(words.len() / 2));
    [fitting(left), fitting(right)].concat()
}

/// How good a place before word `at` is to cut: near the middle, behind punctuation, in a pause.
fn worth(words: &[Word], at: usize) -> f64 {
    let off_centre = at.abs_diff(words.len() - at) as f64 / words.len() as f64;
    let mark = match words[at - 1].word.chars().last() {
        Some('.' | '?' | '!' | '。' | '？' | '！') => 0.6,
        Some(',' | ';' | ':' | '、' | '，' | '；') => 0.4,
        _ => 0.0,
    };
    let pause = (words[at].start - words[at - 1].end).clamp(0.0, 1.0) * 0.5;
    mark + pause - off_centre
}

/// Ends put off where a cue would be gone too soon, and brought forward where the next one comes.
fn timed(pieces: Vec<Piece>, duration: f64) -> Vec<Cue> {
    let mut cues: Vec<Cue> = Vec::new();
    let starts: Vec<f64> = pieces.iter().map(|piece| piece.start).collect();
    for (at, piece) in pieces.into_iter().enumerate() {
        let text = piece.text();
        let after_last = cues.last().map_or(0.0, |last| last.end);
        let start = piece.start.max(after_last);
        let wanted = (text.chars().count() as f64 / READING_SPEED).clamp(SHORTEST, LONGEST);
        let next = starts.get(at + 1).map_or(duration.max(piece.end), |next| next - GAP);
        let end = piece.end.max((start + wanted).min(next));
        // Somebody else who talks at the same time waits a moment, but not for ever.
        let end =
            if next < end { next.max(start + SHORTEST.min(piece.end - piece.start)) } else { end };
        let end = end.max(start + 0.2).min(start + LONGEST + 1.0);
        cues.push(Cue { start, end, speaker: piece.speaker, lines: lines(&piece.words) });
    }
    cues
}

/// One line, or two that are as even as words allow.
fn lines(words: &[Word]) -> Vec<String> {
    let whole = joined(words);
    if text::width(&whole) <= LINE || words.len() < 2 {
        return vec![whole];
    }
    let longer =
        |at: &usize| text::width(&joined(&words[..*at])).max(text::width(&joined(&words[*at..])));
    let at = (1..words.len()).min_by_key(longer).unwrap_or(1);
    vec![joined(&words[..at]), joined(&words[at..])]
}
