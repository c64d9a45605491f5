//! When a recording was made, as its container has it.
//!
//! Symphonia hands on tags but no times, so the places that hold one are looked up here, each with a
//! small bounded reader.

use std::fs::File;
use std::os::unix::fs::FileExt;

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::{Span, Timestamp};

use crate::audio::tags::Tags;
use crate::model::CreationTime;

/// Boxes or chunks that are walked over before giving up.
const MOST_BOXES: usize = 4_096;
/// Where a Matroska file says when it was made: near its start.
const MATROSKA_HEAD: usize = 1 << 18;
/// Of an `INFO` list, so much is looked through.
const LONGEST_LIST: usize = 1 << 16;

/// Keys of tags that hold a time, best first, and the place's name for people.
const KEYS: [(&str, &str); 9] = [
    ("ICRD", "INFO/ICRD"),
    ("TDRC", "ID3v2 TDRC"),
    ("TDRL", "ID3v2 TDRL"),
    ("creation_time", "creation_time"),
    ("DATE_RECORDED", "Matroska DATE_RECORDED"),
    ("DATE", "vorbis DATE"),
    ("\u{a9}day", "MP4 day"),
    ("year", "year"),
    ("date", "date"),
];

/// The first time that is found.
pub(crate) fn find(file: &File, container: &str, tags: &Tags) -> Option<CreationTime> {
    let own = match container {
        "wav" | "rf64" => wave_time(file),
        "mp4" => movie_time(file),
        "matroska" | "mkv" | "webm" => matroska_time(file),
        _ => None,
    };
    own.or_else(|| from_tags(tags))
}

fn from_tags(tags: &Tags) -> Option<CreationTime> {
    let found = KEYS.iter().find_map(|(key, place)| parse(tags.get(key)?, place));
    found.or_else(|| old_id3_time(tags))
}

/// ID3v2.3 keeps year, day and time apart: `TYER` 2023, `TDAT` 0504 (day first), `TIME` 0607.
fn old_id3_time(tags: &Tags) -> Option<CreationTime> {
    let pair = |text: &str| {
        let (first, second) = (text.get(..2)?.parse().ok()?, text.get(2..4)?.parse().ok()?);
        Some((first, second))
    };
    let year = tags.get("TYER")?.get(..4)?.parse().ok()?;
    let (day, month) = pair(tags.get("TDAT")?)?;
    let (hour, minute) = tags.get("TIME").and_then(pair).unwrap_or((0, 0));
    let date = Date::new(year, month, day).ok()?;
    let time = Time::new(hour, minute, 0, 0).ok()?;
    let place = "ID3v2 TYER, TDAT, TIME".to_owned();
    Some(CreationTime { time: date.to_datetime(time), utc_offset_seconds: None, place })
}

/// A date, with a time and a zone where they are given. A year alone is no day.
fn parse(text: &str, place: &str) -> Option<CreationTime> {
    let text = text.trim();
    let place = place.to_owned();
    // `Z` or an offset behind the time.
    if let Ok(zoned) = Pieces::parse(text)
        && let Some(offset) = zoned.to_numeric_offset()
    {
        let time = zoned.date().to_datetime(zoned.time().unwrap_or(Time::midnight()));
        return Some(CreationTime { time, utc_offset_seconds: Some(offset.seconds()), place });
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return Some(CreationTime { time, utc_offset_seconds: None, place });
    }
    let day = text.get(..10)?.replace([':', '/', '.'], "-");
    let time = day.parse::<Date>().ok()?.to_datetime(Time::midnight());
    Some(CreationTime { time, utc_offset_seconds: None, place })
}

/// `bext` wherever it stands, else `ICRD` in an `INFO` list, which may follow the sound.
fn wave_time(file: &File) -> Option<CreationTime> {
    let mut listed = None;
    let broadcast = find_chunk(file, |name, body, size| match name {
        b"bext" => broadcast_time(file, body),
        b"LIST" if listed.is_none() => {
            listed = listed_time(file, body, size);
            None
        }
        _ => None,
    });
    broadcast.or(listed)
}

