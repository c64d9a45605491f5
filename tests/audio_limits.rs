//! Files that are small and unpack to days of sound, or keep a parser busy for hours: refused in words, and soon.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use scribefs::audio::{self, AudioError, Decoded, Scratch};
use scribefs::model::FailureCause;

const DAY: Duration = Duration::from_hours(24);

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

/// A FLAC file of nothing but silence at 16 kHz: every block is one constant of 15 bytes.
fn silent_flac(seconds: u64) -> Vec<u8> {
    let crc = |bytes: &[u8], polynomial: u16, bits: u32| {
        let top = 1_u16 << (bits - 1);
        let mask = if bits == 8 { 0xFF } else { 0xFFFF };
        bytes.iter().fold(0_u16, |crc, byte| {
            let crc = crc ^ (u16::from(*byte) << (bits - 8));
            (0..8).fold(crc, |crc, _| {
                if crc & top == 0 { (crc << 1) & mask } else { ((crc << 1) ^ polynomial) & mask }
            })
        })
    };
    let block = 16_000_u64;
    let mut file = b"fLaC\x80\0\0\x22".to_vec();
    file.extend([0x3E, 0x80, 0x3E, 0x80, 0, 0, 0, 0, 0, 0]);
    // 20 bits of rate, 3 of channels, 5 of bits per sample, 36 of samples.
    let facts = 16_000_u64 << 44 | 15 << 36 | (seconds * block);
    file.extend(facts.to_be_bytes());
    file.extend([0; 16]);
    for number in 0..u32::try_from(seconds).unwrap() {
        // A block of 16 bits for its length, in a stream of fixed blocks, numbered as UTF-8 is.
        let mut frame = vec![0xFF, 0xF8, 0x75, 0x08];
        let character = char::from_u32(number).filter(|it| (*it as u32) < 0xD800);
        match character {
            Some(character) => frame.extend(character.to_string().as_bytes()),
            None => frame.extend([
                0xF0 | (number >> 18) as u8,
                0x80 | (number >> 12 & 0x3F) as u8,
                0x80 | (number >> 6 & 0x3F) as u8,
                0x80 | (number & 0x3F) as u8,
            ]),
        }
        frame.extend((16_000_u16 - 1).to_be_bytes());
        frame.push(crc(&frame, 0x07, 8) as u8);
        frame.extend([0, 0, 0]);
        let check = crc(&frame, 0x8005, 16);
        frame.extend(check.to_be_bytes());
        file.extend(frame);
    }
    file
}

#[test]
fn silence_that_unpacks_to_days_is_refused_before_it_is_unpacked() {
    let mut file = tempfile::tempfile().unwrap();
    let hours = 200;
    file.write_all(&silent_flac(hours * 3_600)).unwrap();
    let mut reached = 0.0_f32;
    let refused = decode_at_most(DAY, file, "flac", &mut |done| reached = reached.max(done));
    let Err(AudioError::Refused(failure)) = refused else { panic!("{refused:?}") };
    assert_eq!(failure.cause, FailureCause::TooLarge);
    assert!(failure.message.contains("24 h"), "{}", failure.message);
    // A few minutes of it are enough to know.
    assert!(reached < 0.02, "{reached}");
}

#[test]
fn a_recording_is_decoded_up_to_the_longest_that_is_accepted() {
    let minute = silent_flac(60);
    let decode = |longest| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&minute).unwrap();
        decode_at_most(Duration::from_secs(longest), file, "flac", &mut |_| {})
    };
    let decoded = decode(60).unwrap();
    assert_eq!(decoded.facts.duration, 60.0);
    assert!(matches!(decode(59), Err(AudioError::Refused(_))));
}

#[test]
fn a_header_that_claims_days_refuses_no_short_recording() {
    let mut bytes = silent_flac(1_200);
    // 36 bits of samples: 49 days.
    bytes[21] |= 0x0F;
    bytes[22..26].fill(0xFF);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let decoded = decode_at_most(DAY, file, "flac", &mut |_| {}).unwrap();
    assert!((decoded.facts.duration - 1_200.0).abs() < 1.0, "{}", decoded.facts.duration);
}

