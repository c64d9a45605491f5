//! Names in a bucket that cannot be keys of ours: counted, and some of them remembered, for people.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// So many are remembered by name.
const NAMED: usize = 20;

/// Names that listings have shown and that nothing can be done with here.
#[derive(Debug, Default)]
pub(crate) struct ForeignNames {
    state: Mutex<State>,
}

/// Guarded by `ForeignNames::state`.
#[derive(Debug, Default)]
struct State {
    count: u64,
    /// The first ones in order.
    named: BTreeSet<String>,
}

/// What a listing of a bucket has left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    pub count: u64,
    /// Some of the names, without control characters.
    pub named: Vec<String>,
}

#[cfg_attr(
    not(any(feature = "s3", test)),
    expect(dead_code, reason = "only buckets have foreign names")
)]
impl ForeignNames {
    pub(crate) fn note(&self, names: impl IntoIterator<Item = String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            state.count += 1;
            state.named.insert(name.chars().flat_map(char::escape_debug).collect());
            if NAMED < state.named.len() {
                state.named.pop_last();
            }
        }
    }

    /// What was noted since the last time.
    pub(crate) fn take(&self) -> Foreign {
        let state = std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner));
        Foreign { count: state.count, named: state.named.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_ones_named_without_tricks() {
        let foreign = ForeignNames::default();
        foreign.note((0..1_000).map(|number| format!("{number:04}\u{1b}[31m")));
        let taken = foreign.take();
        assert_eq!((taken.count, taken.named.len()), (1_000, NAMED));
        assert_eq!(taken.named[0], "0000\\u{1b}[31m");
        assert_eq!(foreign.take(), Foreign::default());
    }
}
