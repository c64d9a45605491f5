//! Conversations: the threads that recordings are filed under.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Names one conversation in paths, the index and the log.
///
/// Always stands for 1 to 64 bytes without `/` and NUL, and neither `.` nor `..`: what a folder of that name is called. It is text
/// everywhere else: bytes that are not UTF-8 are characters of `RAW`, and those characters are written as
/// their bytes, so that every name is kept and no two meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConversationId(String);

/// Characters that stand for the bytes 0x80 to 0xff, the last of Unicode's private ones.
const RAW: std::ops::RangeInclusive<char> = '\u{10ff80}'..='\u{10ffff}';

impl ConversationId {
    pub const MAX_BYTES: usize = 64;

    /// The id, if the text is a legal one as it stands.
    pub fn new(text: &str) -> Option<Self> {
        let id = Self(text.to_owned());
        let name = id.name();
        let legal = (1..=Self::MAX_BYTES).contains(&name.len())
            && name != b"."
            && name != b".."
            && !name.iter().any(|byte| matches!(byte, b'/' | 0));
        legal.then_some(id)
    }

    /// The id that a folder of that name has; `None` where it is no legal one.
    pub fn of_folder(name: &[u8]) -> Option<Self> {
        let mut text = String::new();
        let raw = |text: &mut String, bytes: &[u8]| {
            text.extend(
                bytes.iter().filter_map(|byte| char::from_u32(0x10_ff00 + u32::from(*byte))),
            );
        };
        for chunk in name.utf8_chunks() {
            for character in chunk.valid().chars() {
                match RAW.contains(&character) {
                    true => raw(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes()),
                    false => text.push(character),
                }
            }
            raw(&mut text, chunk.invalid());
        }
        Self::new(&text)
    }

    /// The nearest legal id to a folder's name: the name itself wherever that is one, else cut to 64 bytes, with a part
    /// that tells it from others that begin the same.
    pub fn cleaned(folder: &[u8]) -> Self {
        let name: Vec<u8> =
            folder.iter().map(|byte| if matches!(byte, b'/' | 0) { b'_' } else { *byte }).collect();
        if name.len() > Self::MAX_BYTES {
            return Self::cut(&name, &format!("~{}", &blake3::hash(folder).to_hex()[..8]));
        }
        Self::of_folder(&name).unwrap_or_else(|| Self::cut(b"_", &String::from_utf8_lossy(&name)))
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
        Self::cut(&self.name(), tail)
    }

    /// `name` and `tail`, the name cut between characters where it is too long.
    fn cut(name: &[u8], tail: &str) -> Self {
        let room = Self::MAX_BYTES.saturating_sub(tail.len()).min(name.len());
        let is_inside = |at: &usize| name.get(*at).is_some_and(|byte| byte & 0xC0 == 0x80);
        let end = (room.saturating_sub(3)..=room).rev().find(|at| !is_inside(at)).unwrap_or(room);
        let cut = [&name[..end], tail.as_bytes()].concat();
        Self::of_folder(&cut).unwrap_or_else(|| Self("_".to_owned()))
    }

    /// As it is written in the index and in metadata.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a folder of that name is called, byte for byte.
    pub fn name(&self) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.0.len());
        for character in self.0.chars() {
            match RAW.contains(&character) {
                true => name.extend(u8::try_from(u32::from(character) - 0x10_ff00)),
                false => name.extend(character.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        name
    }

    /// The text to show: what is not UTF-8 becomes U+FFFD.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name()).into_owned()
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
        for folder in [&b""[..], b".", b"..", b"a\xffb", b"a/\0b", long.as_bytes(), &[0xff; 255]] {
            let id = ConversationId::cleaned(folder);
            assert_eq!(ConversationId::new(id.as_str()), Some(id.clone()));
            assert_eq!(ConversationId::of_folder(&id.name()), Some(id));
        }
        assert_eq!(ConversationId::cleaned(b"weekly-standup").as_str(), "weekly-standup");
    }

    #[test]
    fn a_legal_name_is_kept_byte_for_byte_and_no_two_meet() {
        let names: [&[u8]; 7] = [
            b"\xff\xfe dir",
            b"\xfe\xff dir",
            "\u{fffd}\u{fffd} dir".as_bytes(),
            // Two of the characters that stand for bytes, and the bytes.
            "\u{10ffff}\u{10fffe} dir".as_bytes(),
            "gr\u{f6}\u{df}e".as_bytes(),
            &[b'x'; 64],
            &[0x80; 64],
        ];
        let ids = names.map(|name| ConversationId::of_folder(name).unwrap());
        for (id, name) in ids.iter().zip(names) {
            assert_eq!(id.name(), name);
            assert_eq!(ConversationId::cleaned(name), *id);
            assert_eq!(ConversationId::new(id.as_str()).as_ref(), Some(id));
        }
        let unique: std::collections::HashSet<&ConversationId> = ids.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert_eq!(ids[0].shown(), "\u{fffd}\u{fffd} dir");
    }

    #[test]
    fn long_names_that_begin_the_same_do_not_meet() {
        let long = |last: &str| format!("{}{last}", "x".repeat(70));
        let (one, other) = (long("a"), long("b"));
        let ids = [one, other].map(|name| ConversationId::cleaned(name.as_bytes()));
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| id.name().len() == 64 && id.as_str().starts_with("xxx")));
        assert_ne!(ids[0].with_tail("-2"), ids[0]);
        assert!(ids[0].with_tail("-2").as_str().ends_with("-2"));
    }

    #[test]
    fn new_ids_are_short_and_lower_case() {
        assert_eq!(ConversationId::from_random(0).as_str(), "conv_000000000000");
        assert_eq!(ConversationId::from_random(u64::MAX).as_str(), "conv_zzzzzzzzzzzz");
    }
}
