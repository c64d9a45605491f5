//! Whether the bucket is worth asking. Pure: time and chance are handed in.
//!
//! A bucket that is away is away for everybody: after a failure all wait for the same time, then one goes
//! and looks, and when it has an answer all go. A thousand recordings so make no more requests than one.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::store::outbox::{self, Trouble};

/// A refusal that is not one recording's own is tried again this often: somebody may have mended it.
const PROBE: Duration = Duration::from_mins(5);

/// From so many failures in a row on it is the bucket's trouble, and not that of one recording.
const OUTAGE: u32 = 2;

/// What all that ask the bucket know of it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    failures: u32,
    failed_at: Option<Timestamp>,
    until: Option<Timestamp>,
    is_probing: bool,
    refused: Option<String>,
}

/// Whether somebody may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Open,
    /// Go and look, for everybody.
    Probe,
    /// Not before then.
    Closed(Timestamp),
    /// Not before the one who looks is back.
    Probing,
}

impl Gate {
    pub(crate) fn admission(&self, now: Timestamp) -> Admission {
        match self.until {
            None => Admission::Open,
            Some(_) if self.is_probing => Admission::Probing,
            // A clock that was set back must not keep anybody out for longer than anybody ever waits.
            Some(until) if now < until && until <= later(now, PROBE) => Admission::Closed(until),
            Some(_) => Admission::Probe,
        }
    }

    pub(crate) fn send_probe(&mut self) {
        self.is_probing = true;
    }

    /// One that looked is back, without having learned anything.
    pub(crate) fn probe_is_back(&mut self) {
        self.is_probing = false;
    }

    /// The bucket has answered. Whether it had been away: then everybody who waits for it may go.
    pub(crate) fn answered(&mut self) -> bool {
        let was_away = OUTAGE <= self.failures;
        *self = Self::default();
        was_away
    }

    /// It has failed somebody who had begun at `begun`. Those who went together fail together: that is one
    /// failure.
    pub(crate) fn failed(
        &mut self,
        begun: Timestamp,
        now: Timestamp,
        chance: f64,
        trouble: &Trouble,
    ) {
        self.is_probing = false;
        if self.failed_at.is_some_and(|at| begun < at && at <= now) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        let mut delay = outbox::BACKOFF.delay(self.failures, chance);
        if let Trouble::Refused { why } = trouble {
            self.refused = Some(why.clone());
            // Once may be one recording's own trouble: another one tries.
            delay = if self.failures < OUTAGE { delay } else { PROBE };
        }
        self.until = Some(later(now, delay));
    }

    /// Somebody says that it is worth a try.
    pub(crate) fn call(&mut self) {
        self.until = self.until.map(|_| Timestamp::MIN);
    }

    /// Why the bucket refuses everybody.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref().filter(|_| OUTAGE <= self.failures)
    }

    /// When it is tried next, while it is away.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        self.until
    }
}

fn later(now: Timestamp, delay: Duration) -> Timestamp {
    let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::ZERO);
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn refused() -> Trouble {
        Trouble::Refused { why: "access denied".into() }
    }

    #[test]
    fn those_who_fail_together_are_one_failure() {
        let mut gate = Gate::default();
        for _ in 0..4 {
            gate.failed(at(0), at(10), 1.0, &Trouble::Passing);
        }
        assert_eq!(gate.admission(at(10)), Admission::Closed(at(11)));
        assert_eq!(gate.admission(at(11)), Admission::Probe);
    }

    #[test]
    fn one_looks_while_the_others_wait() {
        let mut gate = Gate::default();
        gate.failed(at(0), at(0), 1.0, &Trouble::Passing);
        gate.send_probe();
        assert_eq!(gate.admission(at(9)), Admission::Probing);
        gate.failed(at(9), at(9), 1.0, &Trouble::Passing);
        assert_eq!(gate.admission(at(9)), Admission::Closed(at(11)));
        gate.send_probe();
        assert!(gate.answered());
        assert_eq!(gate.admission(at(11)), Admission::Open);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_out() {
        let mut gate = Gate::default();
        for second in [10_000, 10_001] {
            gate.failed(at(second), at(second), 1.0, &refused());
        }
        assert!(matches!(gate.admission(at(10_002)), Admission::Closed(_)));
        // Three hours back.
        assert_eq!(gate.admission(at(0)), Admission::Probe);
        gate.failed(at(0), at(1), 1.0, &refused());
        assert_eq!(gate.admission(at(2)), Admission::Closed(at(301)));
        gate.call();
        assert_eq!(gate.admission(at(2)), Admission::Probe);
    }

    #[test]
    fn one_failure_among_successes_is_no_outage() {
        let mut gate = Gate::default();
        gate.failed(at(0), at(0), 1.0, &Trouble::Passing);
        assert!(!gate.answered());
    }

    #[test]
    fn a_refusal_of_two_pauses_everybody_until_somebody_calls() {
        let mut gate = Gate::default();
        gate.failed(at(0), at(0), 0.0, &refused());
        assert_eq!((gate.refused(), gate.admission(at(0))), (None, Admission::Probe));
        gate.failed(at(1), at(1), 0.0, &refused());
        assert_eq!(gate.refused(), Some("access denied"));
        assert_eq!(gate.admission(at(2)), Admission::Closed(at(301)));
        gate.call();
        assert_eq!(gate.admission(at(2)), Admission::Probe);
    }
}
