//! Files that are small and unpack to days of sound, or keep a parser busy for hours: refused in words, and soon.

use std::fs::File;
use std::io::Write;
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