#[test]
fn a_movie_with_thousands_of_tracks_is_refused_at_once() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&movie_of_tracks(10_000)).unwrap();
    let mut told = 0;
    let refused = decode_at_most(DAY, file, "m4a", &mut |_| told += 1);
    let Err(AudioError::Refused(failure)) = refused else { panic!("{refused:?}") };
    assert!(failure.message.contains("10000 tracks"), "{}", failure.message);
    // Not one packet was read.
    assert_eq!(told, 0);
}

fn atom(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).unwrap();
    [&size.to_be_bytes()[..], kind, body].concat()
}

/// An MP4 file with so many tracks of 16-bit sound, all of which share one second of it.
fn movie_of_tracks(count: u32) -> Vec<u8> {
    let rate = 8_000_u32;
    let words = |words: &[u32]| words.iter().flat_map(|it| it.to_be_bytes()).collect::<Vec<u8>>();
    let ftyp = atom(b"ftyp", b"M4A \0\0\0\0M4A ");
    let sound = vec![0; rate as usize * 2];
    let mdat = atom(b"mdat", &sound);
    let offset = u32::try_from(ftyp.len()).unwrap() + 8;
    let mut entry = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 16, 0, 0, 0, 0];
    entry.extend((rate << 16).to_be_bytes());
    let stsd = atom(b"stsd", &[words(&[0, 1]), atom(b"twos", &entry)].concat());
    let stts = atom(b"stts", &words(&[0, 1, rate, 1]));
    let stsc = atom(b"stsc", &words(&[0, 1, 1, rate, 1]));
    let stsz = atom(b"stsz", &words(&[0, 2, rate]));
    let stco = atom(b"stco", &words(&[0, 1, offset]));
    let stbl = atom(b"stbl", &[stsd, stts, stsc, stsz, stco].concat());
    let smhd = atom(b"smhd", &[0; 8]);
    let url = atom(b"url ", &words(&[1]));
    let dinf = atom(b"dinf", &atom(b"dref", &[words(&[0, 1]), url].concat()));
    let minf = atom(b"minf", &[smhd, dinf, stbl].concat());
    let hdlr = atom(b"hdlr", &[words(&[0, 0]), b"soun".to_vec(), vec![0; 13]].concat());
    let mdhd = atom(b"mdhd", &[words(&[0, 0, 0, rate, rate]), vec![0; 4]].concat());
    let mdia = atom(b"mdia", &[mdhd, hdlr, minf].concat());
    let tracks = (1..=count).flat_map(|id| {
        let tkhd = [words(&[1, 0, 0, id, 0, 1_000]), vec![0; 60]].concat();
        atom(b"trak", &[atom(b"tkhd", &tkhd), mdia.clone()].concat())
    });
    let mvhd = [words(&[0, 0, 0, 1_000, 1_000]), vec![0; 80]].concat();
    let moov = [atom(b"mvhd", &mvhd), tracks.collect()].concat();
    [ftyp, mdat, atom(b"moov", &moov)].concat()
}

/// Bytes of tags and the like that each file below has. What is read of them takes twenty times as much memory.
const METADATA: usize = 30_000_000;

/// As often as it takes.
fn many(part: &[u8]) -> Vec<u8> {
    part.repeat(METADATA / part.len())
}

fn id3(frames: &[u8]) -> Vec<u8> {
    let size = u32::try_from(frames.len()).unwrap();
    let size = [21, 14, 7, 0].map(|bits| (size >> bits & 0x7F) as u8);
    [b"ID3\x04\0\0", &size[..], frames].concat()
}

/// Five seconds of silence: frames of 128 kbit/s at 44.1 kHz without any bits set.
fn mp3() -> Vec<u8> {
    let mut frame = vec![0xFF, 0xFB, 0x90, 0xC0];
    frame.resize(417, 0);
    frame.repeat(192)
}

fn flac_block(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &size[1..], body].concat()
}

/// Five seconds of silence with more blocks behind the first.
fn flac(blocks: &[u8]) -> Vec<u8> {
    let plain = silent_flac(5);
    let end = flac_block(0x81, &[]);
    [b"fLaC\0", &plain[5..42], blocks, &end, &plain[42..]].concat()
}

