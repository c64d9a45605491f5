//! When a recording was made: the first of what its container, its names and its file say, else now.

mod date_folder;
mod dates;
mod months;
mod path_date;
mod times;
mod tokens;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::{Offset, TimeZone};

use crate::jobs::recorded_at::date_folder::day_in_parts;
use crate::jobs::recorded_at::path_date::{NamedTime, When, times_in_path};
use crate::model::{CreationTime, RecordedAt, TimeSource};

pub(crate) use crate::jobs::recorded_at::date_folder::naming_folder;

/// Clocks of recorders that were never set start in these years: a time before is no time.
const FIRST_PLAUSIBLE_YEAR: i16 = 1971;
/// Where FAT begins to count, and the day before in zones west of the recorder's: a clock that was never set.
const FAT_ZERO: [Date; 2] = [date(1979, 12, 31), date(1980, 1, 1)];

/// All that can tell when a recording was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeSources<'a> {
    pub(crate) created: Option<&'a CreationTime>,
    /// Where it was dropped, below the inbox, with `/` between folders.
    pub(crate) path: &'a str,
    pub(crate) modified_at: Timestamp,
    pub(crate) now: Timestamp,
    /// The zone in which days are counted, and in which a time without a zone is read.
    pub(crate) zone: &'a TimeZone,
}

/// The first clue that is plausible: not before 1971, not the zero of FAT, and at most a day ahead of us.
pub(crate) fn recorded_at(clues: TimeSources<'_>) -> RecordedAt {
    from_container(clues)
        .or_else(|| from_names(clues))
        .or_else(|| from_timestamp(clues, clues.modified_at, TimeSource::ModificationTime, "mtime"))
        .unwrap_or_else(|| RecordedAt {
            time: clues.zone.to_datetime(clues.now),
            zone: zone_name(clues.zone),
            source: TimeSource::Now,
            detail: "no plausible time was found".to_owned(),
        })
}

fn from_container(clues: TimeSources<'_>) -> Option<RecordedAt> {
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

/// The first plausible time that the file's name or its folders tell.
fn from_names(clues: TimeSources<'_>) -> Option<RecordedAt> {
    let modified_on = clues.zone.to_datetime(clues.modified_at).date();
    let in_parts = day_in_parts(clues.path).map(|day| NamedTime {
        when: When::Local(day.to_datetime(Time::midnight())),
        pattern: "folders of year, month and day".to_owned(),
    });
    let mut all = times_in_path(clues.path, modified_on).into_iter().chain(in_parts);
    all.find_map(|named| match named.when {
        When::Local(time) => Some(RecordedAt {
            time: plausible(clues, time)?,
            zone: "local".to_owned(),
            source: TimeSource::FileName,
            detail: named.pattern,
        }),
        When::Instant(instant) => {
            from_timestamp(clues, instant, TimeSource::FileName, &named.pattern)
        }
    })
}

fn from_timestamp(
    clues: TimeSources<'_>,
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

fn plausible(clues: TimeSources<'_>, time: DateTime) -> Option<DateTime> {
    let tomorrow = clues.zone.to_datetime(clues.now).tomorrow().ok()?;
    let is_set = time.year() >= FIRST_PLAUSIBLE_YEAR && !FAT_ZERO.contains(&time.date());
    (is_set && time <= tomorrow).then_some(time)
}

fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("local").to_owned()
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;

    use super::*;

    fn clues<'a>(created: Option<&'a CreationTime>, path: &'a str) -> RecordedAt {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        recorded_at(TimeSources {
            created,
            path,
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
            ("2024/January/15/REC001.WAV", datetime(2024, 1, 15, 0, 0, 0, 0)),
            ("202401/15/REC001.WAV", datetime(2024, 1, 15, 0, 0, 0, 0)),
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
