//! [`PartsAhead`]: how many parts of an upload go at once, and those that have arrived before their turn.

use std::time::Duration;

use crate::model::UploadedPart;

/// More at once no line needs: each of them waits for the bucket's answer once.
const MOST_AT_ONCE: usize = 4;

/// A line that takes a part of 5 MiB so quickly can do with one more at a time. A request has
/// [`LONGEST_CHANGE`](crate::store::LONGEST_CHANGE): on a slow line several would take it from each other.
const QUICK: Duration = Duration::from_secs(5);
const SLOW: Duration = Duration::from_secs(20);

/// What was sent of an upload before its turn, and how much goes at once.
#[derive(Debug)]
pub(crate) struct PartsAhead {
    upload_id: String,
    sent: Vec<UploadedPart>,
    /// How many parts go at once.
    pub(crate) at_once: usize,
}

impl Default for PartsAhead {
    fn default() -> Self {
        Self { upload_id: String::new(), sent: Vec::new(), at_once: 1 }
    }
}

impl PartsAhead {
    /// A part that was sent before its turn.
    pub(crate) fn take(&mut self, upload_id: &str, number: u32) -> Option<UploadedPart> {
        if self.upload_id != upload_id {
            self.upload_id = upload_id.to_owned();
            self.sent.clear();
        }
        let place = self.sent.iter().position(|part| part.number == number)?;
        Some(self.sent.swap_remove(place))
    }

    pub(crate) fn add(&mut self, part: UploadedPart) {
        self.sent.push(part);
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.sent.iter().any(|part| part.number == number)
    }

    /// Adapts to how long the slowest part took; `None`: one of them failed.
    pub(crate) fn adapt(&mut self, slowest: Option<Duration>) {
        self.at_once = match slowest {
            Some(took) if took <= QUICK => MOST_AT_ONCE.min(self.at_once + 1),
            Some(took) if took <= SLOW => self.at_once,
            Some(_) | None => 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_line_takes_more_at_once_and_a_slow_one_or_a_failure_one_at_a_time() {
        let mut ahead = PartsAhead::default();
        let mut adapt = |slowest: Option<u64>| {
            ahead.adapt(slowest.map(Duration::from_secs));
            ahead.at_once
        };
        assert_eq!([0, 1, 5, 5, 5].map(|took| adapt(Some(took))), [2, 3, 4, 4, 4]);
        assert_eq!([6, 20, 21, 6].map(|took| adapt(Some(took))), [4, 4, 1, 1]);
        assert_eq!((adapt(Some(1)), adapt(None)), (2, 1));
    }

    #[test]
    fn parts_of_another_upload_are_none_of_this_one() {
        let mut ahead = PartsAhead::default();
        assert_eq!(ahead.take("one", 1), None);
        let part = |number| UploadedPart { number, etag: "a".to_owned(), bytes: 9 };
        ahead.sent = vec![part(2), part(3)];
        assert_eq!(ahead.take("one", 3), Some(part(3)));
        assert_eq!(ahead.take("another", 2), None);
        assert_eq!(ahead.take("one", 2), None);
    }
}
