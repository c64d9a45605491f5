//! Stems: what a recording's files are named after, chosen so that no two files of a day share a name.
//!
//! A day's folder holds, for each recording, its audio and its pages (stem and suffix), and one
//! `<id>_transcript.txt`. With unique stems, names can only meet where a stem ends like the first half
//! of a suffix or where the audio's extension is a page's. Both are ruled out here.

use crate::model::{FileName, PageKind};

/// Longest stem: the longest page suffix still fits behind it.
const STEM_BYTES: usize = FileName::MAX_BYTES - "_metadata.json".len();

impl FileName {
    /// What a dropped file's pages want to be named after, and the extension of its audio.
    ///
    /// Where the extension belongs to a page or to the transcript, or is a bare dot, the whole name is the
    /// stem and the audio gets its container's name as extension: `notes.txt` that holds sound is
    /// `notes.txt.wav`.
    pub fn stem_and_extension(&self, container: &str) -> (Self, Vec<u8>) {
        let (stem, extension) = self.split_extension();
        let lower = self.extension();
        let page_has_it =
            lower == "txt" || PageKind::ALL.iter().any(|kind| kind.suffix() == format!(".{lower}"));
        let (stem, extension) = match extension {
            Some(extension) if !page_has_it && !extension.is_empty() => (stem, extension),
            Some(_) => (self.as_bytes(), container.as_bytes()),
            None => (stem, &b""[..]),
        };
        (cut(stem, STEM_BYTES, b""), extension.to_vec())
    }

    /// The `number`th stem to try, from 1: `meeting`, `meeting-2`, ... `None` where that one would let
    /// two names meet.
    pub fn numbered_stem(&self, number: u32) -> Option<Self> {
        let stem = match number {
            1 => cut(self.as_bytes(), STEM_BYTES, b""),
            _ => cut(self.as_bytes(), STEM_BYTES, format!("-{number}").as_bytes()),
        };
        let is_ambiguous =
            stem.as_bytes().ends_with(b"_metadata") || stem.as_bytes().ends_with(b"_transcript");
        (!is_ambiguous).then_some(stem)
    }

    /// The name of the audio: stem, dot and extension. Where that is too long the extension is cut, for the
    /// stem may differ from another in its end only.
    pub fn with_extension(&self, extension: &[u8]) -> Self {
        if extension.is_empty() {
            return self.clone();
        }
        let room = (Self::MAX_BYTES - 1).saturating_sub(self.as_bytes().len());
        let kept = &extension[..extension.len().min(room)];
        Self::new([self.as_bytes(), b".", kept].concat()).unwrap_or_else(|| self.clone())
    }
}

/// `stem` followed by `tail`, `stem` cut (between characters where it is UTF-8) so that `longest` holds.
fn cut(stem: &[u8], longest: usize, tail: &[u8]) -> FileName {
    let room = longest - tail.len();
    let mut kept = &stem[..stem.len().min(room)];
    if let Ok(text) = std::str::from_utf8(stem) {
        let end = (0..=kept.len()).rev().find(|at| text.is_char_boundary(*at));
        kept = &stem[..end.unwrap_or(0)];
    }
    FileName::new([kept, tail].concat())
        .or_else(|| FileName::new([kept, b"_", tail].concat()))
        .expect("a part of a legal name is a legal name, but for `.` and `..`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    #[test]
    fn a_stem_is_the_name_without_its_extension() {
        let (stem, extension) = name("take.2.WAV").stem_and_extension("wav");
        assert_eq!((stem, &extension[..]), (name("take.2"), &b"WAV"[..]));
        let (stem, extension) = name("noise").stem_and_extension("wav");
        assert_eq!((stem, &extension[..]), (name("noise"), &b""[..]));
    }

    #[test]
    fn sound_that_is_named_like_a_page_keeps_its_name_as_stem() {
        for text in ["a.json", "a.SRT", "a.vtt", "a.html", "a.txt", "a."] {
            let (stem, extension) = name(text).stem_and_extension("wav");
            assert_eq!(stem.with_extension(&extension), name(&format!("{text}.wav")));
        }
    }

    #[test]
    fn stems_that_look_like_half_a_suffix_get_a_number() {
        assert_eq!(name("a_metadata").numbered_stem(1), None);
        assert_eq!(name("a_transcript").numbered_stem(1), None);
        assert_eq!(name("a_metadata").numbered_stem(2), Some(name("a_metadata-2")));
        assert_eq!(name("a").numbered_stem(1), Some(name("a")));
    }

    #[test]
    fn long_stems_leave_room_for_suffix_and_number() {
        let (stem, extension) = name(&format!("{}.wav", "☃".repeat(83))).stem_and_extension("wav");
        assert!(FileName::new([stem.as_bytes(), b"_metadata.json"].concat()).is_some());
        let second = stem.numbered_stem(2).unwrap();
        assert!(second.as_bytes().len() <= STEM_BYTES);
        assert!(second.display().ends_with("☃-2"));
        assert!(second.with_extension(&extension).display().ends_with("-2.wav"));
        assert!(name("a-2").with_extension(&[b'x'; 253]).as_bytes().len() <= 255);
    }
}