fn comments(count: usize) -> Vec<u8> {
    let count_bytes = u32::try_from(count).unwrap().to_le_bytes();
    [&[0; 4][..], &count_bytes, &b"\x03\0\0\0A=B".repeat(count)].concat()
}

fn chunk(name: &[u8; 4], body: &[u8], size: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let size = size(u32::try_from(body.len()).unwrap());
    [name, &size[..], body, &[0][..body.len() % 2]].concat()
}

/// Five seconds of silence at 8 kHz behind more chunks.
fn wave(chunks: &[u8]) -> Vec<u8> {
    let le = u32::to_le_bytes;
    let format = b"\x01\0\x01\0\x40\x1F\0\0\x80\x3E\0\0\x02\0\x10\0";
    let format = chunk(b"fmt ", format, le);
    let sound = chunk(b"data", &[0; 80_000], le);
    chunk(b"RIFF", &[b"WAVE", &format[..], chunks, &sound].concat(), le)
}

fn aiff(chunks: &[u8]) -> Vec<u8> {
    let be = u32::to_be_bytes;
    // 8000 Hz as a float of 80 bits.
    let common = b"\0\x01\0\0\x9C\x40\0\x10\x40\x0B\xFA\0\0\0\0\0\0\0";
    let common = chunk(b"COMM", common, be);
    let sound = chunk(b"SSND", &[0; 80_008], be);
    chunk(b"FORM", &[b"AIFF", chunks, &common[..], &sound].concat(), be)
}

/// The most memory that this process has had, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Decodes it in a process of its own, whose memory is counted: how long the sound is.
fn decodes_in_little_memory(name: &str, bytes: &[u8]) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    let mut command = std::process::Command::new(env::current_exe().unwrap());
    let test = "the_process_that_decodes_for_the_test_above";
    let output = command.args(["--exact", test, "--nocapture"]).env(TO_DECODE, &path).output();
    let output = output.unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let said = text.lines().find_map(|line| line.strip_prefix("decoded: "));
    let said = said.unwrap_or_else(|| panic!("{name}: {text}"));
    let (seconds, memory) = said.split_once(' ').unwrap();
    let memory: u64 = memory.parse().unwrap();
    assert!(memory < 100 << 20, "{name}: {memory} bytes of memory");
    seconds.parse().unwrap()
}

/// Names the file for the process that decodes.
const TO_DECODE: &str = "AUDIO_LIMITS_TO_DECODE";

#[test]
fn the_process_that_decodes_for_the_test_above() {
    let Some(path) = env::var_os(TO_DECODE).map(PathBuf::from) else { return };
    let extension = path.extension().unwrap().to_str().unwrap().to_owned();
    let file = File::open(&path).unwrap();
    let decoded = decode_at_most(DAY, file, &extension, &mut |_| {}).unwrap();
    writeln!(std::io::stdout(), "\ndecoded: {} {}", decoded.facts.duration, peak_memory()).unwrap();
}

#[test]
fn a_recording_with_millions_of_tags_is_heard_without_reading_them() {
    let frame = b"TXXX\0\0\0\x02\0\0\0a";
    let chapter = b"CHAP\0\0\0\x12\0\0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let ape = [b"APETAGEX", &2000_u32.to_le_bytes()[..], &32_u32.to_le_bytes(), &[0; 16]].concat();
    let picture = [&[0; 3][..], &[3], &[0; 28]].concat();
    let be = u32::to_be_bytes;
    let listed = chunk(b"LIST", b"INFOINAM\x02\0\0\0ab", u32::to_le_bytes);
    let mp3 = mp3();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("tags.mp3", [many(&id3(b"")), mp3.clone()].concat()),
        ("tags behind junk.mp3", [vec![0; 100], many(&id3(frame)), mp3.clone()].concat()),
        ("frames.mp3", [id3(&many(frame)), mp3.clone()].concat()),
        ("chapters.mp3", [id3(&many(chapter)), mp3.clone()].concat()),
        ("ape.mp3", [many(&ape), mp3.clone()].concat()),
        ("tags.flac", [many(&id3(b"")), flac(b"")].concat()),
        ("padding.flac", flac(&many(&flac_block(1, b"")))),
        ("applications.flac", flac(&many(&flac_block(2, b"abcd")))),
        ("pictures.flac", flac(&many(&flac_block(6, &picture)))),
        ("comments.flac", flac(&flac_block(4, &comments(16_000_000 / 7)).repeat(2))),
        ("comment blocks.flac", flac(&many(&flac_block(4, &comments(1))))),
        ("lists.wav", wave(&many(&listed))),
        (
            "list.wav",
            wave(&chunk(b"LIST", &[b"INFO", &many(&listed[12..])[..]].concat(), u32::to_le_bytes)),
        ),
        ("names.aiff", aiff(&many(&chunk(b"NAME", b"", be)))),
        ("tag.aiff", aiff(&chunk(b"ID3 ", &id3(&many(frame)), be))),
    ];
    for (name, bytes) in files {
        let seconds = decodes_in_little_memory(name, &bytes);
        assert!((seconds - 5.0).abs() < 0.1, "{name}: {seconds}");
    }
}

fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    // Eight bytes of size, of which the first only says so.
    let size = u64::try_from(body.len()).unwrap().to_be_bytes();
    [id, &[1], &size[1..], body].concat()
}

/// A Matroska file with five seconds of silence, behind more elements and before others.
fn film(before: &[u8], behind: &[u8], seek_head: &[u8]) -> Vec<u8> {
    let header = element(b"\x1A\x45\xDF\xA3", &element(b"\x42\x82", b"matroska"));
    let info = [
        element(b"\x2A\xD7\xB1", &[0x0F, 0x42, 0x40]),
        element(b"\x4D\x80", b"test"),
        element(b"\x57\x41", b"test"),
    ];
    let info = element(b"\x15\x49\xA9\x66", &info.concat());
    let sound = [
        element(b"\xB5", &8_000.0_f32.to_be_bytes()),
        element(b"\x9F", &[1]),
        element(b"\x62\x64", &[16]),
    ];
    let track = [
        element(b"\xD7", &[1]),
        element(b"\x73\xC5", &[1]),
        element(b"\x83", &[2]),
        element(b"\x86", b"A_PCM/INT/LIT"),
        element(b"\xE1", &sound.concat()),
    ];
    let tracks = element(b"\x16\x54\xAE\x6B", &element(b"\xAE", &track.concat()));
    let block = |second: i16| {
        let time = (second * 1_000).to_be_bytes();
        element(b"\xA3", &[&[0x81][..], &time, &[0x80], &[0; 16_000]].concat())
    };
    let blocks: Vec<u8> = (0..5).flat_map(block).collect();
    let cluster = element(b"\x1F\x43\xB6\x75", &[element(b"\xE7", &[0]), blocks].concat());
    let segment = [seek_head, &info, before, &tracks, &cluster, behind].concat();
    [header, element(b"\x18\x53\x80\x67", &segment)].concat()
}

/// An Ogg file with five seconds of silence in Opus, and so many comments.
fn opus(count: usize) -> Vec<u8> {
    let head = b"OpusHead\x01\x01\0\0\x80\xBB\0\0\0\0\0".to_vec();
    let tags = [b"OpusTags", &comments(count)[..]].concat();
    let silence = vec![vec![0xF8, 0xFF, 0xFE]; 250];
    let mut file = Vec::new();
    for (packets, end) in [(vec![head], 0), (vec![tags], 0), (silence, 240_000)] {
        ogg_pages(&mut file, &packets, end);
    }
    file
}

