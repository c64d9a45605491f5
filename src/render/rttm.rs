//! Rich Transcription Time Marked (NIST RT-09): one line for each turn.

use std::fmt::Write;

use crate::model::Talk;

/// Turns in order of start. `name` loses its blanks: the format has none.
pub(crate) fn write(name: &str, talk: &Talk) -> String {
    let name = name.split_whitespace().collect::<Vec<_>>().join("_");
    let name = if name.is_empty() { "recording" } else { &name };
    let mut text = String::new();
    for turn in &talk.turns {
        let speaker = turn.speaker.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        let length = (turn.end - turn.start).max(0.0);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "SPEAKER {name} 1 {:.3} {length:.3} <NA> <NA> {speaker} <NA> <NA>",
            turn.start
        );
    }
    text
}
