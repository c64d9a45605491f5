//! [`TimeOfDay`]: the time that follows a date in a name, and the zone that it is said to be in.

use jiff::civil::Time;
use jiff::tz::Offset;

use crate::jobs::recorded_at::tokens::Token;

/// What stands behind a date.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TimeOfDay {
    pub(crate) time: Time,
    /// `Z`, `UTC`, `GMT` or an offset behind it.
    pub(crate) offset: Option<Offset>,
}

/// Words that may stand between a date and its time.
const CONNECTORS: [&str; 6] = ["t", "at", "um", "à", "alle", "kl"];
const GAPS: [&str; 12] = ["-", "_", " ", ".", ",", ", ", " - ", "--", "/", "T", "@", " @ "];

/// The time at the head of what follows a date. `is_counter` says that four digits that begin with `00`
/// number a file rather than tell a time.
pub(crate) fn time_after_date(tokens: &[Token<'_>], is_counter: bool) -> Option<TimeOfDay> {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let connects = token.is_gap(&GAPS) || token.is_word(&CONNECTORS);
        if token.number().is_some() || !connects || at == 3 {
            break;
        }
        at += 1;
    }
    time_at(tokens.get(at..)?, is_counter)
}

/// A time that begins at the first token: `100203`, `10-02-03`, `9.30`, `10h02`, `1.02 PM`.
pub(crate) fn time_at(tokens: &[Token<'_>], is_counter: bool) -> Option<TimeOfDay> {
    let first = tokens.first()?.number()?;
    if first.len() > 2 {
        let is_numbering = is_counter && first.len() == 4 && first.starts_with("00");
        let time = clock_time(first).filter(|_| first.len() != 5 && !is_numbering)?;
        return Some(with_suffixes(time, &tokens[1..]));
    }
    match groups(tokens) {
        Some((time, used)) => Some(with_suffixes(time, &tokens[used..])),
        // `10 PM`
        None => {
            let (is_afternoon, used) = half_of_day(&tokens[1..])?;
            let time = in_half(hour_minute_second(first, "0", "0")?, is_afternoon)?;
            Some(TimeOfDay { time, offset: zone(&tokens[1 + used..]) })
        }
    }
}

/// Hours and minutes, perhaps seconds, with something between them, and how many tokens they take.
fn groups(tokens: &[Token<'_>]) -> Option<(Time, usize)> {
    let [Token::Number(hour), gap, Token::Number(minute), ..] = tokens else { return None };
    let is_clock = gap.is_gap(&[".", ":"]) || gap.is_word(&["h", "時", "时", "点", "시"]);
    let is_dashed = hour.len() == 2 && gap.is_gap(&["-", "_"]);
    if minute.len() != 2 || !(is_clock || is_dashed) {
        return None;
    }
    let second = match tokens.get(3..5) {
        Some([gap, Token::Number(second)])
            if second.len() == 2
                && (gap.is_gap(&["-", ".", ":", "_"]) || gap.is_word(&["m", "分", "분"])) =>
        {
            Some(second)
        }
        _ => None,
    };
    let time = hour_minute_second(hour, minute, second.unwrap_or(&"0"))?;
    let mut used = if second.is_some() { 5 } else { 3 };
    used +=
        usize::from(tokens.get(used).is_some_and(|token| token.is_word(&["s", "m", "秒", "분"])));
    Some((time, used))
}

/// Fractions are passed over; then half of the day and zone are looked for.
fn with_suffixes(time: Time, mut rest: &[Token<'_>]) -> TimeOfDay {
    if let [gap, Token::Number(fraction), after @ ..] = rest
        && gap.is_gap(&[".", ","])
        && matches!(fraction.len(), 3 | 6)
    {
        rest = after;
    }
    let half = half_of_day(rest).and_then(|(half, used)| Some((in_half(time, half)?, used)));
    match half {
        Some((time, used)) => TimeOfDay { time, offset: zone(&rest[used..]) },
        None => TimeOfDay { time, offset: zone(rest) },
    }
}

/// Whether `PM` stands here, and how many tokens that takes.
fn half_of_day(tokens: &[Token<'_>]) -> Option<(bool, usize)> {
    // macOS puts U+202F before it.
    let gaps = [" ", "_", ".", "-", "\u{202f}", "\u{a0}"];
    let skip = usize::from(tokens.first().is_some_and(|token| token.is_gap(&gaps)));
    match tokens.get(skip..)? {
        [word, ..] if word.is_word(&["pm"]) => Some((true, skip + 1)),
        [word, ..] if word.is_word(&["am"]) => Some((false, skip + 1)),
        [half, dot, m, ..]
            if dot.is_gap(&["."]) && m.is_word(&["m"]) && half.is_word(&["a", "p"]) =>
        {
            Some((half.is_word(&["p"]), skip + 3))
        }
        _ => None,
    }
}

fn in_half(time: Time, is_afternoon: bool) -> Option<Time> {
    let hour = match (time.hour(), is_afternoon) {
        (12, false) => 0,
        (12, true) => 12,
        (hour @ 1..=11, true) => hour + 12,
        (hour @ 1..=11, false) => hour,
        // `22:02 PM` needs no help.
        _ => return None,
    };
    Time::new(hour, time.minute(), time.second(), 0).ok()
}

/// `Z`, `UTC`, `GMT+1`, `+0000`, `-08:00`.
fn zone(tokens: &[Token<'_>]) -> Option<Offset> {
    let skip = usize::from(tokens.first().is_some_and(|token| token.is_gap(&[" ", "_", "-", "."])));
    if tokens.get(skip).is_some_and(|token| token.is_word(&["z"])) {
        return Some(Offset::UTC);
    }
    if tokens.get(skip).is_some_and(|token| is_utc(*token)) {
        return Some(offset(&tokens[skip + 1..]).unwrap_or(Offset::UTC));
    }
    // A dash also separates: without `UTC` before it only four digits are an offset.
    let is_written_in_full = matches!(tokens, [_, Token::Number(digits), ..] if digits.len() == 4);
    let is_plus = tokens.first().is_some_and(|token| token.is_gap(&["+", " +", "_+"]));
    (is_written_in_full || is_plus).then(|| offset(tokens)).flatten()
}

/// Whether a word before or behind a time says that it is Greenwich's.
pub(crate) fn is_utc(token: Token<'_>) -> bool {
    token.is_word(&["utc", "gmt"])
}

fn offset(tokens: &[Token<'_>]) -> Option<Offset> {
    let [Token::Gap(sign), Token::Number(digits), rest @ ..] = tokens else { return None };
    let is_west = match sign.trim_start_matches([' ', '_']) {
        "+" => false,
        "-" => true,
        _ => return None,
    };
    let (hours, minutes) = match (digits.len(), rest) {
        (4, _) => digits.split_at(2),
        (1 | 2, [colon, Token::Number(minutes), ..]) if colon.is_gap(&[":"]) => (*digits, *minutes),
        (1 | 2, _) => (*digits, "0"),
        _ => return None,
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    // Zones that there are, lest a counter is taken for one.
    if hours > 14 || !matches!(minutes, 0 | 15 | 30 | 45) {
        return None;
    }
    let seconds = (hours * 60 + minutes) * 60;
    Offset::from_seconds(if is_west { -seconds } else { seconds }).ok()
}

/// `HHMM` or `HHMMSS`, perhaps with fractions of a second behind.
pub(crate) fn clock_time(digits: &str) -> Option<Time> {
    if digits.len() < 4 || digits.len() > 9 || digits.len() == 5 {
        return None;
    }
    let second = digits.get(4..6).unwrap_or("0");
    hour_minute_second(&digits[..2], &digits[2..4], second)
}

fn hour_minute_second(hour: &str, minute: &str, second: &str) -> Option<Time> {
    Time::new(hour.parse().ok()?, minute.parse().ok()?, second.parse().ok()?, 0).ok()
}
