//! Small facts about this room.

use proptest::prelude::*;

use super::*;

const GIB: u64 = 1 << 30;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn steps(placement: Placement, cargo: Vec<u64>) -> UploadSteps {
    UploadSteps::new(placement, cargo, Sizes::default())
}

fn fresh() -> Placement {
    Placement::unknown()
}

fn passing() -> Event {
    Event::Failed(Trouble::Passing)
}

fn refused() -> Event {
    Event::Failed(Trouble::Refused { why: "access denied".into() })
}

fn part(number: u32, bytes: u64) -> UploadedPart {
    UploadedPart { number, etag: format!("e{number}"), bytes }
}

#[test]
fn a_small_recording_goes_object_by_object_and_the_metadata_last() {
    let mut it = steps(Placement::Local, vec![1_000, 10, 20, 30]);
    let mut action = it.step(Event::Woken, at(0), 0.5);
    for place in 0..4 {
        assert_eq!(action, Action::Put { place });
        assert!(matches!(it.placement(), Placement::Uploading { .. }));
        action = it.step(Event::PutDone, at(0), 0.5);
    }
    assert_eq!(action, Action::Rest);
    assert_eq!(*it.placement(), Placement::Stored);
}

#[test]
fn large_audio_goes_in_parts_whose_upload_is_known_before_the_first() {
    let size = 4 * SINGLE_PUT_BYTES + 1;
    let mut it = steps(Placement::Local, vec![size, 10]);
    assert_eq!(it.step(Event::Woken, at(0), 0.5), Action::Begin);
    let mut action = it.step(Event::Began { upload_id: "u".into() }, at(0), 0.5);
    let mut sent = 0;
    while let Action::PutPart { upload_id, number, range } = action {
        let Placement::Uploading { upload_id: known, .. } = it.placement() else { panic!() };
        assert_eq!(known.as_ref(), Some(&upload_id));
        assert_eq!(range.start, sent);
        sent = range.end;
        let done = Event::PartDone(part(number, range.end - range.start));
        action = it.step(done, at(0), 0.5);
    }
    assert_eq!(sent, size);
    let Action::Complete { upload_id, parts } = action else { panic!("{action:?}") };
    assert_eq!((upload_id.as_str(), parts.len()), ("u", 5));
    assert_eq!(it.step(Event::Completed, at(0), 0.5), Action::Put { place: 1 });
    let Placement::Uploading { upload_id, parts, .. } = it.placement() else { panic!() };
    assert_eq!((upload_id, parts.len()), (&None, 0));
}

#[test]
fn four_uploads_at_once_hold_no_more_than_64_mib() {
    for size in [1, SINGLE_PUT_BYTES, SINGLE_PUT_BYTES + 1, 10 << 30, 100 << 30] {
        let mut it = steps(Placement::Local, vec![size]);
        let held = match it.step(Event::Woken, at(0), 0.5) {
            Action::Put { .. } => size,
            _ => match it.step(Event::Began { upload_id: "u".into() }, at(0), 0.5) {
                Action::PutPart { range, .. } => range.end - range.start,
                action => panic!("{action:?}"),
            },
        };
        assert!(4 * held <= 64 << 20, "{held} bytes of {size}");
    }
}

#[test]
fn an_upload_that_began_with_larger_parts_goes_on_with_them() {
    // R2 takes only parts of one size.
    let placement = Placement::Uploading {
        upload_id: Some("u".into()),
        parts: vec![part(1, 32 << 20)],
        attempts: 0,
        not_before: None,
    };
    let mut it = steps(placement, vec![90 << 20]);
    let Action::PutPart { range, .. } = it.step(Event::Woken, at(0), 0.5) else { panic!() };
    assert_eq!(range, 32 << 20..64 << 20);
}

#[test]
fn exactly_16_mib_go_in_one_request() {
    let mut it = steps(Placement::Local, vec![SINGLE_PUT_BYTES]);
    assert_eq!(it.step(Event::Woken, at(0), 0.5), Action::Put { place: 0 });
}

#[test]
fn a_terabyte_fits_into_the_parts_that_a_bucket_takes() {
    for size in [SINGLE_PUT_BYTES + 1, GIB, 1_000 * GIB, 5_000 * GIB] {
        assert!(size.div_ceil(part_bytes(size, Sizes::default().part_bytes)) <= 10_000);
        assert!((5 << 20) <= part_bytes(size, Sizes::default().part_bytes));
    }
}

