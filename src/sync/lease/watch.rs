//! How long somebody else's lease has stood still, by this machine's own clock.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::{Version, boot_id};

/// Remembers which version of another's lease was seen since when.
#[derive(Debug, Default)]
pub struct Watch {
    /// So that a mount that is refused, and tried again, need not begin anew.
    kept_in: Option<PathBuf>,
    seen: Option<Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    version: String,
    /// Times of two starts of the machine cannot be compared.
    boot: String,
    since_milliseconds: u64,
}

impl Watch {
    /// Goes on with what that file says.
    pub fn kept_in(path: PathBuf) -> Self {
        let seen = fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Self { kept_in: Some(path), seen }
    }

    /// For how long that version has been seen, up to `now` of the boot-time clock.
    pub(crate) fn stood_for(&mut self, version: &Version, now: Duration) -> Duration {
        let boot = boot_id();
        if let Some(seen) = &self.seen
            && seen.version == version.0
            && seen.boot == boot
        {
            return now.saturating_sub(Duration::from_millis(seen.since_milliseconds));
        }
        // Rounded up: the time that is counted is shorter than the true one, never longer.
        let since_milliseconds =
            u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.seen = Some(Seen { version: version.0.clone(), boot, since_milliseconds });
        self.keep();
        Duration::ZERO
    }

    /// Nobody stands in the way any more.
    pub(crate) fn end(&mut self) {
        if self.seen.take().is_some()
            && let Some(path) = &self.kept_in
        {
            // It is never read for another version of the lease.
            let _ = fs::remove_file(path);
        }
    }

    fn keep(&self) {
        let (Some(path), Some(seen)) = (&self.kept_in, &self.seen) else { return };
        let kept = serde_json::to_vec(seen).map(|json| fs::write(path, json));
        if let Ok(Err(err)) = kept {
            log::debug!("the watch over the lease begins anew with each start: {err}");
        }
    }
}
