//! `.scribefs/events`: what happens, one JSON object a line, as a file that grows.
//!
//! A read returns what there is, and 0 bytes at the end, like any log file: programs that read a whole tree
//! come to its end. Who follows it polls (`poll(2)` reports when there is more) or asks again, as `tail -f` does.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::model::escaped_json;

/// What is kept for those who come later. When it is reached the older half goes.
const KEPT_BYTES: usize = 1 << 20;

/// How long size and time stay as they were reported: `tar` and `rsync` compare what they saw before and
/// after reading, and a file that grew meanwhile is "changed as we read it".
const STEADY: Duration = Duration::from_millis(500);

/// Called once when there is something to read.
pub(crate) type Wake = Box<dyn FnOnce() + Send>;

/// One open descriptor. It sees a file that begins with what was kept when it was opened.
#[derive(Debug)]
pub(crate) struct Reader(u64);

/// How far a reader is.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// The process that has opened it.
    process: u32,
    /// Position in the whole stream of this reader's offset 0.
    base: u64,
    /// Where it will read next.
    next: u64,
}

/// What poll reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// At the end; the reader is woken when there is more.
    Waiting,
    Readable,
    /// The mount ends: nothing will come any more.
    Ended,
}

#[derive(Debug)]
pub(crate) struct EventLog {
    log: Mutex<Log>,
}

/// Where the file ended when somebody last asked, and when that was.
#[derive(Debug, Clone, Copy)]
struct Reported {
    /// In the whole stream.
    end: u64,
    bytes: u64,
    modified: SystemTime,
    at: Instant,
}

