//! Whether a recording says by itself that more is to come: a header that declares more than the file has.
//!
//! Transfers that broke off look so until they are resumed, and so do copies of them. Headers of streams, whose
//! writers did not know the length, declare nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Chunks or boxes that are looked at: more than any recorder puts before the sound.
const MOST_PARTS: usize = 200;

/// From here on a 32-bit length is what writes that do not know it.
const UNKNOWN: u64 = 0x7fff_0000;

/// `bytes`: how many the file has. `modified_ns` 0 is what `rsync` leaves on what it has not finished.
pub(crate) fn is_unfinished(file: &File, bytes: u64, modified_ns: i128) -> io::Result<bool> {
    if modified_ns == 0 {
        return Ok(true);
    }
    let head: [u8; 12] = match read(file, 0)? {
        Some(head) => head,
        None => return Ok(false),
    };
    match (&head[..4], &head[4..8], &head[8..]) {
        (b"RIFF" | b"RF64" | b"BW64", _, b"WAVE") => is_wave_unfinished(file, bytes, false),
        (b"RIFX", _, b"WAVE") => is_wave_unfinished(file, bytes, true),
        (b"FORM", _, b"AIFF" | b"AIFC") => is_aiff_unfinished(file, bytes),
        (_, b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip", _) => {
            is_mp4_unfinished(file, bytes)
        }
        (b"\x1a\x45\xdf\xa3", ..) => is_matroska_unfinished(file, bytes),
        _ => Ok(false),
    }
}

fn is_wave_unfinished(file: &File, bytes: u64, is_big_endian: bool) -> io::Result<bool> {
    let (mut at, mut long) = (12, None);
    for _ in 0..MOST_PARTS {
        let Some(chunk) = read::<8>(file, at)? else { return Ok(false) };
        let length: [u8; 4] = [chunk[4], chunk[5], chunk[6], chunk[7]];
        let length = match is_big_endian {
            true => u32::from_be_bytes(length),
            false => u32::from_le_bytes(length),
        };
        let (mut length, body) = (u64::from(length), at + 8);
        match &chunk[..4] {
            b"ds64" => long = read::<16>(file, body)?.map(|body| number(&body[8..], false)),
            b"data" => {
                if let Some(long) = long.filter(|_| UNKNOWN <= length) {
                    length = long;
                } else if UNKNOWN <= length {
                    return Ok(false);
                }
                return Ok(bytes < body.saturating_add(length));
            }
            _ => {}
        }
        at = body.saturating_add(length + (length & 1));
    }
    Ok(false)
}

fn is_aiff_unfinished(file: &File, bytes: u64) -> io::Result<bool> {
    let mut at = 12;
    for _ in 0..MOST_PARTS {
        let Some(chunk) = read::<8>(file, at)? else { return Ok(false) };
        let length = number(&chunk[4..], true);
        if &chunk[..4] == b"SSND" {
            return Ok(length < UNKNOWN && bytes < at + 8 + length);
        }
        at += 8 + length + (length & 1);
    }
    Ok(false)
}

/// Also where the index has not been written: most recorders write it last.
fn is_mp4_unfinished(file: &File, bytes: u64) -> io::Result<bool> {
    let (mut at, mut has_sound, mut has_index) = (0, false, false);
    for _ in 0..MOST_PARTS {
        let Some(head) = read::<8>(file, at)? else { break };
        let length = match number(&head[..4], true) {
            0 => return Ok(false),
            1 => read::<8>(file, at + 8)?.map_or(u64::MAX, |long| number(&long, true)),
            length => length,
        };
        has_sound |= &head[4..] == b"mdat";
        has_index |= matches!(&head[4..], b"moov" | b"moof");
        let is_a_box = 8 <= length && head[4..].iter().all(|byte| (0x20..0x7f).contains(byte));
        if !is_a_box {
            return Ok(false);
        }
        at = at.saturating_add(length);
        if bytes < at {
            return Ok(true);
        }
    }
    Ok(has_sound && !has_index)
}

fn is_matroska_unfinished(file: &File, bytes: u64) -> io::Result<bool> {
    let Some((header_bytes, Some(header))) = length_at(file, 4)? else { return Ok(false) };
    let segment = 4 + header_bytes + header;
    if read::<4>(file, segment)? != Some(*b"\x18\x53\x80\x67") {
        return Ok(false);
    }
    match length_at(file, segment + 4)? {
        Some((length_bytes, Some(length))) => {
            Ok(bytes < (segment + 4 + length_bytes).saturating_add(length))
        }
        Some((_, None)) | None => Ok(false),
    }
}

