//! What a name says about a file: temporary, junk, a note of ours, or a recording.

use crate::model::FileName;
use crate::spool::state_inputs::Candidate;

/// What an error note's name ends in.
pub(crate) const NOTE_SUFFIX: &[u8] = b".error.txt";

/// Extensions of recordings, those of films with sound among them.
const EXTENSIONS: [&str; 67] = [
    "3g2", "3ga", "3gp", "aac", "ac3", "adts", "aif", "aifc", "aiff", "alac", "amr", "ape", "asf",
    "au", "avi", "awb", "bwf", "caf", "dff", "ds2", "dsf", "dss", "dts", "dvf", "eac3", "f4a",
    "f4v", "flac", "flv", "gsm", "m2ts", "m4a", "m4b", "m4r", "m4v", "mka", "mkv", "mov", "mp2",
    "mp3", "mp4", "mpc", "mpeg", "mpg", "mpga", "msv", "mts", "mxf", "oga", "ogg", "ogv", "opus",
    "ra", "rf64", "rm", "silk", "slk", "snd", "spx", "ts", "tta", "w64", "wav", "wave", "webm",
    "wma", "wv",
];

/// What programs call a file that they have not finished with.
const TEMPORARY_EXTENSIONS: [&str; 8] =
    ["part", "partial", "crdownload", "tmp", "temp", "download", "filepart", "swp"];
const TEMPORARY_PREFIXES: [&[u8]; 4] = [b".", b"~$", b"~syncthing~", b"~tmp"];
const JUNK: [&str; 4] = ["thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx"];

/// What a path below the inbox makes of a file.
pub(crate) fn candidate(path: &[FileName]) -> Candidate {
    let Some((name, folders)) = path.split_last() else { return Candidate::Never };
    let is_set_aside = |name: &FileName| is_temporary(name) || is_junk(name);
    if is_set_aside(name) || folders.iter().any(is_set_aside) {
        return Candidate::Never;
    }
    if is_recording(name) {
        return Candidate::ByName;
    }
    // So with what is called like a note of ours: that is text.
    Candidate::ByContent
}

/// Whether a file of that name is a recording, whatever is in it.
pub(crate) fn is_recording(name: &FileName) -> bool {
    EXTENSIONS.contains(&name.extension().as_str())
}

/// Whether a recording lies in a folder whose name begins with a dot, where nothing is ever taken. One whose own name
/// is temporary is not meant.
pub(crate) fn is_in_hidden_folder(path: &[FileName]) -> bool {
    let Some((name, folders)) = path.split_last() else { return false };
    is_recording(name)
        && !is_temporary(name)
        && folders.iter().any(|folder| folder.as_bytes().starts_with(b"."))
}

/// A name for a file that is not finished, or that is hidden. `._*` and `.DS_Store` are among them.
pub(crate) fn is_temporary(name: &FileName) -> bool {
    let bytes = name.as_bytes();
    TEMPORARY_PREFIXES.iter().any(|prefix| bytes.starts_with(prefix))
        || bytes.ends_with(b"~")
        || TEMPORARY_EXTENSIONS.contains(&name.extension().as_str())
}

fn is_junk(name: &FileName) -> bool {
    JUNK.contains(&name.display().to_lowercase().as_str())
}

/// Whether notes of ours are called so; files of a user may be too.
pub(crate) fn is_note(name: &FileName) -> bool {
    let bytes = name.as_bytes();
    bytes.len() > NOTE_SUFFIX.len() && bytes.ends_with(NOTE_SUFFIX)
}

/// The name of the note beside a file, or from 2 on what it is called where that is taken. A very long name is cut, at a
/// character where it is UTF-8, and told from others that begin like it.
pub(crate) fn note_name(name: &FileName, number: u32) -> FileName {
    let number = if number == 1 { String::new() } else { format!("-{number}") };
    let suffix = [number.as_bytes(), NOTE_SUFFIX].concat();
    let room = FileName::MAX_BYTES - suffix.len();
    let bytes = name.as_bytes();
    let stem = if bytes.len() <= room { bytes.to_vec() } else { shortened(bytes, room) };
    FileName::new([stem, suffix].concat()).expect("a legal name, cut and with a suffix, is legal")
}

