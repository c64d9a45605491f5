//! [`NotTaken`]: what an import leaves where it is, and why.

use std::fmt;
use std::path::PathBuf;

/// So many files are remembered by name.
const NAMED: usize = 20;

/// Files that an import did not take: all are counted, the first are named.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NotTaken {
    pub count: u64,
    pub named: Vec<(PathBuf, Reason)>,
}

/// Why a file was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It lies in no day's folder.
    Elsewhere,
    /// It lies in a day's folder, but is neither a recording nor the transcript or metadata of one.
    NoRecording,
    /// A link, a FIFO, a socket or a device.
    NotRegular,
    Empty,
    /// In a bucket: no key of ours can be called so.
    Name,
    /// In words for people.
    Unreadable(String),
}

impl NotTaken {
    pub fn note(&mut self, path: PathBuf, reason: Reason) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push((path, reason));
        }
    }

    /// Adds all that `other` has.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        let room = NAMED.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere => f.write_str("not in a folder <conversation>/<yyyy>/<mm>/<dd>/"),
            Self::NoRecording => f.write_str("not a recording, and not a page of one"),
            Self::NotRegular => f.write_str("a link or a special file"),
            Self::Empty => f.write_str("empty"),
            Self::Name => f.write_str("its name cannot be a key in the store"),
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}
