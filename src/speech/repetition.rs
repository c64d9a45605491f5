//! Text that nobody says: a recognizer that repeats itself, or that has more words than fit in the time.

/// A phrase of several words that comes this often in a row is a loop.
const PHRASE_TIMES: usize = 4;
/// A single word may be repeated more often: `no, no, no, no`.
const WORD_TIMES: usize = 6;
/// Longest phrase that is looked for, in words.
const LONGEST_PHRASE: usize = 6;

/// Words a second that nobody speaks.
const FASTEST_WORDS: f64 = 6.5;
/// The same in characters, for scripts without blanks between words.
const FASTEST_CHARACTERS: f64 = 15.0;
/// Shorter sounds are judged as if they were so long: a word can be short.
const SHORTEST_SECONDS: f64 = 0.5;

/// Whether one to six words come four times in a row, or a single word six times.
pub(crate) fn has_loop(text: &str) -> bool {
    let words = words(text);
    (1..=LONGEST_PHRASE).any(|length| {
        let times = if length == 1 { WORD_TIMES } else { PHRASE_TIMES };
        let last_start = (words.len() + 1).saturating_sub(times * length);
        (0..last_start).any(|start| is_repeated(&words[start..], length, times))
    })
}

fn is_repeated(words: &[String], length: usize, times: usize) -> bool {
    let phrase = &words[..length];
    words.chunks_exact(length).take(times).filter(|chunk| *chunk == phrase).count() == times
}

/// Whether `text` is more than anybody says in `seconds`.
pub(crate) fn is_too_fast(text: &str, seconds: f64) -> bool {
    let seconds = seconds.max(SHORTEST_SECONDS);
    let wide = text.chars().filter(|c| is_wide(*c)).count();
    if wide * 2 > text.chars().count() {
        return wide as f64 > FASTEST_CHARACTERS * seconds;
    }
    text.split_whitespace().count() as f64 > FASTEST_WORDS * seconds
}

/// Lower case, without punctuation; each character by itself in scripts without blanks.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in text.to_lowercase().chars() {
        if is_wide(c) {
            words.push(c.to_string());
            words.push(String::new());
        } else if c.is_alphanumeric() || c == '\'' {
            words.last_mut().expect("never empty").push(c);
        } else {
            words.push(String::new());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Characters of scripts that put no blanks between words: kana, Chinese characters, Thai.
pub(crate) fn is_wide(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0E7F | 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF
        | 0x20000..=0x3FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_that_come_four_times_are_loops() {
        assert!(has_loop("so I said, so I said. So I said so I said and"));
        assert!(has_loop("and then no no no no no no"));
        assert!(has_loop("我想我想我想我想"));
        assert!(!has_loop("no no no no no, he said"));
        assert!(!has_loop("so I said so I said so I said something else"));
        assert!(!has_loop(""));
    }

    #[test]
    fn more_words_than_anybody_speaks_are_too_fast() {
        assert!(is_too_fast("one two three four five six seven", 1.0));
        assert!(!is_too_fast("one two three", 0.1));
        assert!(is_too_fast(&"字".repeat(31), 2.0));
        assert!(!is_too_fast(&"字".repeat(29), 2.0));
    }
}
