//! A circuit breaker: a bucket that has failed several times in a row is left alone for a while, so that
//! readers hear of it in milliseconds instead of waiting for their deadlines one after the other.

use std::time::{Duration, Instant};

/// Failures in a row that are taken for more than bad luck.
const FAILURES: u32 = 3;

/// How long nothing is asked, at first and at most; it doubles with each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A bucket that has said nothing for so long when a reader's time is over is a black hole, not a slow line.
const SILENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: State,
    heard_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All may ask.
    Closed { failures: u32 },
    /// Nobody may.
    Open { until: Instant, pause: Duration },
    /// One has been let through to find out.
    Probing { pause: Duration },
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
    pub(crate) fn permit(&mut self, now: Instant) -> Option<Permit> {
        match self.state {
            State::Closed { .. } => Some(Permit::Ordinary),
            State::Open { until, pause } if until <= now => {
                self.state = State::Probing { pause };
                Some(Permit::Probe)
            }
            State::Open { .. } | State::Probing { .. } => None,
        }
    }

    /// Whether questions that were allowed before should still be put.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    pub(crate) fn succeeded(&mut self, now: Instant) {
        self.state = State::Closed { failures: 0 };
        self.heard_at = Some(now);
    }

    /// A reader's time is over while its question is under way. The kernel asks again for what has failed:
    /// that must not take a second deadline.
    pub(crate) fn ran_out(&mut self, now: Instant) {
        let is_silent = self.heard_at.is_none_or(|at| SILENCE <= now.saturating_duration_since(at));
        match self.state {
            State::Closed { .. } if is_silent => {
                self.state = State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE };
            }
            _ => self.failed(now),
        }
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < FAILURES => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } => State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE },
            State::Probing { pause } => {
                let pause = LONGEST_PAUSE.min(pause * 2);
                State::Open { until: now + pause, pause }
            }
            // Of a question that was put before.
            open @ State::Open { .. } => open,
        };
    }

    /// The question was not put after all.
    pub(crate) fn withdrawn(&mut self, permit: Permit, now: Instant) {
        if let (State::Probing { pause }, Permit::Probe) = (self.state, permit) {
            self.state = State::Open { until: now, pause };
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
