//! Tags, pictures and the like are of some use, up to a point: millions of them keep a parser busy for minutes and fill
//! the memory. Where a file has that many, symphonia is shown the file without any. The sound stays what it is.
//!
//! [`Trim`] is for containers whose parts can be left out; those whose parts are found by their places in the file are
//! seen to in [`crate::audio::metadata_hiding`].

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::audio::sniff::Signature;

/// Tags, blocks or chunks in front of the sound. Files in use have some ten.
const MOST_PARTS: u32 = 256;
/// Frames or entries of one tag.
pub(crate) const MOST_ENTRIES: u32 = 2_000;
/// Chapters in a chapter, and lists of them, where none belong: each is read in a call of its own, with a copy of all
/// that is in it.
const MOST_NESTED: u32 = 16;
/// The same where it cannot be told which stand in which.
const MOST_CHAPTERS: u32 = 64;
/// Bytes of one text of a tag; a lyric has ten thousand.
const LONGEST_TEXT: u64 = 256 << 10;
/// Bytes of an APE tag, which may have a picture.
const LONGEST_APE: u64 = 4 << 20;
/// Bytes that are looked through for a tag where the file does not begin with one, as many as symphonia looks through.
const LONGEST_JUNK: usize = 1 << 20;

/// What is shown of a file: `start` in place of all that stands before `from`, then the bytes up to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trim {
    pub(crate) start: Vec<u8>,
    pub(crate) from: u64,
    pub(crate) end: u64,
}

impl Trim {
    /// All of a file of so many bytes.
    pub(crate) fn none(bytes: u64) -> Self {
        Self { start: Vec::new(), from: 0, end: bytes }
    }

    /// What is to be shown of `file`, of which the first bytes say what it is.
    pub(crate) fn of(file: &File, bytes: u64, signature: Signature) -> Self {
        let mut trim = Self::none(bytes);
        let mut reader = HeaderReader::new(file);
        let trimmed = match signature {
            Signature::Wave => wave(&mut reader),
            Signature::Readable("an AIFF file") => aiff(&mut reader),
            Signature::Readable("a FLAC file") => flac(&mut reader, 0),
            Signature::Readable("an MP3 file") => behind_tags(&mut reader, 0),
            // MP3 and ADTS begin with whatever they like.
            Signature::Unknown => tag_in_junk(file).and_then(|at| behind_tags(&mut reader, at)),
            _ => None,
        };
        if let Some((start, from)) = trimmed {
            (trim.start, trim.from) = (start, from);
            if signature == Signature::Readable("an AIFF file") {
                // The whole is as long as what is left of it.
                let left = trim.start.len() as u64 + bytes.saturating_sub(from) - 8;
                let size = u32::try_from(left).unwrap_or(u32::MAX);
                trim.start[4..8].copy_from_slice(&size.to_be_bytes());
            }
        }
        if matches!(signature, Signature::Readable("an MP3 file") | Signature::Unknown) {
            trim.end = before_last_tag(&mut reader, bytes).unwrap_or(bytes).max(trim.from);
        }
        trim
    }
}

/// A new start of the file, and the place from which on it is shown.
type Start = (Vec<u8>, u64);

/// Reads headers from one to the next without a system call for each.
pub(crate) struct HeaderReader<'a> {
    file: &'a File,
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> HeaderReader<'a> {
    pub(crate) fn new(file: &'a File) -> Self {
        Self { file, at: 0, bytes: Vec::new() }
    }

    /// The bytes at `at`; `None` where the file ends before.
    pub(crate) fn read<const N: usize>(&mut self, at: u64) -> Option<[u8; N]> {
        const BUFFER: usize = 16 << 10;
        if let Some(bytes) = self.buffered(at) {
            return Some(bytes);
        }
        self.bytes.resize(BUFFER, 0);
        let count = self.file.read_at(&mut self.bytes, at).unwrap_or(0);
        self.bytes.truncate(count);
        self.at = at;
        self.buffered(at)
    }

    fn buffered<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let from = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.bytes.get(from..from.checked_add(N)?)?.try_into().ok()
    }
}

/// The chunks that say how the sound is stored, where too much stands before it.
fn wave(reader: &mut HeaderReader<'_>) -> Option<Start> {
    let mut start = b"RIFF\xFF\xFF\xFF\xFFWAVE".to_vec();
    let size = |head: &[u8; 8]| u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let is_excessive = |_: &mut HeaderReader<'_>, name: &[u8], _: u64, size: u64| {
        name == b"LIST" && LONGEST_TEXT < size
    };
    let chunks = Chunks { sound: *b"data", kept: &[b"fmt ", b"fact"], size, is_excessive };
    let from = chunks.before_sound(reader, &mut start)?;
    Some((start, from))
}

