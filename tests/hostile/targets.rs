//! What bytes from outside may do: nothing but be refused, or come out as they went in.
//!
//! One function for each door. `tests/hostile.rs` runs them on mutated seeds; `fuzz/` runs the same ones under
//! libFuzzer (`cargo fuzz run NAME`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Component, Path};
use std::time::Duration;

use scribefs::audio;
use scribefs::config::{Layer, Origin};
use scribefs::model::{ConversationId, Day, FileName, Key, PageKind, WorkEvent, WorkOrder};
use scribefs::render;

/// A door, by the name of its fuzz target.
pub(crate) type Target = fn(&[u8]);

#[allow(dead_code, reason = "a fuzz target names one of them")]
pub(crate) const TARGETS: [(&str, Target); 6] = [
    ("names", names),
    ("keys", keys),
    ("records", records),
    ("events", events),
    ("settings", settings),
    ("media", media),
];

/// A name that a user gave leads to store keys that are safe on every disk, and is kept byte for byte.
pub(crate) fn names(bytes: &[u8]) {
    let conversation = ConversationId::cleaned(bytes);
    assert_eq!(ConversationId::new(conversation.as_str()).as_ref(), Some(&conversation));
    let Some(name) = FileName::new(bytes) else { return };
    let json = serde_json::to_vec(&name).unwrap();
    assert_eq!(serde_json::from_slice::<FileName>(&json).unwrap(), name);
    let (stem, extension) = name.split_extension();
    let day = Day::from_ymd(2024, 1, 15).unwrap();
    for key in [
        Key::audio(&conversation, day, stem, extension.unwrap_or_default()),
        Key::page(&conversation, day, stem, PageKind::Metadata),
        Key::transcript(&conversation, day),
    ] {
        check_key(&key);
        assert_eq!(key.folder().map(|it| it.1), Some(day), "{key}");
    }
    if let Some(numbered) = name.numbered_stem(7) {
        assert!(FileName::new(numbered.as_bytes()).is_some());
    }
}

/// A key from a listing or a metadata page is legal as it stands, or none.
pub(crate) fn keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(key) = Key::new(text) else { return };
    assert_eq!(key.as_str(), text);
    check_key(&key);
    // Whatever they say, they say it.
    let _ = (key.folder(), key.file_name(), key.is_metadata(), key.is_page(), key.changed_at());
}

/// No key leads out of the store, or past what a disk can name.
fn check_key(key: &Key) {
    let path = Path::new(key.as_str());
    assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{key}");
    assert!(!key.as_str().contains('\0'), "{key}");
    assert!(key.as_str().split('/').all(|part| part.len() <= FileName::MAX_BYTES), "{key}");
}

/// A page is read or refused; and what was read is written and read again.
pub(crate) fn records(bytes: &[u8]) {
    if let Ok((_, recording, transcript)) = render::from_metadata(bytes) {
        let pages = recording.pages.iter().map(|page| &page.object.key);
        for key in pages.chain([&recording.audio.key, &transcript.object.key]) {
            check_key(key);
        }
    }
    let Ok((talk, recipe)) = render::talk_from_json(bytes) else { return };
    let text = render::plain_transcript("a title", &recipe, &talk);
    assert!(!text.contains('\u{1b}'), "a terminal is not spoken to: {text:?}");
    let _ = render::rttm("a name", &talk);
}

/// A worker that was taken over says what it likes.
pub(crate) fn events(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(event) = serde_json::from_slice::<WorkEvent>(line) {
            let again = serde_json::to_vec(&event).unwrap();
            let again = serde_json::from_slice::<WorkEvent>(&again).unwrap();
            assert_eq!(format!("{again:?}"), format!("{event:?}"));
        }
        if let Ok(order) = serde_json::from_slice::<WorkOrder>(line) {
            assert!(serde_json::to_vec(&order).is_ok());
        }
    }
}

/// A settings file and the environment are read or refused.
pub(crate) fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = Layer::from_toml(text, Path::new("scribefs.toml"));
    let variables: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let _ = Layer::from_variables(&variables, Origin::Environment);
}

/// Extensions whose headers are repaired, or that have a reader of their own. The first byte of the input draws one.
const EXTENSIONS: [&str; 12] =
    ["wav", "mp4", "m4a", "mkv", "webm", "mp3", "flac", "ogg", "opus", "aiff", "caf", "aac"];

/// A recording is decoded, or refused with a reason. In the program this happens in a confined process only.
pub(crate) fn media(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let extension = EXTENSIONS[usize::from(*first) % EXTENSIONS.len()];
    let dir = tempfile::tempdir().unwrap();
    let scratch = audio::Scratch::below(dir.path()).unwrap();
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    // Whether it can be decoded does not matter here.
    let _ = audio::decode(file, extension, &scratch, Duration::from_hours(24), &mut |_| {});
}
