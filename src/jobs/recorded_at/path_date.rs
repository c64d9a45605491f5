//! [`NamedTime`]: what the names of a file and of its folders say of when it was recorded.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use crate::jobs::recorded_at::dates::{DateReading, Reading, Strength, readings};
use crate::jobs::recorded_at::times::{TimeOfDay, is_utc, time_after_date};
use crate::jobs::recorded_at::tokens::{Token, tokens};

/// A time that a name tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedTime {
    pub(crate) when: When,
    /// The pattern that it stood in.
    pub(crate) pattern: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum When {
    /// Local time of the recorder, as it usually is.
    Local(DateTime),
    /// The name says `Z`, an offset, or counts from 1970.
    Instant(Timestamp),
}

/// A time with what is needed to choose among several.
struct Candidate {
    strength: Strength,
    is_in_folder: bool,
    named: NamedTime,
}

/// Every time that the path below the inbox may mean, in the order in which they should be believed.
///
/// A date that nobody can mistake counts before one that may be a number, wherever it stands; among equals the
/// file's name counts before its folders, and the first before the later. `modified_on` decides where
/// a date can be read in two ways.
pub(crate) fn times_in_path(path: &str, modified_on: Date) -> Vec<NamedTime> {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = without_conflict(without_extension(name));
    let mut found = candidates(&stem, 0, modified_on);
    // The file may hold the time of the day that its folder names: `20060928/102339A.wav`.
    let whole = format!("{folders}/{stem}");
    found.extend(candidates(&whole, stem.len(), modified_on));
    found.sort_by_key(|candidate| (candidate.strength, candidate.is_in_folder));
    found.into_iter().map(|candidate| candidate.named).collect()
}

/// Candidates of `text` that begin before its last `excluded_bytes`. Those are a folder's, if there are any.
fn candidates(text: &str, excluded_bytes: usize, modified_on: Date) -> Vec<Candidate> {
    let tokens = tokens(text);
    let end = text.len() - excluded_bytes;
    let (mut at, mut offset, mut found) = (0, 0, Vec::new());
    while at < tokens.len() && offset < end {
        let mut readings = readings(&tokens[at..]);
        // A stable sort: the likelier reading stays first where the file's time decides nothing.
        readings.sort_by_key(|reading| day_of(reading.day) != Some(modified_on));
        found.extend(readings.iter().map(|reading| Candidate {
            is_in_folder: excluded_bytes > 0,
            ..candidate(&tokens, at, reading)
        }));
        // Nothing that a date has taken begins another one, unless it proves to be none: `22110915 2024-01-15`.
        let used = readings.first().map_or(1, |reading| reading.used);
        for token in &tokens[at..at + used] {
            offset += length(*token);
        }
        at += used;
    }
    found
}

fn candidate(tokens: &[Token<'_>], at: usize, reading: &DateReading) -> Candidate {
    let behind = &tokens[at + reading.used..];
    let has_utc_before = tokens[..at]
        .iter()
        .rev()
        .find(|token| !token.is_gap(&[" ", "_", "-"]))
        .is_some_and(|token| is_utc(*token));
    let mut strength = reading.strength;
    let when = match reading.day {
        Reading::Instant(instant) => When::Instant(instant),
        Reading::Moment(moment) => local_or_utc(moment, has_utc_before.then_some(Offset::UTC)),
        Reading::Day(day) => {
            let time = time_after_date(behind, strength != Strength::Sure);
            let is_counter = matches!(behind, [_, Token::Number(number), ..] if number.len() == 4);
            if strength == Strength::Weak && (time.is_some() || is_counter) {
                strength = Strength::Likely;
            }
            match time {
                Some(TimeOfDay { time, offset }) => {
                    let utc = has_utc_before.then_some(Offset::UTC);
                    local_or_utc(day.to_datetime(time), offset.or(utc))
                }
                None => When::Local(day.to_datetime(Time::midnight())),
            }
        }
    };
    let pattern = reading.pattern.to_owned();
    Candidate { strength, is_in_folder: false, named: NamedTime { when, pattern } }
}

fn local_or_utc(time: DateTime, offset: Option<Offset>) -> When {
    match offset.and_then(|offset| offset.to_timestamp(time).ok()) {
        Some(instant) => When::Instant(instant),
        None => When::Local(time),
    }
}

fn day_of(reading: Reading) -> Option<Date> {
    match reading {
        Reading::Day(day) => Some(day),
        Reading::Moment(moment) => Some(moment.date()),
        Reading::Instant(_) => None,
    }
}

fn length(token: Token<'_>) -> usize {
    match token {
        Token::Number(text) | Token::Word(text) | Token::Gap(text) => text.len(),
    }
}

/// Extensions hold digits, too: `mp3`, `3gp`.
fn without_extension(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && is_extension(extension) => stem,
        _ => name,
    }
}

