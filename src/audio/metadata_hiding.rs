//! Metadata that would take too long, in containers whose parts must stay where they are: it is shown as free space.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::audio::metadata_limit::{HeaderReader, MOST_ENTRIES, has_many_comments};
use crate::audio::source::Patch;

/// Boxes or elements that are walked over on one level: a fragmented file of a day has as many.
const MOST_BOXES: usize = 1 << 18;
/// Of metadata that can be read without looking at it first.
const SMALL: u64 = 64 << 10;
/// Of tags, attachments, chapters or cues of a Matroska file.
const LONGEST_ELEMENT: u64 = 4 << 20;
/// Elements with such things.
const MOST_ELEMENTS: u32 = 16;
/// Elements that are walked over: the shortest takes two bytes.
const MOST_ELEMENTS_WALKED: u32 = 1 << 23;
/// Boxes with such things.
const MOST_USER_DATA: usize = 16;
/// Boxes in boxes that are looked into; files in use have two. Each takes twelve bytes only, and a call.
const DEEPEST: u32 = 8;
/// Pages at the beginning of an Ogg file that may have comments.
const FIRST_PAGES: usize = 32;

/// Of an MP4 file: what is in `moov` beside its tracks, and `meta` at the top.
pub(crate) fn of_mp4(file: &File, bytes: u64) -> Vec<Patch> {
    let mut reader = HeaderReader::new(file);
    let top = boxes(&mut reader, 0, bytes);
    let movie = top.iter().find(|it| it.name == *b"moov");
    let inside = movie.map(|it| boxes(&mut reader, it.body, it.end)).unwrap_or_default();
    let is_known = |part: &Part| matches!(&part.name, b"mvhd" | b"trak" | b"mvex");
    let others = runs(&inside, |part| !is_known(part));
    let at_top = runs(&top, |part| part.name == *b"meta");
    let mut found = others.iter().chain(&at_top).flat_map(|run| run.iter());
    let metadata: Vec<&Part> =
        found.by_ref().filter(|it| matches!(&it.name, b"udta" | b"meta")).collect();
    let is_excessive = MOST_USER_DATA < metadata.len()
        || metadata.iter().any(|part| has_many_items(&mut reader, part, DEEPEST));
    if !is_excessive {
        return Vec::new();
    }
    // One box in place of all that stand side by side.
    others.iter().chain(&at_top).filter_map(|run| free_box(run)).collect()
}

/// A box of an MP4 file.
#[derive(Debug, Clone, Copy)]
struct Part {
    name: [u8; 4],
    at: u64,
    body: u64,
    end: u64,
}

/// Those between two places, as far as they make sense.
fn boxes(reader: &mut HeaderReader<'_>, from: u64, to: u64) -> Vec<Part> {
    let (mut at, mut found) = (from, Vec::new());
    while found.len() < MOST_BOXES
        && let Some(head) = reader.read::<8>(at).filter(|_| at < to)
    {
        let [a, b, c, d, name @ ..] = head;
        let (size, header) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (to - at, 8),
            1 => match reader.read(at + 8) {
                Some(size) => (u64::from_be_bytes(size), 16),
                None => break,
            },
            size => (u64::from(size), 8),
        };
        // One that was cut off ends with what it is in.
        let Some(end) = at.checked_add(size).filter(|_| header <= size) else { break };
        let end = end.min(to);
        found.push(Part { name, at, body: at + header, end });
        at = end;
    }
    if MOST_BOXES <= found.len()
        && let Some(last) = found.last_mut()
    {
        // What more there is goes with it.
        last.end = to;
    }
    found
}

/// Neighbours of which all are wanted.
fn runs(parts: &[Part], is_wanted: impl Fn(&Part) -> bool) -> Vec<&[Part]> {
    let same = |a: &Part, b: &Part| is_wanted(a) == is_wanted(b);
    parts.chunk_by(same).filter(|run| is_wanted(&run[0])).collect()
}

fn free_box(run: &[Part]) -> Option<Patch> {
    let (first, last) = (run.first()?, run.last()?);
    let size = u32::try_from(last.end - first.at).ok()?;
    Some(Patch { at: first.at, bytes: [&size.to_be_bytes()[..], b"free"].concat() })
}

