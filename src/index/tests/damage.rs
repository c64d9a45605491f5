//! Damaged pages and rows: calls fail, the process does not, and the next start builds the index anew.

use std::fs;
use std::sync::atomic::AtomicU32;

use super::*;

const PAGE: usize = 4096;

/// An index of a few conversations at that path, closed.
fn filled(path: &Path) {
    let index = Index::open(path).unwrap();
    for number in 0..40 {
        file_one(&index, &format!("talk-{}", number % 8), &format!("recording-{number}")).unwrap();
    }
    let seq = index.conversations(ConversationSeq(0), 1).unwrap()[0].seq;
    index.trash_conversation(seq, Timestamp::UNIX_EPOCH).unwrap();
    index.close().unwrap();
}

/// Some bytes of that page are others.
fn with_damage(sound: &[u8], page: usize, seed: u64) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..8 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = page * PAGE + usize::try_from(random % PAGE as u64).unwrap();
        bytes[at] ^= u8::try_from(random >> 32 & 0xff).unwrap() | 1;
    }
    bytes
}

/// Pages that have something in them.
fn pages(sound: &[u8]) -> Vec<usize> {
    let is_empty = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    let pages = sound.chunks(PAGE).enumerate().filter(|(_, page)| !is_empty(page));
    pages.map(|(number, _)| number).collect()
}

fn everything(index: &Index) -> Result<Vec<Recording>, IndexError> {
    for conversation in index.conversations(ConversationSeq(0), usize::MAX)? {
        for day in index.days(conversation.seq)? {
            index.recordings(conversation.seq, day)?;
            index.day_transcript(conversation.seq, day)?;
        }
    }
    index.trashed_conversations()?;
    index.recent_jobs(usize::MAX)?;
    index.pending_uploads(usize::MAX)?;
    index.totals()?;
    index.every_recording(None, usize::MAX)
}

#[test]
fn a_damaged_page_is_found_when_the_index_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.redb");
    filled(&path);
    let sound = fs::read(&path).unwrap();
    let told = everything(&Index::open(&path).unwrap()).unwrap();
    let mut damaged = 0;
    for page in pages(&sound) {
        fs::write(&path, with_damage(&sound, page, page as u64)).unwrap();
        match Index::open(&path) {
            Err(IndexError::Damaged(_)) => damaged += 1,
            // Nothing is on that page any more.
            Ok(index) => assert_eq!(everything(&index).unwrap(), told, "page {page}"),
            Err(err) => panic!("page {page}: {err}"),
        }
    }
    assert!(20 < damaged, "{damaged}");
}

#[test]
fn a_damaged_page_of_an_index_that_is_too_large_to_be_checked_fails_calls_and_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.redb");
    filled(&path);
    let sound = fs::read(&path).unwrap();
    let (mut refused, mut marked) = (0, 0);
    for page in pages(&sound) {
        fs::write(&path, with_damage(&sound, page, page as u64)).unwrap();
        rebuild_is_done(&path).unwrap();
        let index = match Index::open_at(&path, 0) {
            Ok(index) => index,
            Err(IndexError::Damaged(_)) => {
                refused += 1;
                continue;
            }
            Err(err) => panic!("page {page}: {err}"),
        };
        let alarms = Arc::<AtomicU32>::default();
        let rung = alarms.clone();
        index.when_damaged(move || {
            rung.fetch_add(1, Ordering::Relaxed);
        });
        // Whatever they answer, they answer.
        let is_damaged = matches!(everything(&index), Err(IndexError::Damaged(_)));
        drop(file_one(&index, "talk-1", "one more"));
        drop(index.close());
        assert!(!is_damaged || is_rebuild_due(&path), "page {page}");
        assert_eq!(alarms.load(Ordering::Relaxed), u32::from(is_rebuild_due(&path)));
        marked += u32::from(is_rebuild_due(&path));
    }
    assert!(0 < refused && 0 < marked, "{refused} {marked}");
}

#[test]
fn a_row_that_cannot_be_read_makes_the_next_start_build_the_index_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.redb");
    filled(&path);
    let index = Index::open(&path).unwrap();
    let alarms = Arc::<AtomicU32>::default();
    let rung = alarms.clone();
    index.when_damaged(move || {
        rung.fetch_add(1, Ordering::Relaxed);
    });
    let hidden = index.every_recording(None, 40).unwrap().remove(39);
    assert!(!is_rebuild_due(&path));
    let key = recording_key(hidden.id);
    index
        .inner
        .writer
        .change(move |writing| {
            writing.begin().open_table(RECORDINGS)?.insert(key, &br#"{"id":"?"}"#[..])?;
            Ok(())
        })
        .unwrap();
    for _ in 0..2 {
        let left = index.recordings(hidden.id.conversation, day()).unwrap();
        assert_eq!(left.len(), 4);
        assert!(is_rebuild_due(&path));
    }
    assert_eq!(alarms.load(Ordering::Relaxed), 1);
}
