//! Listings of what is published: keyed, so that each part is asked for by itself and any earlier place can be gone
//! on from.

use crate::fs::archive::{Archive, trash_attributes};
use crate::fs::errno::FsError;
use crate::model::{ConversationSeq, Day, FileName, Node, RecordingId, VirtualNode};
use crate::view::{self, NamedNode, NodeAttributes};

/// Room for the files of one recording, in the order of their inode numbers.
const FILES_OF_RECORDING: u64 = 16;

/// Files that a recording has at least, to ask for no more of them than a listing has room for.
const LEAST_FILES: usize = 4;

/// A name in a listing. `cookie` continues after it, whatever has happened since.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) cookie: u64,
    pub(crate) name: FileName,
    pub(crate) attributes: NodeAttributes,
}

impl Archive {
    /// Entries after `after` (0: all), about `limit` where there can be many.
    pub(crate) fn list(
        &self,
        folder: Node,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Listed>, FsError> {
        let named = match folder {
            Node::Virtual(VirtualNode::Conversations) => {
                let Ok(after) = u32::try_from(after) else { return Ok(Vec::new()) };
                let found = self.index.conversations(ConversationSeq(after), limit)?;
                found.iter().map(view::conversation_folder).collect()
            }
            Node::Virtual(VirtualNode::Trash) => return self.list_trash(after, limit),
            Node::Conversation(seq) => self.years(seq)?,
            Node::Year(seq, year) => self.months(seq, year)?,
            Node::Month(seq, year, month) => self.days(seq, year, month)?,
            Node::Day(seq, day) => self.files(seq, day, after, limit)?,
            Node::Trashed(_) => view::recording_files(&self.recording(folder)?),
            Node::Virtual(_)
            | Node::Inbox(_)
            | Node::Transcript(..)
            | Node::Audio(_)
            | Node::Page(..) => return Err(FsError::NotDirectory),
        };
        let listed = named.into_iter().map(Listed::new).filter(|entry| after < entry.cookie);
        listed
            .map(|entry| Ok(Listed { attributes: self.dated(entry.attributes)?, ..entry }))
            .collect()
    }

    fn list_trash(&self, after: u64, limit: usize) -> Result<Vec<Listed>, FsError> {
        let entries = self.index.trash_entries(after, limit)?.into_iter();
        let listed = entries.map(|entry| {
            let attributes = trash_attributes(&entry);
            Listed { cookie: entry.place, name: entry.name, attributes }
        });
        Ok(listed.collect())
    }

    fn years(&self, seq: ConversationSeq) -> Result<Vec<NamedNode>, FsError> {
        let conversation = self.conversation(seq)?;
        let mut years = Vec::new();
        let mut from = Day::from_ymd(1, 1, 1);
        while let Some(day) = self.shown_day_from(seq, from)? {
            years.push(view::year_folder(&conversation, day.year()));
            from = Day::new(day.date().last_of_year()).and_then(next);
        }
        Ok(years)
    }

    fn months(&self, seq: ConversationSeq, year: u16) -> Result<Vec<NamedNode>, FsError> {
        let conversation = self.conversation(seq)?;
        let mut months = Vec::new();
        let mut from = i16::try_from(year).ok().and_then(|year| Day::from_ymd(year, 1, 1));
        while let Some(day) = self.shown_day_from(seq, from)?
            && day.year() == year
        {
            months.push(view::month_folder(&conversation, year, day.month()));
            from = Day::new(day.date().last_of_month()).and_then(next);
        }
        Ok(months)
    }

    fn days(&self, seq: ConversationSeq, year: u16, month: u8) -> Result<Vec<NamedNode>, FsError> {
        let conversation = self.conversation(seq)?;
        let mut days = Vec::new();
        let (first_year, first_month) = (i16::try_from(year).ok(), i8::try_from(month).ok());
        let mut from =
            first_year.zip(first_month).and_then(|(year, month)| Day::from_ymd(year, month, 1));
        while let Some(day) = self.shown_day_from(seq, from)?
            && (day.year(), day.month()) == (year, month)
        {
            days.push(view::day_folder(&conversation, day));
            from = next(day);
        }
        Ok(days)
    }

    fn shown_day_from(
        &self,
        seq: ConversationSeq,
        from: Option<Day>,
    ) -> Result<Option<Day>, FsError> {
        from.map_or(Ok(None), |from| Ok(self.index.shown_day_from(seq, from)?))
    }

    fn files(
        &self,
        seq: ConversationSeq,
        day: Day,
        after: u64,
        limit: usize,
    ) -> Result<Vec<NamedNode>, FsError> {
        let transcript = if after == 0 { self.index.shown_transcript(seq, day)? } else { None };
        let first = u16::try_from(after / FILES_OF_RECORDING).unwrap_or(u16::MAX);
        let count = limit / LEAST_FILES + 1;
        let recordings = self.index.shown_recordings(seq, day, first, count)?;
        Ok(view::day_entries(&self.conversation(seq)?, transcript.as_ref(), &recordings))
    }
}

fn next(day: Day) -> Option<Day> {
    day.date().tomorrow().ok().and_then(Day::new)
}

impl Listed {
    fn new(named: NamedNode) -> Self {
        let cookie = place_in_folder(named.attributes.node);
        Self { cookie, name: named.name, attributes: named.attributes }
    }
}

/// Grows with the inode number, and begins with 1: what a listing goes on from.
fn place_in_folder(node: Node) -> u64 {
    let of = |id: RecordingId| u64::from(id.number) * FILES_OF_RECORDING;
    match node {
        Node::Virtual(_) | Node::Inbox(_) | Node::Trashed(_) => 0,
        Node::Conversation(seq) => u64::from(seq.0),
        Node::Year(_, year) => u64::from(year),
        Node::Month(_, _, month) => u64::from(month),
        Node::Day(_, day) => u64::from(day.day()),
        Node::Transcript(..) => 1,
        Node::Audio(id) => of(id),
        Node::Page(id, kind) => of(id) + 1 + kind as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PageKind;

    #[test]
    fn cookies_of_a_day_grow_with_the_inode_numbers() {
        let seq = ConversationSeq(7);
        let day = Day::from_ymd(2024, 1, 15).unwrap();
        let id = |number| RecordingId { conversation: seq, day, number };
        let nodes = [
            Node::Transcript(seq, day),
            Node::Audio(id(1)),
            Node::Page(id(1), PageKind::Metadata),
            Node::Page(id(1), PageKind::Html),
            Node::Audio(id(2)),
        ];
        assert!(nodes.is_sorted_by_key(|node| node.inode()));
        assert!(nodes.is_sorted_by_key(|node| place_in_folder(*node)));
    }
}
