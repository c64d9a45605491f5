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

    /// Whether whoever owns a file with the rights `reader` may read this one too. Only the group of that file is
    /// known of him.
    pub fn lets_read(self, reader: Self) -> bool {
        let mode = self.reading_mode();
        let Some((uid, gid)) = reader.owner else { return mode & 0o004 != 0 };
        match self.owner {
            _ if uid == 0 => true,
            Some((owner, _)) if owner == uid => true,
            // As the kernel decides: a member of the group is not one of the others.
            Some((_, group)) if group == gid => mode & 0o040 != 0,
            _ => mode & 0o004 != 0,
        }
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

    #[test]
    fn a_file_lets_those_read_it_whom_its_mode_names() {
        let file = |uid, gid, mode| Access { owner: Some((uid, gid)), mode };
        let ben = file(2, 20, 0o644);
        for (mode, of_anna, of_the_group) in
            [(0o600, false, false), (0o640, false, true), (0o604, true, false), (0o644, true, true)]
        {
            assert_eq!(file(1, 10, mode).lets_read(ben), of_anna, "{mode:o}");
            assert_eq!(file(1, 20, mode).lets_read(ben), of_the_group, "{mode:o}");
            assert!(file(2, 10, mode).lets_read(ben), "his own");
            assert!(file(1, 10, mode).lets_read(file(0, 0, 0o600)), "root reads everything");
            let unknown = Access { owner: None, mode: 0o600 };
            assert_eq!(file(1, 10, mode).lets_read(unknown), of_anna, "{mode:o}");
        }
    }
}
