//! [`DiskPause`]: uploads wait while the index has no room on its disk.

use std::time::{Duration, Instant};

/// How often an index without room is tried again.
const RETRY: Duration = Duration::from_secs(2);

const DISK_FULL: &str = "the disk is full, so the progress of uploads cannot be saved";

/// Whether uploads are paused because the disk is full.
#[derive(Debug, Default)]
pub(crate) struct DiskPause {
    until: Option<Instant>,
}

impl DiskPause {
    /// The index could not be written.
    pub(crate) fn start(&mut self) {
        if self.until.is_none() {
            log::warn!("uploads pause: {DISK_FULL}");
        }
        self.until = Some(Instant::now() + RETRY);
    }

    /// The index has answered.
    pub(crate) fn end(&mut self) {
        if self.until.take().is_some() {
            log::info!("there is space on the disk again; uploads resume");
        }
    }

    /// The time until the index is tried again; `None`: now.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        Some(left).filter(|left| !left.is_zero())
    }

    pub(crate) fn reason(&self) -> Option<String> {
        self.until.map(|_| DISK_FULL.to_owned())
    }
}
