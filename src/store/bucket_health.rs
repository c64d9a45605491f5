//! [`BucketHealth`]: what is known of one bucket, shared by all who read from it and who upload to it.
//!
//! A bucket that cannot be reached is left alone for a while by everybody, so that readers are told in milliseconds
//! instead of waiting for their deadlines one after the other, and uploads go on as soon as a reader was answered.
//! What the bucket refuses to uploads, or a line that is slow in their direction, holds up uploads alone.

use std::sync::PoisonError;
use std::time::Duration;

use crate::concurrency::{Mutex, MutexGuard};
use crate::store::circuit::{Admission, Circuit, Permit};
use crate::store::{Backoff, Reach, boot_time, outbox};

/// Failures of readers in a row that are taken for more than bad luck.
const FAILURES: u32 = 3;

/// How long readers ask nothing, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const PAUSES: Backoff = Backoff::new(FIRST_PAUSE, Duration::from_secs(30));

/// A bucket that has said nothing for so long when a reader's time is over is a black hole, not a slow line.
const SILENCE: Duration = Duration::from_secs(10);

/// So many refusals in a row are not one recording's own trouble.
const REFUSALS: u32 = 2;

/// Uploads that are refused are tried again this often: somebody may have mended it.
const REFUSED_AGAIN: Duration = Duration::from_mins(5);

/// Time is that of the clock that goes on in suspend and is never set. Nothing else is locked while its lock is held.
#[derive(Debug, Default)]
pub struct BucketHealth(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Whether the bucket answers at all.
    reach: Circuit,
    uploads: Circuit,
    answered_at: Option<Duration>,
    /// Why uploads are refused.
    refused: Option<String>,
    /// Uploads wait because the bucket said nothing: an answer to anybody ends that.
    is_silent: bool,
    /// How often the bucket has come back.
    recoveries: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            reach: Circuit::new(FAILURES, PAUSES),
            uploads: Circuit::new(1, outbox::BACKOFF),
            answered_at: None,
            refused: None,
            is_silent: false,
            recoveries: 0,
        }
    }
}

/// For readers.
impl BucketHealth {
    /// Leave to ask; `None`: nobody should at present. See [`Circuit::permit`].
    pub(crate) fn permit(&self) -> Option<Permit> {
        self.state().reach.permit(boot_time())
    }

    /// Whether questions that were allowed before should still be put.
    pub fn is_well(&self) -> bool {
        self.state().reach.is_closed()
    }

    /// The bucket has answered somebody, whatever it said.
    pub fn answered(&self) {
        self.state().answered(boot_time());
    }

    /// It has not.
    pub(crate) fn failed(&self, permit: Permit) {
        self.state().reach.failed(permit, boot_time(), 1.0);
    }

    /// A reader's time is over while its question is under way.
    pub(crate) fn ran_out(&self) {
        self.state().ran_out(boot_time());
    }

    pub(crate) fn withdrawn(&self, permit: Permit) {
        self.state().reach.withdrawn(permit, boot_time());
    }
}

/// For uploads.
impl BucketHealth {
    pub(crate) fn upload_admission(&self, now: Duration) -> Admission {
        self.state().upload_admission(now)
    }

    /// An upload goes and finds out for all.
    pub(crate) fn send_upload_probe(&self) {
        self.state().uploads.send_probe();
    }

    /// An upload has told nothing.
    pub(crate) fn upload_withdrawn(&self, permit: Permit, now: Duration) {
        self.state().uploads.withdrawn(permit, now);
    }

    /// The bucket has taken something.
    pub(crate) fn upload_succeeded(&self, now: Duration) {
        let mut state = self.state();
        state.answered(now);
        state.uploads_go_on();
    }

    /// An upload has failed. `refusal` says why where trying again will not help.
    pub(crate) fn upload_failed(
        &self,
        permit: Permit,
        now: Duration,
        chance: f64,
        reach: Reach,
        refusal: Option<&str>,
    ) {
        self.state().upload_failed(permit, now, chance, reach, refusal);
    }

    /// Somebody says that uploads are worth a try.
    pub(crate) fn retry_uploads(&self, now: Duration) {
        let mut state = self.state();
        state.uploads.retry_now(now);
        state.reach.retry_now(now);
    }

    /// Why uploads are refused, whichever recording they are of.
    pub(crate) fn upload_refusal(&self) -> Option<String> {
        let state = self.state();
        state.refused.clone().filter(|_| REFUSALS <= state.uploads.failures())
    }

    /// The time until the next upload, while none goes.
    pub(crate) fn uploads_wait(&self, now: Duration) -> Option<Duration> {
        let state = self.state();
        let until = state.uploads.until().or_else(|| state.reach.until())?;
        Some(until.saturating_sub(now))
    }

