//! `LogLimit`: says what goes wrong again and again once a minute, with how often it was.
//!
//! Anybody who may read can make a read fail in a loop; the log is on the disk of index and spool.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the same trouble of the same call is only counted after it was logged.
const QUIET: Duration = Duration::from_secs(60);

/// A call and the kind of its trouble.
type Trouble = (String, String);

#[derive(Debug)]
pub(crate) struct LogLimit {
    counted: Mutex<BTreeMap<Trouble, Counted>>,
}

#[derive(Debug)]
struct Counted {
    since: Instant,
    more: u64,
}

impl LogLimit {
    pub(crate) const fn new() -> Self {
        Self { counted: Mutex::new(BTreeMap::new()) }
    }

    /// Whether this one is to be logged; if not, it is counted for [`Self::due`].
    pub(crate) fn admits(&self, call: &str, cause: &str, now: Instant) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match counted.get_mut(&(call.to_owned(), cause.to_owned())) {
            Some(trouble) => {
                trouble.more += 1;
                false
            }
            None => {
                let first = Counted { since: now, more: 0 };
                counted.insert((call.to_owned(), cause.to_owned()), first);
                true
            }
        }
    }

    /// What has happened more often than it was logged, where the minute is over: call, cause and how often. To
    /// be asked every now and then.
    pub(crate) fn due(&self, now: Instant) -> Vec<(String, String, u64)> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over =
            |_: &Trouble, counted: &mut Counted| QUIET <= now.duration_since(counted.since);
        let over: Vec<(Trouble, Counted)> = counted.extract_if(.., is_over).collect();
        let mut due = Vec::new();
        for ((call, cause), Counted { more, .. }) in over {
            if more > 0 {
                // It goes on, perhaps: counted from here, and not logged one by one.
                let again = Counted { since: now, more: 0 };
                counted.insert((call.clone(), cause.clone()), again);
                due.push((call, cause, more));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_logged_once_a_minute_and_counted_in_between() {
        let limit = LogLimit::new();
        let begin = Instant::now();
        assert!(limit.admits("read", "store", begin));
        for _ in 0..1000 {
            assert!(!limit.admits("read", "store", begin));
        }
        assert!(limit.admits("open", "store", begin));
        assert!(limit.due(begin + QUIET / 2).is_empty());
        let later = begin + QUIET;
        assert_eq!(limit.due(later), [("read".to_owned(), "store".to_owned(), 1000)]);
        assert!(!limit.admits("read", "store", later));
        // It has ended: the next one is news again.
        assert_eq!(limit.due(later + QUIET).len(), 1);
        assert!(limit.due(later + QUIET * 2).is_empty());
        assert!(limit.admits("read", "store", later + QUIET * 2));
    }
}
