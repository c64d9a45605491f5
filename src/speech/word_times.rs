//! Text without times, spread over the stretches in which it was spoken.

use crate::model::Word;
use crate::speech::repetition::is_wide;

/// Weight of a pause between two words, in characters.
const BLANK: f64 = 1.0;

/// The words of `text` with times, by length, over `pieces` (in seconds, in order, not empty).
pub(crate) fn words(text: &str, pieces: &[(f64, f64)]) -> Vec<Word> {
    let units = units(text);
    let weights: Vec<f64> = units.iter().map(|unit| unit.chars().count() as f64 + BLANK).collect();
    let scale = length(pieces) / weights.iter().sum::<f64>().max(1.0);
    let mut spoken = 0.0;
    let mut words = Vec::with_capacity(units.len());
    for (unit, weight) in units.into_iter().zip(weights) {
        let start = at(pieces, spoken, false);
        spoken += weight * scale;
        let end = at(pieces, spoken, true).max(start);
        words.push(Word {
            word: unit,
            start,
            end,
            probability: None,
            speaker: None,
            interpolated: true,
        });
    }
    words
}

fn length(pieces: &[(f64, f64)]) -> f64 {
    pieces.iter().map(|(start, end)| end - start).sum()
}

/// The time at which `spoken` seconds of the pieces have passed. At a seam an end belongs to the piece
/// before it, and a start to the one behind.
fn at(pieces: &[(f64, f64)], spoken: f64, is_end: bool) -> f64 {
    let mut left = spoken;
    for (start, end) in pieces {
        let length = end - start;
        if left < length || (is_end && left <= length) {
            return start + left;
        }
        left -= length;
    }
    pieces.last().map_or(0.0, |(_, end)| *end)
}

/// Words; in scripts without blanks single characters, with the punctuation that follows them.
pub(crate) fn units(text: &str) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    for chunk in text.split_whitespace() {
        let mut is_new = true;
        for c in chunk.chars() {
            let after_wide = units.last().and_then(|unit| unit.chars().last()).is_some_and(is_wide);
            let begins = is_new || is_wide(c) || (after_wide && c.is_alphanumeric());
            match units.last_mut() {
                Some(unit) if !begins => unit.push(c),
                _ => units.push(c.to_string()),
            }
            is_new = false;
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fill_the_stretches_and_skip_the_pause() {
        let words = words("aaa bbb ccc ddd", &[(1.0, 2.0), (10.0, 11.0)]);
        let times: Vec<(f64, f64)> = words.iter().map(|word| (word.start, word.end)).collect();
        assert_eq!(times, [(1.0, 1.5), (1.5, 2.0), (10.0, 10.5), (10.5, 11.0)]);
        assert!(words.iter().all(|word| word.interpolated));
    }

    #[test]
    fn scripts_without_blanks_are_spread_by_character() {
        assert_eq!(
            units("今日は、いい天気。 OK yes"),
            ["今", "日", "は、", "い", "い", "天", "気。", "OK", "yes"]
        );
        assert_eq!(units(" "), Vec::<String>::new());
    }
}
