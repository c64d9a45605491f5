//! Locks, conditions and threads of the code whose interleavings are tried: those of the standard library, and in a test
//! build with the feature `shuttle` those of shuttle, which runs one thread at a time and chooses at each of these
//! which one goes on.
//!
//! Shuttle has no clock: who waits on a condition with a time limit waits until he is notified.

#[cfg(not(all(test, feature = "shuttle")))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, feature = "shuttle")))]
pub(crate) use std::thread;

#[cfg(all(test, feature = "shuttle"))]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
#[cfg(all(test, feature = "shuttle"))]
pub(crate) use shuttle::thread;

/// For tests that run under shuttle.
#[cfg(all(test, feature = "shuttle"))]
pub(crate) mod orders {
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    use shuttle::{Config, Runner};

    /// Orders that each test tries in each of two ways: by chance at every step, and with few changes of the thread,
    /// put where they hurt.
    const ORDERS: usize = 100;

    /// Runs `what`, which uses threads and locks of [`crate::concurrency`], in many orders. Panics where one of them
    /// panics, or leaves threads that wait for each other.
    pub(crate) fn try_orders(what: impl Fn() + Copy + Send + Sync + 'static) {
        let mut config = Config::new();
        // As large as that of a thread of a test.
        config.stack_size = 2 << 20;
        let seed = 0x5eed;
        Runner::new(RandomScheduler::new_from_seed(seed, ORDERS), config.clone()).run(what);
        Runner::new(PctScheduler::new_from_seed(seed, 3, ORDERS), config).run(what);
    }

    /// A folder that costs no disk, for each order its own.
    pub(crate) fn folder() -> tempfile::TempDir {
        let memory = std::path::Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        made.expect("a folder can be made")
    }
}
