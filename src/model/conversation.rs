//! Conversations: the threads that recordings are filed under.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Names one conversation in paths, the index and the log.
///
/// Always 1 to 64 bytes of UTF-8 without `/` and NUL, and neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConversationId(String);

impl ConversationId {
    pub const MAX_BYTES: usize = 64;

    /// The id, if the text is a legal one as it stands.
    pub fn new(text: &str) -> Option<Self> {
        let legal = (1..=Self::MAX_BYTES).contains(&text.len())
            && !matches!(text, "." | "..")
            && !text.contains(['/', '\0']);
        legal.then(|| Self(text.to_owned()))
    }

    /// The nearest legal id to a folder's name: cut to 64 bytes, what is not UTF-8 replaced.
    pub fn cleaned(folder: &[u8]) -> Self {
        let mut text = String::from_utf8_lossy(folder).replace(['/', '\0'], "_");
        let end = (0..=Self::MAX_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        Self::new(&text).unwrap_or_else(|| Self(format!("_{text}")))
    }

    /// A new id from 60 random bits: `conv_` and 12 characters of lower-case Crockford base 32.
    pub fn from_random(random: u64) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let tail = (0..12).map(|place| {
            let digit = usize::try_from((random >> (5 * place)) & 31).unwrap_or(0);
            char::from(ALPHABET[digit])
        });
        Self(format!("conv_{}", tail.collect::<String>()))
    }

    /// `standup`, `standup-2`, `standup-3`, ...: for where several want one name.
    pub fn numbered(&self) -> impl Iterator<Item = Self> + '_ {
        let others = (2_u32..).map(|number| self.with_tail(&format!("-{number}")));
        std::iter::once(self.clone()).chain(others)
    }

    /// The id with a short `tail`, cut before it where the whole would be too long.
    pub fn with_tail(&self, tail: &str) -> Self {
        let text = self.as_str();
        let room = Self::MAX_BYTES.saturating_sub(tail.len());
        let end = (0..=room.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        Self::cleaned(format!("{}{tail}", &text[..end.unwrap_or(0)]).as_bytes())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ConversationId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("`{text}` cannot name a conversation"))
    }
}

impl From<ConversationId> for String {
    fn from(id: ConversationId) -> Self {
        id.0
    }
}

/// A conversation's number in the index, from 1: never reused, so inode numbers can be made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConversationSeq(pub u32);

impl ConversationSeq {
    /// The highest number that an inode has room for (22 bits).
    pub const MAX: Self = Self((1 << 22) - 1);
}

/// One conversation's row in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    pub seq: ConversationSeq,
    /// What the view shows. `mv` changes it.
    pub id: ConversationId,
    /// The id that it was created with: store keys are made of it and never change.
    pub filed_as: ConversationId,
    pub created_at: Timestamp,
    /// Since when it is in the trash: it keeps its objects, the view no longer shows it.
    pub trashed_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_folder_name_becomes_a_legal_id() {
        let long = "☃".repeat(40);
        for folder in [&b""[..], b".", b"..", b"a\xffb", long.as_bytes()] {
            let id = ConversationId::cleaned(folder);
            assert_eq!(ConversationId::new(id.as_str()), Some(id));
        }
        assert_eq!(ConversationId::cleaned(b"weekly-standup").as_str(), "weekly-standup");
    }

    #[test]
    fn new_ids_are_short_and_lower_case() {
        assert_eq!(ConversationId::from_random(0).as_str(), "conv_000000000000");
        assert_eq!(ConversationId::from_random(u64::MAX).as_str(), "conv_zzzzzzzzzzzz");
    }
}
