//! The rule of completeness, case by case.

use super::*;
use crate::spool::state_inputs::{Look, Mark, Schedule, Verdict};

const SETTLE: Duration = Duration::from_secs(5);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn stamp(bytes: u64, modified_ns: i128) -> FileStamp {
    FileStamp { bytes, modified_ns, changed_ns: modified_ns }
}

fn look(stamp: FileStamp) -> Look {
    Look { stamp, is_recording: true, is_too_large: false, is_unfinished: false }
}

fn at(now: Duration) -> Schedule {
    Schedule { now, next: now + SETTLE, patience: now + 60 * SETTLE, empty: now + 11 * SETTLE }
}

/// The last writer goes.
fn close(file: &mut Completeness, stamp: Option<FileStamp>) -> Reaction {
    assert!(file.writer_left());
    file.closed(Candidate::ByName, stamp, SETTLE, seconds(0))
}

/// Looked at, brought to the disk and offered.
fn take_up(file: &mut Completeness, stamp: FileStamp, now: Duration) {
    assert_eq!(file.looked(look(stamp), at(now)), Verdict::Complete);
    assert!(file.synced(file.generation(), stamp, now + SETTLE));
    assert!(file.offer(file.generation(), stamp, now + SETTLE));
}

/// A recording that has been written and closed at 0 s.
fn settling() -> Completeness {
    let mut file = Completeness::default();
    let _ = file.opened_for_writing().unwrap();
    let _ = close(&mut file, Some(stamp(9, 1)));
    file
}

fn offered() -> Completeness {
    let mut file = settling();
    take_up(&mut file, stamp(9, 1), SETTLE);
    file
}

fn failed() -> Completeness {
    let mut file = offered();
    let _ = file.ended(Ending { end: End::Failed, reason: "why".to_owned() });
    assert!(matches!(file.mark(), Mark::Ended(_)));
    file
}

#[test]
fn nothing_is_offered_before_the_settle_time_is_over() {
    let mut file = settling();
    let early = SETTLE - Duration::from_nanos(1);
    assert_eq!(file.looked(look(stamp(9, 1)), at(early)), Verdict::NotYet);
    assert_eq!(file.looked(look(stamp(9, 1)), at(SETTLE)), Verdict::Complete);
    assert_eq!(file.due(), None);
}

#[test]
fn a_change_that_no_writer_told_of_begins_the_settle_time_again() {
    let mut file = settling();
    let generation = file.generation();
    assert_eq!(file.looked(look(stamp(12, 1)), at(SETTLE)), Verdict::NotYet);
    assert!(generation < file.generation());
    assert_eq!(file.due(), Some(2 * SETTLE));
    assert_eq!(file.looked(look(stamp(12, 1)), at(2 * SETTLE)), Verdict::Complete);
}

#[test]
fn a_file_that_is_no_recording_rests_until_it_changes() {
    let mut file = settling();
    let look = Look { is_recording: false, ..look(stamp(9, 1)) };
    assert_eq!(file.looked(look, at(SETTLE)), Verdict::LeftAlone);
    assert_eq!((file.due(), file.work()), (None, None));
    let _ = file.renamed(Candidate::ByName, Some(stamp(9, 1)), seconds(20));
    assert_eq!(file.due(), Some(seconds(20)));
}

#[test]
fn an_empty_file_waits_for_its_bytes() {
    let mut file = Completeness::default();
    let _ = file.opened_for_writing().unwrap();
    let _ = close(&mut file, Some(stamp(0, 1)));
    assert_eq!(file.looked(look(stamp(0, 1)), at(SETTLE)), Verdict::NotYet);
    assert_eq!(file.due(), Some(12 * SETTLE));
    assert_eq!(file.looked(look(stamp(0, 1)), at(12 * SETTLE)), Verdict::Empty);
    let _ = file.refused(Ending { end: End::Failed, reason: "empty".to_owned() });
    assert!(file.has_note());
    // They come, and the note goes.
    let _ = file.opened_for_writing().unwrap();
    let _ = close(&mut file, Some(stamp(9, 2)));
    assert!(!file.has_note());
    assert_eq!(file.work().unwrap().state, JobState::Settling);
}

#[test]
fn an_empty_file_that_is_called_no_recording_says_nothing() {
    let mut file = Completeness::default();
    let _ = file.renamed(Candidate::ByContent, Some(stamp(0, 1)), SETTLE);
    assert_eq!((file.due(), file.work()), (None, None));
    let _ = file.renamed(Candidate::ByName, Some(stamp(0, 1)), SETTLE);
    assert_eq!(file.due(), Some(SETTLE));
}

