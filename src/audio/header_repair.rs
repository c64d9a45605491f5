//! Headers that cannot be believed, put right.
//!
//! Programs that write WAV to a pipe leave sizes of 0xFFFFFFFF, recorders that lose power leave 0, RF64 keeps
//! the true sizes elsewhere, and a file that was cut claims more than it has. Symphonia refuses some of
//! these whole. So sizes that lead beyond the end are shown as "until the end".

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::audio::source::Patch;

/// Chunks or boxes that are walked over; a header has a handful.
const MOST_CHUNKS: usize = 256;

/// "Until the end" in RIFF, for symphonia as for ffmpeg.
const OPEN_END: [u8; 4] = [0xFF; 4];

/// What is to be shown differently, and what that means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderRepairs {
    pub(crate) patches: Vec<Patch>,
    pub(crate) is_rf64: bool,
    /// The file ends before its sound does.
    pub(crate) is_truncated: bool,
}

impl HeaderRepairs {
    fn patch(&mut self, at: u64, bytes: &[u8]) {
        self.patches.push(Patch { at, bytes: bytes.to_vec() });
    }

    /// Of a WAVE file: the chunks up to the sound, from the one that stands at `from` on.
    pub(crate) fn of_wave(file: &File, from: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut repairs = Self::default();
        let mut first = [0; 12];
        file.read_exact_at(&mut first, 0)?;
        repairs.is_rf64 = &first[..4] != b"RIFF";
        if repairs.is_rf64 {
            repairs.patch(0, b"RIFF");
        }
        repairs.patch(4, &OPEN_END);
        let mut true_size = None;
        let mut at = from.max(12);
        for _ in 0..MOST_CHUNKS {
            let mut head = [0; 8];
            if file.read_exact_at(&mut head, at).is_err() {
                break;
            }
            let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            let body = at + 8;
            match &head[..4] {
                b"ds64" => {
                    let mut sizes = [0; 16];
                    file.read_exact_at(&mut sizes, body)?;
                    true_size = Some(u64::from_le_bytes(sizes[8..].try_into().unwrap_or_default()));
                    repairs.patch(at, b"JUNK");
                }
                b"data" => {
                    repairs.look_at_data(at, size, true_size, length.saturating_sub(body));
                    break;
                }
                _ => {}
            }
            // Chunks begin at even places.
            at = body + u64::from(size) + u64::from(size % 2);
        }
        Ok(repairs)
    }

    fn look_at_data(&mut self, at: u64, size: u32, true_size: Option<u64>, available: u64) {
        let is_open = size == u32::MAX || (size == 0 && 0 < available);
        let claimed = match (is_open, true_size) {
            (true, Some(size)) if size != u64::MAX => Some(size),
            (true, _) => None,
            (false, _) => Some(u64::from(size)),
        };
        self.is_truncated = claimed.is_some_and(|claimed| available < claimed);
        if is_open || self.is_truncated {
            self.patch(at + 4, &OPEN_END);
        }
    }

    /// Of an MP4 file: a box at the top that is longer than the file reaches to its end (size 0).
    pub(crate) fn of_mp4(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut repairs = Self::default();
        let mut at = 0;
        for _ in 0..MOST_CHUNKS {
            let mut head = [0; 8];
            if file.read_exact_at(&mut head, at).is_err() {
                break;
            }
            let size = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
            // 0 reaches to the end already, and 1 means a size of 64 bits, of files beyond 4 GB.
            if size < 8 {
                break;
            }
            if length < at + size {
                repairs.is_truncated = true;
                repairs.patch(at, &[0; 4]);
                break;
            }
            at += size;
        }
        Ok(repairs)
    }

    /// Of a Matroska file: a segment that is longer than the file gets an unknown size, and the list of
    /// what lies where, which leads beyond the end, is no longer seen.
    pub(crate) fn of_matroska(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut repairs = Self::default();
        let mut head = [0; 256];
        let count = file.read_at(&mut head, 0)?;
        let head = &head[..count];
        let Some(segment) = Element::find(head, SEGMENT) else { return Ok(repairs) };
        if !segment.size_is_known || segment.body.saturating_add(segment.size) <= length {
            return Ok(repairs);
        }
        repairs.is_truncated = true;
        let unknown = u64::MAX >> (64 - 7 * segment.size_width);
        repairs.patch(segment.at + 4, &Element::size_bytes(unknown, segment.size_width));
        if let Some(list) = Element::find(head, SEEK_HEAD)
            && list.size_width < 6
        {
            // The id of what is to be skipped is a byte long, so its size gets three more.
            repairs.patch(list.at, &[VOID]);
            repairs.patch(list.at + 1, &Element::size_bytes(list.size, list.size_width + 3));
        }
        Ok(repairs)
    }
}

