//! One worker process, seen from the daemon: started, given orders, listened to, killed.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Read};
use std::mem::size_of;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, ptr, thread};

use tempfile::TempDir;

use crate::model::{Failure, FailureCause, SoundFacts, Talk, WorkEvent, WorkOrder};
use crate::pipeline::Setup;

/// Time a worker has to load its libraries and confine itself.
const START_TIME: Duration = Duration::from_secs(30);

/// Last lines of a worker's standard error that are kept, to tell why it died.
const KEPT_LINES: usize = 20;

/// Why an order did not end in a talk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    /// Somebody pulled the switch.
    #[error("stopped")]
    Stopped,
    /// Only an outside converter can read the recording.
    #[error("needs a converter: {what}")]
    NeedsConverter { what: String, facts: Option<Box<SoundFacts>> },
    /// The worker said no, or died: the cause and the remedy.
    #[error("{}", .0.message)]
    Failed(Failure),
}

/// What a child's listeners hear.
#[derive(Debug)]
enum Signal {
    Event(Box<WorkEvent>),
    /// Its standard output has ended: it is dead or dying.
    Ended,
    /// The order of this number is no longer wanted.
    Stop(u64),
}

/// A worker process, warm between orders. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    orders: UnixStream,
    signals: Receiver<Signal>,
    sender: Sender<Signal>,
    last_words: Arc<Mutex<Vec<String>>>,
    listeners: Vec<JoinHandle<()>>,
    order: u64,
    /// Its own folder for decoded sound; removed with it.
    scratch: TempDir,
    is_killed: bool,
}

/// Stops one order from another thread.
#[derive(Debug, Clone)]
pub(crate) struct StopSwitch {
    sender: Sender<Signal>,
    order: u64,
}

impl StopSwitch {
    pub(crate) fn stop(&self) {
        // A child that is gone has nothing left to stop.
        let _ = self.sender.send(Signal::Stop(self.order));
    }
}

