//! [`MemoryBudget`]: how many bytes of what is being sent all upload workers together hold in memory.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A quarter of the memory of a small machine is too much.
const MOST_BYTES: u64 = 64 << 20;

/// One for all threads. What is held by one that is larger than everything is held alone.
#[derive(Debug, Default)]
pub(crate) struct MemoryBudget {
    state: Mutex<State>,
    changed: Condvar,
}

/// Guarded by `MemoryBudget::state`.
#[derive(Debug, Default)]
struct State {
    held: u64,
    /// Whoever waits takes a turn, and is served in that order: smaller ones would else go before a large one for ever.
    next_turn: u64,
    serving: u64,
}

/// Bytes that may be held until this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reserved<'a> {
    budget: &'a MemoryBudget,
    bytes: u64,
}

impl MemoryBudget {
    /// Waits until there is room, and for all who wait already. Whoever holds some must not ask for more with this.
    pub(crate) fn reserve(&self, bytes: u64) -> Reserved<'_> {
        let mut state = self.state();
        let turn = state.next_turn;
        state.next_turn += 1;
        let not_yet = |state: &mut State| state.serving != turn || !state.has_room(bytes);
        let waited = self.changed.wait_while(state, not_yet);
        state = waited.unwrap_or_else(PoisonError::into_inner);
        state.serving += 1;
        state.held += bytes;
        drop(state);
        // There may be room for the next one too.
        self.changed.notify_all();
        Reserved { budget: self, bytes }
    }

    /// If there is room now, and nobody waits for it.
    pub(crate) fn try_reserve(&self, bytes: u64) -> Option<Reserved<'_>> {
        let mut state = self.state();
        let is_free = state.serving == state.next_turn && state.has_room(bytes);
        is_free.then(|| {
            state.held += bytes;
            Reserved { budget: self, bytes }
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, bytes: u64) -> bool {
        self.held == 0 || self.held.saturating_add(bytes) <= MOST_BYTES
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.budget.state().held -= self.bytes;
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_the_budget_has_and_what_is_larger_is_held_alone() {
        let budget = MemoryBudget::default();
        let most = budget.reserve(MOST_BYTES - 1);
        let last = budget.try_reserve(1).unwrap();
        assert!(budget.try_reserve(1).is_none());
        drop(most);
        assert!(budget.try_reserve(MOST_BYTES).is_none());
        drop(last);
        let large = budget.try_reserve(10 * MOST_BYTES).unwrap();
        assert!(budget.try_reserve(1).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(budget.reserve(MOST_BYTES)));
            drop(large);
            waiting.join().unwrap();
        });
        assert_eq!(budget.state().held, 0);
    }

    #[test]
    fn who_comes_later_gives_way_to_whoever_waits() {
        let budget = MemoryBudget::default();
        let small = budget.reserve(1);
        std::thread::scope(|scope| {
            let large = scope.spawn(|| budget.reserve(10 * MOST_BYTES));
            while budget.state().next_turn < 2 {
                std::thread::yield_now();
            }
            assert!(budget.try_reserve(1).is_none());
            let later = scope.spawn(|| budget.reserve(1));
            while budget.state().next_turn < 3 {
                std::thread::yield_now();
            }
            // There is room for it beside the first one.
            assert_eq!(budget.state().held, 1);
            drop(small);
            let large = large.join().unwrap();
            assert_eq!(budget.state().held, 10 * MOST_BYTES);
            drop(large);
            drop(later.join().unwrap());
        });
        assert!(budget.try_reserve(1).is_some());
    }
}
