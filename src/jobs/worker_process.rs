//! `WorkerProcess`: one worker, seen from the daemon: started, given orders, listened to, killed.
//!
//! Nothing here waits for a worker without a limit: not for its events, not for the end of its pipes, which a
//! process that it left behind might hold. The kill goes to its whole process group.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::jobs::worker_failures::{self, Role};
use crate::jobs::worker_output::{Output, WorkerOutput};
use crate::jobs::{JobConfig, order_socket};
use crate::model::{Failure, WorkEvent};

/// Time a worker has to load its libraries and confine itself.
const START_TIME: Duration = Duration::from_secs(30);
/// Time between two looks at a silent worker: it may have died without the end of its pipes.
const LOOK: Duration = Duration::from_millis(200);
/// Time that a worker has to exit by itself when it has said its last: its own status tells more than a kill.
const GRACE: Duration = Duration::from_secs(1);
/// Private memory of a decoder: it holds a packet and a few tables.
const DECODER_MEMORY_MB: u64 = 1024;

/// Why an order did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// Somebody pulled the switch.
    #[error("stopped")]
    Stopped,
    /// Only an outside converter can read the recording.
    #[error("needs a converter: {what}")]
    NeedsConverter { what: String },
    /// The disk is as full as it may become; so many bytes of sound were there already.
    #[error("not enough space for the decoded sound")]
    NoRoom { reached_bytes: u64 },
    /// The worker said no, or died: the cause and the remedy.
    #[error("{}", .0.message)]
    Failed(Failure),
}

/// What a decoder may take, by the size of its recording.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodeBudget {
    pub(crate) file_bytes: u64,
    pub(crate) cpu_seconds: u64,
}

/// A worker process. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    role: Role,
    shared: Arc<Mutex<Shared>>,
    orders: UnixStream,
    output: WorkerOutput,
}

/// Guards the process id: whoever kills must know that it is not another's by now.
#[derive(Debug)]
struct Shared {
    child: Child,
    status: Option<ExitStatus>,
    is_killed: bool,
    /// Number of the last order.
    order: u64,
    /// It was killed for somebody who no longer wanted this order.
    stopped: Option<u64>,
}

/// Stops one order from another thread.
#[derive(Debug, Clone)]
pub(crate) struct StopSwitch {
    shared: Arc<Mutex<Shared>>,
    order: u64,
}

impl StopSwitch {
    pub(crate) fn stop(&self) {
        let mut shared = lock(&self.shared);
        // A worker that is at another order already has nothing left to stop.
        if shared.order == self.order {
            shared.stopped = Some(self.order);
            shared.kill();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// It and all that it may have left behind. Until it is waited for, its number is nobody else's.
    fn kill(&mut self) {
        self.is_killed = true;
        if self.status.is_none() {
            let group = libc::pid_t::try_from(self.child.id()).unwrap_or(libc::pid_t::MAX);
            // SAFETY: plain numbers; a group that is gone is an error that nobody minds.
            unsafe { libc::killpg(group, libc::SIGKILL) };
        }
    }

    /// Without waiting, and without giving its number free.
    fn has_exited(&self) -> bool {
        if self.status.is_some() {
            return true;
        }
        // SAFETY: an all-zero `siginfo_t` is a valid one.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `info` has room for what is written.
        let found = unsafe { libc::waitid(libc::P_PID, self.child.id(), &raw mut info, flags) };
        // SAFETY: `waitid` writes the process there, or leaves 0 where there is nothing to tell.
        found == 0 && unsafe { info.si_pid() } != 0
    }

    fn reap(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.kill();
            self.status = self.child.wait().ok();
        }
        self.status
    }
}

impl WorkerProcess {
    /// Starts a worker that keeps the engines warm between orders.
    pub(crate) fn engines(setup: &JobConfig) -> Result<Self, WorkerError> {
        let mut command = command(setup, setup.memory_mb);
        command.arg("--models").arg(&setup.models_dir);
        Self::start(Role::Engines, command)
    }