/// Adds packets on pages of their own. `end`: samples up to there.
fn ogg_pages(file: &mut Vec<u8>, packets: &[Vec<u8>], end: u64) {
    let mut lengths: Vec<u8> = Vec::new();
    for packet in packets {
        lengths.extend(vec![255; packet.len() / 255]);
        lengths.push((packet.len() % 255) as u8);
    }
    let body = packets.concat();
    let (mut at, mut is_continued) = (0, false);
    for lengths in lengths.chunks(255) {
        let number = PAGES.with(|pages| pages.replace(pages.get() + 1));
        let size: usize = lengths.iter().map(|it| usize::from(*it)).sum();
        let first = if file.is_empty() { 2 } else { 0 };
        let is_open = lengths.last() == Some(&255);
        let position = if is_open { u64::MAX } else { end };
        let mut page = [b"OggS\0", &[first | u8::from(is_continued)][..]].concat();
        page.extend(position.to_le_bytes());
        page.extend([7, 0, 0, 0]);
        page.extend(number.to_le_bytes());
        page.extend([0; 4]);
        page.push(lengths.len() as u8);
        page.extend(lengths);
        page.extend(&body[at..at + size]);
        let checksum = page.iter().fold(0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
                if crc & 1 << 31 == 0 { crc << 1 } else { crc << 1 ^ 0x04C1_1DB7 }
            })
        });
        page[22..26].copy_from_slice(&checksum.to_le_bytes());
        file.extend(page);
        (at, is_continued) = (at + size, is_open);
    }
}

