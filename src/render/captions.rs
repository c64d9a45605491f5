//! SubRip and WebVTT: cues in the two spellings that players know.

use std::fmt::Write;

use crate::model::{Recipe, Talk};
use crate::render::cues::{self, Cue};
use crate::render::text::{self, milliseconds};

/// Columns of a name before a cue: the first word must fit beside it or below it.
const NAME: usize = 30;

/// With `Name: ` where the speaker changes, if there is more than one.
pub(crate) fn srt(talk: &Talk) -> Vec<u8> {
    let mut page = String::new();
    let name = |speaker| {
        let name = text::speaker(talk, speaker).replace("-->", "→");
        format!("{}:", text::cut(&name, NAME))
    };
    let cues = match talk.speakers.len() {
        0 | 1 => cues::of(talk),
        _ => cues::with_prefixes(talk, &name),
    };
    for (at, cue) in cues.into_iter().enumerate() {
        let (start, end) = (time(cue.start, ','), time(cue.end, ','));
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{}\n{start} --> {end}\n{}\n", at + 1, cue.lines.join("\n"));
    }
    page.into_bytes()
}

/// With a voice tag on each cue.
pub(crate) fn vtt(talk: &Talk, recipe: &Recipe) -> Vec<u8> {
    let model = escaped(&text::line(&recipe.recognizer.name)).replace("-->", "→");
    let version = escaped(&text::line(&recipe.version)).replace("-->", "→");
    let mut page = format!("WEBVTT\n\nNOTE\nWritten by scribefs {version} with {model}.\n\n");
    for cue in cues::of(talk) {
        let (start, end) = (time(cue.start, '.'), time(cue.end, '.'));
        let _ = writeln!(page, "{start} --> {end}\n{}\n", voiced(talk, &cue));
    }
    page.into_bytes()
}

fn voiced(talk: &Talk, cue: &Cue) -> String {
    let lines: Vec<String> = cue.lines.iter().map(|line| escaped(line)).collect();
    let name = escaped(&text::speaker(talk, cue.speaker)).replace("-->", "→");
    format!("<v {name}>{}", lines.join("\n"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// `01:02:03,456`
fn time(seconds: f64, comma: char) -> String {
    format!("{}{comma}{:03}", text::clock(whole(seconds)), milliseconds(seconds) % 1000)
}

/// The second that the milliseconds belong to: both are of the same rounded number.
fn whole(seconds: f64) -> f64 {
    (milliseconds(seconds) / 1000) as f64
}
