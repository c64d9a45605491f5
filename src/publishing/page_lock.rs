//! One writer of pages at a time in this process.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Two writers on one day would each write a transcript without the other. Held for decisions, for pages of one
/// recording and for commits: what takes long, such as copies and the bucket, comes before.
static PAGES: Mutex<()> = Mutex::new(());

/// Waits for the right to write pages.
pub(crate) fn lock() -> MutexGuard<'static, ()> {
    PAGES.lock().unwrap_or_else(PoisonError::into_inner)
}