/// A length of EBML, and how many bytes it takes itself; `None` inside where it is not known.
fn length_at(file: &File, at: u64) -> io::Result<Option<(u64, Option<u64>)>> {
    let Some([first]) = read::<1>(file, at)? else { return Ok(None) };
    let more = first.leading_zeros();
    if more == 8 {
        return Ok(None);
    }
    let mut value = u64::from(first) & ((1 << (7 - more)) - 1);
    for offset in 1..=u64::from(more) {
        let Some([next]) = read::<1>(file, at + offset)? else { return Ok(None) };
        value = value << 8 | u64::from(next);
    }
    let is_known = value != (1 << (7 * (more + 1))) - 1;
    Ok(Some((u64::from(more) + 1, is_known.then_some(value))))
}

fn number(bytes: &[u8], is_big_endian: bool) -> u64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    match is_big_endian {
        true => bytes.iter().fold(0, add),
        false => bytes.iter().rev().fold(0, add),
    }
}

/// `None` where the file ends before.
fn read<const BYTES: usize>(file: &File, at: u64) -> io::Result<Option<[u8; BYTES]>> {
    let mut bytes = [0; BYTES];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn judged(bytes: &[u8]) -> bool {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        is_unfinished(&file, bytes.len() as u64, 1).unwrap()
    }

    fn wave(declared: u32) -> Vec<u8> {
        let mut wave = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        wave.extend([0; 16]);
        wave.extend(b"data");
        wave.extend(declared.to_le_bytes());
        wave.extend([7; 100]);
        wave
    }

    fn atom(name: &[u8; 4], declared: u32, body: usize) -> Vec<u8> {
        let mut atom = declared.to_be_bytes().to_vec();
        atom.extend(name);
        atom.extend(vec![0; body]);
        atom
    }

    fn matroska(length: &[u8], body: usize) -> Vec<u8> {
        let head = b"\x1a\x45\xdf\xa3\x83abc\x18\x53\x80\x67";
        [&head[..], length, &vec![0; body]].concat()
    }

    #[test]
    fn a_header_that_declares_more_than_there_is_is_not_finished() {
        assert!(judged(&wave(101)));
        assert!(judged(&[&b"FORM\0\0\0\x20AIFFSSND\0\0\0\x20"[..], &[0; 9]].concat()));
        assert!(judged(&[atom(b"ftyp", 16, 8), atom(b"mdat", 100, 9)].concat()));
        assert!(judged(&[atom(b"ftyp", 16, 8), atom(b"mdat", 17, 9)].concat()), "no index");
        assert!(judged(&matroska(&[0x90], 15)));
        let long =
            [&b"RF64\xff\xff\xff\xffWAVEds64\x10\0\0\0"[..], &[0; 8], &[9, 0, 0, 0, 0, 0, 0, 0]];
        let long = [&long.concat()[..], b"data\xff\xff\xff\xff12345678"].concat();
        assert!(judged(&long));
        assert!(!judged(&[&long[..], b"9"].concat()));
    }

    #[test]
    fn what_is_whole_or_does_not_say_is_taken_as_it_is() {
        for length in [0, 50, 100, 0xffff_ffff, 0x7fff_ffff, 0x7fff_f000] {
            assert!(!judged(&wave(length)), "{length}");
        }
        let index = atom(b"moov", 20, 12);
        assert!(!judged(&[atom(b"ftyp", 16, 8), atom(b"mdat", 17, 9), index.clone()].concat()));
        assert!(!judged(&[atom(b"ftyp", 16, 8), index, atom(b"mdat", 0, 9)].concat()));
        assert!(!judged(&matroska(&[0xff], 15)));
        assert!(!judged(&matroska(&[0x8f], 15)));
        for other in [&b""[..], b"RIFF", b"OggS\0\x02", b"RIFFxxxxnot a wave", b"fLaC"] {
            assert!(!judged(other));
        }
    }

    #[test]
    fn what_rsync_left_behind_is_not_finished() {
        let file = tempfile::tempfile().unwrap();
        assert!(is_unfinished(&file, 7, 0).unwrap());
    }
}
