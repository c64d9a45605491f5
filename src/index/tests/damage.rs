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

/// Makes a table one of another type: nothing in it can be read.
fn spoil(index: &Index, name: &'static str) {
    index
        .inner
        .writer
        .change(move |writing| {
            let tables = writing.begin();
            let table = tables.list_tables()?.find(|it| redb::TableHandle::name(it) == name);
            table.map_or(Ok(false), |table| tables.delete_table(table))?;
            tables.open_table(redb::TableDefinition::<i8, i8>::new(name))?;
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_table_of_the_old_index_that_cannot_be_read_costs_the_new_one_nothing_else() {
    let bucket = crate::model::Destination::Bucket { place: "s3://talks/".to_owned() };
    for spoiled in ["jobs", "unfinished", "claims", "removals_due", "uploads", "purging"] {
        let dir = tempfile::tempdir().unwrap();
        let old = Index::open(&dir.path().join("index.redb")).unwrap();
        file_one(&old, "standup", "one").unwrap();
        let filed = old.every_recording(None, 1).unwrap().remove(0);
        let due = RemovalDue { recording: filed.clone(), is_here: true, is_in_bucket: true };
        old.owe_removals(vec![due.clone()]).unwrap();
        old.set_destination(&bucket).unwrap();
        let claim = Claim { audio: filed.audio.clone(), new: vec![filed.audio.key.clone()] };
        old.claim(claim.clone()).unwrap();
        let jobs = old.recent_jobs(9).unwrap();
        spoil(&old, spoiled);

        let new = Index::open(&dir.path().join("index.redb.unfinished")).unwrap();
        new.take_over(&old).unwrap();
        assert_eq!(new.destination().unwrap(), bucket, "{spoiled}");
        let next = new.ensure_conversation(&filed.filed_as, Timestamp::UNIX_EPOCH).unwrap();
        assert!(filed.id.conversation < next.seq, "{spoiled}");
        if spoiled != "claims" {
            assert_eq!(new.claims().unwrap(), [claim], "{spoiled}");
        }
        if spoiled != "removals_due" {
            assert_eq!(new.removals_due().unwrap(), [due], "{spoiled}");
        }
        if !["jobs", "unfinished"].contains(&spoiled) {
            assert_eq!(new.recent_jobs(9).unwrap(), jobs, "{spoiled}");
        }
    }
}

#[test]
fn damage_that_is_met_where_a_full_disk_was_reopened_ends_no_thread() {
    let disk = FailingDisk::healthy();
    let opened = Arc::<AtomicU32>::default();
    let open = {
        let (disk, opened) = (disk.clone(), opened.clone());
        move || {
            assert_eq!(opened.fetch_add(1, Ordering::Relaxed), 0, "as redb does on a damaged page");
            Ok(Builder::new().create_with_backend(disk.clone()).unwrap())
        }
    };
    let index = Index::on(Box::new(open), Damage::default(), PurgeLog::default()).unwrap();
    let rung = Arc::<AtomicU32>::default();
    let alarm = rung.clone();
    index.when_damaged(move || {
        alarm.fetch_add(1, Ordering::Relaxed);
    });
    disk.fill(true);
    assert!(matches!(index.set_note("a", "b"), Err(IndexError::Full(_))));
    disk.fill(false);
    // The writer still answers, whatever it is.
    index.set_note("a", "c").unwrap_err();
    index.set_note("a", "d").unwrap_err();
    assert!(1 < opened.load(Ordering::Relaxed));
    assert_eq!(rung.load(Ordering::Relaxed), 1);
}