/// Whether a `udta` or `meta` has more items in its list than anybody needs, or more such boxes in each other than
/// `levels`.
fn has_many_items(reader: &mut HeaderReader<'_>, part: &Part, levels: u32) -> bool {
    if part.end - part.at <= SMALL {
        return false;
    }
    let Some(levels) = levels.checked_sub(1) else { return true };
    let inside = match &part.name {
        b"udta" => boxes(reader, part.body, part.end),
        // Version and flags stand before its boxes; QuickTime has none.
        _ => match boxes(reader, part.body + 4, part.end) {
            found if !found.is_empty() => found,
            _ => boxes(reader, part.body, part.end),
        },
    };
    if MOST_ENTRIES as usize <= inside.len() {
        return true;
    }
    inside.iter().any(|it| match &it.name {
        b"meta" => has_many_items(reader, it, levels),
        b"ilst" => {
            let items = boxes(reader, it.body, it.end);
            let has_many = |item: &Part| {
                SMALL < item.end - item.at
                    && MOST_ENTRIES as usize <= boxes(reader, item.body, item.end).len()
            };
            MOST_ENTRIES as usize <= items.len() || items.iter().any(has_many)
        }
        _ => false,
    })
}

const SEGMENT: u32 = 0x1853_8067;
const SEEK_HEAD: u32 = 0x114D_9B74;
const TAGS: u32 = 0x1254_C367;
const ATTACHMENTS: u32 = 0x1941_A469;
const CHAPTERS: u32 = 0x1043_A770;
const CUES: u32 = 0x1C53_BB6B;
const CLUSTER: u32 = 0x1F43_B675;

/// Of a Matroska file: tags, attachments, chapters and cues that are too much, before the sound; and where such things
/// stand behind it, the list that leads to them.
pub(crate) fn of_matroska(file: &File) -> Vec<Patch> {
    let mut reader = HeaderReader::new(file);
    let segment = Element::at(&mut reader, 0)
        .and_then(|header| Element::at(&mut reader, header.end()?))
        .filter(|it| it.id == SEGMENT);
    let Some(segment) = segment else { return Vec::new() };
    let found = runs_of(&mut reader, segment);
    let (before, behind): (Vec<&Run>, Vec<&Run>) = found.iter().partition(|run| !run.is_behind);
    let heavy =
        found.iter().filter(|run| run.kind == Kind::Heavy).map(|run| run.count).sum::<u32>();
    let is_excessive = |run: &&&Run| {
        let is_long = LONGEST_ELEMENT < run.end - run.first.at;
        run.kind == Kind::Heavy && (is_long || MOST_ELEMENTS < heavy)
    };
    let mut patches: Vec<Patch> =
        before.iter().filter(is_excessive).filter_map(|run| run.first.void(run.end)).collect();
    if behind.iter().any(|run| is_excessive(&run)) {
        let lists = before.iter().filter(|run| run.kind == Kind::SeekHead);
        patches.extend(lists.filter_map(|list| list.first.void(list.end)));
    }
    patches
}

/// What an element is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It says where others are.
    SeekHead,
    /// It may be long.
    Heavy,
    Other,
}

/// Neighbours of one kind.
#[derive(Debug)]
struct Run {
    kind: Kind,
    first: Element,
    count: u32,
    end: u64,
    /// Sound stands before.
    is_behind: bool,
}

/// The elements of the segment, as far as each says where it ends.
fn runs_of(reader: &mut HeaderReader<'_>, segment: Element) -> Vec<Run> {
    let (mut at, mut is_behind) = (segment.body, false);
    let mut found: Vec<Run> = Vec::new();
    for _ in 0..MOST_ELEMENTS_WALKED {
        let Some(first) = Element::at(reader, at) else { break };
        let Some(end) = first.end() else { break };
        let kind = match first.id {
            SEEK_HEAD => Kind::SeekHead,
            TAGS | ATTACHMENTS | CHAPTERS | CUES => Kind::Heavy,
            _ => Kind::Other,
        };
        is_behind |= first.id == CLUSTER;
        let is_full = MOST_BOXES < found.len();
        match found.last_mut() {
            Some(last) if last.kind == kind && last.is_behind == is_behind => {
                (last.count, last.end) = (last.count + 1, end);
            }
            _ if is_full => break,
            _ => found.push(Run { kind, first, count: 1, end, is_behind }),
        }
        at = end;
    }
    found
}

