//! [`DateReading`]: what the tokens at one place of a name may mean as a date.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use crate::jobs::recorded_at::months::month;
use crate::jobs::recorded_at::times::clock_time;
use crate::jobs::recorded_at::tokens::Token;

/// How surely digits are a date. The order is that in which they are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strength {
    /// A year of four digits, or a month in words.
    Sure,
    /// A year of two digits with a time behind it, or seconds since 1970.
    Likely,
    /// Six digits that might be anything.
    Weak,
}

/// One reading of the tokens at a place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DateReading {
    pub(crate) day: Reading,
    pub(crate) strength: Strength,
    /// How many tokens it takes.
    pub(crate) used: usize,
    /// The pattern, as users would write it.
    pub(crate) pattern: &'static str,
}

/// How much of the time stands in the date's own digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reading {
    Day(Date),
    /// The digits hold the time of day, too.
    Moment(DateTime),
    /// Seconds or milliseconds since 1970.
    Instant(Timestamp),
}

/// All readings of the date that begins at the first token, the likelier ones first.
pub(crate) fn readings(tokens: &[Token<'_>]) -> Vec<DateReading> {
    let in_words = words(tokens);
    if !in_words.is_empty() {
        return in_words;
    }
    let separated = separated(tokens);
    if !separated.is_empty() {
        return separated;
    }
    tokens.first().and_then(|token| token.number()).map(run_of_digits).unwrap_or_default()
}

/// Dates in one run of digits.
fn run_of_digits(digits: &str) -> Vec<DateReading> {
    let reading = |day: Option<Reading>, strength, pattern| {
        day.map(|day| DateReading { day, strength, used: 1, pattern })
    };
    let found = match digits.len() {
        14 | 17 => vec![reading(moment(digits, 4), Strength::Sure, "YYYYMMDDHHMMSS")],
        12 => vec![
            reading(moment(digits, 4), Strength::Sure, "YYYYMMDDHHMM"),
            reading(moment(digits, 2), Strength::Likely, "YYMMDDHHMMSS"),
        ],
        13 => vec![reading(since_1970(digits), Strength::Likely, "milliseconds since 1970")],
        10 => vec![
            reading(since_1970(digits), Strength::Likely, "seconds since 1970"),
            reading(moment(digits, 2), Strength::Weak, "YYMMDDHHMM"),
        ],
        8 => vec![
            reading(day(digits, 4), Strength::Sure, "YYYYMMDD"),
            reading(day_first(digits), Strength::Weak, "DDMMYYYY"),
        ],
        6 => vec![reading(day(digits, 2), Strength::Weak, "YYMMDD")],
        _ => Vec::new(),
    };
    found.into_iter().flatten().collect()
}

/// Year, month and day at the head of `digits`; the year has as many as said.
fn day(digits: &str, year_digits: usize) -> Option<Reading> {
    let (year, rest) = digits.split_at_checked(year_digits)?;
    Some(Reading::Day(date(year, rest.get(..2)?, rest.get(2..4)?)?))
}

fn day_first(digits: &str) -> Option<Reading> {
    Some(Reading::Day(date(digits.get(4..)?, digits.get(2..4)?, digits.get(..2)?)?))
}

/// The same with the time of day behind it.
fn moment(digits: &str, year_digits: usize) -> Option<Reading> {
    let Reading::Day(date) = day(digits, year_digits)? else { return None };
    let time = clock_time(digits.get(year_digits + 4..)?)?;
    Some(Reading::Moment(date.to_datetime(time)))
}

/// Numbers that begin with 1: from 2001 to 2033.
fn since_1970(digits: &str) -> Option<Reading> {
    if !digits.starts_with('1') {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    let instant = match digits.len() {
        10 => Timestamp::from_second(number),
        _ => Timestamp::from_millisecond(number),
    };
    instant.ok().map(Reading::Instant)
}

/// Three numbers with the same thing twice between them: `2024-01-15`, `15.1.2024`, `2024年1月15日`.
fn separated(tokens: &[Token<'_>]) -> Vec<DateReading> {
    let [Token::Number(a), first, Token::Number(b), second, Token::Number(c), ..] = tokens else {
        return Vec::new();
    };
    let is_cjk = first.is_word(&["年", "년"]) && second.is_word(&["月", "월"]);
    let is_same_gap = first == second && first.is_gap(&["-", "_", ".", " ", "/"]);
    if !(is_cjk || is_same_gap) {
        return Vec::new();
    }
    let used = 5 + usize::from(is_cjk && tokens.get(5).is_some_and(|t| t.is_word(&["日", "일"])));
    // Blanks separate all kinds of numbers: only those written in full are a date.
    let is_blank = first.is_gap(&[" "]);
    let reading = |day: Option<Date>, strength, pattern| {
        day.map(|day| DateReading { day: Reading::Day(day), strength, used, pattern })
    };
    let found = match (a.len(), b.len(), c.len()) {
        (4, 2, 2) => vec![reading(date(a, b, c), Strength::Sure, "YYYY-MM-DD")],
        (4, 1 | 2, 1 | 2) if !is_blank => {
            vec![reading(date(a, b, c), Strength::Sure, "YYYY-M-D")]
        }
        (1 | 2, 1 | 2, 4) if !is_blank => vec![
            reading(date(c, b, a), Strength::Sure, "DD.MM.YYYY"),
            reading(date(c, a, b), Strength::Sure, "MM-DD-YYYY"),
        ],
        (2, 2, 2) if !is_blank => vec![
            reading(date(a, b, c), Strength::Weak, "YY-MM-DD"),
            reading(date(c, b, a), Strength::Weak, "DD.MM.YY"),
        ],
        _ => Vec::new(),
    };
    found.into_iter().flatten().collect()
}

/// Dates with the month in words: `15 Jan 2024`, `January 15th, 2024`, `2024-Jan-15`.
fn words(tokens: &[Token<'_>]) -> Vec<DateReading> {
    let mut parts = Vec::new();
    for (at, token) in tokens.iter().enumerate().take(9) {
        match token {
            Token::Number(digits) => parts.push((Part::Number(digits), at + 1)),
            Token::Word(word) => match month(word) {
                Some(month) => parts.push((Part::Month(month), at + 1)),
                // `15th`, `15 de enero de 2024`
                None if token.is_word(&["st", "nd", "rd", "th", "of", "de", "del", "di"]) => {}
                None => break,
            },
            Token::Gap(gap) if gap.len() <= 2 && !gap.contains('/') => {}
            Token::Gap(_) => break,
        }
        if parts.len() == 3 {
            break;
        }
    }
    let [(first, _), (second, _), (third, used)] = parts[..] else { return Vec::new() };
    let date = match (first, second, third) {
        (Part::Number(day), Part::Month(month), Part::Number(year)) if day.len() <= 2 => {
            date_of(year, month, day)
        }
        (Part::Month(month), Part::Number(day), Part::Number(year))
            if day.len() <= 2 && year.len() == 4 =>
        {
            date_of(year, month, day)
        }
        (Part::Number(year), Part::Month(month), Part::Number(day)) => date_of(year, month, day),
        _ => None,
    };
    let reading = |date| DateReading {
        day: Reading::Day(date),
        strength: Strength::Sure,
        used,
        pattern: "the month in words",
    };
    date.map(reading).into_iter().collect()
}

#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Number(&'a str),
    Month(i8),
}

fn date(year: &str, month: &str, day: &str) -> Option<Date> {
    date_of(year, month.parse().ok()?, day)
}

/// A year of two digits is one of this century.
fn date_of(year: &str, month: i8, day: &str) -> Option<Date> {
    let century = match year.len() {
        2 => 2000,
        4 => 0,
        _ => return None,
    };
    Date::new(century + year.parse::<i16>().ok()?, month, day.parse().ok()?).ok()
}
