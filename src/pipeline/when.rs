//! When a recording was made: the first of what its container, its name and its file say, else now.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use crate::model::{CreationTime, RecordedAt, TimeSource};

/// Clocks of recorders that were never set start in these years: a time before is no time.
const FIRST_PLAUSIBLE_YEAR: i16 = 1971;

/// All that can tell when a recording was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clues<'a> {
    pub(crate) created: Option<&'a CreationTime>,
    pub(crate) file_name: &'a str,
    pub(crate) modified_at: Timestamp,
    pub(crate) now: Timestamp,
    /// The zone in which days are counted, and in which a time without a zone is read.
    pub(crate) zone: &'a TimeZone,
}

/// The first clue that is plausible: not before 1971 and at most a day ahead of us.
pub(crate) fn recorded_at(clues: Clues<'_>) -> RecordedAt {
    from_container(clues)
        .or_else(|| from_name(clues))
        .or_else(|| from_timestamp(clues, clues.modified_at, TimeSource::ModificationTime, "mtime"))
        .unwrap_or_else(|| RecordedAt {
            time: clues.zone.to_datetime(clues.now),
            zone: zone_name(clues.zone),
            source: TimeSource::Now,
            detail: "no plausible time was found".to_owned(),
        })
}

fn from_container(clues: Clues<'_>) -> Option<RecordedAt> {
    let created = clues.created?;
    match created.utc_offset_seconds {
        Some(seconds) => {
            let offset = Offset::from_seconds(seconds).ok()?;
            let moment = offset.to_timestamp(created.time).ok()?;
            from_timestamp(clues, moment, TimeSource::Container, &created.place)
        }
        None => Some(RecordedAt {
            time: plausible(clues, created.time)?,
            zone: "local".to_owned(),
            source: TimeSource::Container,
            detail: created.place.clone(),
        }),
    }
}

fn from_name(clues: Clues<'_>) -> Option<RecordedAt> {
    let (time, pattern) = date_in_name(clues.file_name)?;
    Some(RecordedAt {
        time: plausible(clues, time)?,
        zone: "local".to_owned(),
        source: TimeSource::FileName,
        detail: pattern.to_owned(),
    })
}

fn from_timestamp(
    clues: Clues<'_>,
    moment: Timestamp,
    source: TimeSource,
    detail: &str,
) -> Option<RecordedAt> {
    Some(RecordedAt {
        time: plausible(clues, clues.zone.to_datetime(moment))?,
        zone: zone_name(clues.zone),
        source,
        detail: detail.to_owned(),
    })
}

fn plausible(clues: Clues<'_>, time: DateTime) -> Option<DateTime> {
    let tomorrow = clues.zone.to_datetime(clues.now).tomorrow().ok()?;
    (time.year() >= FIRST_PLAUSIBLE_YEAR && time <= tomorrow).then_some(time)
}

fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("local").to_owned()
}

/// The first date in a name, with the time that follows it if there is one, and the pattern it stood in.
///
/// Known: `2024-01-15`, `2024_01_15`, `2024.01.15`, `20240115` and `15.01.2024`; a time may follow as
/// `10-02-03`, `10.02`, `100203` and the like. Digits that touch other digits are no date.
fn date_in_name(name: &str) -> Option<(DateTime, &'static str)> {
    let numbers = numbers_in(name);
    (0..numbers.len()).find_map(|at| {
        let (date, used, pattern) = date_at(name, &numbers[at..])?;
        let time = time_after(name, &numbers[at + used - 1..]).unwrap_or(Time::midnight());
        Some((date.to_datetime(time), pattern))
    })
}

/// A run of digits in a name.
#[derive(Debug, Clone, Copy)]
struct Number<'a> {
    digits: &'a str,
    start: usize,
    end: usize,
}

fn numbers_in(name: &str) -> Vec<Number<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(skip) = name[at..].find(|c: char| c.is_ascii_digit()) {
        let start = at + skip;
        let length = name[start..].find(|c: char| !c.is_ascii_digit());
        let end = length.map_or(name.len(), |length| start + length);
        found.push(Number { digits: &name[start..end], start, end });
        at = end;
    }
    found
}

