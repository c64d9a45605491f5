//! Folders that say when and not what: a date, or a part of one where the others stand above it.

use std::ops::RangeInclusive;

use jiff::civil::Date;

use crate::jobs::recorded_at::dates::{Reading, readings};
use crate::jobs::recorded_at::months::month;
use crate::jobs::recorded_at::times::time_after_date;
use crate::jobs::recorded_at::tokens::{Token, tokens};
use crate::model::FileName;

/// Words that belong to a time behind a date.
const OF_TIMES: [&str; 13] =
    ["t", "z", "at", "um", "h", "am", "pm", "utc", "gmt", "st", "nd", "rd", "th"];

/// What the folders so far have said, as far as the next one goes on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    Nothing,
    Year(i16),
    Month(i16, i8),
}

/// The first folder of a path below the inbox that is not only a date or a part of one: it names the conversation.
/// `None`: there is none.
pub(crate) fn naming_folder(path: &[FileName]) -> Option<&FileName> {
    let (_, folders) = path.split_last()?;
    let mut above = Above::Nothing;
    folders.iter().find(|folder| match step(above, &folder.display()) {
        Some((next, _)) => {
            above = next;
            false
        }
        None => true,
    })
}

/// The last day that folders tell in parts: `2024/January/15`. `path` has `/` between its names.
pub(crate) fn day_in_parts(path: &str) -> Option<Date> {
    let (folders, _) = path.rsplit_once('/')?;
    let (mut above, mut found) = (Above::Nothing, None);
    for folder in folders.split('/') {
        let (next, day) = step(above, folder).unwrap_or((Above::Nothing, None));
        above = next;
        found = day.or(found);
    }
    found
}

/// What is said with that folder too, and the day if it is the last part of one. `None`: it is no part of a date.
fn step(above: Above, folder: &str) -> Option<(Above, Option<Date>)> {
    let tokens = tokens(folder.trim());
    let tokens = without_gaps(&tokens);
    if is_date(tokens) {
        return Some((Above::Nothing, None));
    }
    if let Some((year, month)) = month_of_year(tokens) {
        return Some((Above::Month(year, month), None));
    }
    if let Some(year) = year(tokens) {
        return Some((Above::Year(year), None));
    }
    match above {
        Above::Nothing => None,
        Above::Year(year) => Some((Above::Month(year, month_in(tokens)?), None)),
        Above::Month(year, month) => {
            let day = i8::try_from(number(tokens, 1..=31)?).ok()?;
            Some((Above::Nothing, Date::new(year, month, day).ok()))
        }
    }
}

