//! `EventWriter`: the worker's end of the conversation with the daemon, a line of JSON for each event.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::model::{WorkEvent, WorkStage};

/// Progress is reported this often at most: each line wakes the daemon.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Standard output as it was at the start. What native libraries print goes to standard error instead.
pub(crate) struct EventWriter {
    out: File,
}

impl EventWriter {
    pub(crate) fn take_stdout() -> io::Result<Self> {
        let out: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
        // SAFETY: both descriptors are open; 1 is replaced, and `out` keeps what it was.
        if unsafe { libc::dup2(io::stderr().as_raw_fd(), io::stdout().as_raw_fd()) } == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { out: File::from(out) })
    }

    /// One line, at once.
    pub(crate) fn send(&mut self, event: &WorkEvent) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.out.write_all(&line)
    }
}

/// Reports progress now and then, and remembers when nobody listened any more.
pub(crate) struct ProgressReporter<'a> {
    events: &'a mut EventWriter,
    last: Option<(WorkStage, Instant)>,
    hung_up: Option<io::Error>,
}

impl<'a> ProgressReporter<'a> {
    pub(crate) fn new(events: &'a mut EventWriter) -> Self {
        Self { events, last: None, hung_up: None }
    }

    pub(crate) fn progress(&mut self, stage: WorkStage, done: f32) {
        let is_known =
            |(last, at): (WorkStage, Instant)| last == stage && at.elapsed() < REPORT_EVERY;
        if self.last.is_some_and(is_known) {
            return;
        }
        self.last = Some((stage, Instant::now()));
        self.send(&WorkEvent::Progress { stage, done });
    }

    pub(crate) fn send(&mut self, event: &WorkEvent) {
        if self.hung_up.is_none() {
            self.hung_up = self.events.send(event).err();
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.hung_up.is_none()
    }

    /// # Errors
    /// An event could not be sent: the daemon is gone.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.hung_up.map_or(Ok(()), Err)
    }
}