thread_local! {
    /// Pages get numbers in order.
    static PAGES: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[test]
fn tags_that_cannot_be_left_out_are_hidden() {
    let item = atom(b"\xA9nam", &atom(b"data", b"\0\0\0\x01\0\0\0\0a"));
    let handler = atom(b"hdlr", b"\0\0\0\0\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0");
    let user_data = |items: &[u8]| {
        let list = atom(b"ilst", items);
        atom(b"udta", &atom(b"meta", &[&[0; 4][..], &handler, &list].concat()))
    };
    let movie = |more: &[u8]| {
        let plain = movie_of_tracks(1);
        let at = plain.windows(4).position(|name| name == b"moov").unwrap();
        [&plain[..at - 4], &atom(b"moov", &[&plain[at + 4..], more].concat())].concat()
    };
    let tag = element(b"\x73\x73", &element(b"\x67\xC8", &element(b"\x45\xA3", b"A")));
    let list = |tags: &[u8]| element(b"\x12\x54\xC3\x67", tags);
    let tags = list(&many(&tag));
    // Leads to what stands behind the sound.
    let seek_head = |at: u64| {
        let seek =
            [element(b"\x53\xAB", b"\x12\x54\xC3\x67"), element(b"\x53\xAC", &at.to_be_bytes())];
        element(b"\x11\x4D\x9B\x74", &element(b"\x4D\xBB", &seek.concat()))
    };
    let segment_header = 12;
    let header = film(b"", b"", b"").windows(4).position(|id| id == b"\x18\x53\x80\x67").unwrap();
    let end = film(b"", b"", &seek_head(0)).len() - header - segment_header;
    for (name, seconds, bytes) in [
        ("items.m4a", 1.0, movie(&user_data(&many(&item)))),
        ("lists.m4a", 1.0, movie(&many(&user_data(&item)))),
        ("plain.mka", 5.0, film(b"", b"", b"")),
        ("tags.mka", 5.0, film(&tags, b"", b"")),
        ("lists of tags.mka", 5.0, film(&many(&list(&tag)), b"", b"")),
        ("tags behind the sound.mka", 5.0, film(b"", &tags, &seek_head(end as u64))),
        ("comments.opus", 5.0, opus(2_000_000)),
    ] {
        let decoded = decodes_in_little_memory(name, &bytes);
        assert!((seconds - decoded).abs() < 0.1, "{name}: {decoded}");
    }
}

/// Boxes or frames in each other, the outermost of at least so many bytes.
fn nested(bytes: usize, innermost: Vec<u8>, wrap: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    // Each level costs as much as those below it, so that they are made from within: header, all below, nothing behind.
    let header = wrap(&[]).len();
    let levels = bytes / header;
    let mut headers: Vec<Vec<u8>> = Vec::new();
    let mut size = innermost.len();
    for _ in 0..levels {
        headers.push(wrap(&vec![0; size])[..header].to_vec());
        size += header;
    }
    headers.reverse();
    [headers.concat(), innermost].concat()
}

#[test]
fn a_recording_with_tags_in_tags_is_heard_however_deep_they_go() {
    let meta = |body: &[u8]| atom(b"meta", &[&[0; 4], body].concat());
    let plain_meta = |body: &[u8]| atom(b"meta", body);
    let frame = |name: &'static [u8; 4], start: &'static [u8]| {
        move |body: &[u8]| {
            let size = u32::try_from(start.len() + body.len()).unwrap();
            let size = [21, 14, 7, 0].map(|bits| (size >> bits & 0x7F) as u8);
            [name, &size[..], &[0; 2], start, body].concat()
        }
    };
    let chapter = frame(b"CHAP", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let contents = frame(b"CTOC", b"\0\0\0");
    let title = b"TIT2\0\0\0\x02\0\0\0T".to_vec();
    let movie = |more: &[u8]| {
        let plain = movie_of_tracks(1);
        let at = plain.windows(4).position(|name| name == b"moov").unwrap();
        [&plain[..at - 4], &atom(b"moov", &[&plain[at + 4..], more].concat())].concat()
    };
    let large = vec![0; 70_000];
    let mut coded = id3(&nested(100_000, title.clone(), chapter));
    coded[5] = 0x80;
    for (name, seconds, bytes) in [
        ("metas.m4a", 1.0, movie(&atom(b"udta", &nested(300_000, large.clone(), meta)))),
        ("quicktime.m4a", 1.0, movie(&nested(300_000, large, plain_meta))),
        ("chapters.mp3", 5.0, [id3(&nested(200_000, title.clone(), chapter)), mp3()].concat()),
        ("contents.mp3", 5.0, [id3(&nested(200_000, title.clone(), contents)), mp3()].concat()),
        ("coded chapters.mp3", 5.0, [coded, mp3()].concat()),
        (
            "chapters.aiff",
            5.0,
            aiff(&chunk(b"ID3 ", &id3(&nested(200_000, title, chapter)), u32::to_be_bytes)),
        ),
        ("lists.wav", 5.0, {
            let list = |body: &[u8]| chunk(b"LIST", &[b"INFO", body].concat(), u32::to_le_bytes);
            wave(&nested(200_000, Vec::new(), list))
        }),
    ] {
        let decoded = decodes_in_little_memory(name, &bytes);
        assert!((seconds - decoded).abs() < 0.1, "{name}: {decoded}");
    }
}

#[test]
fn a_film_with_tags_or_chapters_in_each_other_is_refused_where_they_go_too_deep() {
    let within = |part: &'static [u8]| move |body: &[u8]| element(part, body);
    let tag = element(b"\x73\x73", &nested(200_000, Vec::new(), within(b"\x67\xC8")));
    let edition = element(b"\x45\xB9", &nested(200_000, Vec::new(), within(b"\xB6")));
    for before in [element(b"\x12\x54\xC3\x67", &tag), element(b"\x10\x43\xA7\x70", &edition)] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&film(&before, b"", b"")).unwrap();
        let refused = decode_at_most(DAY, file, "mka", &mut |_| {});
        let Err(AudioError::Refused(failure)) = refused else { panic!("{refused:?}") };
        assert_eq!(failure.cause, FailureCause::NotAudio);
    }
}

#[test]
fn the_tags_that_files_in_use_have_are_read() {
    let title = id3(b"TIT2\0\0\0\x06\0\0\0Title");
    let picture =
        id3(&[b"APIC\x01\x40\0\0\0\0\0image/png\0\x03\0", &vec![1; (5 << 19) - 13][..]].concat());
    let comment = b"\0\0\0\0\x01\0\0\0\x0B\0\0\0TITLE=Title";
    for (name, bytes) in [
        ("a.mp3", [title.clone(), picture, mp3()].concat()),
        ("a.flac", flac(&flac_block(4, comment))),
        ("a.aiff", aiff(&chunk(b"NAME", b"Title", u32::to_be_bytes))),
    ] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let extension = name.rsplit('.').next().unwrap();
        let decoded = decode_at_most(DAY, file, extension, &mut |_| {}).unwrap();
        assert_eq!(decoded.facts.tags.get("title").map(String::as_str), Some("Title"), "{name}");
        assert!((decoded.facts.duration - 5.0).abs() < 0.1, "{name}");
    }
}
