//! `.scribefs/events`: what happens, one JSON object a line, as a file that grows.
//!
//! It reads like an ordinary log with `tail -f`, and like a stream with `cat`: at its end a reader waits.
//! The kernel cannot take a request back that we hold, and fuser is not told of signals, so no reader is
//! held longer than a second: then it is told `EINTR`, with which `cat`, `grep`, Rust, Python and Go ask
//! again by themselves, and a reader that was killed can go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::fs::errno::FsError;
use crate::model::escaped_json;

/// What is kept for those who come later. When it is reached the older half goes.
const KEPT_BYTES: usize = 1 << 20;

/// Longest time that a reader is held.
const HOLD: Duration = Duration::from_secs(1);

/// Called once with what a waiting reader gets.
pub(crate) type Answer = Box<dyn FnOnce(Result<Vec<u8>, FsError>) + Send>;
/// Called once when there is something to read.
pub(crate) type Wake = Box<dyn FnOnce() + Send>;

/// One open descriptor. It sees a file that begins with what was kept when it was opened.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Position in the whole stream of this reader's offset 0.
    base: AtomicU64,
    /// Where it will read next, for poll.
    next: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct EventLog {
    log: Mutex<Log>,
}

struct Log {
    /// Position of the first byte that is kept; a line begins there.
    oldest: u64,
    kept: Vec<u8>,
    modified: SystemTime,
    waiting: Vec<Waiting>,
    polling: Vec<Wake>,
    is_closed: bool,
}

struct Waiting {
    position: u64,
    size: usize,
    since: Instant,
    answer: Answer,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("oldest", &self.oldest).finish_non_exhaustive()
    }
}

impl EventLog {
    pub(crate) fn new() -> Self {
        Self {
            log: Mutex::new(Log {
                oldest: 0,
                kept: Vec::new(),
                modified: SystemTime::now(),
                waiting: Vec::new(),
                polling: Vec::new(),
                is_closed: false,
            }),
        }
    }

    pub(crate) fn reader(&self) -> Reader {
        let base = self.lock().oldest;
        Reader { base: AtomicU64::new(base), next: AtomicU64::new(base) }
    }

    /// Bytes that a reader who comes now can get, and when the last of them were written.
    pub(crate) fn size(&self) -> (u64, SystemTime) {
        let log = self.lock();
        (log.kept.len() as u64, log.modified)
    }

    /// Writes one line, and lets everybody go who has waited for it.
    pub(crate) fn append(&self, event: &Value) {
        let mut log = self.lock();
        log.kept.extend_from_slice(escaped_json(&event.to_string()).as_bytes());
        log.kept.push(b'\n');
        log.modified = SystemTime::now();
        log.forget_the_old();
        let served: Vec<_> = std::mem::take(&mut log.waiting)
            .into_iter()
            .map(|waiting| (log.bytes(waiting.position, waiting.size), waiting.answer))
            .collect();
        let woken = std::mem::take(&mut log.polling);
        drop(log);
        for (bytes, answer) in served {
            answer(Ok(bytes));
        }
        woken.into_iter().for_each(|wake| wake());
    }

    /// Answers now, or when there is something, or when the reader was held long enough.
    pub(crate) fn read(&self, reader: &Reader, offset: u64, size: usize, answer: Answer) {
        let mut log = self.lock();
        let position = log.position(reader, offset);
        let bytes = log.bytes(position, size);
        if bytes.is_empty() && size > 0 && !log.is_closed {
            let since = Instant::now();
            log.waiting.push(Waiting { position, size, since, answer });
            return;
        }
        drop(log);
        reader.next.store(position + bytes.len() as u64, Ordering::Relaxed);
        answer(Ok(bytes));
    }

