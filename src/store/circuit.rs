//! [`Circuit`]: a circuit breaker. Pure: time, by a clock that is never set, and chance are handed in.

use std::time::Duration;

use crate::store::Backoff;

/// Lets requests through while they go well. After some failures in a row it opens, for a time that grows with each;
/// then one request finds out for all.
#[derive(Debug)]
pub(crate) struct Circuit {
    /// Failures in a row that are taken for more than bad luck.
    threshold: u32,
    backoff: Backoff,
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
    HalfOpen,
}

/// Whether a request may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Open,
    /// It finds out for all.
    Probe,
    /// Not before then.
    Wait(Duration),
    /// Not before the one that finds out is back.
    Probing,
}

/// How a request was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    Ordinary,
    Probe,
}

impl Circuit {
    pub(crate) fn new(threshold: u32, backoff: Backoff) -> Self {
        Self { threshold, backoff, failures: 0, state: State::Closed }
    }

    pub(crate) fn admission(&self, now: Duration) -> Admission {
        match self.state {
            State::Closed => Admission::Open,
            State::Open { until } if until <= now => Admission::Probe,
            State::Open { until } => Admission::Wait(until),
            State::HalfOpen => Admission::Probing,
        }
    }

    /// Each permit is to be followed by one of [`Self::succeeded`], [`Self::failed`] and [`Self::withdrawn`].
    pub(crate) fn permit(&mut self, now: Duration) -> Option<Permit> {
        match self.admission(now) {
            Admission::Open => Some(Permit::Ordinary),
            Admission::Probe => {
                self.send_probe();
                Some(Permit::Probe)
            }
            Admission::Wait(_) | Admission::Probing => None,
        }
    }

    /// One is under way that finds out for all.
    pub(crate) fn send_probe(&mut self) {
        self.state = State::HalfOpen;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next one may find out; `None`: all may go, or one is finding out.
    pub(crate) fn until(&self) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::HalfOpen => None,
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.state = State::Closed;
    }

    /// `chance` is anything from 0 to 1. Whether it was news: requests that were under way together fail together, and
    /// that is one failure once it is open.
    pub(crate) fn failed(&mut self, permit: Permit, now: Duration, chance: f64) -> bool {
        let is_news = match self.state {
            State::Closed => true,
            State::HalfOpen => permit == Permit::Probe,
            State::Open { .. } => false,
        };
        if is_news {
            self.failures = self.failures.saturating_add(1);
            if self.threshold <= self.failures {
                let opened = self.failures - self.threshold + 1;
                self.open_until(now.saturating_add(self.backoff.delay(opened, chance)));
            }
        }
        is_news
    }

    /// It opens, or stays open, until then.
    pub(crate) fn open_until(&mut self, until: Duration) {
        self.failures = self.failures.max(self.threshold);
        self.state = State::Open { until };
    }

    /// The request was not made after all, or has told nothing.
    pub(crate) fn withdrawn(&mut self, permit: Permit, now: Duration) {
        if permit == Permit::Probe && self.state == State::HalfOpen {
            self.state = State::Open { until: now };
        }
    }

    /// Somebody says that it is worth a try.
    pub(crate) fn retry_now(&mut self, now: Duration) {
        if let State::Open { until } = &mut self.state {
            *until = now.min(*until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(2);

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn circuit(threshold: u32) -> Circuit {
        Circuit::new(threshold, Backoff::new(FIRST, Duration::from_secs(30)))
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_among_them_does_not() {
        let mut circuit = circuit(3);
        for _ in 0..5 {
            circuit.failed(Permit::Ordinary, at(0), 1.0);
            circuit.failed(Permit::Ordinary, at(0), 1.0);
            circuit.succeeded();
        }
        assert_eq!(circuit.permit(at(0)), Some(Permit::Ordinary));
        for _ in 0..3 {
            circuit.failed(Permit::Ordinary, at(0), 1.0);
        }
        assert_eq!((circuit.permit(at(1)), circuit.until()), (None, Some(FIRST)));
    }

    #[test]
    fn one_probe_goes_through_after_the_pause_which_doubles_up_to_the_longest() {
        let mut circuit = circuit(1);
        let mut now = Duration::ZERO;
        circuit.failed(Permit::Ordinary, now, 1.0);
        for seconds in [2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(circuit.permit(now + pause - Duration::from_millis(1)), None);
            now += pause;
            assert_eq!(circuit.permit(now), Some(Permit::Probe));
            assert_eq!(circuit.admission(now), Admission::Probing);
            // One that had gone before the probe says nothing new.
            assert!(!circuit.failed(Permit::Ordinary, now, 1.0));
            assert!(circuit.failed(Permit::Probe, now, 1.0));
        }
        assert_eq!(circuit.permit(now + Duration::from_secs(30)), Some(Permit::Probe));
        circuit.succeeded();
        assert_eq!(circuit.admission(now), Admission::Open);
    }

    #[test]
    fn those_who_fail_together_are_one_failure() {
        let mut circuit = circuit(1);
        for _ in 0..4 {
            circuit.failed(Permit::Ordinary, at(10), 1.0);
        }
        assert_eq!(circuit.admission(at(10)), Admission::Wait(at(12)));
    }

    #[test]
    fn a_probe_that_was_not_sent_leaves_its_turn_to_the_next() {
        let mut circuit = circuit(1);
        circuit.failed(Permit::Ordinary, at(0), 1.0);
        assert_eq!(circuit.permit(at(2)), Some(Permit::Probe));
        circuit.withdrawn(Permit::Probe, at(2));
        assert_eq!(circuit.permit(at(2)), Some(Permit::Probe));
        circuit.failed(Permit::Probe, at(2), 1.0);
        circuit.retry_now(at(3));
        assert_eq!(circuit.permit(at(3)), Some(Permit::Probe));
    }
}
