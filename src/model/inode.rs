//! Inode numbers: computed from what a node is, never looked up and never reused.
//!
//! 64 bits: 2 of kind, then for the conversations' tree 22 of conversation, 22 of date, 14 of
//! recording and 4 of page. A number can be taken apart again without asking the index, so nothing
//! has to be remembered for FORGET, and numbers hold over restarts.

use crate::model::{ConversationSeq, Day, PageKind, RecordingId};

/// An inode number as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode(pub u64);

/// A file of the inbox: from a counter, never reused while the spool exists.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct InboxId(pub u64);

impl InboxId {
    /// The inbox itself.
    pub const ROOT: Self = Self(0);
}

/// Nodes that are made up by the mount; each has one fixed place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VirtualNode {
    Root,
    Readme,
    Conversations,
    Control,
    Status,
    Storage,
    Events,
    Errors,
    Metrics,
    ControlFile,
    Trash,
}

impl VirtualNode {
    /// The places make inode numbers: new ones come last.
    const ALL: [Self; 11] = [
        Self::Root,
        Self::Readme,
        Self::Conversations,
        Self::Control,
        Self::Status,
        Self::Storage,
        Self::Events,
        Self::Errors,
        Self::Metrics,
        Self::ControlFile,
        Self::Trash,
    ];
}

/// What an inode number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    Virtual(VirtualNode),
    Inbox(InboxId),
    Conversation(ConversationSeq),
    Year(ConversationSeq, u16),
    Month(ConversationSeq, u16, u8),
    Day(ConversationSeq, Day),
    /// The day's transcript, for reading.
    Transcript(ConversationSeq, Day),
    Audio(RecordingId),
    Page(RecordingId, PageKind),
    /// The folder of a recording that is in the trash by itself.
    Trashed(RecordingId),
}

const KIND_CONVERSATION: u64 = 1;
const KIND_INBOX: u64 = 2;
const KIND_TRASHED: u64 = 3;
const KIND_SHIFT: u32 = 62;
const SEQ_SHIFT: u32 = 40;
const DATE_SHIFT: u32 = 18;
const NUMBER_SHIFT: u32 = 4;
const DATE_MASK: u64 = (1 << 22) - 1;
const SEQ_MASK: u64 = (1 << 22) - 1;
const NUMBER_MASK: u64 = (1 << 14) - 1;

/// Years stand at 1 to 9999 of the date bits, months from here ...
const FIRST_MONTH: u64 = 1 << 18;
/// ... and days from here.
const FIRST_DAY: u64 = 1 << 19;

/// Page numbers of a recording: 0 is its audio. Of recording 0, the day itself: 0 the folder, 1 the transcript.
const AUDIO: u64 = 0;
const DAY_TRANSCRIPT: u64 = 1;

impl Node {
    pub fn inode(self) -> Inode {
        let conversation = |seq: ConversationSeq, date: u64, number: u64, page: u64| {
            KIND_CONVERSATION << KIND_SHIFT
                | u64::from(seq.0) << SEQ_SHIFT
                | date << DATE_SHIFT
                | number << NUMBER_SHIFT
                | page
        };
        let day_bits = |day: Day| FIRST_DAY + u64::from(day.number());
        Inode(match self {
            // The kernel calls the root 1.
            Self::Virtual(node) => {
                let place = VirtualNode::ALL.iter().position(|other| *other == node);
                1 + place.unwrap_or(0) as u64
            }
            Self::Inbox(InboxId(id)) => KIND_INBOX << KIND_SHIFT | id,
            Self::Conversation(seq) => conversation(seq, 0, 0, 0),
            Self::Year(seq, year) => conversation(seq, u64::from(year), 0, 0),
            Self::Month(seq, year, month) => {
                let months = u64::from(year) * 12 + u64::from(month) - 1;
                conversation(seq, FIRST_MONTH + months, 0, 0)
            }
            Self::Day(seq, day) => conversation(seq, day_bits(day), 0, 0),
            Self::Transcript(seq, day) => conversation(seq, day_bits(day), 0, DAY_TRANSCRIPT),
            Self::Audio(id) => {
                conversation(id.conversation, day_bits(id.day), u64::from(id.number), AUDIO)
            }
            Self::Page(id, kind) => {
                let page = 1 + kind as u64;
                conversation(id.conversation, day_bits(id.day), u64::from(id.number), page)
            }
            Self::Trashed(id) => Self::Audio(id).inode().0 | KIND_TRASHED << KIND_SHIFT,
        })
    }

