//! Words of settings: what they mean, and what to say where they mean nothing.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use log::LevelFilter;

use crate::config::{Places, StoreChoice};
use crate::model::SpeakerBounds;

/// `500ms`, `5s`, `2m`, `1h`, and several in a row: `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "no time; write it with its unit, such as 500ms, 5s, 2m or 1h30m".to_owned();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        let unit_end =
            rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| at + end);
        let unit = match rest[end..unit_end].trim() {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        sum += Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        rest = &rest[unit_end..];
    }
    Ok(sum)
}

pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| "no whole number from 0 up".to_owned())
}

pub(crate) fn count(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| "no whole number from 0 to 65535".to_owned())
}

pub(crate) fn flag(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

/// The name of a model: a folder's name, never a path.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && !text.contains(['/', '\0']) && !text.starts_with('.');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("no name of a model; `scribefs models list` shows them".to_owned())
    }
}

/// `auto`, or a code such as `en` or `pt-BR`.
pub(crate) fn language(text: &str) -> Result<Option<String>, String> {
    if text == "auto" {
        return Ok(None);
    }
    let (code, region) = text.split_once('-').map_or((text, ""), |(code, region)| (code, region));
    let is_code = (2..=3).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_lowercase())
        && region.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_code {
        Ok(Some(code.to_owned()))
    } else {
        Err("no language; write a code such as en, de or pt, or auto".to_owned())
    }
}

/// `auto`, `2`, `2-4`, `2-` or `-4`.
pub(crate) fn speakers(text: &str) -> Result<SpeakerBounds, String> {
    let wrong = || "no number of people; write auto, 2, or 2-4".to_owned();
    let number = |text: &str| match text.trim() {
        "" => Ok(None),
        digits => digits.parse::<u16>().map(Some).map_err(|_| wrong()),
    };
    if text.trim() == "auto" {
        return Ok(SpeakerBounds::default());
    }
    let (least, most) = match text.split_once('-') {
        Some((least, most)) => (number(least)?, number(most)?),
        None => (number(text)?, number(text)?),
    };
    let is_empty = (least, most) == (None, None);
    let is_backward = least.zip(most).is_some_and(|(least, most)| most < least);
    if is_empty || is_backward || least == Some(0) || most == Some(0) {
        return Err(wrong());
    }
    Ok(SpeakerBounds { at_least: least, at_most: most })
}

pub(crate) fn zone(text: &str) -> Result<TimeZone, String> {
    if text == "local" {
        return Ok(TimeZone::system());
    }
    TimeZone::get(text)
        .map_err(|_| "no time zone; write a name such as Europe/Berlin, or local".to_owned())
}

pub(crate) fn level(text: &str) -> Result<LevelFilter, String> {
    text.trim().parse().map_err(|_| "none of off, error, warn, info, debug, trace".to_owned())
}

/// `~` is the home folder; a relative path starts at the working directory.
pub(crate) fn path(text: &str, places: &Places) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => places.home.clone(),
        Some(rest) if rest.starts_with('/') => places.home.join(rest.trim_start_matches('/')),
        _ => places.working_directory.join(text),
    }
}

/// A folder, or `s3://BUCKET/PREFIX`.
pub(crate) fn store(text: &str, places: &Places) -> Result<StoreChoice, String> {
    let Some(place) = text.strip_prefix("s3://") else {
        if text.contains("://") || text.is_empty() {
            return Err("no store; write a folder or s3://BUCKET/PREFIX".to_owned());
        }
        return Ok(StoreChoice::Local(path(text, places)));
    };
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err("without a bucket; write s3://BUCKET/PREFIX".to_owned());
    }
    let prefix = match prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    Ok(StoreChoice::Bucket { bucket: bucket.to_owned(), prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0.5s"), Ok(Duration::from_millis(500)));
        for wrong in ["", "5", "s", "5 parsecs", "-5s", "1e9h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn speakers_are_a_number_or_a_range() {
        let bounds = |least, most| SpeakerBounds { at_least: least, at_most: most };
        assert_eq!(speakers("auto"), Ok(bounds(None, None)));
        assert_eq!(speakers("2"), Ok(bounds(Some(2), Some(2))));
        assert_eq!(speakers("2-4"), Ok(bounds(Some(2), Some(4))));
        assert_eq!(speakers("-4"), Ok(bounds(None, Some(4))));
        for wrong in ["", "-", "0", "4-2", "two"] {
            assert!(speakers(wrong).is_err(), "{wrong}");
        }
    }
}