    /// What there is, without waiting.
    pub(crate) fn read_now(
        &self,
        reader: &Reader,
        offset: u64,
        size: usize,
    ) -> Result<Vec<u8>, FsError> {
        let log = self.lock();
        let position = log.position(reader, offset);
        let bytes = log.bytes(position, size);
        if bytes.is_empty() && !log.is_closed {
            return Err(FsError::NothingYet);
        }
        reader.next.store(position + bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    /// Whether a read would not wait; if it would, `wake` is called when that changes.
    pub(crate) fn poll(&self, reader: &Reader, wake: Option<Wake>) -> bool {
        let mut log = self.lock();
        let is_ready = log.is_closed || reader.next.load(Ordering::Relaxed) < log.end();
        if !is_ready {
            log.polling.extend(wake);
        }
        is_ready
    }

    /// Lets those go who were held long enough. To be called about twice a second.
    pub(crate) fn tick(&self) {
        let mut log = self.lock();
        let held_since = Instant::now().checked_sub(HOLD);
        let is_over = |waiting: &mut Waiting| held_since.is_some_and(|then| waiting.since <= then);
        let over: Vec<_> = log.waiting.extract_if(.., is_over).collect();
        drop(log);
        for waiting in over {
            (waiting.answer)(Err(FsError::Interrupted));
        }
    }

    /// From now on the end is an end.
    pub(crate) fn close(&self) {
        let mut log = self.lock();
        log.is_closed = true;
        let waiting = std::mem::take(&mut log.waiting);
        let woken = std::mem::take(&mut log.polling);
        drop(log);
        waiting.into_iter().for_each(|waiting| (waiting.answer)(Ok(Vec::new())));
        woken.into_iter().for_each(|wake| wake());
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn end(&self) -> u64 {
        self.oldest + self.kept.len() as u64
    }

    /// Where a reader's offset lies. One that has fallen behind goes on with the oldest whole line.
    fn position(&self, reader: &Reader, offset: u64) -> u64 {
        let position = reader.base.load(Ordering::Relaxed).saturating_add(offset);
        if position < self.oldest {
            reader.base.store(self.oldest.saturating_sub(offset), Ordering::Relaxed);
            return self.oldest;
        }
        position
    }

    fn bytes(&self, position: u64, size: usize) -> Vec<u8> {
        let start = usize::try_from(position.saturating_sub(self.oldest)).unwrap_or(usize::MAX);
        let rest = self.kept.get(start..).unwrap_or_default();
        rest[..rest.len().min(size)].to_vec()
    }

    fn forget_the_old(&mut self) {
        if self.kept.len() <= KEPT_BYTES {
            return;
        }
        let half = self.kept.len() / 2;
        let line_end = self.kept[half..].iter().position(|byte| *byte == b'\n');
        let gone = line_end.map_or(self.kept.len(), |at| half + at + 1);
        self.kept.drain(..gone);
        self.oldest += gone as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_late_reader_gets_what_was_kept_and_then_waits() {
        let log = EventLog::new();
        log.append(&json!({"event": "mounted"}));
        let reader = log.reader();
        let line = b"{\"event\":\"mounted\"}\n".to_vec();
        assert_eq!(log.read_now(&reader, 0, 4096).unwrap(), line);
        assert!(matches!(log.read_now(&reader, line.len() as u64, 10), Err(FsError::NothingYet)));
        let (told, hears) = channel();
        let answer = Box::new(move |bytes: Result<Vec<u8>, FsError>| {
            told.send(bytes.unwrap()).unwrap();
        });
        log.read(&reader, line.len() as u64, 4096, answer);
        assert!(hears.try_recv().is_err());
        log.append(&json!(1));
        assert_eq!(hears.recv().unwrap(), b"1\n");
    }

    #[test]
    fn a_reader_that_fell_behind_goes_on_with_a_whole_line() {
        let log = EventLog::new();
        let reader = log.reader();
        let long = "x".repeat(1000);
        for number in 0..3000 {
            log.append(&json!([number, long]));
        }
        let bytes = log.read_now(&reader, 0, 100).unwrap();
        assert_eq!(bytes[0], b'[');
        let next = log.read_now(&reader, 100, 100_000).unwrap();
        assert_eq!([bytes, next].concat().iter().filter(|byte| **byte == b'\n').count(), 99);
        assert!(log.size().0 <= KEPT_BYTES as u64);
    }

    #[test]
    fn nobody_waits_on_a_closed_log() {
        let log = EventLog::new();
        let reader = log.reader();
        let (told, hears) = channel();
        log.read(&reader, 0, 10, Box::new(move |bytes| told.send(bytes.unwrap()).unwrap()));
        log.close();
        assert!(hears.recv().unwrap().is_empty());
        assert!(log.read_now(&reader, 0, 10).unwrap().is_empty());
        assert!(log.poll(&reader, None));
    }
}
