//! Whether a file's first bytes are those of a recording, whatever its name.
//!
//! Only asked where the extension says nothing. Formats that begin with a word of their own are known by it; those that are
//! a mere stream of frames must show a second frame where the first one ends.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// As many bytes as are looked at: enough for the second frame of any stream.
const HEAD_BYTES: usize = 4096;

/// Words at the very start.
const WORDS: [&[u8]; 25] = [
    b"fLaC",
    b"OggS\0",
    b"caff\0\x01",
    b"#!AMR",
    b"ADIF",
    b".snd\0\0",
    b"wvpk",
    b"MAC ",
    b"TTA1",
    b"MPCK",
    b"MP+",
    b".ra\xfd",
    b".RMF",
    b"DSD ",
    b"FLV\x01",
    b"\x1a\x45\xdf\xa3",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"\x7f\xfe\x80\x01",
    b"\0\0\x01\xba",
    b"riff\x2e\x91\xcf\x11",
    b"#!SILK",
    b"\x02#!SILK",
    b"\x03ds2",
    b"MS_VOICE",
    b"\x06\x0e\x2b\x34",
];

/// Container, and what must stand at byte 8 in it.
const CONTAINERS: [(&[u8], &[u8]); 8] = [
    (b"RIFF", b"WAVE"),
    (b"RIFF", b"AVI "),
    (b"RIFX", b"WAVE"),
    (b"RF64", b"WAVE"),
    (b"BW64", b"WAVE"),
    (b"FORM", b"AIFF"),
    (b"FORM", b"AIFC"),
    (b"FORM", b"8SVX"),
];

/// Brands of the MP4 family that are pictures.
const PICTURES: [&[u8]; 8] =
    [b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"crx "];

