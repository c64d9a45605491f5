//! Time since this machine was started, suspend included: what a lease is measured by.
//!
//! `Instant` stands still while a laptop sleeps, and the wall clock can be set.

use std::time::Duration;

/// Time since this machine was started.
pub(crate) fn boot_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` has room for one `timespec`, and Linux has had this clock since 2.6.39.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_BOOTTIME is there on every kernel that has FUSE");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Differs from one start of this machine to the next. Times of two starts cannot be compared.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_goes_on() {
        let before = boot_time();
        assert!(Duration::ZERO < before && before <= boot_time());
        assert_eq!(boot_id(), boot_id());
    }
}
