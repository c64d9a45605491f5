//! The rule of completeness, case by case.

use super::*;
use crate::spool::signs::{Look, Verdict};

const SETTLE: Duration = Duration::from_secs(5);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn stamp(bytes: u64, modified_ns: i128) -> Stamp {
    Stamp { bytes, modified_ns, changed_ns: modified_ns }
}

fn look(stamp: Stamp) -> Look {
    Look { stamp, is_recording: true, is_too_large: false }
}

/// A recording that has been written and closed at 0 s.
fn settling() -> Completeness {
    let mut file = Completeness::default();
    let _ = file.opened_for_writing().unwrap();
    let _ = file.closed(Candidate::ByName, Some(stamp(9, 1)), SETTLE, seconds(0));
    file
}

fn offered() -> Completeness {
    let mut file = settling();
    assert_eq!(file.looked(look(stamp(9, 1)), SETTLE, 2 * SETTLE), Verdict::Offered);
    file
}

fn failed() -> Completeness {
    let mut file = offered();
    let reaction = file.ended(Ending { end: End::Failed, reason: "why".to_owned() });
    assert!(matches!(reaction.mark, Some(Mark::Ended(_))));
    file
}

#[test]
fn nothing_is_offered_before_the_settle_time_is_over() {
    let mut file = settling();
    let early = SETTLE - Duration::from_nanos(1);
    assert_eq!(file.looked(look(stamp(9, 1)), early, 2 * SETTLE), Verdict::NotYet);
    assert_eq!(file.looked(look(stamp(9, 1)), SETTLE, 2 * SETTLE), Verdict::Offered);
    assert_eq!(file.due(), None);
}

#[test]
fn a_change_that_no_writer_told_of_begins_the_settle_time_again() {
    let mut file = settling();
    let generation = file.generation();
    assert_eq!(file.looked(look(stamp(12, 1)), SETTLE, 2 * SETTLE), Verdict::NotYet);
    assert!(generation < file.generation());
    assert_eq!(file.due(), Some(2 * SETTLE));
    assert_eq!(file.looked(look(stamp(12, 1)), 2 * SETTLE, 3 * SETTLE), Verdict::Offered);
}

#[test]
fn a_file_that_is_no_recording_rests_until_it_changes() {
    let mut file = settling();
    let look = Look { is_recording: false, ..look(stamp(9, 1)) };
    assert_eq!(file.looked(look, SETTLE, 2 * SETTLE), Verdict::LeftAlone);
    assert_eq!((file.due(), file.work()), (None, None));
    let _ = file.renamed(Candidate::ByName, Some(stamp(9, 1)), seconds(20));
    assert_eq!(file.due(), Some(seconds(20)));
}

#[test]
fn an_empty_file_waits_for_its_bytes() {
    let mut file = Completeness::default();
    let _ = file.opened_for_writing().unwrap();
    let _ = file.closed(Candidate::ByName, Some(stamp(0, 1)), SETTLE, seconds(0));
    assert_eq!(file.due(), None);
}

#[test]
fn opening_for_writing_withdraws_the_offer_and_marks_the_file() {
    let mut file = offered();
    let generation = file.generation();
    let reaction = file.opened_for_writing().unwrap();
    assert_eq!(reaction.withdrawn, Some(generation));
    assert_eq!(reaction.mark, Some(Mark::Receiving));
    let second = file.opened_for_writing().unwrap();
    assert_eq!((second.withdrawn, second.mark), (None, None));
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
    let reaction = file.closed(Candidate::ByName, Some(stamp(9, 1)), SETTLE, seconds(0));
    assert!(matches!(reaction.mark, Some(Mark::Ended(_))));
    assert!(!reaction.drops_note);
    assert_eq!(file.work().unwrap().state, JobState::Failed);
}

#[test]
fn a_writer_that_could_not_open_the_file_changes_nothing() {
    let mut file = failed();
    let _ = file.opened_for_writing().unwrap();
    let reaction = file.closed(Candidate::ByName, None, SETTLE, seconds(0));
    assert!(matches!(reaction.mark, Some(Mark::Ended(_))));
    assert_eq!(file.work().unwrap().state, JobState::Failed);
    let mut file = settling();
    let _ = file.opened_for_writing().unwrap();
    let _ = file.closed(Candidate::ByName, None, SETTLE, seconds(0));
    assert_eq!(file.due(), Some(SETTLE));
}

#[test]
fn touching_or_rewriting_a_failed_file_tries_again_and_drops_its_note() {
    let mut touched = failed();
    let reaction = touched.touched(Candidate::ByName, stamp(9, 1), stamp(9, 2), SETTLE);
    assert_eq!((reaction.mark, reaction.drops_note), (Some(Mark::Nothing), true));
    assert_eq!(touched.looked(look(stamp(9, 2)), SETTLE, SETTLE), Verdict::Offered);

    // As touch(1) does it: through a handle that writes nothing.
    let mut opened = failed();
    let _ = opened.opened_for_writing().unwrap();
    let _ = opened.touched(Candidate::ByName, stamp(9, 1), stamp(9, 1), SETTLE);
    let reaction = opened.closed(Candidate::ByName, Some(stamp(9, 1)), SETTLE, seconds(0));
    assert_eq!((reaction.mark, reaction.drops_note), (None, true));
    assert_eq!(opened.due(), Some(SETTLE));

    let mut rewritten = failed();
    let _ = rewritten.opened_for_writing().unwrap();
    let reaction = rewritten.closed(Candidate::ByName, Some(stamp(10, 3)), SETTLE, seconds(0));
    assert_eq!((reaction.mark, reaction.drops_note), (None, true));
}

#[test]
fn attributes_move_no_due_time_and_no_generation() {
    let mut file = settling();
    let generation = file.generation();
    let _ = file.touched(Candidate::ByName, stamp(9, 1), stamp(9, 77), seconds(100));
    assert_eq!((file.due(), file.generation()), (Some(SETTLE), generation));
    assert_eq!(file.looked(look(stamp(9, 77)), SETTLE, SETTLE), Verdict::Offered);
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
        let reaction = file.retried(Candidate::ByName, seconds(7));
        assert_eq!(reaction.mark, Some(Mark::Nothing));
        assert_eq!(file.due(), Some(seconds(7)));
    }
}