impl Child {
    /// Starts a worker and waits until it is confined and ready.
    pub(crate) fn start(setup: &Setup) -> Result<Self, ChildError> {
        let (orders, theirs) = UnixStream::pair().map_err(|err| cannot_start(&err))?;
        let scratch = private_scratch(&setup.scratch).map_err(|err| cannot_start(&err))?;
        let mut command = Command::new(&setup.executable);
        command.env_clear().envs(&setup.variables);
        command.arg("worker").arg("--scratch").arg(scratch.path());
        command.arg("--models").arg(&setup.models_dir);
        command.arg("--memory-mb").arg(setup.memory_mb.to_string());
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|err| cannot_start(&err))?;
        drop(command);
        let (sender, signals) = channel();
        let last_words = Arc::new(Mutex::new(Vec::new()));
        let listeners = vec![
            hear_events(process.stdout.take(), sender.clone()),
            keep_last_words(process.stderr.take(), last_words.clone()),
        ];
        let mut child = Self {
            process,
            orders,
            signals,
            sender,
            last_words,
            listeners,
            order: 0,
            scratch,
            is_killed: false,
        };
        match child.signals.recv_timeout(START_TIME) {
            Ok(Signal::Event(event)) if *event == WorkEvent::Ready => Ok(child),
            Ok(_) => Err(ChildError::Failed(child.death())),
            Err(_) => Err(ChildError::Failed(stalled(START_TIME))),
        }
    }

    /// The folder that its decoded sound lies in while it works.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Stops the next order, or the one that is being worked on.
    pub(crate) fn switch_for_next(&mut self) -> StopSwitch {
        self.order += 1;
        StopSwitch { sender: self.sender.clone(), order: self.order }
    }

    /// Hands over an order with its recording and listens until it is done. After an error other than a
    /// spoken failure or a wanted converter the child is of no more use.
    pub(crate) fn work(
        &mut self,
        order: &WorkOrder,
        recording: &File,
        stall: Duration,
        hear: &mut dyn FnMut(&WorkEvent),
    ) -> Result<(SoundFacts, Talk), ChildError> {
        let mut line = serde_json::to_vec(order).map_err(|err| internal(&err.to_string()))?;
        line.push(b'\n');
        send_with_file(&self.orders, &line, recording).map_err(|_| {
            // It died before it could be asked: its last words tell why.
            ChildError::Failed(self.death())
        })?;
        let mut known_facts = None;
        loop {
            let signal = match self.signals.recv_timeout(stall) {
                Ok(signal) => signal,
                Err(RecvTimeoutError::Timeout) => {
                    self.kill();
                    return Err(ChildError::Failed(stalled(stall)));
                }
                Err(RecvTimeoutError::Disconnected) => Signal::Ended,
            };
            let event = match signal {
                Signal::Event(event) => *event,
                Signal::Ended => return Err(ChildError::Failed(self.death())),
                Signal::Stop(number) if number == self.order => {
                    self.kill();
                    return Err(ChildError::Stopped);
                }
                Signal::Stop(_) => continue,
            };
            hear(&event);
            match event {
                WorkEvent::Ready | WorkEvent::Progress { .. } | WorkEvent::Partial { .. } => {}
                WorkEvent::Facts { facts } => known_facts = Some(facts),
                WorkEvent::Done { facts, talk } => return Ok((facts, talk)),
                WorkEvent::NeedsConverter { what } => {
                    return Err(ChildError::NeedsConverter {
                        what,
                        facts: known_facts.map(Box::new),
                    });
                }
                WorkEvent::Failed { failure } => return Err(ChildError::Failed(failure)),
            }
        }
    }

    /// Whether it can be given another order: it has not ended and was not told to.
    pub(crate) fn is_fit(&mut self) -> bool {
        !self.is_killed && matches!(self.process.try_wait(), Ok(None))
    }

    fn kill(&mut self) {
        self.is_killed = true;
        // It may have died by itself a moment ago.
        let _ = self.process.kill();
    }

    /// Waits for the end and says what it died of.
    fn death(&mut self) -> Failure {
        self.kill_after_grace();
        let status = self.process.wait();
        for listener in self.listeners.drain(..) {
            // A listener that panicked has said so on standard error.
            let _ = listener.join();
        }
        let words = self.last_words.lock().map(|words| words.join("\n")).unwrap_or_default();
        cause_of_death(status.ok(), &words)
    }

    /// A process whose output has ended is about to exit: its own status tells more than our signal.
    fn kill_after_grace(&mut self) {
        for _ in 0..50 {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        // Reaped, so that no zombie stays; what it died of no longer matters.
        let _ = self.process.wait();
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

fn hear_events(
    stdout: Option<impl Read + Send + 'static>,
    sender: Sender<Signal>,
) -> JoinHandle<()> {
    named("worker-events", move || {
        let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
        for line in lines.map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(event) => {
                    if sender.send(Signal::Event(Box::new(event))).is_err() {
                        return;
                    }
                }
                // A native library that prints to standard output must not end a job.
                Err(_) => log::debug!("worker said something that is no event"),
            }
        }
        // Nobody listens any more where the child is being dropped.
        let _ = sender.send(Signal::Ended);
    })
}

fn keep_last_words(
    stderr: Option<impl Read + Send + 'static>,
    last_words: Arc<Mutex<Vec<String>>>,
) -> JoinHandle<()> {
    named("worker-stderr", move || {
        let lines = stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines());
        for line in lines.map_while(Result::ok) {
            log::debug!("worker: {line}");
            if let Ok(mut words) = last_words.lock() {
                if words.len() == KEPT_LINES {
                    words.remove(0);
                }
                words.push(line);
            }
        }
    })
}

fn named(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .expect("a thread can be started: the process has just started a child")
}