    /// Starts a worker that decodes one recording.
    pub(crate) fn decoder(setup: &JobConfig, budget: DecodeBudget) -> Result<Self, WorkerError> {
        let mut command = command(setup, setup.memory_mb.min(DECODER_MEMORY_MB));
        command.arg("--file-bytes").arg(budget.file_bytes.to_string());
        command.arg("--cpu-seconds").arg(budget.cpu_seconds.to_string());
        Self::start(Role::Decoder, command)
    }

    /// Waits until it is confined and ready.
    fn start(role: Role, mut command: Command) -> Result<Self, WorkerError> {
        let cannot = |err: io::Error| WorkerError::Failed(worker_failures::not_started(role, &err));
        let (orders, theirs) = UnixStream::pair().map_err(cannot)?;
        // An order is far smaller than the socket's buffer; a worker that hangs must not hold the daemon.
        orders.set_write_timeout(Some(START_TIME)).map_err(cannot)?;
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(cannot)?;
        drop(command);
        let pipes = child.stdout.take().zip(child.stderr.take());
        let (stdout, stderr) = pipes.expect("both were asked for above");
        let output = WorkerOutput::new(stdout.into(), stderr.into());
        let shared = Arc::new(Mutex::new(Shared {
            child,
            status: None,
            is_killed: false,
            order: 0,
            stopped: None,
        }));
        let mut worker = Self { role, shared, orders, output };
        match worker.next_event(START_TIME, &mut || true)? {
            WorkEvent::Ready => Ok(worker),
            _ => Err(worker.misbehaved("did not report that it was ready")),
        }
    }

    /// Stops the next order, or the one that is being worked on.
    pub(crate) fn switch_for_next(&mut self) -> StopSwitch {
        let mut shared = lock(&self.shared);
        shared.order += 1;
        StopSwitch { shared: self.shared.clone(), order: shared.order }
    }

    /// Hands over an order with its files and listens until it is done: `Decoded` or `Done`. `may_go_on` is
    /// asked all the while: with `false` it ends for want of room. After any error but a spoken failure the
    /// worker is of no more use.
    pub(crate) fn work(
        &mut self,
        order: &impl Serialize,
        files: &[&File],
        stall: Duration,
        may_go_on: &mut dyn FnMut() -> bool,
        hear: &mut dyn FnMut(&WorkEvent),
    ) -> Result<WorkEvent, WorkerError> {
        let internal = |err: serde_json::Error| {
            WorkerError::Failed(worker_failures::internal(&err.to_string()))
        };
        let mut line = serde_json::to_vec(order).map_err(internal)?;
        line.push(b'\n');
        self.output.begin_order();
        // It died before it could be asked: its last words tell why.
        order_socket::send(&self.orders, &line, files).map_err(|_| self.death())?;
        loop {
            let event = self.next_event(stall, may_go_on)?;
            hear(&event);
            match event {
                WorkEvent::Progress { .. } | WorkEvent::Partial { .. } => {}
                WorkEvent::Decoded { .. } | WorkEvent::Done { .. } => return Ok(event),
                WorkEvent::NeedsConverter { what } => {
                    return Err(WorkerError::NeedsConverter { what });
                }
                WorkEvent::NoRoom => return Err(WorkerError::NoRoom { reached_bytes: 0 }),
                WorkEvent::Failed { failure } => return Err(WorkerError::Failed(failure)),
                WorkEvent::Ready => return Err(self.misbehaved("reported twice that it was ready")),
            }
        }
    }

    /// Whether it can be given another order: it has not ended and was not told to.
    pub(crate) fn is_fit(&self) -> bool {
        let shared = lock(&self.shared);
        !shared.is_killed && !shared.has_exited()
    }