fn date_at(name: &str, numbers: &[Number<'_>]) -> Option<(Date, usize, &'static str)> {
    let first = numbers.first()?;
    if first.digits.len() == 8 {
        let date = date(&first.digits[..4], &first.digits[4..6], &first.digits[6..])?;
        return Some((date, 1, "YYYYMMDD"));
    }
    let [a, b, c, ..] = numbers else { return None };
    let separator = between(name, a, b)?;
    if between(name, b, c) != Some(separator) {
        return None;
    }
    match (a.digits.len(), b.digits.len(), c.digits.len(), separator) {
        (4, 2, 2, "-" | "_" | "." | " ") => {
            Some((date(a.digits, b.digits, c.digits)?, 3, "YYYY-MM-DD"))
        }
        (1 | 2, 1 | 2, 4, ".") => Some((date(c.digits, b.digits, a.digits)?, 3, "DD.MM.YYYY")),
        _ => None,
    }
}

fn time_after(name: &str, from_date: &[Number<'_>]) -> Option<Time> {
    let (date, rest) = from_date.split_first()?;
    let first = rest.first()?;
    let gap = between(name, date, first)?.trim();
    if !matches!(gap.to_ascii_lowercase().as_str(), "" | "t" | "_" | "-" | "at" | "um" | ",") {
        return None;
    }
    if matches!(first.digits.len(), 4 | 6) {
        let second = first.digits.get(4..).filter(|digits| !digits.is_empty()).unwrap_or("0");
        return time(&first.digits[..2], &first.digits[2..4], second);
    }
    let second = rest.get(1).filter(|minute| {
        first.digits.len() == 2
            && minute.digits.len() == 2
            && matches!(between(name, first, minute), Some("-" | "." | ":" | "_" | "h"))
    })?;
    let third = rest.get(2).filter(|number| {
        number.digits.len() == 2
            && matches!(between(name, second, number), Some("-" | "." | ":" | "_" | "m"))
    });
    time(first.digits, second.digits, third.map_or("0", |number| number.digits))
}

fn between<'a>(name: &'a str, left: &Number<'_>, right: &Number<'_>) -> Option<&'a str> {
    name.get(left.end..right.start).filter(|gap| gap.len() <= 4)
}

fn date(year: &str, month: &str, day: &str) -> Option<Date> {
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

fn time(hour: &str, minute: &str, second: &str) -> Option<Time> {
    Time::new(hour.parse().ok()?, minute.parse().ok()?, second.parse().ok()?, 0).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;

    use super::*;

    fn clues<'a>(created: Option<&'a CreationTime>, file_name: &'a str) -> RecordedAt {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        recorded_at(Clues {
            created,
            file_name,
            modified_at: "2024-01-16T23:30:00Z".parse().unwrap(),
            now: "2024-02-01T00:00:00Z".parse().unwrap(),
            zone: &zone,
        })
    }

    fn created(time: DateTime, utc_offset_seconds: Option<i32>) -> CreationTime {
        CreationTime { time, utc_offset_seconds, place: "mvhd".to_owned() }
    }

    #[test]
    fn the_container_is_believed_first_and_counted_in_our_zone() {
        let utc = created(datetime(2024, 1, 15, 23, 0, 0, 0), Some(0));
        let at = clues(Some(&utc), "2020-01-01.wav");
        assert_eq!(at.time, datetime(2024, 1, 16, 1, 0, 0, 0));
        assert_eq!((at.source, at.detail.as_str()), (TimeSource::Container, "mvhd"));
    }

    #[test]
    fn a_time_without_a_zone_stays_as_it_was_written() {
        let local = created(datetime(2024, 1, 15, 23, 0, 0, 0), None);
        assert_eq!(clues(Some(&local), "x.wav").time, local.time);
    }

    #[test]
    fn clocks_that_were_never_set_are_not_believed() {
        for year in [1904, 1970, 2999] {
            let unset = created(datetime(year, 1, 1, 0, 0, 0, 0), Some(0));
            assert_eq!(clues(Some(&unset), "x.wav").source, TimeSource::ModificationTime);
        }
    }

    #[test]
    fn dates_in_names_are_found() {
        for (name, time) in [
            ("2024-01-15 standup.wav", datetime(2024, 1, 15, 0, 0, 0, 0)),
            ("PTT-20240115-WA0001.opus", datetime(2024, 1, 15, 0, 0, 0, 0)),
            ("rec_20240115_100203.m4a", datetime(2024, 1, 15, 10, 2, 3, 0)),
            ("Recording 2024-01-15 at 10.02.03.m4a", datetime(2024, 1, 15, 10, 2, 3, 0)),
            ("2024-01-15T10:02.wav", datetime(2024, 1, 15, 10, 2, 0, 0)),
            ("Besprechung 5.1.2024.mp3", datetime(2024, 1, 5, 0, 0, 0, 0)),
        ] {
            let at = clues(None, name);
            assert_eq!((at.time, at.source), (time, TimeSource::FileName), "{name}");
        }
    }

    #[test]
    fn other_numbers_are_no_dates() {
        for name in ["take 12345678.wav", "120240115.wav", "v1.2.3.wav", "2024-13-01.wav", "a.wav"]
        {
            let at = clues(None, name);
            assert_eq!(at.source, TimeSource::ModificationTime, "{name}");
            assert_eq!(at.time, datetime(2024, 1, 17, 1, 30, 0, 0));
        }
    }
}
