//! A circuit breaker for one bucket, shared by all who read from it and who upload to it: a bucket that has failed
//! several times in a row is left alone for a while, so that readers hear of it in milliseconds instead of waiting
//! for their deadlines one after the other, and uploads go on as soon as a reader was answered.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::Backoff;

/// Failures in a row that are taken for more than bad luck.
const FAILURES: u32 = 3;

/// How long nothing is asked, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const PAUSES: Backoff = Backoff::new(FIRST_PAUSE, Duration::from_secs(30));

/// A bucket that has said nothing for so long when a reader's time is over is a black hole, not a slow line.
const SILENCE: Duration = Duration::from_secs(10);

/// What is known of a bucket, by all who ask it anything. Nothing else is locked while its lock is held.
#[derive(Debug, Default)]
pub struct BucketHealth(Mutex<Breaker>);

impl BucketHealth {
    /// Leave to ask; `None`: nobody should at present. See [`Breaker::permit`].
    pub(crate) fn permit(&self) -> Option<Permit> {
        self.breaker().permit(Instant::now())
    }

    /// Whether questions that were allowed before should still be put.
    pub fn is_well(&self) -> bool {
        self.breaker().is_closed()
    }

    /// When somebody last had an answer.
    pub fn answered_at(&self) -> Option<Instant> {
        self.breaker().heard_at
    }

    /// The bucket has answered somebody, whatever it said.
    pub fn answered(&self) {
        self.breaker().succeeded(Instant::now());
    }

    /// It has not.
    pub fn failed(&self) {
        self.breaker().failed(Instant::now());
    }

    pub(crate) fn ran_out(&self) {
        self.breaker().ran_out(Instant::now());
    }

    pub(crate) fn withdrawn(&self, permit: Permit) {
        self.breaker().withdrawn(permit, Instant::now());
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Breaker {
    state: State,
    heard_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All may ask.
    Closed { failures: u32 },
    /// Nobody may.
    Open { until: Instant, probes: u32 },
    /// One has been let through to find out.
    Probing { probes: u32 },
}

/// How a question to the bucket was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    Ordinary,
    Probe,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Each permit is to be followed by one of [`Self::succeeded`], [`Self::failed`] and [`Self::withdrawn`].
    fn permit(&mut self, now: Instant) -> Option<Permit> {
        match self.state {
            State::Closed { .. } => Some(Permit::Ordinary),
            State::Open { until, probes } if until <= now => {
                self.state = State::Probing { probes };
                Some(Permit::Probe)
            }
            State::Open { .. } | State::Probing { .. } => None,
        }
    }

    /// Whether questions that were allowed before should still be put.
    fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    fn succeeded(&mut self, now: Instant) {
        self.state = State::Closed { failures: 0 };
        self.heard_at = Some(now);
    }

    /// A reader's time is over while its question is under way. The kernel asks again for what has failed:
    /// that must not take a second deadline.
    fn ran_out(&mut self, now: Instant) {
        let is_silent = self.heard_at.is_none_or(|at| SILENCE <= now.saturating_duration_since(at));
        match self.state {
            State::Closed { .. } if is_silent => {
                self.state = State::Open { until: now + FIRST_PAUSE, probes: 1 };
            }
            _ => self.failed(now),
        }
    }

    fn failed(&mut self, now: Instant) {
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < FAILURES => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } => State::Open { until: now + FIRST_PAUSE, probes: 1 },
            State::Probing { probes } => {
                let probes = probes.saturating_add(1);
                State::Open { until: now + PAUSES.delay(probes, 1.0), probes }
            }
            // Of a question that was put before.
            open @ State::Open { .. } => open,
        };
    }

    /// The question was not put after all.
    fn withdrawn(&mut self, permit: Permit, now: Instant) {
        if let (State::Probing { probes }, Permit::Probe) = (self.state, permit) {
            self.state = State::Open { until: now, probes };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        (0..FAILURES).for_each(|_| breaker.failed(now));
        breaker
    }

    #[test]
    fn three_failures_in_a_row_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.failed(now);
            breaker.failed(now);
            breaker.succeeded(now);
        }
        assert_eq!(breaker.permit(now), Some(Permit::Ordinary));
        assert_eq!(open(now).permit(now + FIRST_PAUSE / 2), None);
    }

    #[test]
    fn a_reader_who_waited_in_vain_opens_it_unless_others_were_answered() {
        let now = Instant::now();
        let mut silent = Breaker::default();
        silent.ran_out(now);
        assert_eq!(silent.permit(now), None);
        let mut slow = Breaker::default();
        slow.succeeded(now);
        slow.ran_out(now + SILENCE / 2);
        assert_eq!(slow.permit(now + SILENCE / 2), Some(Permit::Ordinary));
    }

    #[test]
    fn one_probe_goes_through_after_the_pause() {
        let now = Instant::now();
        let mut breaker = open(now);
        assert_eq!(breaker.permit(now + FIRST_PAUSE), Some(Permit::Probe));
        assert_eq!(breaker.permit(now + FIRST_PAUSE), None);
        breaker.succeeded(now);
        assert_eq!(breaker.permit(now + FIRST_PAUSE), Some(Permit::Ordinary));
    }

    #[test]
    fn the_pause_doubles_to_half_a_minute() {
        let mut now = Instant::now();
        let mut breaker = open(now);
        for seconds in [2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(breaker.permit(now + pause - Duration::from_millis(1)), None);
            now += pause;
            assert_eq!(breaker.permit(now), Some(Permit::Probe));
            breaker.failed(now);
        }
    }

    #[test]
    fn a_probe_that_was_not_sent_leaves_its_turn_to_the_next() {
        let now = Instant::now();
        let mut breaker = open(now);
        let later = now + FIRST_PAUSE;
        let permit = breaker.permit(later).unwrap();
        breaker.withdrawn(permit, later);
        assert_eq!(breaker.permit(later), Some(Permit::Probe));
    }
}
