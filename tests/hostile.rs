//! Mutated input at every door: thousands of them in the short run, more with `scripts/test --full`, and then
//! 20,000 mutated recordings too.

mod common;
#[path = "hostile/targets.rs"]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{World, skip};
use scribefs::model::{ModelRef, Recipe, Segment, Speaker, SpeakerBounds, SpeakerId, Talk};
use scribefs::render::{self, Chapter};
use targets::{TARGETS, Target};

fn is_full() -> bool {
    std::env::var_os("SCRIBEFS_FULL").is_some()
}

/// Numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit.max(1)
    }
}

/// Words that parsers look for, and sizes that do not fit.
const TOKENS: [&[u8]; 24] = [
    b"../",
    b"/",
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"\\u0000",
    b"{}",
    b"[]",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"NaN",
    b"RIFF",
    b"data",
    b"moov",
    b"mdat",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff",
    "\u{202e}".as_bytes(),
    "Ã¼☃".as_bytes(),
];

fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
            4 => {
                let end = (at + random.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let end = (at + random.below(64)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                drop(bytes.splice(to..to, copy));
            }
            6 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let token = TOKENS[random.below(TOKENS.len())];
                let end = (at + token.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&token[..end - at]);
            }
        }
    }
    bytes
}

fn check(name: &str, seeds: &[Vec<u8>], count: usize) {
    let target: Target = TARGETS.iter().find(|it| it.0 == name).unwrap().1;
    let mut random = Random::new(count as u64);
    for seed in seeds {
        target(seed);
    }
    for number in 0..count {
        let bytes = mutated(&mut random, seeds);
        let result = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
        assert!(result.is_ok(), "{name}, {number}: {}", bytes.escape_ascii());
    }
}

fn count(short: usize) -> usize {
    if is_full() { 50 * short } else { short }
}

#[test]
fn any_name_leads_to_safe_keys() {
    let seeds = [
        "a.wav",
        "größe ☃.m4a",
        "..",
        "2024-01-15 10.02.mp3",
        ".hidden",
        "x".repeat(255).as_str(),
        "S1=Anna",
        "con/../x",
    ]
    .map(|it| it.as_bytes().to_vec());
    check("names", &seeds, count(20_000));
}

#[test]
fn any_key_is_legal_or_none() {
    let seeds = [
        "standup/2024/01/15/a.wav",
        "standup/2024/01/15/a_metadata.json",
        "_scribefs/changes/2024-01-15T10:02:00Z-00001",
        "_scribefs/writer.json",
        "../../etc/passwd",
    ]
    .map(|it| it.as_bytes().to_vec());
    check("keys", &seeds, count(20_000));
}

#[test]
fn any_settings_are_read_or_refused() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scribefs.toml");
    let variables = "SCRIBEFS_SETTLE=10s\nS3_BUCKET_NAME=talks\nS3_ENDPOINT_URL=http://a:b@c:1\n";
    let seeds = [fs::read(shipped).unwrap(), variables.as_bytes().to_vec()];
    check("settings", &seeds, count(3_000));
}

#[test]
fn any_event_of_a_worker_is_read_or_refused() {
    let seeds = [
        r#"{"event":"ready"}"#,
        r#"{"event":"progress","stage":"decoding","done":0.5}"#,
        r#"{"event":"needs_converter","what":"GSM"}"#,
        r#"{"event":"failed","failure":{"cause":"not_audio","message":"a","remedy":"b"}}"#,
        r#"{"event":"partial","segment":{"id":0,"start":0.5,"end":1.5,"text":"Good morning.","speaker":0,"flags":[],"words":[]}}"#,
    ]
    .map(|it| it.as_bytes().to_vec());
    check("events", &seeds, count(20_000));
}

#[test]
fn any_page_is_read_or_refused() {
    let pages = pages();
    assert!(render::talk_from_json(&pages[0]).is_ok());
    assert!(render::from_metadata(&pages[1]).is_ok());
    check("records", &pages, count(5_000));
}