/// Without what stands around: `[2024-01-15]`.
fn without_gaps<'a>(tokens: &'a [Token<'a>]) -> &'a [Token<'a>] {
    let is_gap = |token: Option<&Token<'_>>| matches!(token, Some(Token::Gap(_)));
    let begin = usize::from(is_gap(tokens.first()));
    let end = tokens.len() - usize::from(begin < tokens.len() && is_gap(tokens.last()));
    &tokens[begin..end]
}

/// A whole date, with or without a time.
fn is_date(tokens: &[Token<'_>]) -> bool {
    readings(tokens).iter().any(|reading| {
        let behind = &tokens[reading.used..];
        match reading.day {
            // As likely a number of something.
            Reading::Instant(_) => false,
            Reading::Day(_) | Reading::Moment(_) if behind.is_empty() => true,
            Reading::Moment(_) => behind.iter().all(is_of_time),
            Reading::Day(_) => {
                behind.iter().all(is_of_time) && time_after_date(behind, true).is_some()
            }
        }
    })
}

fn is_of_time(token: &Token<'_>) -> bool {
    match token {
        Token::Number(digits) => digits.len() <= 6,
        Token::Word(_) => token.is_word(&OF_TIMES),
        Token::Gap(_) => true,
    }
}

/// `2024-01`, `01.2024`, `202401`, `Jan 2024`, `2024 January`.
fn month_of_year(tokens: &[Token<'_>]) -> Option<(i16, i8)> {
    let both = |one: &[Token<'_>], other: &[Token<'_>]| Some((year(one)?, month_in(other)?));
    match tokens {
        [one, Token::Gap(_), other] => {
            both(&[*one], &[*other]).or_else(|| both(&[*other], &[*one]))
        }
        [Token::Number(digits)] if digits.len() == 6 => {
            let (year, month) = digits.split_at(4);
            both(&[Token::Number(year)], &[Token::Number(month)])
        }
        _ => None,
    }
}

/// Four digits that can be the year of a recording.
fn year(tokens: &[Token<'_>]) -> Option<i16> {
    i16::try_from(number(tokens, 1971..=2099)?).ok()
}

/// `01`, `Jan`, `01 January`, `1-Jan`.
fn month_in(tokens: &[Token<'_>]) -> Option<i8> {
    match tokens {
        [Token::Word(word)] => month(word),
        [Token::Number(_)] => i8::try_from(number(tokens, 1..=12)?).ok(),
        [number, Token::Gap(_), Token::Word(word)] | [number, Token::Word(word)] => {
            month(word).filter(|month| month_in(&[*number]) == Some(*month))
        }
        _ => None,
    }
}

fn number(tokens: &[Token<'_>], range: RangeInclusive<i32>) -> Option<i32> {
    let [Token::Number(digits)] = tokens else { return None };
    let number = digits.parse().ok().filter(|_| digits.len() <= 4)?;
    range.contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, wanted: Option<&str>) {
        let names: Vec<FileName> =
            path.split('/').map(|name| FileName::new(name).unwrap()).collect();
        let found = naming_folder(&names).map(FileName::display);
        assert_eq!(found.as_deref(), wanted, "{path}");
    }

    #[test]
    fn a_folder_that_is_only_a_date_names_no_conversation() {
        for path in [
            "x.wav",
            "2024/x.wav",
            "2024/01/x.wav",
            "2024/01/15/REC001.WAV",
            "2024/1/5/x.wav",
            "2024/January/15/x.wav",
            "2024/01 January/15/x.wav",
            "2024/2024-01/2024-01-15/x.wav",
            "2024-01/15/x.wav",
            "202401/15/x.wav",
            "Jan 2024/x.wav",
            "01.2024/x.wav",
            "2024-01-15/x.wav",
            "20240115/102339A.wav",
            "240115/x.wav",
            "15.01.2024/x.wav",
            "15 Jan 2024/x.wav",
            "[2024-01-15]/x.wav",
            "2024-01-15 10.02.03/x.wav",
            "2024-01-15T10-02-03/x.wav",
            "20240115_100203/x.wav",
            "20240115100203/x.wav",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn a_day_in_parts_is_put_together() {
        for (path, day) in [
            ("2024/01/15/x.wav", Some((2024, 1, 15))),
            ("standup/2024/January/15/x.wav", Some((2024, 1, 15))),
            ("2024/01 January/15/x.wav", Some((2024, 1, 15))),
            ("2024-01/5/x.wav", Some((2024, 1, 5))),
            ("202401/15/standup/x.wav", Some((2024, 1, 15))),
            ("Jan 2024/15/x.wav", Some((2024, 1, 15))),
            ("2024/02/30/x.wav", None),
            ("2024/01/x.wav", None),
            ("2024/standup/01/15/x.wav", None),
            ("x.wav", None),
        ] {
            let day = day.map(|(year, month, day)| Date::new(year, month, day).unwrap());
            assert_eq!(day_in_parts(path), day, "{path}");
        }
    }

    #[test]
    fn the_first_folder_that_says_more_names_the_conversation() {
        for (path, folder) in [
            ("standup/x.wav", "standup"),
            ("standup/2024-01-15/x.wav", "standup"),
            ("2024/standup/01/x.wav", "standup"),
            ("2024/01/15/standup/morning/x.wav", "standup"),
            ("2024-01-15/standup/x.wav", "standup"),
            ("2024-01-15 standup/x.wav", "2024-01-15 standup"),
            (
                "Zoom 2024-01-15 10.02.03 Team Meeting/x.m4a",
                "Zoom 2024-01-15 10.02.03 Team Meeting",
            ),
            // Parts of a date only below the others.
            ("01/x.wav", "01"),
            ("15/x.wav", "15"),
            ("January/x.wav", "January"),
            ("2024/13/x.wav", "13"),
            ("2024/01/32/x.wav", "32"),
            ("2024/01/15/07/x.wav", "07"),
            ("1066/x.wav", "1066"),
            ("12345/x.wav", "12345"),
            ("5551234/x.wav", "5551234"),
            ("1705312923/x.wav", "1705312923"),
            ("may/x.wav", "may"),
            ("v2024/x.wav", "v2024"),
            ("2024 budget/x.wav", "2024 budget"),
        ] {
            check(path, Some(folder));
        }
    }
}
