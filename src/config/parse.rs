//! Words of settings: what they mean, and what to say where they mean nothing.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use log::LevelFilter;

use crate::config::encryption::EncryptionChoice;
use crate::config::{Places, Storage};
use crate::model::SpeakerBounds;
use crate::store::Provider;

/// What `store` says: where published files lie, or the bucket that they go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreChoice {
    Folder(PathBuf),
    /// What stands before every key is empty, or ends in `/`.
    Bucket {
        bucket: String,
        prefix: String,
    },
}

/// `500ms`, `5s`, `2m`, `1h`, and several in a row: `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a duration; add a unit, such as 500ms, 5s, 2m or 1h30m".to_owned();
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
    text.trim().parse().map_err(|_| "not a whole number".to_owned())
}

pub(crate) fn count(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| "not a whole number from 0 to 65535".to_owned())
}

/// The number of a user or a group.
pub(crate) fn id(text: &str) -> Result<u32, String> {
    let id = text.trim().parse().ok().filter(|id| *id != u32::MAX);
    id.ok_or_else(|| "not a user or group id; `id` prints yours".to_owned())
}

/// Mode bits as `chmod` takes them.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text.trim(), 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| "not a mode; write octal digits, such as 0022 or 1777".to_owned())
}

/// `0`, `500`, `2MB`, `10GB`: units of 1024.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "not a size; add a unit, such as 500MB or 10GB".to_owned();
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim().to_ascii_uppercase());
    let shift = match unit.as_str() {
        "" | "B" => 0,
        "KB" | "K" | "KIB" => 10,
        "MB" | "M" | "MIB" => 20,
        "GB" | "G" | "GIB" => 30,
        "TB" | "T" | "TIB" => 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * f64::from(1u32 << (shift / 2)) * f64::from(1u32 << (shift / 2));
    // Not negative, and what is behind the point of a byte is nothing.
    if bytes < 1e18 { Ok(bytes as u64) } else { Err(wrong()) }
}

pub(crate) fn storage(text: &str) -> Result<Storage, String> {
    match text.trim() {
        "local" => Ok(Storage::Local),
        "s3" => Ok(Storage::S3),
        "both" => Ok(Storage::Both),
        _ => Err("not one of local, s3, both".to_owned()),
    }
}

/// What stands before every key: nothing, or parts that each end in `/`.
pub(crate) fn prefix(text: &str) -> Result<String, String> {
    let is_legal = |part: &str| !part.is_empty() && part != "." && part != "..";
    match text.trim_matches('/') {
        "" => Ok(String::new()),
        prefix if prefix.split('/').all(is_legal) => Ok(format!("{prefix}/")),
        _ => Err("not a prefix; write it like a path, such as talks/2026".to_owned()),
    }
}

/// Where a bucket answers.
pub(crate) fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    // A name before `@` would be a secret in a place that is shown.
    match host {
        Some(host) if !host.is_empty() && !host.contains(['@', ' ', '?', '#']) => {
            Ok(text.to_owned())
        }
        _ => Err("not an address; write it as https://HOST or http://HOST:PORT".to_owned()),
    }
}

pub(crate) fn provider(text: &str) -> Result<Provider, String> {
    text.trim().parse().map_err(|_| {
        let names: Vec<&str> = Provider::ALL.iter().map(|provider| provider.name()).collect();
        format!("not one of {}", names.join(", "))
    })
}

pub(crate) fn encryption(text: &str) -> Result<EncryptionChoice, String> {
    match text.trim() {
        "bucket" => Ok(EncryptionChoice::Bucket),
        "aes256" => Ok(EncryptionChoice::Aes256),
        "kms" => Ok(EncryptionChoice::Kms),
        "customer" => Ok(EncryptionChoice::Customer),
        _ => Err("not one of bucket, aes256, kms, customer".to_owned()),
    }
}

/// Whether this is base 64 of 32 bytes: 43 digits and one `=`.
pub(crate) fn is_256_bits(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    text.len() == 44 && text.strip_suffix('=').is_some_and(|digits| digits.bytes().all(is_digit))
}

/// The name of a bucket: letters, digits, `-`, `_` and `.`. What else stands there may be a key that was put into
/// the wrong place, and the name is shown everywhere.
pub(crate) fn bucket(text: &str) -> Result<String, String> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text.trim() {
        name if !name.is_empty() && name.chars().all(is_legal) => Ok(name.to_owned()),
        _ => Err("not the name of a bucket; write it without s3:// and without keys".to_owned()),
    }
}

pub(crate) fn text(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("empty".to_owned()),
        text => Ok(text.to_owned()),
    }
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
        Err("not the name of a model; `scribefs models list` lists them".to_owned())
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
        Err("not a language; write a code such as en, de or pt, or auto".to_owned())
    }
}

/// `auto`, `2`, `2-4`, `2-` or `-4`.
pub(crate) fn speakers(text: &str) -> Result<SpeakerBounds, String> {
    let wrong = || "not a number of people; write auto, 2, or 2-4".to_owned();
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
        .map_err(|_| "not a time zone; write a name such as Europe/Berlin, or local".to_owned())
}

pub(crate) fn level(text: &str) -> Result<LevelFilter, String> {
    text.trim().parse().map_err(|_| "not one of off, error, warn, info, debug, trace".to_owned())
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
            return Err("not a store; write a folder or s3://BUCKET/PREFIX".to_owned());
        }
        return Ok(StoreChoice::Folder(path(text, places)));
    };
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err("missing the bucket; write s3://BUCKET/PREFIX".to_owned());
    }
    Ok(StoreChoice::Bucket { bucket: self::bucket(bucket)?, prefix: self::prefix(prefix)? })
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
    fn sizes_have_units_of_1024() {
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("10GB"), Ok(10 << 30));
        assert_eq!(bytes("1.5 MB"), Ok(3 << 19));
        for wrong in ["", "GB", "-1", "5 parsecs", "99999999999999999999", "1e3"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn modes_are_octal_and_ids_are_numbers() {
        assert_eq!((mode("022"), mode("1777"), mode("0")), (Ok(0o022), Ok(0o1777), Ok(0)));
        assert_eq!(id("1000"), Ok(1000));
        for wrong in ["", "8", "rwx", "-1", "17777"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "anna", "-1", "4294967295"] {
            assert!(id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address_without_names_in_it() {
        assert_eq!(endpoint("http://localhost:9000/"), Ok("http://localhost:9000".to_owned()));
        for wrong in ["", "localhost:9000", "https://", "https://key:secret@host", "ftp://host"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
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