    /// How often uploads could go on again: another number means that nobody need wait any longer.
    pub(crate) fn recoveries(&self) -> u64 {
        self.state().recoveries
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answered(&mut self, now: Duration) {
        self.reach.succeeded();
        self.answered_at = Some(now);
        if self.is_silent {
            self.uploads_go_on();
        }
    }

    fn uploads_go_on(&mut self) {
        self.recoveries += u64::from(!self.uploads.is_closed());
        self.uploads.succeeded();
        self.refused = None;
        self.is_silent = false;
    }

    /// The kernel asks again for what has failed: that must not take a second deadline.
    fn ran_out(&mut self, now: Duration) {
        let is_silent = self.answered_at.is_none_or(|at| SILENCE <= now.saturating_sub(at));
        if self.reach.is_closed() && is_silent {
            self.reach.open_until(now + FIRST_PAUSE);
        } else {
            // Where somebody finds out for all, this is as good as what comes of it.
            self.reach.failed(Permit::Probe, now, 1.0);
        }
    }

    fn upload_admission(&self, now: Duration) -> Admission {
        match (self.uploads.admission(now), self.reach.admission(now)) {
            // Readers have found out that it does not answer.
            (Admission::Open, Admission::Wait(until)) => Admission::Wait(until),
            (Admission::Open, Admission::Probe | Admission::Probing) => Admission::Probe,
            (own, _) => own,
        }
    }

    fn upload_failed(
        &mut self,
        permit: Permit,
        now: Duration,
        chance: f64,
        reach: Reach,
        refusal: Option<&str>,
    ) {
        let is_news = self.uploads.failed(permit, now, chance);
        match reach {
            Reach::Silent if is_news => {
                self.reach.failed(permit, now, 1.0);
            }
            Reach::Silent | Reach::Slow => {}
            Reach::Answered => {
                self.reach.succeeded();
                self.answered_at = Some(now);
            }
        }
        if !is_news {
            return;
        }
        self.is_silent = reach == Reach::Silent;
        self.refused = refusal.map(str::to_owned);
        // Once may be one recording's own trouble: another one tries.
        if self.refused.is_some() && REFUSALS <= self.uploads.failures() {
            self.uploads.open_until(now + REFUSED_AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn a_reader_who_waited_in_vain_opens_it_unless_others_were_answered() {
        let mut silent = State::default();
        silent.ran_out(at(0));
        assert_eq!(silent.reach.permit(at(0)), None);
        let mut slow = State::default();
        slow.answered(at(0));
        slow.ran_out(SILENCE / 2);
        assert_eq!(slow.reach.permit(SILENCE / 2), Some(Permit::Ordinary));
    }

    /// As many failures as it takes, each of the one that is sent to find out.
    fn fail_uploads(state: &mut State, reach: Reach, refusal: Option<&str>) -> Duration {
        let mut now = Duration::ZERO;
        for _ in 0..10 {
            match state.upload_admission(now) {
                Admission::Open => state.upload_failed(Permit::Ordinary, now, 1.0, reach, refusal),
                Admission::Probe => {
                    state.uploads.send_probe();
                    state.upload_failed(Permit::Probe, now, 1.0, reach, refusal);
                }
                Admission::Wait(until) => now = until,
                Admission::Probing => panic!("nobody is under way"),
            }
        }
        now
    }

    #[test]
    fn what_uploads_are_refused_stops_no_reader() {
        for (reach, refusal) in
            [(Reach::Answered, Some("403")), (Reach::Answered, None), (Reach::Slow, None)]
        {
            let mut state = State::default();
            let now = fail_uploads(&mut state, reach, refusal);
            assert_eq!(state.reach.permit(now), Some(Permit::Ordinary), "{reach:?}");
            assert!(!state.uploads.is_closed());
            // And that readers are answered is no sign for uploads.
            state.answered(now);
            assert!(!state.uploads.is_closed(), "{reach:?}");
        }
    }

    #[test]
    fn a_bucket_that_cannot_be_reached_stops_both_and_an_answer_to_either_ends_it() {
        let mut state = State::default();
        let now = fail_uploads(&mut state, Reach::Silent, None);
        assert!(!state.reach.is_closed() && !state.uploads.is_closed());
        state.answered(now);
        assert!(state.reach.is_closed() && state.uploads.is_closed());
        assert_eq!(state.recoveries, 1);
        // Readers find out first.
        for _ in 0..FAILURES {
            state.reach.failed(Permit::Ordinary, now, 1.0);
        }
        assert_eq!(state.upload_admission(now), Admission::Wait(now + FIRST_PAUSE));
        assert_eq!(state.upload_admission(now + FIRST_PAUSE), Admission::Probe);
    }

    #[test]
    fn a_second_refusal_pauses_uploads_until_somebody_has_mended_it() {
        let mut state = State::default();
        state.upload_failed(Permit::Ordinary, at(0), 0.0, Reach::Answered, Some("403"));
        assert_eq!(state.upload_admission(at(0)), Admission::Probe);
        state.uploads.send_probe();
        state.upload_failed(Permit::Probe, at(1), 0.0, Reach::Answered, Some("403"));
        assert_eq!(state.upload_admission(at(2)), Admission::Wait(at(301)));
        state.uploads.retry_now(at(2));
        assert_eq!(state.upload_admission(at(2)), Admission::Probe);
    }
}