/// Both pages that are read again, as they are published.
fn pages() -> [Vec<u8>; 2] {
    let dir = tempfile::tempdir().unwrap();
    let services = common::services_in(dir.path(), common::quiet_spool());
    let day = common::day(2024, 1, 15);
    let recording = common::publish(&services, "standup", day, "monday.wav");
    let seq = recording.id.conversation;
    let conversation = services.index.conversation(seq).unwrap().unwrap();
    let transcript = services.index.day_transcript(seq, day).unwrap().unwrap();
    let id = SpeakerId(0);
    let segment = Segment {
        id: 0,
        start: 0.5,
        end: 1.5,
        text: "Good morning.".to_owned(),
        speaker: Some(id),
        avg_logprob: None,
        no_speech_prob: None,
        confidence: None,
        flags: Vec::new(),
        words: Vec::new(),
    };
    let speaker = Speaker { id, label: id.label(), name: None, talk_seconds: 1.0, turns: 1 };
    let talk =
        Talk { duration: 2.0, segments: vec![segment], speakers: vec![speaker], ..Talk::default() };
    let recipe = Recipe {
        recognizer: ModelRef { name: "moonshine-tiny-en".to_owned(), sha256: "cd".repeat(32) },
        diarizer: None,
        language: None,
        speakers: SpeakerBounds::default(),
        threads: 1,
        version: "0.1.0".to_owned(),
        options: BTreeMap::new(),
    };
    let chapter = Chapter {
        conversation: &conversation,
        recording: &recording,
        recipe: &recipe,
        talk: &talk,
    };
    [render::json(chapter), render::metadata(chapter, &recording.pages, &transcript, None)]
}

#[test]
fn any_small_recording_is_decoded_or_refused() {
    check("media", &small_media(), if is_full() { 5_000 } else { 300 });
}