fn aiff(reader: &mut HeaderReader<'_>) -> Option<Start> {
    let mut start = reader.read::<12>(0)?.to_vec();
    let size = |head: &[u8; 8]| u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let is_excessive = |reader: &mut HeaderReader<'_>, name: &[u8], body: u64, size: u64| match name
    {
        b"ID3 " => Tag::at(reader, body).is_some_and(|tag| tag.is_excessive),
        _ => LONGEST_TEXT < size,
    };
    let chunks = Chunks { sound: *b"SSND", kept: &[b"COMM", b"FVER"], size, is_excessive };
    let from = chunks.before_sound(reader, &mut start)?;
    Some((start, from))
}

/// Chunks with a name and a size each, padded to even places.
struct Chunks<'a, S, E> {
    sound: [u8; 4],
    kept: &'a [&'a [u8; 4]],
    size: S,
    /// Whether one of that name, at that place and of that size, takes too long.
    is_excessive: E,
}

impl<S, E> Chunks<'_, S, E>
where
    S: Fn(&[u8; 8]) -> u32,
    E: Fn(&mut HeaderReader<'_>, &[u8], u64, u64) -> bool,
{
    /// Where the sound's chunk begins, with the chunks to be kept added to `start`; `None` where nothing is to be left
    /// out, or no sound is found.
    fn before_sound(&self, reader: &mut HeaderReader<'_>, start: &mut Vec<u8>) -> Option<u64> {
        let (mut at, mut parts, mut is_excessive) = (12, 0_u32, false);
        loop {
            let head = reader.read::<8>(at)?;
            let (size, body) = (u64::from((self.size)(&head)), at + 8);
            let name = &head[..4];
            if name == self.sound {
                return (is_excessive || MOST_PARTS < parts).then_some(at);
            }
            parts = parts.saturating_add(1);
            let has_room = size <= LONGEST_TEXT && start.len() as u64 <= LONGEST_TEXT;
            if self.kept.iter().any(|kept| *kept == name) && has_room {
                start.extend(head);
                let padded = usize::try_from(size + size % 2).ok()?;
                let from = start.len();
                start.resize(from + padded, 0);
                reader.file.read_exact_at(&mut start[from..], body).ok()?;
            } else {
                is_excessive |= (self.is_excessive)(reader, name, body, size);
            }
            at = body + size + size % 2;
        }
    }
}

/// `from`: where the marker stands.
fn flac(reader: &mut HeaderReader<'_>, from: u64) -> Option<Start> {
    const STREAM_INFO: usize = 34;
    let mut start = [b"fLaC".as_slice(), &[0x80, 0, 0, STREAM_INFO as u8]].concat();
    if reader.read::<4>(from)? != *b"fLaC" {
        return None;
    }
    let (mut at, mut parts, mut is_excessive) = (from + 4, 0_u32, false);
    loop {
        let [kind, size @ ..] = reader.read::<4>(at)?;
        let size = u64::from(u32::from_be_bytes([0, size[0], size[1], size[2]]));
        match kind & 0x7F {
            0 if start.len() == 8 => start.extend(reader.read::<STREAM_INFO>(at + 4)?),
            4 => is_excessive |= has_many_comments(reader, at + 4)?,
            _ => {}
        }
        parts = parts.saturating_add(1);
        at += 4 + size;
        if kind & 0x80 != 0 {
            break;
        }
    }
    let is_complete = start.len() == 8 + STREAM_INFO;
    (is_complete && (is_excessive || MOST_PARTS < parts)).then_some((start, at))
}

/// Of Vorbis comments that begin at `at`; `None` where the file ends in them.
pub(crate) fn has_many_comments(reader: &mut HeaderReader<'_>, at: u64) -> Option<bool> {
    let vendor = u64::from(u32::from_le_bytes(reader.read(at)?));
    let count = u32::from_le_bytes(reader.read(at + 4 + vendor)?);
    Some(MOST_ENTRIES < count || LONGEST_TEXT < vendor)
}

/// The file behind all tags that it begins with, where they are too many, and behind those of a FLAC file there.
fn behind_tags(reader: &mut HeaderReader<'_>, from: u64) -> Option<Start> {
    let (mut at, mut parts, mut is_excessive) = (from, 0_u32, false);
    while let Some(tag) = Tag::at(reader, at) {
        is_excessive |= tag.is_excessive;
        parts = parts.saturating_add(1);
        at = tag.end;
    }
    flac(reader, at).or_else(|| (is_excessive || MOST_PARTS < parts).then_some((Vec::new(), at)))
}

/// Where an ID3 tag begins behind something else.
fn tag_in_junk(file: &File) -> Option<u64> {
    let mut junk = vec![0; LONGEST_JUNK];
    let count = file.read_at(&mut junk, 0).ok()?;
    let at = junk[..count].windows(10).position(|head| {
        let is_size = head[6..].iter().all(|byte| *byte < 0x80);
        head.starts_with(b"ID3") && (2..=4).contains(&head[3]) && head[4] != 0xFF && is_size
    });
    at.map(|at| at as u64).or_else(|| junk.starts_with(b"APETAGEX").then_some(0))
}

/// The end of the file without an APE tag that is too much, which may stand before an ID3 tag of the first version.
fn before_last_tag(reader: &mut HeaderReader<'_>, bytes: u64) -> Option<u64> {
    let has_old_tag = bytes.checked_sub(128).and_then(|at| reader.read(at)) == Some(*b"TAG");
    let end = if has_old_tag { bytes - 128 } else { bytes };
    let footer: [u8; 32] = reader.read(end.checked_sub(32)?)?;
    let (size, count) = ape_size_and_count(&footer)?;
    (MOST_ENTRIES < count || LONGEST_APE < size).then(|| end.saturating_sub(size))
}

/// Size without its header.
fn ape_size_and_count(header: &[u8; 32]) -> Option<(u64, u32)> {
    let number = |at: usize| Some(u32::from_le_bytes(header[at..at + 4].try_into().ok()?));
    let is_tag = header.starts_with(b"APETAGEX");
    is_tag.then(|| Some((u64::from(number(12)?), number(16)?)))?
}

/// An ID3 tag of the second version, or an APE tag.
struct Tag {
    end: u64,
    is_excessive: bool,
}

impl Tag {
    fn at(reader: &mut HeaderReader<'_>, at: u64) -> Option<Self> {
        if let Some((size, count)) = reader.read(at).as_ref().and_then(ape_size_and_count) {
            let is_excessive = MOST_ENTRIES < count || LONGEST_APE < size;
            return Some(Self { end: at + 32 + size, is_excessive });
        }
        let head: [u8; 10] = reader.read(at)?;
        if !head.starts_with(b"ID3") || head[3] == 0xFF || head[4] == 0xFF {
            return None;
        }
        let body = at + 10;
        let end = body + syncsafe(&head[6..]);
        // All of it is coded, or something stands before the frames: they do not follow each other by their sizes.
        let is_coded = head[5] & 0xC0 != 0;
        let is_excessive = has_many_frames(reader, head[3], body, end)
            || is_coded && has_chapters(reader, body, end, MOST_CHAPTERS);
        // A footer repeats the header.
        let footer = if head[3] == 4 && head[5] & 0x10 != 0 { 10 } else { 0 };
        Some(Self { end: end + footer, is_excessive })
    }
}

/// Seven bits of each byte.
fn syncsafe(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7F))
}

