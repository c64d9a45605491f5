//! A transcript that somebody else has written, as talk: names and times where its lines have them. Pure.

use std::collections::BTreeMap;

use crate::model::{Segment, Speaker, SpeakerId, Talk, Turn, Warning};

/// Longest name in front of a colon, in characters and in words: what is longer is part of what was said.
const NAME_CHARACTERS: usize = 40;
const NAME_WORDS: usize = 4;

/// Somebody says something.
#[derive(Debug, Default, Clone, PartialEq)]
struct Passage {
    /// Seconds.
    start: Option<f64>,
    name: Option<String>,
    text: String,
}

/// The talk of a recording that lasts `duration` seconds (0: unknown), and names by speaker. `called` has
/// people's names by what the text calls them.
///
/// Understood are `[hh:mm:ss] Name`, followed by lines of text, `[hh:mm:ss] Name: text`, `[mm:ss] text` and
/// `Name: text`. Text that has neither is one passage over the whole recording.
pub(crate) fn talk(
    text: &str,
    duration: f64,
    called: &BTreeMap<String, String>,
) -> (Talk, BTreeMap<SpeakerId, String>) {
    let mut passages = passages(text);
    for name in passages.iter_mut().filter_map(|passage| passage.name.as_mut()) {
        if let Some(own) = called.get(name) {
            name.clone_from(own);
        }
    }
    let duration = duration.max(passages.iter().filter_map(|it| it.start).fold(0.0, f64::max));
    let mut names: Vec<String> = Vec::new();
    let mut segments: Vec<Segment> = Vec::new();
    for ((passage, start), id) in passages.iter().zip(starts(&passages, duration)).zip(0..) {
        if let Some(last) = segments.last_mut() {
            last.end = start.max(last.start);
        }
        let speaker = passage.name.as_ref().map(|name| number(&mut names, name));
        let text = passage.text.clone();
        segments.push(segment(id, start, duration.max(start), speaker, text));
    }
    let talk = Talk {
        language: None,
        duration,
        turns: turns(&segments),
        speakers: speakers(&names, &segments),
        segments,
        warnings: vec![Warning {
            code: "imported".to_owned(),
            message: "This transcript was imported; scribefs has not transcribed the recording."
                .to_owned(),
        }],
    };
    let named = names.into_iter().zip(0..).map(|(name, number)| (SpeakerId(number), name));
    (talk, named.collect())
}

fn passages(text: &str) -> Vec<Passage> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let timed = lines.iter().filter(|line| time_of(line).0.is_some()).count();
    let named = lines.iter().filter(|line| name_of(time_of(line).1).0.is_some()).count();
    // A colon now and then is part of what was said.
    let has_names = lines.len() < 2 * named + 1;
    let mut passages: Vec<Passage> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let (start, rest) = time_of(line);
        let next_is_text = lines.get(at + 1).is_some_and(|next| time_of(next).0.is_none());
        let (name, rest) = match name_of(rest) {
            (Some(name), rest) if has_names || start.is_some() => (Some(name), rest),
            _ if start.is_some() && next_is_text && is_name(rest) => (Some(rest), ""),
            _ => (None, rest),
        };
        match passages.last_mut() {
            Some(last) if start.is_none() && name.is_none() => append(last, rest),
            // What stands above the first time is a title.
            _ => {
                if start.is_some() && passages.iter().all(|it| it.start.is_none()) {
                    passages.clear();
                }
                let name = name.map(str::to_owned);
                passages.push(Passage { start, name, text: rest.to_owned() });
            }
        }
    }
    if timed == 0 && !has_names {
        return vec![Passage { text: lines.join("\n"), ..Passage::default() }];
    }
    passages.retain(|passage| !passage.text.is_empty());
    passages
}

fn append(passage: &mut Passage, text: &str) {
    if !passage.text.is_empty() {
        passage.text.push(' ');
    }
    passage.text.push_str(text);
}

/// The time at the start of a line, in seconds, and what stands behind it.
fn time_of(line: &str) -> (Option<f64>, &str) {
    let bracketed = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let Some((inside, rest)) = bracketed else { return (None, line) };
    // `[00:01 - 00:04]`: the start counts.
    let first = inside.split(['-', ' ']).find(|word| !word.is_empty()).unwrap_or_default();
    let parts: Option<Vec<f64>> = first.split(':').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some([minutes, seconds]) => (Some(minutes * 60.0 + seconds), rest.trim()),
        Some([hours, minutes, seconds]) => {
            (Some(hours * 3600.0 + minutes * 60.0 + seconds), rest.trim())
        }
        _ => (None, line),
    }
}

/// The name before the first colon, and what stands behind it.
fn name_of(line: &str) -> (Option<&str>, &str) {
    match line.split_once(':') {
        Some((name, rest)) if is_name(name) && (rest.is_empty() || rest.starts_with(' ')) => {
            (Some(name), rest.trim())
        }
        _ => (None, line),
    }
}

fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(char::is_alphabetic)
        && text.chars().count() <= NAME_CHARACTERS
        && text.split_whitespace().count() <= NAME_WORDS
        && !text.ends_with(['.', '?', '!', ','])
}

/// When each passage begins: as written, or spread over the time in between by length of text.
fn starts(passages: &[Passage], duration: f64) -> Vec<f64> {
    let mut starts = Vec::with_capacity(passages.len());
    let mut at = 0;
    while at < passages.len() {
        let from = passages[at].start.unwrap_or(0.0);
        let end = passages[at + 1..].iter().position(|it| it.start.is_some());
        let end = end.map_or(passages.len(), |distance| at + 1 + distance);
        let until = passages.get(end).and_then(|it| it.start).unwrap_or(duration).max(from);
        let all: usize = passages[at..end].iter().map(|it| it.text.len()).sum();
        let mut before = 0;
        for passage in &passages[at..end] {
            starts.push(from + (until - from) * before as f64 / all.max(1) as f64);
            before += passage.text.len();
        }
        at = end;
    }
    starts
}

fn number(names: &mut Vec<String>, name: &str) -> SpeakerId {
    let known = names.iter().position(|known| known == name);
    let place = known.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    SpeakerId(u16::try_from(place).unwrap_or(u16::MAX))
}

fn segment(id: u32, start: f64, end: f64, speaker: Option<SpeakerId>, text: String) -> Segment {
    Segment {
        id,
        start,
        end,
        text,
        speaker,
        avg_logprob: None,
        no_speech_prob: None,
        confidence: None,
        flags: Vec::new(),
        words: Vec::new(),
    }
}

fn turns(segments: &[Segment]) -> Vec<Turn> {
    let named = segments.iter().filter(|segment| segment.speaker.is_some());
    named.map(|it| Turn { speaker: it.speaker, start: it.start, end: it.end }).collect()
}

fn speakers(names: &[String], segments: &[Segment]) -> Vec<Speaker> {
    let speaker = |(name, number): (&String, u16)| {
        let id = SpeakerId(number);
        let own: Vec<&Segment> = segments.iter().filter(|it| it.speaker == Some(id)).collect();
        Speaker {
            id,
            label: id.label(),
            name: Some(name.clone()),
            talk_seconds: own.iter().map(|segment| segment.end - segment.start).sum(),
            turns: u32::try_from(own.len()).unwrap_or(u32::MAX),
        }
    };
    names.iter().zip(0..).map(speaker).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `start-end name: text` of each segment.
    fn shown(text: &str, duration: f64) -> Vec<String> {
        let (talk, names) = talk(text, duration, &BTreeMap::new());
        let line = |segment: &Segment| {
            let name = segment.speaker.map_or("nobody", |speaker| &names[&speaker]);
            format!("{:.0}-{:.0} {name}: {}", segment.start, segment.end, segment.text)
        };
        talk.segments.iter().map(line).collect()
    }

    #[test]
    fn headers_with_time_and_name_are_understood() {
        let text = "Team sync\nMonday\n\n[00:00:04] Anna\nGood morning.\nShall we?\n\n[01:02:12] Speaker 2\nYes.";
        assert_eq!(
            shown(text, 0.0),
            ["4-3732 Anna: Good morning. Shall we?", "3732-3732 Speaker 2: Yes."]
        );
    }

    #[test]
    fn times_and_names_in_one_line_are_understood() {
        let text = "[00:01 - 00:03] Anna: Hello.\n[00:03] Ben: Note: bring tea.\n[00:09] Good.";
        assert_eq!(
            shown(text, 10.0),
            ["1-3 Anna: Hello.", "3-9 Ben: Note: bring tea.", "9-10 nobody: Good."]
        );
    }

    #[test]
    fn names_without_times_share_the_time_by_length() {
        let text = "Anna: 123456\nBen: 12\nAnna: 12";
        assert_eq!(shown(text, 10.0), ["0-6 Anna: 123456", "6-8 Ben: 12", "8-10 Anna: 12"]);
        let called = [("Ben".to_owned(), "Dr. Ito".to_owned())].into();
        let (talk, names) = talk(text, 10.0, &called);
        assert_eq!(names[&SpeakerId(1)], "Dr. Ito");
        assert_eq!(talk.speakers[0].turns, 2);
    }

    #[test]
    fn plain_text_is_one_passage_over_the_whole() {
        let text = "We met.\nOne thing: the build.\nIt failed\n\nat 10:30 again.";
        let [only] = &shown(text, 60.0)[..] else { panic!() };
        assert!(only.starts_with("0-60 nobody: We met."), "{only}");
        assert!(shown("", 5.0).is_empty());
    }
}