fn cause_of_death(status: Option<ExitStatus>, last_words: &str) -> Failure {
    let out_of_memory =
        ["memory allocation of", "bad_alloc", "Cannot allocate memory", "out of memory"];
    let how = match status {
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        None => "ended".to_owned(),
    };
    if out_of_memory.iter().any(|words| last_words.contains(words)) {
        return Failure {
            cause: FailureCause::OutOfMemory,
            message: format!("The transcriber ran out of memory and {how}."),
            remedy: "Allow it more with `worker_memory_mb` in the configuration, choose a smaller \
                     model, or close other programs; then `touch` the recording to try again."
                .to_owned(),
        };
    }
    Failure {
        cause: FailureCause::Crashed,
        message: format!("The transcriber {how} while it worked on this recording."),
        remedy: "`touch` the recording to try again. If it happens again, convert it to WAV or \
                 FLAC with another program, or choose another model; the log has the details."
            .to_owned(),
    }
}

fn stalled(after: Duration) -> Failure {
    Failure {
        cause: FailureCause::TimedOut,
        message: format!("The transcriber gave no sign of life for {} s.", after.as_secs()),
        remedy: "`touch` the recording to try again. On a very slow machine, raise \
                 `stall_timeout` in the configuration."
            .to_owned(),
    }
}

fn cannot_start(err: &io::Error) -> ChildError {
    ChildError::Failed(Failure {
        cause: FailureCause::Crashed,
        message: format!("The transcriber could not be started: {err}."),
        remedy: "`scribefs doctor` checks the installation; then `touch` the recording.".to_owned(),
    })
}

fn internal(what: &str) -> ChildError {
    ChildError::Failed(Failure {
        cause: FailureCause::Internal,
        message: format!("scribefs could not describe the work: {what}."),
        remedy: "This is a fault of scribefs: please report it.".to_owned(),
    })
}

/// Writes `line` to the socket with `file` attached to its first byte (`SCM_RIGHTS`).
fn send_with_file(socket: &UnixStream, line: &[u8], file: &File) -> io::Result<()> {
    let sent = send_first(socket.as_raw_fd(), line, file.as_raw_fd())?;
    let rest = line.get(sent..).unwrap_or_default();
    io::Write::write_all(&mut &*socket, rest)
}

fn send_first(socket: RawFd, bytes: &[u8], file: RawFd) -> io::Result<usize> {
    let mut parts = [IoSlice::new(bytes)];
    // Room for one header and one descriptor, aligned as `cmsghdr` wants it.
    let mut control = [0_u64; 8];
    let descriptor_bytes = u32::try_from(size_of::<RawFd>()).unwrap_or(4);
    // SAFETY: an all-zero `msghdr` is a valid one that names nothing.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr().cast();
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: `CMSG_SPACE` only computes; 24 bytes fit in the 64 of `control`.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(descriptor_bytes) } as usize;
    // SAFETY: `msg_control` has room for one header, so the first one lies inside it; the descriptor is
    // written unaligned-safe into the data part that `CMSG_LEN` makes room for.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(descriptor_bytes) as usize;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast::<RawFd>(), file);
    }
    // SAFETY: `message` points at `parts` and `control`, which outlive the call.
    let sent = unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// A folder of its own for one worker's decoded sound, removed when dropped.
fn private_scratch(parent: &Path) -> io::Result<TempDir> {
    std::fs::create_dir_all(parent)?;
    tempfile::Builder::new().prefix("worker-").tempdir_in(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_cannot_allocate_is_out_of_memory() {
        let status = Some(ExitStatus::from_raw(libc::SIGABRT));
        let failure = cause_of_death(status, "memory allocation of 4096 bytes failed");
        assert_eq!(failure.cause, FailureCause::OutOfMemory);
        assert_eq!(cause_of_death(status, "").cause, FailureCause::Crashed);
    }

    #[test]
    fn a_file_travels_with_its_order() {
        use std::io::Write;
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"sound").unwrap();
        send_with_file(&ours, b"order\n", &file).unwrap();
        let mut line = String::new();
        BufReader::new(theirs).read_line(&mut line).unwrap();
        assert_eq!(line, "order\n");
    }
}