    /// What stands behind an inode number; `None` for one that was never given out.
    pub fn from_inode(inode: Inode) -> Option<Self> {
        let Inode(bits) = inode;
        match bits >> KIND_SHIFT {
            0 => {
                let place = usize::try_from(bits.checked_sub(1)?).ok()?;
                VirtualNode::ALL.get(place).copied().map(Self::Virtual)
            }
            KIND_CONVERSATION => Self::in_conversation(bits),
            KIND_INBOX => Some(Self::Inbox(InboxId(bits & !(3 << KIND_SHIFT)))),
            // The audio's number, with the one bit more.
            _ => match Self::in_conversation(bits)? {
                Self::Audio(id) => Some(Self::Trashed(id)),
                _ => None,
            },
        }
    }

    fn in_conversation(bits: u64) -> Option<Self> {
        let seq = ConversationSeq(u32::try_from((bits >> SEQ_SHIFT) & SEQ_MASK).ok()?);
        let date = (bits >> DATE_SHIFT) & DATE_MASK;
        let number = u16::try_from((bits >> NUMBER_SHIFT) & NUMBER_MASK).ok()?;
        let page = bits & 15;
        if date < FIRST_DAY {
            if number != 0 || page != 0 {
                return None;
            }
            return match date {
                0 => Some(Self::Conversation(seq)),
                year @ 1..=9999 => Some(Self::Year(seq, u16::try_from(year).ok()?)),
                _ => {
                    let months = date.checked_sub(FIRST_MONTH)?;
                    let (year, month) = (months / 12, months % 12 + 1);
                    Some(Self::Month(seq, u16::try_from(year).ok()?, u8::try_from(month).ok()?))
                }
            };
        }
        let day = Day::from_number(u32::try_from(date - FIRST_DAY).ok()?)?;
        if number == 0 {
            return match page {
                0 => Some(Self::Day(seq, day)),
                DAY_TRANSCRIPT => Some(Self::Transcript(seq, day)),
                _ => None,
            };
        }
        let id = RecordingId { conversation: seq, day, number };
        match page {
            AUDIO => Some(Self::Audio(id)),
            page => {
                let kind = PageKind::ALL.get(usize::try_from(page - 1).ok()?)?;
                Some(Self::Page(id, *kind))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_comes_back_from_its_number() {
        let seq = ConversationSeq::MAX;
        let day = Day::from_ymd(9999, 12, 31).unwrap();
        let id = RecordingId { conversation: seq, day, number: RecordingId::MAX_NUMBER };
        let mut nodes: Vec<Node> =
            VirtualNode::ALL.iter().map(|node| Node::Virtual(*node)).collect();
        nodes.extend(PageKind::ALL.iter().map(|kind| Node::Page(id, *kind)));
        nodes.extend([
            Node::Inbox(InboxId::ROOT),
            Node::Inbox(InboxId(12_345)),
            Node::Conversation(seq),
            Node::Year(seq, 1),
            Node::Year(seq, 9999),
            Node::Month(seq, 1, 1),
            Node::Month(seq, 9999, 12),
            Node::Day(seq, Day::from_ymd(1, 1, 1).unwrap()),
            Node::Day(seq, day),
            Node::Transcript(seq, day),
            Node::Audio(id),
            Node::Trashed(id),
        ]);
        for node in nodes {
            assert_eq!(Node::from_inode(node.inode()), Some(node));
        }
        assert_eq!(Node::Virtual(VirtualNode::Root).inode(), Inode(1));
    }

    #[test]
    fn a_number_never_given_out_stands_for_nothing() {
        assert_eq!(Node::from_inode(Inode(0)), None);
        assert_eq!(Node::from_inode(Inode(3 << 62)), None);
        assert_eq!(Node::from_inode(Inode(1 << 62 | 7 << 4)), None);
    }
}