/// An element of EBML.
#[derive(Debug, Clone, Copy)]
struct Element {
    at: u64,
    id: u32,
    body: u64,
    /// `None`: up to the end of what it is in.
    size: Option<u64>,
}

impl Element {
    fn at(reader: &mut HeaderReader<'_>, at: u64) -> Option<Self> {
        let [first] = reader.read(at)?;
        let id_width = u64::from(first.leading_zeros()) + 1;
        let id: [u8; 4] = reader.read(at)?;
        let id =
            u32::from_be_bytes(id).checked_shr(8 * (4 - u32::try_from(id_width).ok()?.min(4)))?;
        let [first] = reader.read(at + id_width)?;
        let size_width = first.leading_zeros() as usize + 1;
        if 4 < id_width || 8 < size_width {
            return None;
        }
        let mut size = 0;
        for place in 0..size_width as u64 {
            let [byte] = reader.read(at + id_width + place)?;
            size = size << 8 | u64::from(byte);
        }
        let mask = u64::MAX >> (64 - 7 * size_width);
        let size = size & mask;
        let body = at + id_width + size_width as u64;
        Some(Self { at, id, body, size: (size != mask).then_some(size) })
    }

    fn end(&self) -> Option<u64> {
        self.body.checked_add(self.size?)
    }

    /// Free space in its place and up to `end`. The id of that is a byte long, and the rest of the header its size.
    fn void(&self, end: u64) -> Option<Patch> {
        const VOID: u8 = 0xEC;
        let width = usize::try_from(self.body - self.at - 1).ok()?.min(8);
        let size = end.checked_sub(self.at + 1 + width as u64)?;
        let mask = u64::MAX >> (64 - 7 * width);
        let mut bytes = size.to_be_bytes()[8 - width..].to_vec();
        bytes[0] |= 0x80 >> (width - 1);
        bytes.insert(0, VOID);
        (size < mask).then_some(Patch { at: self.at, bytes })
    }
}

/// Of an Ogg file: comments that are too many, shown as none. Their page gets another checksum.
pub(crate) fn of_ogg(file: &File) -> Vec<Patch> {
    let mut reader = HeaderReader::new(file);
    let (mut at, mut patches) = (0, Vec::new());
    let mut is_flac = false;
    for number in 0..FIRST_PAGES {
        let Some(head) = reader.read::<27>(at).filter(|head| head.starts_with(b"OggS")) else {
            break;
        };
        let mut page = vec![0; 27 + usize::from(head[26])];
        if file.read_exact_at(&mut page, at).is_err() {
            break;
        }
        let body = page.len();
        page.resize(body + page[27..].iter().map(|it| usize::from(*it)).sum::<usize>(), 0);
        if file.read_exact_at(&mut page[body..], at + body as u64).is_err() {
            break;
        }
        let starts_with = |name: &[u8]| page[body..].starts_with(name);
        is_flac |= number == 0 && starts_with(b"\x7FFLAC");
        let is_block = |kind: u8| page.get(body).is_some_and(|first| first & 0x7F == kind);
        let comments = match () {
            () if starts_with(b"\x03vorbis") => Some(body + 7),
            () if starts_with(b"OpusTags") => Some(body + 8),
            // A header of four bytes stands before those of FLAC, which are the second packet.
            () if is_flac && number == 1 && is_block(4) => Some(body + 4),
            () => None,
        };
        if let Some(comments) = comments.filter(|it| it + 8 <= page.len())
            // Where the name of the program ends the page, nobody knows how many follow.
            && has_many_comments(&mut reader, at + comments as u64) != Some(false)
        {
            page[comments..comments + 8].fill(0);
            page[22..26].fill(0);
            let checksum = checksum(&page);
            patches.push(Patch { at: at + 22, bytes: checksum.to_le_bytes().to_vec() });
            patches.push(Patch { at: at + comments as u64, bytes: vec![0; 8] });
        }
        at += page.len() as u64;
    }
    patches
}

/// CRC-32 as Ogg has it: from the top bit down, neither turned nor inverted.
fn checksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04C1_1DB7;
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 1 << 31 == 0 { crc << 1 } else { crc << 1 ^ POLYNOMIAL }
        })
    })
}