/// Little files with the headers that are repaired.
fn small_media() -> Vec<Vec<u8>> {
    let mut wav = vec![0];
    wav.extend_from_slice(b"RIFF\x24\x04\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0");
    wav.extend_from_slice(b"\x02\0\x10\0data\0\x04\0\0");
    wav.extend((0..1024_u32).map(|it| (it * 7) as u8));
    let mut mp4 = vec![2];
    mp4.extend_from_slice(b"\0\0\0\x18ftypM4A \0\0\0\0M4A isom\0\0\0\x10mdat12345678");
    mp4.extend_from_slice(b"\0\0\0\x74moov\0\0\0\x6cmvhd");
    mp4.extend_from_slice(&[0; 100]);
    let mut matroska = vec![3];
    matroska
        .extend_from_slice(b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04");
    matroska.extend_from_slice(b"\x42\xf3\x81\x08\x42\x82\x84webm\x18\x53\x80\x67\xff");
    let flac = [&[6][..], b"fLaC\0\0\0\x22", &[0; 34], b"\xff\xf8"].concat();
    let ogg = [&[7][..], b"OggS\0\x02", &[0; 20], b"\x01\x13OpusHead"].concat();
    vec![wav, mp4, matroska, flac, ogg]
}

/// What is written to `control` is done or refused; the mount goes on, and no line is taken for two.
#[test]
fn any_control_line_is_done_or_refused() {
    let test = "any_control_line_is_done_or_refused";
    let Some(world) = World::new(test) else { return };
    fs::write(world.path("inbox/a.wav"), "sound").unwrap();
    let control = world.path(".scribefs/control");
    let seeds = ["retry a.wav\n", "cancel inbox/a.wav\n", "warm standup\n", "name x S1=Anna\n"]
        .map(|it| it.as_bytes().to_vec());
    let mut random = Random::new(7);
    for _ in 0..count(1_000) {
        let bytes = mutated(&mut random, &seeds);
        let file = fs::File::options().write(true).open(&control);
        // Most are refused, by whatever errno.
        let _ = file.and_then(|mut file| file.write_all(&bytes));
    }
    assert_eq!(fs::read(world.path("inbox/a.wav")).unwrap(), b"sound");
    assert_eq!(common::names(world.path("inbox")), ["a.wav"]);
}

/// Files that one process decodes before the next one begins.
const BATCH: usize = 100;

/// Longer than any of the seeds takes by far.
const STALL: Duration = Duration::from_secs(120);

#[test]
fn twenty_thousand_mutated_recordings_take_no_decoder_down() {
    let test = "twenty_thousand_mutated_recordings_take_no_decoder_down";
    let files = media_seeds();
    let wanted = if is_full() { 20_000 } else { 200 };
    if files.is_empty() {
        return skip(test, "there are no recordings, neither in native/recordings nor shared");
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut faults, mut done) = (Vec::new(), 0);
    while done < wanted {
        let list = dir.path().join("list");
        let batch = write_batch(dir.path(), &files, done as u64);
        fs::write(&list, batch.join("\n")).unwrap();
        faults.extend(decode_in_a_process(&list, &batch));
        done += batch.len();
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    eprintln!("{done} mutated recordings of {} seeds: each decoded or refused", files.len());
}

fn write_batch(dir: &Path, files: &[PathBuf], seed: u64) -> Vec<String> {
    let mut random = Random::new(seed + 1);
    let mut batch = Vec::new();
    for number in 0..BATCH {
        let from = &files[random.below(files.len())];
        let bytes = mutated(&mut random, &[fs::read(from).unwrap()]);
        let extension = from.extension().unwrap_or_default().to_string_lossy();
        let path = dir.join(format!("{number}.{extension}"));
        fs::write(&path, bytes).unwrap();
        batch.push(path.to_str().unwrap().to_owned());
    }
    batch
}

/// A crash or a hang, with the file that it came of kept aside.
fn decode_in_a_process(list: &Path, batch: &[String]) -> Option<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "decodes_what_it_is_told",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("HOSTILE_LIST", list)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let progress = list.with_extension("progress");
    let (mut last, mut since) = (0, Instant::now());
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.success();
        }
        let now = fs::read_to_string(&progress).ok().and_then(|it| it.parse().ok()).unwrap_or(0);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if STALL < since.elapsed() {
            child.kill().unwrap();
            child.wait().unwrap();
            break false;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let at: usize = fs::read_to_string(&progress).ok().and_then(|it| it.parse().ok()).unwrap_or(0);
    if ended && at == batch.len() {
        return None;
    }
    let culprit = Path::new(&batch[at.min(batch.len() - 1)]);
    let kept = std::env::temp_dir().join(format!("hostile-{}", culprit.file_name()?.display()));
    fs::copy(culprit, &kept).unwrap();
    Some(format!("crashed or stalled: {}", kept.display()))
}

/// The other half of the test above, in a process of its own.
#[test]
#[ignore = "is started by twenty_thousand_mutated_recordings_take_no_decoder_down"]
fn decodes_what_it_is_told() {
    let list = PathBuf::from(std::env::var_os("HOSTILE_LIST").unwrap());
    let dir = tempfile::tempdir().unwrap();
    let progress = list.with_extension("progress");
    let text = fs::read_to_string(&list).unwrap();
    for (number, path) in text.lines().enumerate() {
        fs::write(&progress, number.to_string()).unwrap();
        let extension = Path::new(path).extension().unwrap_or_default().to_string_lossy();
        let file = fs::File::open(path).unwrap();
        // Whether it can be decoded does not matter here.
        let scratch = scribefs::audio::Scratch::below(dir.path()).unwrap();
        let longest = std::time::Duration::from_hours(24);
        let _ = scribefs::audio::decode(file, &extension, &scratch, longest, &mut |_| {});
    }
    fs::write(&progress, text.lines().count().to_string()).unwrap();
}

/// Small recordings of every format that is at hand.
fn media_seeds() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("SCRIBEFS_SHARED").map_or(here.join("../shared"), PathBuf::from);
    let folders =
        [here.join("native/recordings"), shared.join("speech/formats"), shared.join("speech/bad")];
    let files = folders.iter().flat_map(|it| fs::read_dir(it).into_iter().flatten().flatten());
    let small = |path: &PathBuf| path.metadata().is_ok_and(|it| it.is_file() && it.len() < 1 << 20);
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).filter(small).collect();
    files.retain(|path| path.extension().is_none_or(|it| it != "tsv"));
    files.sort();
    files
}