#[test]
fn a_process_that_died_goes_on_after_the_last_part() {
    let placement = Placement::Uploading {
        upload_id: Some("u".into()),
        parts: vec![part(1, 16 << 20)],
        attempts: 3,
        not_before: None,
    };
    let mut it = steps(placement, vec![GIB, 10]);
    let action = it.step(Event::Woken, at(0), 0.5);
    let range = 16 << 20..32 << 20;
    assert_eq!(action, Action::PutPart { upload_id: "u".into(), number: 2, range });
}

#[test]
fn a_process_that_died_after_the_audio_does_not_send_it_again() {
    let mut it = steps(fresh(), vec![GIB, 10]);
    assert_eq!(it.step(Event::Woken, at(0), 0.5), Action::LookForAudio);
    assert_eq!(it.clone().step(Event::Found, at(0), 0.5), Action::Put { place: 1 });
    assert_eq!(it.step(Event::NotFound, at(0), 0.5), Action::Begin);
}

#[test]
fn small_audio_too_is_looked_for_when_it_may_be_there() {
    let mut it = steps(Placement::Local, vec![1_000, 10]);
    assert_eq!(it.step(Event::Woken, at(0), 0.0), Action::Put { place: 0 });
    // The answer may be all that was lost.
    assert_eq!(it.step(passing(), at(0), 0.0), Action::LookForAudio);
    assert_eq!(it.step(Event::Found, at(0), 0.0), Action::Put { place: 1 });
}

#[test]
fn changed_pages_go_without_the_audio() {
    let mut it = steps(Placement::PagesChanged, vec![GIB, 10, 20]);
    assert_eq!(it.step(Event::Woken, at(0), 0.5), Action::Put { place: 1 });
    // A process that dies now looks for the audio, and finds it.
    let mut restarted = steps(it.placement().clone(), vec![GIB, 10, 20]);
    assert_eq!(restarted.step(Event::Woken, at(0), 0.5), Action::LookForAudio);
    assert_eq!(it.step(Event::PutDone, at(0), 0.5), Action::Put { place: 2 });
    assert_eq!(it.step(Event::PutDone, at(0), 0.5), Action::Rest);
    assert_eq!(*it.placement(), Placement::Stored);
}

#[test]
fn pages_written_anew_leave_an_upload_as_it_is() {
    let uploading = Placement::Uploading {
        upload_id: Some("u".into()),
        parts: vec![part(1, 16 << 20)],
        attempts: 0,
        not_before: None,
    };
    for (before, after) in [
        (Placement::Stored, Placement::PagesChanged),
        (Placement::PagesChanged, Placement::PagesChanged),
        (Placement::Local, Placement::Local),
        (uploading.clone(), uploading),
    ] {
        assert_eq!(before.rewritten(), after);
    }
}

#[test]
fn who_is_called_waits_no_longer() {
    let mut it = steps(Placement::Local, vec![1]);
    it.step(Event::Woken, at(0), 1.0);
    it.step(passing(), at(0), 1.0);
    assert_eq!(it.step(Event::Called, at(0), 1.0), Action::LookForAudio);
    it.step(refused(), at(0), 1.0);
    assert_eq!(it.step(Event::Called, at(1), 1.0), Action::LookForAudio);
}

#[test]
fn an_upload_that_ended_unheard_is_looked_for_and_not_repeated() {
    let placement = Placement::Uploading {
        upload_id: Some("u".into()),
        parts: vec![part(1, GIB)],
        attempts: 0,
        not_before: None,
    };
    let mut it = steps(placement, vec![GIB, 10]);
    assert!(matches!(it.step(Event::Woken, at(0), 0.5), Action::Complete { .. }));
    let action = it.step(Event::Failed(Trouble::UploadLost), at(0), 0.5);
    let Action::Wait { until } = action else { panic!("{action:?}") };
    assert_eq!(it.step(Event::Woken, until, 0.5), Action::LookForAudio);
    assert_eq!(it.step(Event::Found, until, 0.5), Action::Put { place: 1 });
}