#[test]
fn opening_for_writing_withdraws_the_offer_and_marks_the_file() {
    let mut file = offered();
    let generation = file.generation();
    let reaction = file.opened_for_writing().unwrap();
    assert_eq!(reaction.withdrawn, Some(generation));
    assert_eq!(file.mark(), Mark::Receiving);
    let second = file.opened_for_writing().unwrap();
    assert_eq!(second.withdrawn, None);
    assert!(!file.writer_left());
    assert_eq!(file.mark(), Mark::Receiving);
    assert!(file.writer_left());
    // Between the last one and what it left comes another one: there is nothing to decide yet.
    let _ = file.opened_for_writing().unwrap();
    let _ = file.closed(Candidate::ByName, Some(stamp(9, 1)), SETTLE, seconds(0));
    assert_eq!(file.mark(), Mark::Receiving);
    assert!(!file.is_current(generation) && !file.is_current(file.generation()));
}

#[test]
fn what_leaves_is_not_written_any_more() {
    let mut file = offered();
    file.leaves();
    assert_eq!(file.opened_for_writing(), None);
    file.stays();
    assert!(file.is_current(file.generation()));
    assert!(file.opened_for_writing().is_some());
}

#[test]
fn a_failed_file_that_is_opened_and_left_alone_stays_failed() {
    let mut file = failed();
    let _ = file.opened_for_writing().unwrap();
    let _ = close(&mut file, Some(stamp(9, 1)));
    assert!(matches!(file.mark(), Mark::Ended(_)) && file.has_note());
    assert_eq!(file.work().unwrap().state, JobState::Failed);
}

#[test]
fn a_writer_that_could_not_open_the_file_changes_nothing() {
    let mut file = failed();
    let _ = file.opened_for_writing().unwrap();
    let _ = close(&mut file, None);
    assert!(matches!(file.mark(), Mark::Ended(_)));
    assert_eq!(file.work().unwrap().state, JobState::Failed);
    let mut file = settling();
    let _ = file.opened_for_writing().unwrap();
    let _ = close(&mut file, None);
    assert_eq!(file.due(), Some(SETTLE));
}

#[test]
fn touching_or_rewriting_a_failed_file_tries_again_and_drops_its_note() {
    let mut touched = failed();
    let _ = touched.touched(Candidate::ByName, stamp(9, 1), stamp(9, 2), SETTLE);
    assert_eq!((touched.mark(), touched.has_note()), (Mark::Nothing, false));
    take_up(&mut touched, stamp(9, 2), SETTLE);

    // As touch(1) does it: through a handle that writes nothing.
    let mut opened = failed();
    let _ = opened.opened_for_writing().unwrap();
    let _ = opened.touched(Candidate::ByName, stamp(9, 1), stamp(9, 1), SETTLE);
    let _ = close(&mut opened, Some(stamp(9, 1)));
    assert_eq!((opened.mark(), opened.has_note()), (Mark::Closed, false));
    assert_eq!(opened.due(), Some(SETTLE));

    let mut rewritten = failed();
    let _ = rewritten.opened_for_writing().unwrap();
    let _ = close(&mut rewritten, Some(stamp(10, 3)));
    assert_eq!((rewritten.mark(), rewritten.has_note()), (Mark::Closed, false));
}

#[test]
fn attributes_move_no_due_time_and_no_generation() {
    let mut file = settling();
    let generation = file.generation();
    let _ = file.touched(Candidate::ByName, stamp(9, 1), stamp(9, 77), seconds(100));
    assert_eq!((file.due(), file.generation()), (Some(SETTLE), generation));
    take_up(&mut file, stamp(9, 77), SETTLE);
    file.restamped(stamp(9, 77), stamp(9, 78));
    assert_eq!(file.offered(), Some(stamp(9, 78)));
    assert!(file.is_current(generation));
}

#[test]
fn what_is_found_marked_is_not_offered_by_itself() {
    for mark in [
        Mark::Receiving,
        Mark::Ended(Ending { end: End::Cancelled, reason: String::new() }),
        Mark::Ended(Ending { end: End::Failed, reason: "why".to_owned() }),
        Mark::Ended(Ending { end: End::Interrupted, reason: String::new() }),
    ] {
        let mut file = Completeness::default();
        let _ = file.found(mark, Candidate::ByName, stamp(9, 1), SETTLE);
        assert_eq!(file.due(), None);
        let _ = file.retried(Candidate::ByName, seconds(7));
        assert_eq!(file.mark(), Mark::Closed, "nobody knows whether the disk has it all");
        assert_eq!(file.due(), Some(seconds(7)));
    }
}