/// The bytes to judge a file by; fewer where it is shorter.
pub(crate) fn head_of(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let mut held = 0;
    while held < head.len() {
        match file.read_at(&mut head[held..], held as u64) {
            Ok(0) => break,
            Ok(bytes) => held += bytes,
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    head.truncate(held);
    Ok(head)
}

pub(crate) fn is_recording(head: &[u8]) -> bool {
    WORDS.iter().any(|word| head.starts_with(word))
        || CONTAINERS
            .iter()
            .any(|(word, kind)| head.starts_with(word) && head.get(8..12) == Some(*kind))
        || is_mp4(head)
        || is_tagged(head)
        || is_transport_stream(head)
        || is_stream_of(head, mpeg_frame_bytes)
        || is_stream_of(head, adts_frame_bytes)
}

fn is_mp4(head: &[u8]) -> bool {
    match head.get(4..8) {
        Some(b"ftyp") => head.get(8..12).is_some_and(|brand| !PICTURES.contains(&brand)),
        // QuickTime before there were brands.
        Some(b"moov" | b"mdat") => true,
        _ => false,
    }
}

/// An ID3 tag, whose size has the high bit of no byte set.
fn is_tagged(head: &[u8]) -> bool {
    head.starts_with(b"ID3")
        && head.get(3..10).is_some_and(|rest| {
            rest[0] < 0x10 && rest[1] != 0xff && rest[3..].iter().all(|byte| *byte < 0x80)
        })
}

/// Packets of 188 bytes, in Blu-ray files with four more before each.
fn is_transport_stream(head: &[u8]) -> bool {
    let has_packets = |first: usize, step: usize| {
        (0..4).all(|packet| head.get(first + packet * step) == Some(&0x47))
    };
    has_packets(0, 188) || has_packets(4, 192)
}

fn is_stream_of(head: &[u8], frame_bytes: fn(&[u8]) -> Option<usize>) -> bool {
    let Some(second) = frame_bytes(head).and_then(|bytes| head.get(bytes..)) else {
        return false;
    };
    // The layout of two neighbouring frames is the same; only padding and the like may differ.
    frame_bytes(second).is_some() && second.get(..2) == head.get(..2)
}

/// Length of the MPEG audio frame (layers I to III) that begins here.
fn mpeg_frame_bytes(head: &[u8]) -> Option<usize> {
    const RATES: [usize; 3] = [44_100, 48_000, 32_000];
    /// Kilobits per second of MPEG 1 layers I, II and III, and of MPEG 2 layers I and II or III.
    const KILOBITS: [[usize; 14]; 5] = [
        [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let header: [u8; 4] = head.get(..4)?.try_into().ok()?;
    if header[0] != 0xff || header[1] & 0xe0 != 0xe0 {
        return None;
    }
    let divisor = match (header[1] >> 3) & 3 {
        3 => 1,
        2 => 2,
        0 => 4,
        _ => return None,
    };
    let layer = match (header[1] >> 1) & 3 {
        3 => 1,
        2 => 2,
        1 => 3,
        _ => return None,
    };
    let is_first = divisor == 1;
    let row = match (is_first, layer) {
        (true, layer) => layer - 1,
        (false, 1) => 3,
        (false, _) => 4,
    };
    let step = usize::from(header[2] >> 4).checked_sub(1)?;
    let bits = KILOBITS[row].get(step)? * 1000;
    let rate = RATES.get(usize::from((header[2] >> 2) & 3))? / divisor;
    let padding = usize::from((header[2] >> 1) & 1);
    Some(match layer {
        1 => (12 * bits / rate + padding) * 4,
        3 if !is_first => 72 * bits / rate + padding,
        _ => 144 * bits / rate + padding,
    })
}

/// Length of the AAC frame in ADTS that begins here.
fn adts_frame_bytes(head: &[u8]) -> Option<usize> {
    let header: [u8; 7] = head.get(..7)?.try_into().ok()?;
    let is_sync = header[0] == 0xff && header[1] & 0xf6 == 0xf0;
    if !is_sync || (header[2] >> 2) & 15 > 12 {
        return None;
    }
    let bytes = usize::from(header[3] & 3) << 11
        | usize::from(header[4]) << 3
        | usize::from(header[5]) >> 5;
    (bytes > 7).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two frames of MPEG 1 layer III, 128 kbit/s at 44.1 kHz: 417 bytes each.
    fn mp3() -> Vec<u8> {
        let mut head = vec![0; 900];
        for at in [0, 417] {
            head[at..at + 4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        }
        head
    }

    #[test]
    fn recordings_are_known_by_their_first_bytes() {
        let mut transport = vec![0; 188 * 4];
        (0..4).for_each(|packet| transport[packet * 188] = 0x47);
        let mut adts = vec![0; 64];
        for at in [0, 20] {
            adts[at..at + 7].copy_from_slice(&[0xff, 0xf1, 0x50, 0x80, 0x02, 0x9f, 0xfc]);
        }
        for head in [
            b"RIFF\x24\0\0\0WAVEfmt ".to_vec(),
            b"RF64\xff\xff\xff\xffWAVEds64".to_vec(),
            b"FORM\0\0\0\x20AIFCFVER".to_vec(),
            b"\0\0\0\x20ftypM4A \0\0\0\0".to_vec(),
            b"\0\0\0\x14ftypqt  ".to_vec(),
            b"OggS\0\x02".to_vec(),
            b"ID3\x04\0\0\0\0\x0f\x76".to_vec(),
            b"\x1a\x45\xdf\xa3\x9f\x42\x86".to_vec(),
            b"#!AMR-WB\n".to_vec(),
            b"\x02#!SILK_V3".to_vec(),
            b"\x03ds2\x32\xd1".to_vec(),
            b"\x06\x0e\x2b\x34\x02\x05\x01\x01".to_vec(),
            mp3(),
            adts,
            transport,
        ] {
            assert!(is_recording(&head), "{head:?}");
        }
    }

    #[test]
    fn other_files_are_left_alone() {
        let mut one_frame = mp3();
        one_frame[417] = 0;
        for head in [
            b"".to_vec(),
            b"RIFF\x24\0\0\0WEBPVP8 ".to_vec(),
            b"RIFF\x24\0\0\0".to_vec(),
            b"FORM\0\0\0\x20ILBM".to_vec(),
            b"\0\0\0\x18ftypheic".to_vec(),
            b"ID3 is a tag format".to_vec(),
            b"\xff\xfe\x68\0i\0".to_vec(),
            b"\xff\xd8\xff\xe0\0\x10JFIF".to_vec(),
            b"\x7fELF\x02\x01\x01".to_vec(),
            b"%PDF-1.7".to_vec(),
            b"PK\x03\x04".to_vec(),
            vec![0xff; HEAD_BYTES],
            vec![0; HEAD_BYTES],
            one_frame,
        ] {
            assert!(!is_recording(&head), "{:?}", &head[..head.len().min(12)]);
        }
    }
}