#[test]
fn waiting_doubles_from_one_second_to_five_minutes() {
    let mut it = steps(Placement::Local, vec![1]);
    it.step(Event::Woken, at(0), 1.0);
    let mut waits = Vec::new();
    for _ in 0..12 {
        let Action::Wait { until } = it.step(passing(), at(0), 1.0) else { panic!() };
        waits.push(until.as_second());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    assert_eq!(BACKOFF.delay(u32::MAX, 1.0), LONGEST_DELAY);
}

#[test]
fn chance_spreads_the_waiting_over_the_whole_bound() {
    for (chance, millis) in [(0.0, 0), (0.25, 1_000), (1.0, 4_000)] {
        assert_eq!(BACKOFF.delay(3, chance), Duration::from_millis(millis));
    }
    assert_eq!(BACKOFF.delay(3, f64::MAX), Duration::from_secs(4));
}

#[test]
fn nothing_is_done_before_the_time_has_come() {
    let mut it = steps(Placement::Local, vec![1]);
    it.step(Event::Woken, at(0), 1.0);
    let wait = it.step(passing(), at(0), 1.0);
    assert_eq!(wait, Action::Wait { until: at(1) });
    assert_eq!(it.step(Event::Woken, at(0), 1.0), wait);
    let mut restarted = steps(it.placement().clone(), vec![1]);
    assert_eq!(restarted.step(Event::Woken, at(0), 1.0), wait);
    assert_eq!(it.step(Event::Woken, at(1), 1.0), Action::LookForAudio);
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_waiting() {
    let not_before = Some(at(100_000));
    let placement =
        Placement::Uploading { upload_id: None, parts: Vec::new(), attempts: 1, not_before };
    let mut it = steps(placement, vec![1]);
    assert_eq!(it.step(Event::Woken, at(0), 1.0), Action::LookForAudio);
}

#[test]
fn progress_makes_the_waiting_short_again() {
    let mut it = steps(Placement::Local, vec![1, 2]);
    it.step(Event::Woken, at(0), 1.0);
    for _ in 0..5 {
        it.step(passing(), at(0), 1.0);
    }
    assert_eq!(it.step(Event::Woken, at(16), 1.0), Action::LookForAudio);
    assert_eq!(it.step(Event::NotFound, at(16), 1.0), Action::Put { place: 0 });
    assert_eq!(it.step(Event::PutDone, at(16), 1.0), Action::Put { place: 1 });
    assert_eq!(it.step(passing(), at(16), 1.0), Action::Wait { until: at(17) });
}

#[test]
fn a_refusal_pauses_says_why_and_is_probed() {
    let mut it = steps(Placement::Local, vec![1]);
    it.step(Event::Woken, at(0), 0.5);
    assert_eq!(it.step(refused(), at(0), 0.5), Action::Wait { until: at(300) });
    assert_eq!(*it.placement(), Placement::paused("access denied"));
    assert_eq!(it.step(Event::Woken, at(300), 0.5), Action::LookForAudio);
    assert_eq!(it.step(Event::NotFound, at(300), 0.5), Action::Put { place: 0 });
    assert_eq!(it.step(Event::PutDone, at(300), 0.5), Action::Rest);
}

#[test]
fn an_answer_that_comes_twice_counts_once() {
    let mut it = steps(Placement::Local, vec![GIB, 10]);
    it.step(Event::Woken, at(0), 0.5);
    it.step(Event::Began { upload_id: "u".into() }, at(0), 0.5);
    let first = it.step(Event::PartDone(part(1, 16 << 20)), at(0), 0.5);
    assert_eq!(it.step(Event::PartDone(part(1, 16 << 20)), at(0), 0.5), first);
    it.step(Event::Completed, at(0), 0.5);
    assert_eq!(it.step(Event::Completed, at(0), 0.5), Action::Put { place: 1 });
    assert_eq!(it.step(Event::PutDone, at(0), 0.5), Action::Rest);
    assert_eq!(it.step(Event::PutDone, at(0), 0.5), Action::Rest);
    assert_eq!(it.step(passing(), at(0), 0.5), Action::Rest);
}

/// A bucket as far as the outbox can tell.
#[derive(Default)]
struct Bucket {
    /// Places of the cargo, in order of their last arrival.
    arrived: Vec<usize>,
    uploads: u32,
    open: Option<(String, u64)>,
}

impl Bucket {
    fn arrive(&mut self, place: usize) {
        self.arrived.retain(|other| *other != place);
        self.arrived.push(place);
    }

    /// Carries an action out, whether or not the answer is heard.
    fn carry_out(&mut self, action: &Action, sizes: &[u64]) -> Event {
        match action {
            Action::Put { place } => {
                self.arrive(*place);
                Event::PutDone
            }
            Action::LookForAudio if self.arrived.contains(&0) => Event::Found,
            Action::LookForAudio => Event::NotFound,
            Action::Begin => {
                self.uploads += 1;
                let upload_id = format!("u{}", self.uploads);
                self.open = Some((upload_id.clone(), 0));
                Event::Began { upload_id }
            }
            Action::PutPart { upload_id, number, range } => match &mut self.open {
                Some((open, sent)) if open == upload_id => {
                    // A part that was sent before takes the place of itself.
                    assert!(range.start <= *sent, "a gap before part {number}");
                    *sent = range.end;
                    Event::PartDone(part(*number, range.end - range.start))
                }
                _ => Event::Failed(Trouble::UploadLost),
            },
            Action::Complete { upload_id, parts } => match self.open.take() {
                Some((open, sent)) if open == *upload_id => {
                    assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), sizes[0]);
                    assert_eq!(sent, sizes[0]);
                    self.arrive(0);
                    Event::Completed
                }
                _ => Event::Failed(Trouble::UploadLost),
            },
            Action::Wait { .. } => Event::Woken,
            Action::Rest => unreachable!("nothing is left to do"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Fine,
    /// Nothing arrives.
    Lost,
    /// It arrives, and nobody hears of it.
    Unheard,
    Refused,
    /// The process dies after the action was carried out; what it knew is what was saved before.
    Killed,
    /// The process dies before the action is carried out.
    KilledBefore,
    /// The bucket forgets an open upload.
    Swept,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Fine),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Unheard),
        1 => Just(Fate::Refused),
        1 => Just(Fate::Killed),
        1 => Just(Fate::KilledBefore),
        1 => Just(Fate::Swept),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_everything_arrives_and_the_metadata_last(
        fates in prop::collection::vec(fate(), 0..60),
        audio in prop::sample::select(vec![1, SINGLE_PUT_BYTES, SINGLE_PUT_BYTES + 1, 200 << 20]),
        pages in 1_usize..5,
        chance in 0.0..1.0,
    ) {
        let sizes: Vec<u64> = std::iter::once(audio).chain((0..pages as u64).map(|_| 10)).collect();
        let mut bucket = Bucket::default();
        let mut it = steps(Placement::Local, sizes.clone());
        let (mut event, mut now) = (Event::Woken, at(0));
        let mut fates = fates.into_iter();
        for step in 0.. {
            prop_assert!(step < 500, "it does not come to an end");
            let action = it.step(event, now, chance);
            // Saved before the action is carried out.
            let saved = it.placement().clone();
            if action == Action::Rest {
                break;
            }
            prop_assert_ne!(&saved, &Placement::Stored);
            if let Action::Wait { until } = action {
                prop_assert!(until <= later(now, LONGEST_DELAY));
                now = until.max(now);
            }
            let dead = |saved: Placement| steps(saved, sizes.clone());
            event = match fates.next().unwrap_or(Fate::Fine) {
                Fate::Fine => bucket.carry_out(&action, &sizes),
                Fate::Lost => passing(),
                Fate::Unheard => {
                    bucket.carry_out(&action, &sizes);
                    passing()
                }
                Fate::Refused => refused(),
                Fate::Killed => {
                    bucket.carry_out(&action, &sizes);
                    it = dead(saved);
                    Event::Woken
                }
                Fate::KilledBefore => {
                    it = dead(saved);
                    Event::Woken
                }
                Fate::Swept => {
                    bucket.open = None;
                    bucket.carry_out(&action, &sizes)
                }
            };
        }
        prop_assert_eq!(it.placement(), &Placement::Stored);
        let mut all = bucket.arrived.clone();
        prop_assert_eq!(all.last(), Some(&pages));
        all.sort_unstable();
        prop_assert_eq!(all, (0..=pages).collect::<Vec<_>>());
    }
}