fn shortened(bytes: &[u8], room: usize) -> Vec<u8> {
    let tail = format!("~{}", &blake3::hash(bytes).to_hex()[..8]);
    let room = room - tail.len();
    let is_inside = |byte: &u8| byte & 0xC0 == 0x80;
    let mut end = room;
    while end > room - 4 && bytes.get(end).is_some_and(is_inside) {
        end -= 1;
    }
    [&bytes[..end], tail.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(path: &str) -> Candidate {
        let path: Vec<FileName> =
            path.split('/').map(|name| FileName::new(name).unwrap()).collect();
        candidate(&path)
    }

    #[test]
    fn recordings_are_known_by_extension_in_any_case() {
        for path in [
            "a.wav",
            "weekly/b.M4A",
            "ü.Opus",
            "x.tar.mp3",
            "2024-01-15 10:02.webm",
            "a.ds2",
            "b.DVF",
            "c.silk",
            "d.mxf",
        ] {
            assert_eq!(judged(path), Candidate::ByName, "{path}");
        }
    }

    #[test]
    fn temporary_and_junk_names_are_never_taken() {
        for path in [
            ".hidden.wav",
            "a.wav.part",
            "a.crdownload",
            "a.WAV.TMP",
            "a.wav~",
            "~$a.wav",
            ".goutputstream-X1Y2Z3",
            ".meeting.wav.Ab3dEf",
            ".syncthing.meeting.wav.tmp",
            "~syncthing~meeting.wav.tmp",
            ".fuse_hidden0001.wav",
            ".nfs0000.wav",
            "._meeting.wav",
            ".DS_Store",
            "Thumbs.db",
            "desktop.ini",
            "Desktop.ini",
            ".stversions/meeting.wav",
            "__MACOSX/meeting.wav",
            "meeting.wav.download/meeting.wav",
        ] {
            assert_eq!(judged(path), Candidate::Never, "{path}");
        }
    }

    #[test]
    fn a_recording_in_a_hidden_folder_is_told_from_what_is_not_finished() {
        let is_in = |path: &str| {
            let names = path.split('/').map(|name| FileName::new(name).unwrap());
            is_in_hidden_folder(&names.collect::<Vec<_>>())
        };
        for path in [".x/a.wav", "..a/b/c.m4a", "talk/.../a.WAV"] {
            assert!(is_in(path), "{path}");
        }
        for path in
            ["a.wav", ".a.wav", ".x/.a.wav", ".x/a.wav.part", ".x/notes.txt", "x.part/a.wav"]
        {
            assert!(!is_in(path), "{path}");
        }
    }

    #[test]
    fn any_other_name_leaves_it_to_the_bytes() {
        for path in ["recording", "notes.txt", "a.pdf", "wav", "error.txt", "a.wav.error.txt"] {
            assert_eq!(judged(path), Candidate::ByContent, "{path}");
        }
    }

    #[test]
    fn a_note_stands_beside_its_file_however_long_the_name() {
        let name = |text: &str| FileName::new(text).unwrap();
        assert_eq!(note_name(&name("a.wav"), 1), name("a.wav.error.txt"));
        assert_eq!(note_name(&name("a.wav"), 2), name("a.wav-2.error.txt"));
        let long = note_name(&name(&"ü".repeat(127)), 1);
        assert!(long.as_bytes().len() <= FileName::MAX_BYTES);
        assert!(std::str::from_utf8(long.as_bytes()).is_ok());
        let other = note_name(&name(&format!("{}u", "ü".repeat(126))), 1);
        assert_ne!(long, other);
    }
}