#[test]
fn the_mark_goes_when_the_bytes_are_on_the_disk_and_not_before() {
    let mut file = settling();
    assert_eq!(file.mark(), Mark::Closed);
    assert_eq!(file.looked(look(stamp(9, 1)), at(SETTLE)), Verdict::Complete);
    assert_eq!((file.mark(), file.offered()), (Mark::Closed, None));
    assert_eq!(file.work().unwrap().state, JobState::Settling);
    assert!(file.synced(file.generation(), stamp(9, 1), 2 * SETTLE));
    assert_eq!((file.mark(), file.offered()), (Mark::Nothing, None));
    assert!(file.offer(file.generation(), stamp(9, 1), 2 * SETTLE));
    // Another name does not make the bytes less safe; other bytes do.
    let _ = file.renamed(Candidate::ByName, Some(stamp(9, 1)), 3 * SETTLE);
    assert_eq!(file.mark(), Mark::Nothing);
    let _ = file.resized(Candidate::ByName, Some(stamp(5, 2)), 3 * SETTLE);
    assert_eq!(file.mark(), Mark::Closed);
}

#[test]
fn what_changes_while_it_is_brought_to_the_disk_settles_again() {
    let mut file = settling();
    let generation = file.generation();
    assert_eq!(file.looked(look(stamp(9, 1)), at(SETTLE)), Verdict::Complete);
    assert!(!file.synced(generation, stamp(12, 2), 2 * SETTLE));
    assert_eq!((file.mark(), file.due()), (Mark::Closed, Some(2 * SETTLE)));
    assert!(generation < file.generation());
    assert_eq!(file.looked(look(stamp(12, 2)), at(2 * SETTLE)), Verdict::Complete);
    let generation = file.generation();
    let _ = file.opened_for_writing().unwrap();
    assert!(!file.synced(generation, stamp(12, 2), 3 * SETTLE));
    assert!(!file.offer(generation, stamp(12, 2), 3 * SETTLE));
    assert_eq!(file.mark(), Mark::Receiving);
}

#[test]
fn what_says_that_more_is_to_come_is_given_time_and_then_taken_as_it_is() {
    let unfinished = |stamp| Look { is_unfinished: true, ..look(stamp) };
    let mut file = settling();
    assert_eq!(file.looked(unfinished(stamp(9, 1)), at(SETTLE)), Verdict::NotYet);
    assert_eq!(file.due(), Some(61 * SETTLE));
    // More comes, and is not all of it either.
    let _ = file.opened_for_writing().unwrap();
    let _ = close(&mut file, Some(stamp(12, 2)));
    assert_eq!(file.looked(unfinished(stamp(12, 2)), at(5 * SETTLE)), Verdict::NotYet);
    assert_eq!(file.due(), Some(65 * SETTLE));
    assert_eq!(file.looked(unfinished(stamp(12, 2)), at(65 * SETTLE)), Verdict::Complete);
    // Whoever knows better need not wait.
    let mut file = settling();
    assert_eq!(file.looked(unfinished(stamp(9, 1)), at(SETTLE)), Verdict::NotYet);
    let _ = file.committed(Candidate::ByName, Some(stamp(9, 1)), 2 * SETTLE);
    assert_eq!(file.looked(unfinished(stamp(9, 1)), at(2 * SETTLE)), Verdict::Complete);
}

#[test]
fn what_could_not_be_looked_at_is_due_again() {
    let mut file = settling();
    let generation = file.generation();
    assert_eq!(file.postponed(generation, seconds(9), true), Some(1));
    assert_eq!((file.due(), file.mark()), (Some(seconds(9)), Mark::Closed));
    assert_eq!(file.postponed(generation, seconds(10), false), Some(1), "not its fault");
    assert_eq!(file.postponed(generation + 1, seconds(11), true), None);
    assert_eq!(file.looked(look(stamp(9, 1)), at(seconds(10))), Verdict::Complete);
    assert_eq!(file.postponed(generation, seconds(20), true), Some(2));
    assert_eq!(file.due(), Some(seconds(20)));
}
