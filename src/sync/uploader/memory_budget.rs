//! [`MemoryBudget`]: how many bytes of what is being sent all upload workers together hold in memory.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A quarter of the memory of a small machine is too much.
const MOST_BYTES: u64 = 64 << 20;

/// One for all threads. What is held by one that is larger than everything is held alone.
#[derive(Debug, Default)]
pub(crate) struct MemoryBudget {
    /// Guards the bytes that are held.
    held: Mutex<u64>,
    freed: Condvar,
}

/// Bytes that may be held until this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reserved<'a> {
    budget: &'a MemoryBudget,
    bytes: u64,
}

impl MemoryBudget {
    /// Waits until there is room. Whoever holds some must not ask for more with this.
    pub(crate) fn reserve(&self, bytes: u64) -> Reserved<'_> {
        let held = self.freed.wait_while(self.held(), |held| !has_room(*held, bytes));
        *held.unwrap_or_else(PoisonError::into_inner) += bytes;
        Reserved { budget: self, bytes }
    }

    /// If there is room now.
    pub(crate) fn try_reserve(&self, bytes: u64) -> Option<Reserved<'_>> {
        let mut held = self.held();
        has_room(*held, bytes).then(|| {
            *held += bytes;
            Reserved { budget: self, bytes }
        })
    }

    fn held(&self) -> MutexGuard<'_, u64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_room(held: u64, bytes: u64) -> bool {
    held == 0 || held.saturating_add(bytes) <= MOST_BYTES
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        *self.budget.held() -= self.bytes;
        self.budget.freed.notify_all();
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
        assert_eq!(*budget.held(), 0);
    }
}