    /// The next event, waited for no longer than `stall`.
    fn next_event(
        &mut self,
        stall: Duration,
        may_go_on: &mut dyn FnMut() -> bool,
    ) -> Result<WorkEvent, WorkerError> {
        let deadline = Instant::now() + stall;
        loop {
            if !may_go_on() {
                lock(&self.shared).kill();
                return Err(WorkerError::NoRoom { reached_bytes: 0 });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // Before its output is looked at, so that nothing of it is missed.
            let has_exited = lock(&self.shared).has_exited();
            match self.output.next(left.min(LOOK)) {
                Ok(Output::Event(line)) => {
                    return serde_json::from_slice(&line)
                        .map_err(|_| self.misbehaved("sent something that is not an event"));
                }
                Ok(Output::Ended) => return Err(self.death()),
                // Whoever else holds the pipe: it is gone.
                Ok(Output::Nothing) if has_exited => return Err(self.death()),
                Ok(Output::Nothing) if left.is_zero() => {
                    lock(&self.shared).kill();
                    let failure = worker_failures::stalled(self.role, stall);
                    return Err(WorkerError::Failed(failure));
                }
                Ok(Output::Nothing) => {}
                Err(excess) => return Err(self.misbehaved(&excess.to_string())),
            }
        }
    }

    /// It broke the rules of the conversation: nothing more that it says is wanted.
    pub(crate) fn misbehaved(&mut self, what: &str) -> WorkerError {
        lock(&self.shared).kill();
        WorkerError::Failed(worker_failures::misbehaved(self.role, what))
    }

    /// Waits a moment for its end and says what it died of.
    fn death(&mut self) -> WorkerError {
        let begun = Instant::now();
        while !lock(&self.shared).has_exited() && begun.elapsed() < GRACE {
            thread::sleep(Duration::from_millis(5));
        }
        let mut shared = lock(&self.shared);
        let status = shared.reap();
        if shared.stopped == Some(shared.order) {
            return WorkerError::Stopped;
        }
        drop(shared);
        self.output.drain_errors();
        let words = self.output.last_words();
        WorkerError::Failed(worker_failures::died(self.role, status, &words))
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Reaped, so that no zombie stays; what it died of no longer matters.
        lock(&self.shared).reap();
    }
}

/// A worker's command line as far as all kinds share it.
pub(crate) fn command(setup: &JobConfig, memory_mb: u64) -> Command {
    let mut command = Command::new(&setup.executable);
    command.env_clear().envs(&setup.variables);
    // A group of its own, so that a kill reaches all of it, and a key pressed on the terminal does not.
    command.process_group(0);
    command.arg("worker").arg("--memory-mb").arg(memory_mb.to_string());
    command.arg("--parent").arg(std::process::id().to_string());
    command
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::fixtures::setup;
    use crate::model::FailureCause;

    const PATIENCE: Duration = Duration::from_secs(120);

    /// A worker that is this shell script, with `ready` behind it and its first order read.
    fn work(script: &str, stall: Duration) -> (tempfile::TempDir, WorkerProcess, WorkerError) {
        let dir = tempfile::tempdir().unwrap();
        let mut worker = start(dir.path(), script);
        let err = ask(&mut worker, stall);
        (dir, worker, err)
    }

    fn start(dir: &Path, script: &str) -> WorkerProcess {
        let program = dir.join("worker");
        let text = format!("#!/bin/sh\ncd '{}'\n{script}", dir.display());
        // Written by a process of its own: a file that this one has open for writing cannot be run by it.
        let mut shell = Command::new("sh");
        shell.args(["-c", "printf %s \"$1\" > \"$0\"; chmod 755 \"$0\""]).arg(&program).arg(text);
        assert!(shell.status().unwrap().success());
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
        let mut setup = setup(dir);
        setup.executable = program;
        WorkerProcess::engines(&setup).unwrap()
    }

    fn ask(worker: &mut WorkerProcess, stall: Duration) -> WorkerError {
        let file = tempfile::tempfile().unwrap();
        let answer = worker.work(&"order", &[&file], stall, &mut || true, &mut |_| {});
        answer.unwrap_err()
    }

    const READY: &str = "echo '{\"event\":\"ready\"}'\nread order\n";

    fn check(script: &str, cause: FailureCause, words: &str) {
        let (_dir, worker, err) = work(&format!("{READY}{script}"), PATIENCE);
        let WorkerError::Failed(failure) = err else { panic!("{script}: {err:?}") };
        assert_eq!(failure.cause, cause, "{script}");
        assert!(failure.message.contains(words), "{script}: {}", failure.message);
        assert!(!worker.is_fit());
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_and_ends_the_worker() {
        check("exec tr '\\0' x < /dev/zero", FailureCause::Crashed, "a line that did not end");
    }

    #[test]
    fn a_flood_of_events_ends_the_worker() {
        let segment = format!(
            r#"{{"event":"partial","segment":{{"id":0,"start":0,"end":1,"text":"{}"}}}}"#,
            "x".repeat(60_000)
        );
        check(
            &format!("exec yes '{segment}'"),
            FailureCause::Crashed,
            "more output than any recording",
        );
    }

    #[test]
    fn an_event_that_cannot_be_read_ends_the_worker_at_once() {
        let done = r#"{"event":"done","talk":{"duration":null}}"#;
        check(&format!("echo '{done}'; sleep 600"), FailureCause::Crashed, "not an event");
    }

    #[test]
    fn standard_error_without_an_end_is_cut() {
        let flood = "tr '\\0' x < /dev/zero | head -c 50000000 >&2; echo ' bad_alloc' >&2; exit 9";
        check(flood, FailureCause::Crashed, "exit code 9");
        let words = "yes '' | head -1000 >&2; echo 'std::bad_alloc' >&2; exit 9";
        check(words, FailureCause::OutOfMemory, "exit code 9");
    }

    #[test]
    fn a_worker_that_leaves_a_child_with_its_pipes_holds_nobody() {
        let script = format!("sleep 600 &\necho $! > child\n{READY}exit 3");
        let (dir, worker, err) = work(&script, PATIENCE);
        let WorkerError::Failed(failure) = err else { panic!("{err:?}") };
        assert!(failure.message.contains("exit code 3"), "{}", failure.message);
        // The kill went to the whole group: the child is gone, or a zombie of whoever adopted it.
        let child = fs::read_to_string(dir.path().join("child")).unwrap();
        let state = || fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        let begun = Instant::now();
        while state().is_ok_and(|it| !it.contains(") Z")) {
            assert!(begun.elapsed() < PATIENCE, "{:?}", state());
            thread::sleep(Duration::from_millis(5));
        }
        drop(worker);
    }

    #[test]
    fn a_silent_worker_is_stalled() {
        let stall = Duration::from_millis(300);
        let (_dir, worker, err) = work(&format!("{READY}sleep 600"), stall);
        let WorkerError::Failed(failure) = err else { panic!("{err:?}") };
        assert_eq!(failure.cause, FailureCause::TimedOut);
        drop(worker);
    }

    #[test]
    fn the_switch_stops_its_own_order_and_no_later_one() {
        let dir = tempfile::tempdir().unwrap();
        let failed = r#"{"event":"no_room"}"#;
        let script = format!("{READY}echo '{failed}'\nread order\necho '{failed}'\nsleep 600");
        let mut worker = start(dir.path(), &script);
        let first = worker.switch_for_next();
        assert!(matches!(ask(&mut worker, PATIENCE), WorkerError::NoRoom { .. }));
        let second = worker.switch_for_next();
        first.stop();
        assert!(worker.is_fit());
        assert!(matches!(ask(&mut worker, PATIENCE), WorkerError::NoRoom { .. }));
        second.stop();
        assert!(matches!(ask(&mut worker, PATIENCE), WorkerError::Stopped));
    }

    #[test]
    fn a_full_disk_ends_the_work_without_blame() {
        let dir = tempfile::tempdir().unwrap();
        let mut worker = start(dir.path(), &format!("{READY}sleep 600"));
        let file = tempfile::tempfile().unwrap();
        let answer = worker.work(&"order", &[&file], PATIENCE, &mut || false, &mut |_| {});
        assert!(matches!(answer, Err(WorkerError::NoRoom { .. })));
    }
}
