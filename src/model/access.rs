//! Who may read a published recording: whoever could read the file as it was dropped.

use serde::{Deserialize, Serialize};

/// Rights of a file, as far as they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// User and group; `None` where those of several files differ.
    pub owner: Option<(u32, u32)>,
    /// The nine mode bits.
    pub mode: u32,
}

impl Access {
    /// Of what is made of two files: only who may read both may read it.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let owner = if self.owner == other.owner { self.owner } else { None };
        Self { owner, mode: self.mode & other.mode }
    }

    /// Mode bits for something that is only read. Its owner always may.
    pub fn reading_mode(self) -> u32 {
        0o400 | (self.mode & 0o044)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_two_files_is_for_those_who_may_read_both() {
        let anna = Access { owner: Some((1, 1)), mode: 0o600 };
        let ben = Access { owner: Some((2, 2)), mode: 0o664 };
        assert_eq!(anna.and(ben), Access { owner: None, mode: 0o600 });
        assert_eq!(anna.and(anna), anna);
        assert_eq!((anna.reading_mode(), ben.reading_mode()), (0o400, 0o444));
        assert_eq!(Access { owner: None, mode: 0o000 }.reading_mode(), 0o400);
    }
}
