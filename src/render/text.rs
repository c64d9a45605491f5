//! Words of strangers made safe for terminals and players, and numbers for people.

use crate::model::{SpeakerId, Talk};

/// One line without anything that a terminal or a player would obey.
pub(crate) fn line(text: &str) -> String {
    let blank = |c: char| if c.is_control() || is_format(c) { ' ' } else { c };
    let cleaned: String = text.chars().map(blank).collect();
    cleaned.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Marks that change the direction of what follows: they could show a text as another.
fn is_format(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// The name to show for a speaker.
pub(crate) fn speaker(talk: &Talk, id: Option<SpeakerId>) -> String {
    let Some(id) = id else { return "Unknown".to_owned() };
    let known = talk.speakers.iter().find(|speaker| speaker.id == id);
    let name = known.map_or_else(|| id.label(), |speaker| line(speaker.shown()));
    if name.is_empty() { id.label() } else { name }
}

/// `[01:02:03]` without the brackets.
pub(crate) fn clock(seconds: f64) -> String {
    let whole = milliseconds(seconds) / 1000;
    format!("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

/// Whole and not negative.
pub(crate) fn milliseconds(seconds: f64) -> u64 {
    // Saturates, and what is no number is nothing.
    (seconds * 1000.0).round().max(0.0) as u64
}

/// `1 h 2 min`, `32 min 10 s`, `5 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = milliseconds(seconds).div_ceil(1000);
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Columns that a text takes: two for each wide character.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

/// Characters that take two columns, and between which no blanks stand.
pub(crate) fn is_wide(c: char) -> bool {
    matches!(u32::from(c),
        0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF | 0x20000..=0x3FFFD)
}

/// Pieces joined by blanks, but not between wide characters.
pub(crate) fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for word in words {
        let both_wide = text.chars().last().is_some_and(is_wide)
            && word.chars().next().is_some_and(|c| is_wide(c) && !is_hangul(c));
        if !text.is_empty() && !both_wide {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

/// Parts of a word between which a line may be broken, all of it together: between any two characters of scripts
/// that have no blanks, but not before a mark that ends something.
pub(crate) fn breakable(word: &str) -> Vec<&str> {
    let is_open = |c: char| is_wide(c) && !is_hangul(c);
    let mut parts = Vec::new();
    let (mut begin, mut before) = (0, None);
    for (at, c) in word.char_indices() {
        if before.is_some_and(is_open) && is_open(c) && !CLOSING.contains(c) {
            parts.push(&word[begin..at]);
            begin = at;
        }
        before = Some(c);
    }
    parts.push(&word[begin..]);
    parts
}

/// Marks that never begin a line.
const CLOSING: &str = "。、，．！？：；」』）】》〉ーっゃゅょッャュョ々";

/// The text in so many columns, with `…` where it is cut.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if columns <= width(&kept) + width(c.encode_utf8(&mut [0; 4])) {
            break;
        }
        kept.push(c);
    }
    format!("{}…", kept.trim_end())
}

/// Korean is wide, but has blanks.
fn is_hangul(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x115F | 0xAC00..=0xD7A3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(line("a\u{1b}[31mb\r\nc\u{202E}d\0"), "a [31mb c d");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(clock(3723.9), "01:02:03");
        assert_eq!(duration(1930.0), "32 min 10 s");
        assert_eq!((duration(3600.0), duration(3723.0)), ("1 h".into(), "1 h 2 min".into()));
        assert_eq!((duration(4.2), duration(60.0)), ("5 s".into(), "1 min".into()));
        assert_eq!(clock(f64::NAN), "00:00:00");
    }

    #[test]
    fn wide_characters_are_not_parted() {
        assert_eq!(join(["今", "日は。", "OK", "です"].into_iter()), "今日は。 OK です");
    }
}