/// What `look` finds in the first chunk in which it finds something; it is given name, body and size of each.
fn find_chunk<T>(file: &File, mut look: impl FnMut(&[u8], u64, u32) -> Option<T>) -> Option<T> {
    let mut at = 12;
    for _ in 0..MOST_BOXES {
        let head = read::<8>(file, at)?;
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if let Some(found) = look(&head[..4], at + 8, size) {
            return Some(found);
        }
        at += 8 + u64::from(size) + u64::from(size % 2);
    }
    None
}

/// TimeReference of a Broadcast Wave file: samples since midnight. 0 where a program has left it out.
pub(crate) fn time_reference(file: &File, container: &str) -> Option<u64> {
    if !matches!(container, "wav" | "rf64") {
        return None;
    }
    let samples = find_chunk(file, |name, body, size| {
        // Origination date and time stand before.
        let is_there = name == b"bext" && 346 <= size;
        is_there.then(|| read(file, body + 338)).flatten().map(u64::from_le_bytes)
    });
    samples.filter(|samples| *samples != 0)
}

/// OriginationDate and OriginationTime, in local time.
fn broadcast_time(file: &File, body: u64) -> Option<CreationTime> {
    // Description, originator and its reference stand before: 256, 32 and 32 bytes.
    let field: [u8; 18] = read(file, body + 320)?;
    let date = std::str::from_utf8(&field[..10]).ok()?.replace([':', '_', '/', '.', ' '], "-");
    let time = std::str::from_utf8(&field[10..]).ok()?.replace(['-', '_', '.', ' '], ":");
    let time = time.parse::<Time>().unwrap_or(Time::midnight());
    let time = date.parse::<Date>().ok()?.to_datetime(time);
    Some(CreationTime { time, utc_offset_seconds: None, place: "bext".to_owned() })
}

fn listed_time(file: &File, body: u64, size: u32) -> Option<CreationTime> {
    let mut list = vec![0; usize::try_from(size).ok()?.min(LONGEST_LIST)];
    let count = file.read_at(&mut list, body).ok()?;
    let entries = list[..count].strip_prefix(b"INFO")?;
    let at = entries.windows(4).position(|bytes| bytes == b"ICRD")?;
    let size: [u8; 4] = entries.get(at + 4..at + 8)?.try_into().ok()?;
    let end = (at + 8).checked_add(usize::try_from(u32::from_le_bytes(size)).ok()?)?;
    let text = std::str::from_utf8(entries.get(at + 8..end)?).ok()?;
    parse(text.trim_end_matches('\0'), "INFO/ICRD")
}

/// `moov/mvhd`: seconds since 1904, in UTC.
fn movie_time(file: &File) -> Option<CreationTime> {
    let (body, _) = find_box(file, 0, u64::MAX, b"moov")?;
    let (header, _) = find_box(file, body.0, body.1, b"mvhd")?;
    let body: [u8; 12] = read(file, header.0)?;
    let seconds = match body[0] {
        0 => u64::from(u32::from_be_bytes(body[4..8].try_into().ok()?)),
        _ => u64::from_be_bytes(body[4..12].try_into().ok()?),
    };
    // From 1904 to 1970.
    let since_1970 = i64::try_from(seconds).ok()?.checked_sub(2_082_844_800)?;
    // Most programs leave 0: nobody knows.
    let moment = Timestamp::from_second(since_1970).ok().filter(|_| seconds != 0)?;
    in_utc(moment, "mvhd")
}

