//! How recordings are carried, and how it goes.

use std::num::NonZeroU64;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use crate::store::outbox::Sizes;
use crate::sync::eviction::Retention;

/// How recordings are carried, and what is kept for how long.
#[derive(Debug, Clone)]
pub struct UploaderConfig {
    /// Recordings that are carried at once. Default 4: enough to fill a line. Each may hold one object of up to
    /// `sizes.single_put_bytes` in memory.
    pub uploads_at_once: usize,
    /// Most that all of them send in a second; `None`: as fast as it goes.
    pub bytes_per_second: Option<NonZeroU64>,
    pub sizes: Sizes,
    pub retention: Retention,
    /// The file that keeps this writer's name between mounts, in the state folder.
    pub writer: PathBuf,
}

/// How it goes, for `storage.json`. Says nothing secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UploaderStatus {
    /// Recordings that are not in the bucket yet, and those that were refused.
    pub pending: u64,
    pub paused: u64,
    /// Why nothing is sent: somebody has to do something.
    pub paused_because: Option<String>,
    /// The bucket does not answer; when it is tried next.
    pub away_until: Option<Timestamp>,
    pub last_error: Option<String>,
    pub last_success: Option<Timestamp>,
    /// Sent in the last seconds.
    pub bytes_per_second: u64,
}
