//! From a name back to what it stands for, without listing anything.

use crate::model::{Conversation, Day, FileName, PageKind};

pub(crate) const TRANSCRIPT_SUFFIX: &str = "_transcript.txt";

/// One of the files that belong to a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facet {
    Audio,
    Page(PageKind),
}

impl Facet {
    /// In the order of inode numbers.
    pub const ALL: [Self; 6] = [
        Self::Audio,
        Self::Page(PageKind::Metadata),
        Self::Page(PageKind::Json),
        Self::Page(PageKind::Srt),
        Self::Page(PageKind::Vtt),
        Self::Page(PageKind::Html),
    ];
}

/// The stems that a file of that name could belong to, and what of them it would be. The one that is meant
/// is the one whose recording exists and has a file of that very name (`recording_file`).
pub fn candidates(name: &FileName) -> Vec<(FileName, Facet)> {
    let bytes = name.as_bytes();
    let pages = PageKind::ALL.into_iter().filter_map(|kind| {
        let stem = bytes.strip_suffix(kind.suffix().as_bytes())?;
        Some((FileName::new(stem)?, Facet::Page(kind)))
    });
    let audio = FileName::new(name.split_extension().0).map(|stem| (stem, Facet::Audio));
    pages.chain(audio).collect()
}

/// Whether a day's transcript has that name now.
pub fn is_transcript(conversation: &Conversation, name: &FileName) -> bool {
    let id = name.as_bytes().strip_suffix(TRANSCRIPT_SUFFIX.as_bytes());
    id == Some(&conversation.id.name()[..])
}

/// The year that a folder of that name stands for.
pub fn parse_year(name: &FileName) -> Option<u16> {
    number(name, 4).filter(|year| (1..=9999).contains(year))
}

/// The month that a folder of that name stands for.
pub fn parse_month(name: &FileName) -> Option<u8> {
    let month = u8::try_from(number(name, 2)?).ok()?;
    (1..=12).contains(&month).then_some(month)
}

/// The day that a folder of that name in that month stands for.
pub fn parse_day(year: u16, month: u8, name: &FileName) -> Option<Day> {
    let (year, month) = (i16::try_from(year).ok()?, i8::try_from(month).ok()?);
    Day::from_ymd(year, month, i8::try_from(number(name, 2)?).ok()?)
}

fn number(name: &FileName, digits: usize) -> Option<u16> {
    let bytes = name.as_bytes();
    let is_number = bytes.len() == digits && bytes.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(bytes).ok()?.parse().ok())?
}
