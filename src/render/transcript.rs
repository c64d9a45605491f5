//! The transcript that a person reads.

use std::fmt::Write;

use jiff::civil::Time;

use crate::model::{Recipe, Segment, SpeakerId, Talk};
use crate::render::{Chapter, languages, text};

/// The same speaker within so many seconds goes on with his turn.
const SAME_TURN: f64 = 2.0;
/// A new paragraph with a time at least so often, in seconds.
const PARAGRAPH: f64 = 60.0;
/// Pauses from here on are noted.
const PAUSE: f64 = 10.0;

/// Between the recordings of a day.
const RULE: &str = "----------------------------------------";

/// The transcript of a day: its title, and the [`chapter`](crate::render::chapter())s of its recordings in order.
#[derive(Debug)]
pub struct DayPage {
    text: String,
    is_empty: bool,
}

impl DayPage {
    pub fn new(title: &str) -> Self {
        Self { text: format!("{}\n", text::line(title)), is_empty: true }
    }

    /// The next chapter.
    pub fn add(&mut self, chapter: &str) {
        if !self.is_empty {
            // Writing to a string cannot fail.
            let _ = write!(self.text, "\n{RULE}\n\n");
        }
        self.text.push_str(chapter);
        self.is_empty = false;
    }

    /// Whether it has a title only.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

/// What a recording has in its day's page.
pub(crate) fn chapter(chapter: Chapter<'_>) -> String {
    let mut page = String::new();
    let recorded = &chapter.recording.recorded_at.time;
    let pattern = match recorded.time() == Time::midnight() {
        // Nobody knows more than the day.
        true => "%A %-d %B %Y",
        false => "%A %-d %B %Y, %H:%M",
    };
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(page, "{} · {}", recorded.strftime(pattern), summary(chapter.talk));
    let name = text::line(&chapter.recording.audio_name.display());
    let _ = writeln!(page, "{name} · {}", made_with(chapter.recipe));
    body(&mut page, chapter.talk);
    page
}

pub(crate) fn plain(title: &str, recipe: &Recipe, talk: &Talk) -> String {
    let title = text::line(title);
    let mut page = format!("{title}\n{}\n{}\n", summary(talk), made_with(recipe));
    body(&mut page, talk);
    page
}

/// `32 min 10 s · English · 3 speakers`
fn summary(talk: &Talk) -> String {
    let mut parts = vec![text::duration(talk.duration)];
    parts.extend(talk.language.as_deref().map(|code| languages::name(code).to_owned()));
    match talk.speakers.len() {
        0 => {}
        1 => parts.push("1 speaker".to_owned()),
        count => parts.push(format!("{count} speakers")),
    }
    parts.join(" · ")
}

fn made_with(recipe: &Recipe) -> String {
    let version: Vec<&str> = recipe.version.split('.').take(2).collect();
    format!("{} · scribefs {}", text::line(&recipe.recognizer.name), version.join("."))
}

fn body(page: &mut String, talk: &Talk) {
    for warning in &talk.warnings {
        let _ = writeln!(page, "Note: {}", text::line(&warning.message));
    }
    if let Some(shares) = shares(talk) {
        let _ = writeln!(page, "\n{shares}");
    }
    if talk.segments.is_empty() {
        if talk.warnings.is_empty() {
            page.push_str("\nNo speech was found.\n");
        }
        return;
    }
    let mut last_end = 0.0;
    for paragraph in paragraphs(&talk.segments) {
        let (first, last) = (paragraph[0], paragraph[paragraph.len() - 1]);
        if PAUSE <= first.start - last_end {
            let _ =
                writeln!(page, "\n({} pause)", text::duration((first.start - last_end).floor()));
        }
        last_end = f64::max(last_end, last.end);
        let name = text::speaker(talk, first.speaker);
        let said: Vec<String> = paragraph.iter().map(|segment| text::line(&segment.text)).collect();
        let said = text::join(said.iter().map(String::as_str));
        let _ = writeln!(page, "\n[{}] {name}\n{said}", text::clock(first.start));
    }
}

/// `Anna 52 %   Speaker 2 31 %`, for more than one.
fn shares(talk: &Talk) -> Option<String> {
    if talk.speakers.len() < 2 {
        return None;
    }
    let all: f64 = talk.speakers.iter().map(|speaker| speaker.talk_seconds).sum();
    let share = |seconds: f64| (seconds / all.max(0.001) * 100.0).round();
    let parts = talk.speakers.iter().map(|speaker| {
        let name = text::speaker(talk, Some(speaker.id));
        format!("{name} {:.0} %", share(speaker.talk_seconds))
    });
    Some(parts.collect::<Vec<_>>().join("   "))
}

/// Segments by speaker and time, each row a paragraph.
fn paragraphs(segments: &[Segment]) -> Vec<Vec<&Segment>> {
    let mut paragraphs: Vec<Vec<&Segment>> = Vec::new();
    for segment in segments {
        match paragraphs.last_mut() {
            Some(paragraph) if continues(paragraph, segment) => paragraph.push(segment),
            _ => paragraphs.push(vec![segment]),
        }
    }
    paragraphs
}

fn continues(paragraph: &[&Segment], next: &Segment) -> bool {
    let (first, last) = (paragraph[0], paragraph[paragraph.len() - 1]);
    let speaker: Option<SpeakerId> = first.speaker;
    speaker == next.speaker
        && next.start - last.end <= SAME_TURN
        && next.end - first.start <= PARAGRAPH
}