fn is_extension(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.chars().any(|c| c.is_ascii_alphabetic())
        && !text.contains(' ')
}

/// The name without what a synchroniser added to it: that is the day of the conflict.
fn without_conflict(stem: &str) -> String {
    let lower = stem.to_ascii_lowercase();
    // Syncthing: `REC0002.sync-conflict-20240116-093015-ABCDEFG`.
    if let Some(start) = lower.find(".sync-conflict-") {
        let rest = &stem[start + 1..];
        let end = rest.find('.').map_or(stem.len(), |end| start + 1 + end);
        return format!("{}{}", &stem[..start], &stem[end..]);
    }
    // Dropbox, Nextcloud: `name (Anna's conflicted copy 2024-01-16)`.
    if let Some(at) = lower.find("conflicted copy")
        && let Some(start) = stem[..at].rfind('(')
    {
        let end = stem[at..].find(')').map_or(stem.len(), |end| at + end + 1);
        return format!("{}{}", &stem[..start], &stem[end..]);
    }
    stem.to_owned()
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, datetime};

    use super::*;

    /// The first time that the path tells, in local time or as an instant of UTC.
    fn first(path: &str) -> Option<String> {
        let named = times_in_path(path, date(2024, 2, 1)).into_iter().next()?;
        Some(match named.when {
            When::Local(time) => time.to_string(),
            When::Instant(instant) => instant.to_string(),
        })
    }

    fn check(cases: &[(&str, &str)]) {
        for (path, time) in cases {
            assert_eq!(first(path).as_deref(), Some(*time), "{path}");
        }
    }

    #[test]
    fn runs_of_digits_are_read() {
        check(&[
            ("Kim(5551234)_20240115100203.mp3", "2024-01-15T10:02:03"),
            ("202401151002.wav", "2024-01-15T10:02:00"),
            ("240115100203.wav", "2024-01-15T10:02:03"),
            ("240115_1002.mp3", "2024-01-15T10:02:00"),
            ("+4915112345678_240506_225406577.amr", "2024-05-06T22:54:06"),
            ("240115_0001.wav", "2024-01-15T00:00:00"),
            ("240115.wav", "2024-01-15T00:00:00"),
            ("REC_20240115_1002.wav", "2024-01-15T10:02:00"),
        ]);
    }

    #[test]
    fn zones_in_names_are_heeded() {
        check(&[
            ("GMT20240116-030203_Recording.m4a", "2024-01-16T03:02:03Z"),
            ("Queens_20230502_033000_Z.WAV", "2023-05-02T03:30:00Z"),
            ("20240115T190203Z.wav", "2024-01-15T19:02:03Z"),
            ("20230502 033000UTC.wav", "2023-05-02T03:30:00Z"),
            ("20240116_053000.000+0000_in_+12192826655.oga", "2024-01-16T05:30:00Z"),
            ("2024-01-15T10-02-03+0100.wav", "2024-01-15T09:02:03Z"),
            ("20240115_100203-0500.wav", "2024-01-15T15:02:03Z"),
            ("2024-01-15 10.02.03 UTC+2.wav", "2024-01-15T08:02:03Z"),
        ]);
    }

    #[test]
    fn halves_of_the_day_and_short_hours_are_read() {
        check(&[
            ("WhatsApp Audio 2024-01-15 at 10.02.03 PM.ogg", "2024-01-15T22:02:03"),
            ("WhatsApp Audio 2024-01-15 at 1.02.03 PM.ogg", "2024-01-15T13:02:03"),
            ("New 2024-01-15 at 12.30.00\u{202f}AM.m4a", "2024-01-15T00:30:00"),
            ("2024-01-15 9.30.m4a", "2024-01-15T09:30:00"),
            ("2024-01-15 at 10 p.m..m4a", "2024-01-15T22:00:00"),
            ("2024-01-15 10h02.wav", "2024-01-15T10:02:00"),
        ]);
    }

    #[test]
    fn seconds_since_1970_are_read() {
        check(&[
            ("1705312923000.m4a", "2024-01-15T10:02:03Z"),
            ("1705312923-camera_person.mp4", "2024-01-15T10:02:03Z"),
        ]);
    }

    #[test]
    fn months_in_words_and_days_first_are_read() {
        check(&[
            ("15 Jan 2024.m4a", "2024-01-15T00:00:00"),
            ("Interview January 15th, 2024 at 3.15 PM.m4a", "2024-01-15T15:15:00"),
            ("15. März 2023 Team.m4a", "2023-03-15T00:00:00"),
            ("15 de enero de 2024.m4a", "2024-01-15T00:00:00"),
            ("2024-Jan-15.m4a", "2024-01-15T00:00:00"),
            ("15-01-2024 10-02-03.m4a", "2024-01-15T10:02:03"),
            ("01-15-2024.m4a", "2024-01-15T00:00:00"),
            ("2024-1-5.m4a", "2024-01-05T00:00:00"),
            ("2024年1月15日 10时02分03秒.m4a", "2024-01-15T10:02:03"),
        ]);
    }

    #[test]
    fn a_date_that_reads_two_ways_is_the_one_on_which_the_file_was_written() {
        check(&[
            ("01-02-2024.wav", "2024-02-01T00:00:00"),
            ("02-01-2024.wav", "2024-02-01T00:00:00"),
        ]);
    }

    #[test]
    fn folders_hold_the_day_or_all_of_it() {
        check(&[
            ("20060928/102339A.wav", "2006-09-28T10:23:39"),
            ("Zoom 2024-01-15 10.02.03 Team Meeting/audio1234.m4a", "2024-01-15T10:02:03"),
            ("2024/01/15/REC001.WAV", "2024-01-15T00:00:00"),
            ("meetings/2024-01-15/10-02-03 standup.wav", "2024-01-15T10:02:03"),
            ("2023-12-01/2024-01-15 x.wav", "2024-01-15T00:00:00"),
        ]);
    }

    #[test]
    fn later_dates_follow_for_those_that_are_not_plausible() {
        let times = times_in_path("Call 22110915 2024-01-15.m4a", date(2024, 2, 1));
        let wanted = When::Local(datetime(2024, 1, 15, 0, 0, 0, 0));
        assert!(times.iter().any(|named| named.when == wanted), "{times:?}");
    }

    #[test]
    fn the_day_of_a_conflict_is_not_that_of_the_recording() {
        for path in [
            "REC0002.sync-conflict-20240116-093015-ABCDEFG.wav",
            "REC0002 (Anna's conflicted copy 2024-01-16).wav",
        ] {
            assert_eq!(first(path), None, "{path}");
        }
    }

    #[test]
    fn other_numbers_are_no_dates() {
        for path in ["take 12345678.wav", "120240115.wav", "v1.2.3.wav", "2024-13-01.wav", "a.wav"]
        {
            assert_eq!(first(path), None, "{path}");
        }
    }
}
