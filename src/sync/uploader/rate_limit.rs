//! How fast the uploader may send, and how fast it does. One limit for all threads.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Speed is told over this time.
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct RateLimit {
    bytes_per_second: Option<NonZeroU64>,
    state: Mutex<State>,
    bell: Condvar,
}

/// Guarded by `RateLimit::state`.
#[derive(Debug, Default)]
struct State {
    /// When what was promised so far will have been sent at the pace allowed.
    free_at: Option<Instant>,
    /// What was sent lately, oldest first.
    sent: VecDeque<(Instant, u64)>,
    is_closed: bool,
}

impl RateLimit {
    pub(crate) fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { bytes_per_second, state: Mutex::default(), bell: Condvar::new() }
    }

    /// Waits until `bytes` may be sent. They go in one request: the pace is kept from one to the next.
    pub(crate) fn take(&self, bytes: u64) {
        let mut state = self.state();
        let now = Instant::now();
        let begin = state.free_at.map_or(now, |free_at| free_at.max(now));
        if let Some(limit) = self.bytes_per_second {
            let seconds = bytes / limit;
            let rest = (bytes % limit).saturating_mul(1_000_000_000) / limit;
            let needed = Duration::from_secs(seconds) + Duration::from_nanos(rest);
            state.free_at = begin.checked_add(needed);
        }
        while !state.is_closed
            && let Some(wait) = begin.checked_duration_since(Instant::now())
            && !wait.is_zero()
        {
            let woken = self.bell.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let now = Instant::now();
        state.sent.push_back((now, bytes));
        state.forget_before(now);
    }

    /// Keeps nobody waiting any more.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.bell.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    pub(crate) fn bytes_per_second(&self, now: Instant) -> u64 {
        let mut state = self.state();
        state.forget_before(now);
        let sum: u64 = state.sent.iter().map(|(_, bytes)| bytes).sum();
        sum / WINDOW.as_secs()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_before(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|(at, _)| WINDOW < now.saturating_duration_since(*at)) {
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_nobody_waits() {
        let rate_limit = RateLimit::new(None);
        let begun = Instant::now();
        rate_limit.take(u64::MAX);
        rate_limit.take(1);
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn the_pace_is_kept_from_one_request_to_the_next() {
        let rate_limit = RateLimit::new(NonZeroU64::new(1_000));
        let begun = Instant::now();
        for _ in 0..3 {
            rate_limit.take(50);
        }
        assert!(Duration::from_millis(100) <= begun.elapsed());
        assert_eq!(rate_limit.bytes_per_second(Instant::now()), 15);
    }

    #[test]
    fn the_end_lets_everybody_go() {
        let rate_limit = RateLimit::new(NonZeroU64::new(1));
        rate_limit.take(1 << 40);
        rate_limit.close();
        rate_limit.take(1 << 40);
        assert!(rate_limit.is_closed());
    }
}
