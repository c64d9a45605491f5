//! `StoreLock`: one process at a time writes to a local store, whatever state folder it has. The kernel lets go of it when
//! the process ends, however it does.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Holds the number of the process that has the lock. No key starts with a dot.
const NAME: &str = ".lock";

/// A process that has just died lets go of its files one after the other.
const PATIENCE: Duration = Duration::from_secs(1);

const LOOK: Duration = Duration::from_millis(20);

/// Held until it is dropped.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: File,
}

/// Why a store cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another scribefs{} writes to it", process.map(|id| format!(" (process {id})")).unwrap_or_default())]
    InUse { process: Option<u32> },
    #[error("it cannot be locked")]
    Disk(#[from] io::Error),
}

impl StoreLock {
    pub(crate) fn acquire(root: &Path) -> Result<Self, LockError> {
        let mut options = File::options();
        let mut file = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(root.join(NAME))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    // Without it, the message lacks a number.
                    let _ = file.take(32).read_to_string(&mut text);
                    return Err(LockError::InUse { process: text.trim().parse().ok() });
                }
                Err(TryLockError::Error(err)) if err.kind() == io::ErrorKind::Unsupported => {
                    log::warn!(
                        "store: this disk has no locks: make sure that only one scribefs uses it"
                    );
                    break;
                }
                Err(TryLockError::Error(err)) => return Err(err.into()),
            }
        }
        // On a full disk, whoever is refused is not told by whom.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_lock_and_the_next_is_told_who() {
        let dir = tempfile::tempdir().unwrap();
        let held = StoreLock::acquire(dir.path()).unwrap();
        let refused = StoreLock::acquire(dir.path()).unwrap_err();
        let own = std::process::id();
        assert_eq!(refused.to_string(), format!("another scribefs (process {own}) writes to it"));
        drop(held);
        StoreLock::acquire(dir.path()).unwrap();
    }
}