struct Log {
    /// Position of the first byte that is kept; a line begins there.
    oldest: u64,
    kept: Vec<u8>,
    modified: SystemTime,
    reported: Option<Reported>,
    last_reader: u64,
    readers: HashMap<u64, Progress>,
    /// Readers that wait in poll, each once however often it has asked.
    polling: HashMap<u64, Wake>,
    is_closed: bool,
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
                reported: None,
                last_reader: 0,
                readers: HashMap::new(),
                polling: HashMap::new(),
                is_closed: false,
            }),
        }
    }

    pub(crate) fn reader(&self, process: u32) -> Reader {
        let mut log = self.lock();
        log.last_reader += 1;
        let (id, base) = (log.last_reader, log.oldest);
        log.readers.insert(id, Progress { process, base, next: base });
        Reader(id)
    }

    /// The descriptor is closed: nobody is to be woken for it.
    pub(crate) fn forget(&self, reader: &Reader) {
        let mut log = self.lock();
        log.readers.remove(&reader.0);
        let wake = log.polling.remove(&reader.0);
        drop(log);
        // Dropped after the lock: it holds a handle of the kernel's connection.
        drop(wake);
    }

    /// Bytes that a reader who comes now can get, and when the last of them were written; for a moment as
    /// they were when somebody last asked.
    pub(crate) fn size(&self) -> (u64, SystemTime) {
        let reported = self.lock().reported();
        (reported.bytes, reported.modified)
    }

    /// The same for a process that follows: as much as it has read, and what it can read then. To `tail -f`, a file that is
    /// shorter than what was read of it has been cut.
    pub(crate) fn size_for(&self, process: u32) -> (u64, SystemTime) {
        let mut log = self.lock();
        let reported = log.reported();
        let own = log.readers.values().filter(|reader| reader.process == process);
        // One that has fallen behind goes on with the oldest line.
        let oldest = log.oldest;
        let seen = own.map(|reader| {
            let unread = reported.end.saturating_sub(reader.next.max(oldest));
            reader.next.saturating_sub(reader.base) + unread
        });
        (seen.max().unwrap_or(0).max(reported.bytes), reported.modified)
    }

    /// Writes one line, and wakes everybody who waits for it.
    pub(crate) fn append(&self, event: &Value) {
        let mut log = self.lock();
        log.kept.extend_from_slice(escaped_json(&event.to_string()).as_bytes());
        log.kept.push(b'\n');
        log.modified = SystemTime::now();
        log.forget_the_old();
        let woken = std::mem::take(&mut log.polling);
        drop(log);
        woken.into_values().for_each(|wake| wake());
    }

    /// What there is from `offset` on; nothing at the end.
    pub(crate) fn read(&self, reader: &Reader, offset: u64, size: usize) -> Vec<u8> {
        let mut log = self.lock();
        let position = log.position(reader, offset);
        let bytes = log.bytes(position, size);
        let next = position + bytes.len() as u64;
        if let Some(progress) = log.readers.get_mut(&reader.0) {
            progress.next = next;
        }
        log.has_shown(next);
        bytes
    }

    /// Whether there is something to read; if not, `wake` is called when there is. A reader has one `wake`.
    pub(crate) fn poll(&self, reader: &Reader, wake: Option<Wake>) -> Readiness {
        let mut log = self.lock();
        if log.is_closed {
            return Readiness::Ended;
        }
        let next = log.readers.get(&reader.0).map_or(0, |progress| progress.next);
        if next < log.end() {
            return Readiness::Readable;
        }
        let replaced = wake.and_then(|wake| log.polling.insert(reader.0, wake));
        drop(log);
        drop(replaced);
        Readiness::Waiting
    }

    /// Tells who follows that nothing comes any more.
    pub(crate) fn close(&self) {
        let mut log = self.lock();
        log.is_closed = true;
        let woken = std::mem::take(&mut log.polling);
        drop(log);
        woken.into_values().for_each(|wake| wake());
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
    fn position(&mut self, reader: &Reader, offset: u64) -> u64 {
        let oldest = self.oldest;
        let Some(progress) = self.readers.get_mut(&reader.0) else { return oldest };
        let position = progress.base.saturating_add(offset);
        if position < oldest {
            progress.base = oldest.saturating_sub(offset);
            return oldest;
        }
        position
    }

    fn bytes(&self, position: u64, size: usize) -> Vec<u8> {
        let start = usize::try_from(position.saturating_sub(self.oldest)).unwrap_or(usize::MAX);
        let rest = self.kept.get(start..).unwrap_or_default();
        rest[..rest.len().min(size)].to_vec()
    }

    /// For a moment as it was when somebody last asked.
    fn reported(&mut self) -> Reported {
        let at = Instant::now();
        if let Some(reported) = self.reported
            && at.duration_since(reported.at) < STEADY
        {
            return reported;
        }
        let bytes = self.kept.len() as u64;
        let reported = Reported { end: self.end(), bytes, modified: self.modified, at };
        *self.reported.insert(reported)
    }

    /// A reader has got everything up to `position`.
    fn has_shown(&mut self, position: u64) {
        let (oldest, modified) = (self.oldest, self.modified);
        if let Some(reported) = &mut self.reported
            && reported.end < position
        {
            let bytes = position.saturating_sub(oldest);
            *reported = Reported { end: position, bytes, modified, ..*reported };
        }
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    fn counting(woken: &Arc<AtomicUsize>) -> Option<Wake> {
        let woken = woken.clone();
        Some(Box::new(move || {
            woken.fetch_add(1, Ordering::Relaxed);
        }))
    }

    #[test]
    fn a_late_reader_gets_what_was_kept_and_then_the_end() {
        let log = EventLog::new();
        log.append(&json!({"event": "mounted"}));
        let reader = log.reader(1);
        let line = b"{\"event\":\"mounted\"}\n".to_vec();
        assert_eq!(log.read(&reader, 0, 4096), line);
        let end = line.len() as u64;
        assert!(log.read(&reader, end, 10).is_empty());
        let woken = Arc::new(AtomicUsize::new(0));
        assert_eq!(log.poll(&reader, counting(&woken)), Readiness::Waiting);
        log.append(&json!(1));
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(log.poll(&reader, None), Readiness::Readable);
        assert_eq!(log.read(&reader, end, 4096), b"1\n");
    }

    #[test]
    fn the_file_is_never_shorter_than_what_was_read_of_it() {
        let log = EventLog::new();
        log.append(&json!(1));
        assert_eq!(log.size().0, 2);
        let reader = log.reader(1);
        for number in 2..50 {
            log.append(&json!(number));
            let read = log.read(&reader, 0, 4096).len() as u64;
            assert_eq!(log.size().0, read);
        }
        // Who reads no more than it was told of sees a file that holds still.
        let (told, _) = log.size();
        log.append(&json!(50));
        log.read(&reader, 0, usize::try_from(told).unwrap());
        assert_eq!(log.size().0, told);
    }

    #[test]
    fn a_reader_that_polls_all_the_time_is_woken_once_and_not_after_it_is_closed() {
        let log = EventLog::new();
        let (often, closed) = (log.reader(1), log.reader(1));
        let woken = Arc::new(AtomicUsize::new(0));
        for _ in 0..10_000 {
            log.poll(&often, counting(&woken));
            log.poll(&closed, counting(&woken));
        }
        assert_eq!(log.lock().polling.len(), 2);
        log.forget(&closed);
        log.append(&json!(1));
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_reader_that_fell_behind_goes_on_with_a_whole_line() {
        let log = EventLog::new();
        let reader = log.reader(1);
        let long = "x".repeat(1000);
        for number in 0..3000 {
            log.append(&json!([number, long]));
        }
        let bytes = log.read(&reader, 0, 100);
        assert_eq!(bytes[0], b'[');
        let next = log.read(&reader, 100, 100_000);
        assert_eq!([bytes, next].concat().iter().filter(|byte| **byte == b'\n').count(), 99);
        assert!(log.size().0 <= KEPT_BYTES as u64);
    }

    #[test]
    fn a_process_is_never_told_of_less_than_it_has_read() {
        let log = EventLog::new();
        let (follows, other) = (7, 8);
        let (reader, comes_late) = (log.reader(follows), log.reader(other));
        let long = "x".repeat(1000);
        let mut read = 0;
        for number in 0..3000 {
            log.append(&json!([number, long]));
            read += log.read(&reader, read, 4096).len() as u64;
            assert!(read <= log.size_for(follows).0);
        }
        assert!(2 * KEPT_BYTES as u64 <= read);
        // For everybody else the file is as long as what can be read of it.
        assert!(log.size_for(other).0 <= KEPT_BYTES as u64);
        assert!(!log.read(&comes_late, 0, 100).is_empty());
        log.forget(&reader);
        assert!(log.size_for(follows).0 <= KEPT_BYTES as u64);
    }

    #[test]
    fn who_follows_a_closed_log_is_told_of_its_end() {
        let log = EventLog::new();
        let reader = log.reader(1);
        let woken = Arc::new(AtomicUsize::new(0));
        assert_eq!(log.poll(&reader, counting(&woken)), Readiness::Waiting);
        log.close();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(log.poll(&reader, None), Readiness::Ended);
    }
}
