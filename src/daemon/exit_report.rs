//! `ExitReport`: why the daemon ends by itself, told to its supervisor, which logs it beside the exit code.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::OnceLock;

/// More than any reason has; less than a pipe takes without anybody who reads.
const MOST_BYTES: u64 = 1 << 10;

/// Where this process tells its supervisor, if it has one.
static SUPERVISOR: OnceLock<File> = OnceLock::new();

/// Both ends of the pipe between a supervisor and its daemon.
#[derive(Debug)]
pub(crate) struct ExitReport {
    reader: File,
    writer: File,
}

impl ExitReport {
    pub(crate) fn pipe() -> io::Result<Self> {
        let mut ends = [-1; 2];
        // SAFETY: `ends` has room for the two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `pipe2` returned 0, so both are open and nobody else owns them.
        let [reader, writer] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
        Ok(Self { reader: reader.into(), writer: writer.into() })
    }

    /// In the daemon: from now on [`say`] reaches the supervisor.
    pub(crate) fn are_ours(self) {
        // A process has one supervisor.
        let _ = SUPERVISOR.set(self.writer);
    }

    /// In the supervisor, when the daemon has ended.
    pub(crate) fn heard(self) -> Option<String> {
        drop(self.writer);
        let mut said = Vec::new();
        // What it could not say is not known.
        let _ = self.reader.take(MOST_BYTES).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
        (!said.is_empty()).then_some(said)
    }
}

/// Logs why the daemon ends, and tells its supervisor.
pub(crate) fn say(reason: &str) {
    log::error!("the daemon exits: {reason}");
    if let Some(mut supervisor) = SUPERVISOR.get() {
        // Without a supervisor the log has it.
        let _ = supervisor.write_all(format!("{reason}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_hears_why_and_never_waits_for_it() {
        let words = ExitReport::pipe().unwrap();
        (&words.writer).write_all(b"no room\nat all\n").unwrap();
        assert_eq!(words.heard().as_deref(), Some("no room; at all"));
        // Also while somebody else still has the other end.
        let words = ExitReport::pipe().unwrap();
        let _held = words.writer.try_clone().unwrap();
        assert_eq!(words.heard(), None);
    }
}
