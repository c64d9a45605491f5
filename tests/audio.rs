//! Every format and every kind of damage, at the door of the audio room.

#[path = "common/tone.rs"]
mod tone;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use scribefs::audio::{self, AudioError, Decoded, Scratch, Sound};
use tone::wave;

const DAY: Duration = Duration::from_hours(24);

fn decode(path: &Path) -> Result<Decoded, AudioError> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    decode_at_most(DAY, File::open(path).unwrap(), &extension, &mut |_| {})
}

fn decode_at_most(
    longest: Duration,
    file: File,
    extension: &str,
    progress: &mut dyn FnMut(f32),
) -> Result<Decoded, AudioError> {
    let dir = tempfile::tempdir().unwrap();
    let scratch = Scratch::below(dir.path()).unwrap();
    audio::decode(file, extension, &scratch, longest, progress)
}

fn shared(folder: &str) -> Option<PathBuf> {
    let given = std::env::var_os("SCRIBEFS_SHARED").map(PathBuf::from);
    let shared = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let folder = shared.join("speech").join(folder);
    if !folder.is_dir() {
        eprintln!(
            "skipped: {}: the real recordings are not here (SCRIBEFS_SHARED)",
            folder.display()
        );
        return None;
    }
    Some(folder)
}

fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split('\t').collect();
    lines
        .map(|line| {
            head.iter()
                .map(|&name| name.to_owned())
                .zip(line.split('\t').map(str::to_owned))
                .collect()
        })
        .collect()
}

/// Formats that symphonia does not read.
const FOREIGN: [&str; 5] =
    ["a_gsm_8k.wav", "a_w64_16k.w64", "a_speex.spx", "a_ulaw.au", "a_wma.wma"];

#[test]
fn every_format_is_decoded_at_its_length_with_its_facts() {
    let Some(folder) = shared("formats") else { return };
    let mut faults = Vec::new();
    for row in table(&folder.join("formats.tsv")) {
        let name = &row["file"];
        let mut fault = |what: String| faults.push(format!("{name}: {what}"));
        let decoded = match decode(&folder.join(name)) {
            Ok(decoded) => decoded,
            Err(AudioError::NeedsConverter { .. }) if FOREIGN.contains(&name.as_str()) => continue,
            Err(err) => {
                fault(format!("{err:?}"));
                continue;
            }
        };
        let facts = &decoded.facts;
        let seconds: f64 = row["seconds"].parse().unwrap();
        if 0.15 < (facts.duration - seconds).abs() {
            fault(format!("{} s, not {seconds}", facts.duration));
        }
        if facts.sample_rate.to_string() != row["sample_rate"]
            || facts.channels.to_string() != row["channels"]
        {
            fault(format!("{} Hz, {} channels", facts.sample_rate, facts.channels));
        }
        let codec = row["codec"].split([' ', ',']).next().unwrap().replace("aac-lc", "aac");
        if facts.codec != codec {
            fault(format!("codec {}, not {codec}", facts.codec));
        }
        let dated = row["creation_time"] != "-" && !row["creation_time"].contains("year alone");
        let created = facts.created.as_ref().map(|it| it.time.to_string());
        if created.as_deref() != dated.then_some("2023-04-05T06:07:08") {
            fault(format!("created {created:?}, not {}", row["creation_time"]));
        }
        if !decoded.warnings.is_empty() {
            fault(format!("{:?}", decoded.warnings));
        }
        let parties = matches!(decoded.sound, Sound::Parties(_));
        if parties != name.starts_with("two_sides") {
            fault(format!("parties: {parties}"));
        }
        let samples = match &decoded.sound {
            Sound::Mixed(pcm) => pcm.len(),
            Sound::Parties(parties) => parties[0].len(),
        };
        if 2_400 < samples.abs_diff((seconds * 16_000.0) as usize) {
            fault(format!("{samples} samples"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn damaged_files_come_to_what_can_be_made_of_them() {
    let Some(folder) = shared("bad") else { return };
    let mut faults = Vec::new();
    for row in table(&folder.join("bad.tsv")) {
        let name = &row["file"];
        let came = match decode(&folder.join(name)) {
            // What is left to the converter is refused by it.
            Err(AudioError::Refused(_) | AudioError::NeedsConverter { .. }) => "refused",
            Err(err) => {
                faults.push(format!("{name}: {err}"));
                continue;
            }
            Ok(decoded) if decoded.warnings.iter().any(|it| it.code == "truncated") => "truncated",
            Ok(decoded) if decoded.warnings.iter().any(|it| it.code == "corrupt") => "corrupt",
            Ok(_) => "whole",
        };
        let fits = |expected: &str| match expected {
            "refuse" => came == "refused",
            "empty" | "full" => came != "refused" && came != "corrupt",
            "partial" => came == "truncated" || came == "corrupt",
            "survive" => true,
            _ => false,
        };
        if !fits(&row["expect"]) && !fits(&row["also"]) {
            faults.push(format!("{name}: {came}, not {} or {}", row["expect"], row["also"]));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_bytes_are_nothing_breaks(
        flips in prop::collection::vec((0_usize..2_000, any::<u8>()), 0..40),
        length in 0_usize..20_000,
    ) {
        let mut bytes = wave(1, 8_000);
        for (at, byte) in flips {
            bytes[at] = byte;
        }
        bytes.truncate(length);
        let dir = tempfile::tempdir().unwrap();
        let mut file = tempfile::tempfile_in(dir.path()).unwrap();
        file.write_all(&bytes).unwrap();
        // Any answer will do, as long as there is one.
        let _ = decode_at_most(DAY, file, "wav", &mut |_| {});
    }
}
