//! `WorkerOutput`: what a worker writes, read as it comes, a line at a time. A worker may be in a stranger's hands:
//! whatever it writes, memory here stays bounded.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;
/// Longest event: the talk of a whole day is some 30 MiB.
const LONGEST_EVENT: usize = 64 << 20;
/// All events of one order: partial results, and the whole again.
const MOST_EVENT_BYTES: u64 = 160 << 20;
/// Lines of standard error are cut here; the rest of the line is dropped.
const LONGEST_WORDS: usize = 1 << 10;
/// Last lines of standard error that are kept, to tell why a worker died.
const KEPT_LINES: usize = 20;
/// Lines of standard error that go to the log for one order.
const LOGGED_LINES: u32 = 200;

/// What there is to read.
#[derive(Debug)]
pub(crate) enum Output {
    Event(Vec<u8>),
    /// Nothing within the time.
    Nothing,
    /// Nobody has the pipe open for writing any more.
    Ended,
}

/// A worker that writes more than any honest one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Excess {
    #[error("sent a line that did not end")]
    Line,
    #[error("sent more output than any recording needs")]
    Flood,
}

/// Both pipes of one worker.
#[derive(Debug)]
pub(crate) struct WorkerOutput {
    events: File,
    /// `None` once it has ended.
    errors: Option<File>,
    pending: Vec<u8>,
    /// Bytes of `pending` that are known to hold no line end.
    scanned: usize,
    /// Since the order began.
    event_bytes: u64,
    last_words: VecDeque<String>,
    words: Vec<u8>,
    logged: u32,
    has_ended: bool,
}

impl WorkerOutput {
    pub(crate) fn new(events: OwnedFd, errors: OwnedFd) -> Self {
        Self {
            events: File::from(events),
            errors: Some(File::from(errors)),
            pending: Vec::new(),
            scanned: 0,
            event_bytes: 0,
            last_words: VecDeque::new(),
            words: Vec::new(),
            logged: 0,
            has_ended: false,
        }
    }

    /// A new order: what may be written is counted anew.
    pub(crate) fn begin_order(&mut self) {
        (self.event_bytes, self.logged) = (0, 0);
        self.last_words.clear();
    }

    /// The last lines of standard error.
    pub(crate) fn last_words(&self) -> String {
        self.last_words.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// The next event, waited for no longer than `patience`.
    pub(crate) fn next(&mut self, patience: Duration) -> Result<Output, Excess> {
        if let Some(line) = self.line()? {
            return Ok(Output::Event(line));
        }
        if self.has_ended {
            return Ok(Output::Ended);
        }
        let (has_events, has_errors) = self.poll(patience);
        if has_errors {
            self.read_errors();
        }
        if has_events {
            self.read_events();
        }
        Ok(match self.line()? {
            Some(line) => Output::Event(line),
            None if self.has_ended => Output::Ended,
            None => Output::Nothing,
        })
    }

    /// Reads the last words that are there already; whoever else holds the pipe is not waited for.
    pub(crate) fn drain_errors(&mut self) {
        // A pipe holds 64 KiB, one that was enlarged 1 MiB.
        for _ in 0..64 {
            let (_, has_errors) = self.poll(Duration::ZERO);
            if !has_errors || self.errors.is_none() {
                return;
            }
            self.read_errors();
        }
    }

    /// Which of the pipes can be read, or have ended.
    fn poll(&self, patience: Duration) -> (bool, bool) {
        let watch = |file: Option<&File>| libc::pollfd {
            // Negative ones are passed over.
            fd: file.map_or(-1, AsRawFd::as_raw_fd),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut pipes = [watch(Some(&self.events)), watch(self.errors.as_ref())];
        let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `pipes` is as long as said. An interrupted call finds nothing, and is made again.
        let ready = unsafe { libc::poll(pipes.as_mut_ptr(), 2, milliseconds) };
        if ready <= 0 {
            return (false, false);
        }
        (pipes[0].revents != 0, pipes[1].revents != 0)
    }

    fn read_events(&mut self) {
        let mut chunk = [0; CHUNK];
        match self.events.read(&mut chunk) {
            Ok(0) => self.has_ended = true,
            Ok(count) => {
                self.event_bytes += count as u64;
                self.pending.extend_from_slice(&chunk[..count]);
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.has_ended = true,
        }
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, Excess> {
        if let Some(end) = self.pending[self.scanned..].iter().position(|byte| *byte == b'\n') {
            let rest = self.pending.split_off(self.scanned + end + 1);
            let mut line = std::mem::replace(&mut self.pending, rest);
            line.pop();
            self.scanned = 0;
            return Ok(Some(line));
        }
        self.scanned = self.pending.len();
        if LONGEST_EVENT < self.pending.len() {
            return Err(Excess::Line);
        }
        if MOST_EVENT_BYTES < self.event_bytes {
            return Err(Excess::Flood);
        }
        Ok(None)
    }

    fn read_errors(&mut self) {
        let Some(errors) = &mut self.errors else { return };
        let mut chunk = [0; CHUNK];
        let count = match errors.read(&mut chunk) {
            Ok(count) => count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => return,
            Err(_) => 0,
        };
        if count == 0 {
            self.errors = None;
            self.end_of_words();
        }
        for byte in &chunk[..count] {
            match byte {
                b'\n' => self.end_of_words(),
                byte if self.words.len() < LONGEST_WORDS => self.words.push(*byte),
                _ => {}
            }
        }
    }

    fn end_of_words(&mut self) {
        if self.words.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.words).into_owned();
        self.words.clear();
        self.logged += 1;
        if self.logged <= LOGGED_LINES {
            log::debug!("worker: {line}");
        }
        if self.last_words.len() == KEPT_LINES {
            self.last_words.pop_front();
        }
        self.last_words.push_back(line);
    }
}
