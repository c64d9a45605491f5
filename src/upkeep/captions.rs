//! What was said, read back from the subtitles of a recording whose json page is lost. Pure.
//!
//! Only pages that scribefs has written are read, so their form is known: cues with times, each with a voice tag.

use std::collections::BTreeMap;

use crate::model::{Segment, Speaker, SpeakerId, Talk, Turn, Warning};

/// Names of speakers, as users gave them.
type Names = BTreeMap<SpeakerId, String>;

/// The talk in a `.vtt` page, of a recording of that many seconds; `None`: there is none in it.
pub(crate) fn talk(
    page: &str,
    duration: f64,
    language: Option<String>,
    names: &Names,
) -> Option<Talk> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut voices: Vec<String> = Vec::new();
    for block in page.split("\n\n") {
        let Some((start, end, voice, text)) = cue(block) else { continue };
        let speaker = speaker_of(&voice, names, &mut voices);
        let id = u32::try_from(segments.len()).unwrap_or(u32::MAX);
        segments.push(Segment {
            id,
            start,
            end,
            text,
            speaker: Some(speaker),
            avg_logprob: None,
            no_speech_prob: None,
            confidence: None,
            flags: Vec::new(),
            words: Vec::new(),
        });
    }
    let turn = |it: &Segment| Turn { speaker: it.speaker, start: it.start, end: it.end };
    (!segments.is_empty()).then(|| Talk {
        language,
        duration,
        turns: segments.iter().map(turn).collect(),
        speakers: speakers(&segments, names),
        segments,
        warnings: vec![Warning {
            code: "captions".to_owned(),
            message: "The transcript was lost and is written again from the subtitles: the times \
                      of words are missing."
                .to_owned(),
        }],
    })
}

/// Start, end, voice and text.
fn cue(block: &str) -> Option<(f64, f64, String, String)> {
    let mut lines = block.lines().skip_while(|line| line.is_empty());
    let (start, end) = lines.next()?.split_once(" --> ")?;
    let text = lines.collect::<Vec<_>>().join(" ");
    let (voice, text) = text.strip_prefix("<v ")?.split_once('>')?;
    Some((seconds(start)?, seconds(end)?, unescaped(voice), unescaped(text)))
}

/// `01:02:03.456`
fn seconds(time: &str) -> Option<f64> {
    let parts: Option<Vec<f64>> = time.trim().split(':').map(|part| part.parse().ok()).collect();
    match parts?[..] {
        [hours, minutes, seconds] => Some(hours * 3600.0 + minutes * 60.0 + seconds),
        _ => None,
    }
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Whose voice it is: by the name that a user gave, else by its number, else the next number that is free.
fn speaker_of(voice: &str, names: &Names, voices: &mut Vec<String>) -> SpeakerId {
    if let Some((id, _)) = names.iter().find(|(_, name)| *name == voice) {
        return *id;
    }
    let number = voice.strip_prefix("Speaker ").and_then(|it| it.parse::<u16>().ok());
    if let Some(number) = number.and_then(|number| number.checked_sub(1)) {
        return SpeakerId(number);
    }
    let place = voices.iter().position(|known| known == voice).unwrap_or_else(|| {
        voices.push(voice.to_owned());
        voices.len() - 1
    });
    let mut free = (0..=u16::MAX).map(SpeakerId).filter(|id| !names.contains_key(id));
    free.nth(place).unwrap_or(SpeakerId(u16::MAX))
}

/// All up to the highest one: whoever says nothing in the subtitles keeps the place that names are laid over.
fn speakers(segments: &[Segment], names: &Names) -> Vec<Speaker> {
    let heard = segments.iter().filter_map(|it| it.speaker);
    let last = heard.chain(names.keys().copied()).map(|id| id.0).max().unwrap_or(0);
    let speaker = |id: SpeakerId| {
        let own: Vec<&Segment> = segments.iter().filter(|it| it.speaker == Some(id)).collect();
        Speaker {
            id,
            label: id.label(),
            name: names.get(&id).cloned(),
            talk_seconds: own.iter().map(|it| it.end - it.start).sum(),
            turns: u32::try_from(own.len()).unwrap_or(u32::MAX),
        }
    };
    (0..=last).map(SpeakerId).map(speaker).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_subtitles_say_is_who_said_what_and_when() {
        let page = "WEBVTT\n\nNOTE\nWritten by scribefs 0.1.0 with moonshine.\n\n\
                    00:00:00.500 --> 00:00:01.500\n<v Speaker 1>Good morning &amp;\nwelcome.\n\n\
                    00:00:02.000 --> 01:00:03.250\n<v Anna>Is 1 &lt; 2?\n\n";
        let names = BTreeMap::from([(SpeakerId(1), "Anna".to_owned())]);
        let talk = talk(page, 4000.0, Some("en".to_owned()), &names).unwrap();
        let said: Vec<_> = talk
            .segments
            .iter()
            .map(|it| (it.start, it.end, it.speaker, it.text.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                (0.5, 1.5, Some(SpeakerId(0)), "Good morning & welcome."),
                (2.0, 3603.25, Some(SpeakerId(1)), "Is 1 < 2?"),
            ]
        );
        let called: Vec<_> = talk.speakers.iter().map(|it| it.name.as_deref()).collect();
        assert_eq!(called, [None, Some("Anna")]);
    }

    #[test]
    fn names_that_are_known_no_more_are_different_people() {
        let page = "00:00:00.500 --> 00:00:01.500\n<v Ben>One.\n\n\
                    00:00:02.000 --> 00:00:03.000\n<v Cleo>Two.\n\n\
                    00:00:04.000 --> 00:00:05.000\n<v Ben>Three.\n";
        let talk = talk(page, 5.0, None, &BTreeMap::new()).unwrap();
        let heard: Vec<_> = talk.segments.iter().filter_map(|it| it.speaker).collect();
        assert_eq!(heard, [SpeakerId(0), SpeakerId(1), SpeakerId(0)]);
        assert!(super::talk("WEBVTT\n\nNOTE\nnothing\n", 5.0, None, &BTreeMap::new()).is_none());
    }
}
