//! Pages of the index are damaged: whatever is run next, every recording is there.

use std::fs;
use std::path::Path;

use scribefs::index::Index;

use super::StorageTarget;

const PAGE: usize = 4096;
const RECORDINGS: usize = 24;

fn home() -> StorageTarget {
    let home = StorageTarget { dir: tempfile::tempdir().unwrap(), variables: Vec::new() };
    for number in 0..RECORDINGS {
        let day = home.dir.path().join(format!("old/talk-{}/2024/01/15", number % 6));
        fs::create_dir_all(&day).unwrap();
        fs::write(day.join(format!("r{number}.wav")), format!("sound {number}")).unwrap();
        fs::write(day.join(format!("r{number}.txt")), "Anna: Good morning.\n").unwrap();
    }
    home.succeeds(&["import", "old"]);
    home
}

/// Pages that have something in them, at most so many of them.
fn pages(sound: &[u8], most: usize) -> Vec<usize> {
    let is_empty = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    let pages = sound.chunks(PAGE).enumerate().filter(|(_, page)| !is_empty(page));
    let pages: Vec<usize> = pages.map(|(number, _)| number).collect();
    let step = pages.len().div_ceil(most).max(1);
    pages.into_iter().step_by(step).collect()
}

/// What the index at that path shows, by conversation and stem.
fn shown(path: &Path) -> Vec<String> {
    shown_in(&Index::open(path).unwrap())
}

fn shown_in(index: &Index) -> Vec<String> {
    let mut shown = Vec::new();
    for conversation in index.conversations(scribefs::model::ConversationSeq(0), 100).unwrap() {
        for day in index.days(conversation.seq).unwrap() {
            for it in index.shown_recordings(conversation.seq, day, 0, 100).unwrap() {
                shown.push(format!("{}/{}/{}", conversation.id, day, it.stem.display()));
            }
        }
    }
    shown.sort();
    shown
}

fn damage(bytes: &mut [u8], page: usize) {
    let mut random = (page as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..8 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = page * PAGE + usize::try_from(random % PAGE as u64).unwrap();
        bytes[at] ^= u8::try_from(random >> 40 & 0xff).unwrap() | 1;
    }
}

#[test]
fn whichever_page_of_the_index_is_damaged_every_recording_is_there_after_the_next_command() {
    let home = home();
    let path = home.state().join("index.redb");
    let sound = fs::read(&path).unwrap();
    let expected = shown(&path);
    assert_eq!(expected.len(), RECORDINGS);
    let mut found = 0;
    for (number, page) in pages(&sound, 40).into_iter().enumerate() {
        let mut bytes = sound.clone();
        damage(&mut bytes, page);
        fs::write(&path, bytes).unwrap();
        // `fsck` opens the index as a mount does.
        let command = if number % 2 == 0 { "reindex" } else { "fsck" };
        let (code, out, err) = home.run(&[command]);
        assert_eq!(code, 0, "page {page}: {out}{err}");
        assert!(out.starts_with(&format!("{RECORDINGS} recordings")), "page {page}: {out}{err}");
        assert!(!err.contains("panicked"), "page {page}: {err}");
        found += usize::from(err.contains("the index is damaged"));
        assert_eq!(shown(&path), expected, "page {page}");
    }
    assert!(5 < found, "{found}");
}

#[test]
fn damage_that_a_mount_has_met_makes_the_next_one_build_the_index_anew() {
    let home = home();
    let path = home.state().join("index.redb");
    let expected = shown(&path);
    // As if rows were passed over.
    let index = Index::open(&path).unwrap();
    index.clear_recordings().unwrap();
    index.close().unwrap();
    drop(index);
    assert_eq!(shown(&path).len(), 0);
    fs::write(path.with_extension("redb.rebuild"), "").unwrap();
    let (code, _, err) = home.run(&["fsck"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("rebuilding it"), "{err}");
    assert_eq!(shown(&path), expected);
    assert!(!path.with_extension("redb.rebuild").exists());
    // The damage may be all that tells of something: the file is kept.
    assert_eq!(shown(&path.with_extension("redb.damaged")).len(), 0);
}

#[test]
fn an_index_that_is_found_damaged_whenever_it_is_rebuilt_is_used_as_it_is() {
    let home = home();
    let path = home.state().join("index.redb");
    let due = || fs::write(path.with_extension("redb.rebuild"), "").unwrap();
    for _ in 0..2 {
        due();
        assert!(home.run(&["fsck"]).2.contains("rebuilding it"));
    }
    due();
    for _ in 0..2 {
        let (code, out, err) = home.run(&["fsck"]);
        assert_eq!(code, 0, "{out}{err}");
        assert!(err.contains("used as it is") && !err.contains("rebuilding it"), "{err}");
    }
    // Somebody asks for it.
    home.succeeds(&["reindex"]);
    due();
    assert!(home.run(&["fsck"]).2.contains("rebuilding it"));
}

/// The first conversation, or all its recordings but the first one. How many those are.
fn purge(index: &Index, is_whole: bool) -> usize {
    let conversation =
        index.conversations(scribefs::model::ConversationSeq(0), 1).unwrap().remove(0);
    let day = index.days(conversation.seq).unwrap().remove(0);
    let recordings = index.shown_recordings(conversation.seq, day, 0, 100).unwrap();
    let now = jiff::Timestamp::now();
    if is_whole {
        index.purge_conversation(conversation.seq, now).unwrap();
        return recordings.len();
    }
    for recording in &recordings[1..] {
        index.purge_recording(recording.id, now).unwrap();
    }
    recordings.len() - 1
}

#[test]
fn what_was_purged_and_is_still_in_the_store_stays_gone_whatever_becomes_of_the_index() {
    let home = home();
    let path = home.state().join("index.redb");
    let mut left = RECORDINGS;
    let ways: [(&str, &dyn Fn()); 4] = [
        ("reindex", &|| {}),
        ("reindex", &|| fs::remove_file(&path).unwrap()),
        ("reindex", &|| fs::write(&path, "no index").unwrap()),
        ("fsck", &|| fs::write(path.with_extension("redb.rebuild"), "").unwrap()),
    ];
    for (number, (command, befalls)) in ways.into_iter().enumerate() {
        let index = Index::open(&path).unwrap();
        left -= purge(&index, number % 2 == 0);
        let expected = shown_in(&index);
        index.close().unwrap();
        drop(index);
        befalls();
        home.run(&[command]);
        let after = shown(&path);
        assert_eq!((after.len(), &after), (left, &expected), "{number}");
        let index = Index::open(&path).unwrap();
        let trash = index.trash_entries(0, 9).unwrap();
        assert!(trash.is_empty(), "{number}: {trash:?}");
    }
    // The same sound, dropped once more, is another recording.
    home.succeeds(&["import", "old"]);
    let all = shown(&path).len();
    assert!(left < all);
    home.succeeds(&["reindex"]);
    assert_eq!(shown(&path).len(), all);
}
