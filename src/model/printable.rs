//! Text that strangers chose (names, messages), made safe to print on a terminal and to hand to JSON readers.

use std::borrow::Cow;
use std::fmt::Write;

/// What a printed character becomes that a terminal would act on.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// `text` on one line: no character in it moves the cursor, starts an escape sequence or reorders the text around
/// it. Line ends are replaced too, because a name must not be able to forge a line of a list.
pub fn printable(text: &str) -> Cow<'_, str> {
    replaced(text, is_unsafe)
}

/// The same for text of several lines: line ends and tabs stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    replaced(text, |c| is_unsafe(c) && c != '\n' && c != '\t')
}

/// `text` without the numbers that the system's messages end in, such as ` (os error 2)`.
pub fn without_error_numbers(text: &str) -> Cow<'_, str> {
    const MARK: &str = " (os error ";
    let mut parts = text.split(MARK);
    let Some(first) = parts.next().filter(|first| first.len() < text.len()) else {
        return Cow::Borrowed(text);
    };
    let mut plain = first.to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                plain.push_str(rest);
            }
            _ => plain.extend([MARK, part]),
        }
    }
    Cow::Owned(plain)
}

/// JSON with every such character written as `\uXXXX`. In valid JSON they stand inside strings only, where the two
/// mean the same, so programs read what they read before and a terminal shows it unharmed.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let is_layout = |c: char| c == '\n';
    if !json.chars().any(|c| is_unsafe(c) && !is_layout(c)) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unsafe(c) && !is_layout(c) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// C0, DEL and C1 (some terminals take U+009B for ESC `[`), line and paragraph separators, and the embeddings,
/// overrides and isolates of bidirectional text. All lie below U+10000, as `escaped_json` needs.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn replaced(text: &str, is_replaced: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_replaced) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_replaced(c) { REPLACEMENT } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [char; 10] = [
        '\u{1b}', '\u{7}', '\r', '\u{7f}', '\u{80}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{2066}',
        '\u{0}',
    ];

    #[test]
    fn nothing_that_a_terminal_would_act_on_is_left() {
        for hostile in HOSTILE {
            let text = format!("a{hostile}b");
            assert_eq!(printable(&text), "a\u{FFFD}b", "{hostile:?}");
            assert_eq!(printable_lines(&text), "a\u{FFFD}b", "{hostile:?}");
        }
        assert_eq!(printable("a\nb\tc"), "a\u{FFFD}b\u{FFFD}c");
        assert_eq!(printable_lines("a\nb\tc"), "a\nb\tc");
        assert_eq!(printable("Ä 日本語 עברית 🎤"), "Ä 日本語 עברית 🎤");
    }

    #[test]
    fn only_the_numbers_of_the_system_are_taken_out() {
        for (text, wanted) in [
            ("x: No such file or directory (os error 2)", "x: No such file or directory"),
            ("a (os error 2): b (os error 28).", "a: b."),
            ("no number (os error x)", "no number (os error x)"),
            ("cut (os error 2", "cut (os error 2"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_error_numbers(text), wanted);
        }
    }

    #[test]
    fn escaped_json_means_the_same_and_holds_no_raw_control() {
        let text: String = HOSTILE.iter().chain(['\n', '\t', 'ä'].iter()).collect();
        let json = serde_json::json!({ "name": text });
        for written in [json.to_string(), format!("{json:#}")] {
            let escaped = escaped_json(&written);
            assert!(!escaped.chars().any(|c| is_unsafe(c) && c != '\n'), "{escaped:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), json);
        }
    }
}