/// Body of the first box of that name between two positions, and where it ends.
fn find_box(file: &File, from: u64, to: u64, name: &[u8; 4]) -> Option<((u64, u64), u64)> {
    let mut at = from;
    for _ in 0..MOST_BOXES {
        if to <= at {
            return None;
        }
        let head: [u8; 8] = read(file, at)?;
        let (size, header) = match u32::from_be_bytes(head[..4].try_into().ok()?) {
            0 => (to - at, 8),
            1 => (u64::from_be_bytes(read(file, at + 8)?), 16),
            size => (u64::from(size), 8),
        };
        if size < header {
            return None;
        }
        let end = at.checked_add(size)?;
        if &head[4..] == name {
            return Some(((at + header, end), end));
        }
        at = end;
    }
    None
}

/// `Info/DateUTC`: nanoseconds since 2001. Looked for by its id and size near the start of the file.
fn matroska_time(file: &File) -> Option<CreationTime> {
    const INFO: [u8; 4] = [0x15, 0x49, 0xA9, 0x66];
    const DATE_UTC: [u8; 3] = [0x44, 0x61, 0x88];
    let mut head = vec![0; MATROSKA_HEAD];
    let count = file.read_at(&mut head, 0).ok()?;
    head.truncate(count);
    let info = head.windows(4).position(|bytes| bytes == INFO)?;
    let date = info + head[info..].windows(3).position(|bytes| bytes == DATE_UTC)? + 3;
    let nanoseconds = i64::from_be_bytes(head.get(date..date + 8)?.try_into().ok()?);
    let epoch: Timestamp = "2001-01-01T00:00:00Z".parse().ok()?;
    in_utc(epoch.checked_add(Span::new().try_nanoseconds(nanoseconds).ok()?).ok()?, "DateUTC")
}

fn in_utc(moment: Timestamp, place: &str) -> Option<CreationTime> {
    let time = moment.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    Some(CreationTime { time, utc_offset_seconds: Some(0), place: place.to_owned() })
}

fn read<const N: usize>(file: &File, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;

    use super::*;

    #[test]
    fn times_are_read_in_the_ways_that_programs_write_them() {
        let parsed = |text| parse(text, "x").map(|it| (it.time, it.utc_offset_seconds));
        let time = datetime(2023, 4, 5, 6, 7, 8, 0);
        assert_eq!(parsed("2023-04-05T06:07:08Z"), Some((time, Some(0))));
        assert_eq!(parsed("2023-04-05T06:07:08+02:00"), Some((time, Some(7200))));
        assert_eq!(parsed("2023-04-05 06:07:08"), Some((time, None)));
        let midnight = datetime(2023, 4, 5, 0, 0, 0, 0);
        assert_eq!(parsed("2023-04-05"), Some((midnight, None)));
        assert_eq!(parsed("2023:04:05"), Some((midnight, None)));
        for nothing in ["2023", "", "soon", "2023-13-01", "ü023-01-01x"] {
            assert_eq!(parsed(nothing), None, "{nothing}");
        }
    }

    /// A WAV file with a `bext` chunk behind another one.
    fn broadcast_wave(time_reference: u64) -> File {
        let mut bext = vec![0; 602];
        bext[320..338].copy_from_slice(b"2024-01-1510:02:03");
        bext[338..346].copy_from_slice(&time_reference.to_le_bytes());
        let mut wave = b"RIFF\0\0\0\0WAVEjunk\x03\0\0\0abc\0bext".to_vec();
        wave.extend(602_u32.to_le_bytes());
        wave.extend(bext);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&wave, 0).unwrap();
        file
    }

    #[test]
    fn broadcast_wave_says_when_it_was_made_and_at_which_sample_it_begins() {
        let samples = 36_123 * 48_000 + 17;
        let file = broadcast_wave(samples);
        assert_eq!(wave_time(&file).unwrap().time, datetime(2024, 1, 15, 10, 2, 3, 0));
        assert_eq!(time_reference(&file, "wav"), Some(samples));
        assert_eq!(time_reference(&file, "mp4"), None);
        assert_eq!(time_reference(&broadcast_wave(0), "wav"), None);
        assert_eq!(time_reference(&tempfile::tempfile().unwrap(), "wav"), None);
    }
}