/// Whether more than `most` chapters or lists of them begin between two places.
fn has_chapters(reader: &mut HeaderReader<'_>, from: u64, to: u64, most: u32) -> bool {
    let (mut at, mut found) = (from, 0);
    while at < to
        && let Some(name) = reader.read::<4>(at)
    {
        found += u32::from(matches!(&name, b"CHAP" | b"CTOC"));
        if most < found {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether a tag has more frames than anybody needs, or one with more in it.
fn has_many_frames(reader: &mut HeaderReader<'_>, version: u8, body: u64, end: u64) -> bool {
    let mut at = body;
    for _ in 0..MOST_ENTRIES {
        let header = if version == 2 { 6 } else { 10 };
        let Some(head) = reader.read::<6>(at).filter(|_| at + header <= end) else { return false };
        let (size, header) = match version {
            2 => (u64::from(u32::from_be_bytes([0, head[3], head[4], head[5]])), 6),
            _ => {
                let Some(size) = reader.read::<4>(at + 4) else { return false };
                match version {
                    3 => (u64::from(u32::from_be_bytes(size)), 10),
                    _ => (syncsafe(&size), 10),
                }
            }
        };
        // Padding, or an extended header, behind which frames would have to be guessed.
        if !head[..3].iter().all(u8::is_ascii_alphanumeric) {
            return LONGEST_TEXT < end - body && head[0] != 0;
        }
        let is_binary = [&b"API"[..], b"PIC", b"GEO", b"PRI"].contains(&&head[..3]);
        if LONGEST_TEXT < size && !is_binary {
            return true;
        }
        let is_chapter = matches!(&head[..4], b"CHAP" | b"CTOC");
        if is_chapter && has_chapters(reader, at + header, at + header + size, MOST_NESTED) {
            return true;
        }
        at += header + size;
    }
    true
}