const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];
const SEEK_HEAD: [u8; 4] = [0x11, 0x4D, 0x9B, 0x74];
const VOID: u8 = 0xEC;

/// An element of EBML with an id of four bytes.
struct Element {
    at: u64,
    body: u64,
    size: u64,
    size_width: usize,
    size_is_known: bool,
}

impl Element {
    fn find(head: &[u8], id: [u8; 4]) -> Option<Self> {
        let at = head.windows(4).position(|bytes| bytes == id)?;
        let first = *head.get(at + 4)?;
        // As many leading zeros as bytes follow; the marker behind them is no part of the number.
        let width = first.leading_zeros() as usize + 1;
        let bytes = head.get(at + 4..at + 4 + width).filter(|_| width <= 8)?;
        let mask = u64::MAX >> (64 - 7 * width);
        let size = bytes.iter().fold(0, |size, byte| size << 8 | u64::from(*byte)) & mask;
        Some(Self {
            at: at as u64,
            body: (at + 4 + width) as u64,
            size,
            size_width: width,
            size_is_known: size != mask,
        })
    }

    /// `size` in so many bytes.
    fn size_bytes(size: u64, width: usize) -> Vec<u8> {
        let mut bytes = size.to_be_bytes()[8 - width..].to_vec();
        bytes[0] |= 0x80 >> (width - 1);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};

    use super::*;
    use crate::audio::source::Source;

    fn wave(riff: &[u8; 4], chunks: &[(&[u8; 4], u32, &[u8])]) -> File {
        let mut bytes = [&riff[..], &[9, 0, 0, 0], b"WAVE"].concat();
        for (name, size, body) in chunks {
            bytes.extend_from_slice(*name);
            bytes.extend_from_slice(&size.to_le_bytes());
            bytes.extend_from_slice(body);
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn sizes_that_cannot_be_believed_read_as_until_the_end() {
        for (size, is_open, is_truncated) in
            [(4, false, false), (0, true, false), (u32::MAX, true, false), (400, true, true)]
        {
            let file = wave(b"RIFF", &[(b"LIST", 2, b"xx"), (b"data", size, b"abcd")]);
            let header = HeaderRepairs::of_wave(&file, 0).unwrap();
            assert_eq!(header.is_truncated, is_truncated, "{size}");
            let mut shown = Vec::new();
            Source::open(&file)
                .unwrap()
                .with_patches(header.patches.clone())
                .read_to_end(&mut shown)
                .unwrap();
            assert_eq!(&shown[4..8], &OPEN_END);
            assert_eq!(shown[26..30] == OPEN_END, is_open, "{size}");
        }
    }

    #[test]
    fn rf64_is_shown_as_riff() {
        let mut sizes = [0; 28];
        sizes[8..16].copy_from_slice(&4_u64.to_le_bytes());
        let file = wave(b"RF64", &[(b"ds64", 28, &sizes), (b"data", u32::MAX, b"abcd")]);
        let header = HeaderRepairs::of_wave(&file, 0).unwrap();
        assert!(header.is_rf64 && !header.is_truncated);
        let mut source = Source::open(&file).unwrap().with_patches(header.patches.clone());
        let mut shown = Vec::new();
        // In small reads, so that patches fall on borders.
        let mut some = [0; 3];
        while source.read(&mut some).unwrap() != 0 {
            shown.extend_from_slice(&some);
        }
        assert!(shown.starts_with(b"RIFF"));
        assert_eq!(&shown[12..16], b"JUNK");
        source.seek(SeekFrom::Start(12)).unwrap();
        source.read_exact(&mut some).unwrap();
        assert_eq!(&some, b"JUN");
    }

    #[test]
    fn boxes_and_segments_that_lead_beyond_the_end_reach_to_it() {
        let mut movie = tempfile::tempfile().unwrap();
        movie.write_all(b"\0\0\0\x10ftypM4A \0\0\0\0\0\0\x20\0mdatsound").unwrap();
        let repairs = HeaderRepairs::of_mp4(&movie).unwrap();
        assert!(repairs.is_truncated);
        assert_eq!(repairs.patches, [Patch { at: 16, bytes: vec![0; 4] }]);

        let mut film = tempfile::tempfile().unwrap();
        film.write_all(b"\x1A\x45\xDF\xA3\x80\x18\x53\x80\x67\x01\0\0\0\0\0\x10\0rest").unwrap();
        let repairs = HeaderRepairs::of_matroska(&film).unwrap();
        assert!(repairs.is_truncated);
        let unknown = vec![1, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(repairs.patches, [Patch { at: 9, bytes: unknown }]);
    }
}
