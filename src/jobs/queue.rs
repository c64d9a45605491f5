//! `JobQueue`: what waits, what is being worked on, and who takes which job next.
//!
//! A job goes through two hands: a decoder's thread makes sound of it, a runner's thread, with warm engines, makes
//! talk of that. So the next recording is decoded while the engines are at this one. For both one more thread than
//! there are workers is there for short recordings only: a memo never waits for a meeting.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::jobs::backlog::{Backlog, Length, Rank, Rest};
use crate::jobs::job_models::Models;
use crate::jobs::job_run::Prepared;
use crate::jobs::memory::available_bytes;
use crate::jobs::shortage::Unsaved;
use crate::jobs::shortage::spare_bytes;
use crate::jobs::worker_process::StopSwitch;
use crate::jobs::{JobConfig, JobContext};
use crate::model::{InboxId, Job, JobId};

/// Time between looks at what a job waits for: a model, room on the disk, another job.
const LOOK: Duration = Duration::from_secs(5);

/// Rest before a failed attempt is repeated, times the attempts so far.
const RETRY_REST: Duration = Duration::from_secs(2);

/// Decoded recordings that wait for engines, at most: their sound takes room.
const MOST_DECODED: usize = 16;

/// Memory that engines take beside their weights, for a short recording.
const ENGINE_BYTES: u64 = 768 << 20;

/// The worker for short recordings goes home sooner: it is needed beside another only.
const EXTRA_IDLE: Duration = Duration::from_secs(30);

/// What a runner is to do now.
pub(crate) enum Next {
    Job(Box<Prepared>),
    /// Nothing for the idle time: the worker may go home.
    Idle,
    Closed,
}

/// One of the threads with engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// Takes what comes, by number.
    Any(usize),
    /// Takes short recordings while all others work on long ones.
    OnlyShort,
}

/// Shared by the dispatcher and all who work.
pub(crate) struct JobQueue {
    pub(crate) setup: JobConfig,
    pub(crate) services: JobContext,
    /// States of jobs that the index had no room for.
    pub(crate) unsaved: Unsaved,
    started: Instant,
    state: Mutex<State>,
    /// Rung at every change of `state`.
    bell: Condvar,
}

impl std::fmt::Debug for JobQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobQueue").field("setup", &self.setup).finish_non_exhaustive()
    }
}

/// Guarded by `JobQueue::state`.
#[derive(Debug, Default)]
struct State {
    /// Bounded by the files of the inbox: each has at most one job here.
    backlog: Backlog,
    /// With the order among them.
    decoded: Vec<(Rank, Prepared)>,
    /// All that have left the backlog, the decoded ones included.
    running: HashMap<JobId, Running>,
    closing: bool,
}

#[derive(Debug)]
struct Running {
    inbox: InboxId,
    generation: u64,
    length: Length,
    /// Has engines.
    runner: Option<Runner>,
    /// What is in it, once that is known.
    blake3: Option<String>,
    stopped: bool,
    switch: Option<StopSwitch>,
}

impl State {
    /// Long recordings that are decoded, or will be soon, and have no engines yet.
    fn long_ahead(&self) -> usize {
        let is_ahead = |it: &&Running| it.length == Length::Long && it.runner.is_none();
        self.running.values().filter(is_ahead).count()
    }

    fn without_engines(&self) -> usize {
        self.running.values().filter(|it| it.runner.is_none()).count()
    }

    /// Every other runner works on a long recording.
    fn all_are_at_long_ones(&self, runners: usize) -> bool {
        let is_busy =
            |it: &&Running| it.length == Length::Long && matches!(it.runner, Some(Runner::Any(_)));
        runners <= self.running.values().filter(is_busy).count()
    }
}

impl JobQueue {
    pub(crate) fn new(setup: JobConfig, services: JobContext) -> Arc<Self> {
        Arc::new(Self {
            setup,
            services,
            unsaved: Unsaved::default(),
            started: Instant::now(),
            state: Mutex::default(),
            bell: Condvar::new(),
        })
    }

    /// Recordings that are worked on at once, not counting short ones beside long ones.
    pub(crate) fn workers(&self) -> usize {
        self.setup.workers.max(1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Adds jobs that may begin at once.
    pub(crate) fn push(&self, jobs: Vec<Job>) {
        let now = self.now();
        let mut state = self.state();
        for job in jobs {
            state.backlog.push(job, now);
        }
        drop(state);
        self.bell.notify_all();
    }

    /// A job whose attempt failed and may be repeated.
    pub(crate) fn again(&self, job: Job) {
        let rest = RETRY_REST * job.attempts;
        self.rest(job, Rest::Retry, rest);
    }

    /// A job that cannot go on before something else has happened.
    pub(crate) fn wait_for(&self, job: Job, what: Rest) {
        self.rest(job, what, LOOK);
    }

    fn rest(&self, job: Job, what: Rest, pause: Duration) {
        let now = self.now();
        self.state().backlog.rest(job, what, now, now + pause);
        self.bell.notify_all();
    }

    /// Whether that version of the file is known here already.
    pub(crate) fn holds(&self, inbox: InboxId, generation: u64) -> bool {
        let state = self.state();
        let is_it = |it: &Running| (it.inbox, it.generation) == (inbox, generation);
        state.backlog.holds(inbox, generation) || state.running.values().any(is_it)
    }

    /// Waits for the next job to decode; `None` when it is over. Long recordings are not decoded far ahead, since
    /// their sound takes room on the disk.
    pub(crate) fn next_to_decode(&self, only_short: bool) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.closing {
                return None;
            }
            let now = self.now();
            if state.backlog.next_wake().is_some_and(|until| until <= now) {
                drop(state);
                self.wake();
                state = self.state();
                continue;
            }
            let only_short = only_short || self.workers() < state.long_ahead();
            if state.without_engines() < MOST_DECODED
                && let Some((job, length)) = state.backlog.take(only_short)
            {
                let running = Running {
                    inbox: job.inbox,
                    generation: job.generation,
                    length,
                    runner: None,
                    blake3: None,
                    stopped: false,
                    switch: None,
                };
                state.running.insert(job.id, running);
                return Some(job);
            }
            let until = state.backlog.next_wake();
            state = self.wait(state, until.map(|until| until.saturating_sub(now)));
        }
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match patience {
            Some(patience) => {
                self.bell.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Looks whether what resting jobs wait for has come.
    fn wake(&self) {
        let has_models = Models::installed(&self.setup).is_some();
        let spare = spare_bytes(&self.setup);
        let now = self.now();
        let mut state = self.state();
        let State { backlog, running, .. } = &mut *state;
        backlog.wake(now, LOOK, |rest| match rest {
            Rest::Retry | Rest::Shortage => false,
            Rest::Model => !has_models,
            Rest::Room { bytes } => spare <= *bytes,
            Rest::Twin { of } => running.contains_key(of),
        });
    }

    /// Notes what is in the job's recording; the number of another job that has the same bytes at work.
    pub(crate) fn twin(&self, id: JobId, blake3: &str) -> Option<JobId> {
        let mut state = self.state();
        let is_same = |(other, it): &(&JobId, &Running)| {
            **other != id && it.blake3.as_deref() == Some(blake3)
        };
        let twin = state.running.iter().find(is_same).map(|(other, _)| *other);
        if twin.is_none()
            && let Some(running) = state.running.get_mut(&id)
        {
            running.blake3 = Some(blake3.to_owned());
        }
        twin
    }

    /// A decoded recording waits for engines from now on. It comes back where it was withdrawn meanwhile.
    pub(crate) fn put_decoded(&self, prepared: Prepared) -> Option<Job> {
        let (id, now, length) = (prepared.job.id, self.now(), prepared.length());
        let mut state = self.state();
        let closing = state.closing;
        let running = state.running.get_mut(&id).filter(|it| !it.stopped && !closing);
        let Some(running) = running else { return Some(prepared.job) };
        running.length = Length::of(length);
        running.switch = None;
        state.decoded.push((Rank::new(now, length, id), prepared));
        drop(state);
        self.bell.notify_all();
        None
    }

    /// Waits for the next decoded recording. With a warm worker it waits no longer than the idle time.
    pub(crate) fn next_to_transcribe(&self, runner: Runner, has_worker: bool) -> Next {
        let idle = match runner {
            Runner::Any(_) => self.setup.idle,
            Runner::OnlyShort => self.setup.idle.min(EXTRA_IDLE),
        };
        let idle_at = self.now() + idle;
        loop {
            let free_bytes = match runner {
                Runner::OnlyShort if !has_worker => available_bytes(),
                _ => u64::MAX,
            };
            let mut state = self.state();
            if state.closing {
                return Next::Closed;
            }
            if let Some(prepared) = self.take_decoded(&mut state, runner, free_bytes) {
                drop(state);
                self.bell.notify_all();
                return Next::Job(Box::new(prepared));
            }
            let now = self.now();
            if has_worker && idle_at <= now {
                return Next::Idle;
            }
            drop(self.wait(state, has_worker.then(|| idle_at - now)));
        }
    }

    fn take_decoded(&self, state: &mut State, runner: Runner, free_bytes: u64) -> Option<Prepared> {
        if runner == Runner::OnlyShort && !state.all_are_at_long_ones(self.workers()) {
            return None;
        }
        let may_take = |prepared: &Prepared| {
            runner != Runner::OnlyShort
                || Length::of(prepared.length()) == Length::Short
                    && prepared.weight_bytes().saturating_add(ENGINE_BYTES) <= free_bytes
        };
        let fitting = state.decoded.iter().enumerate().filter(|(_, (_, it))| may_take(it));
        let (at, _) = fitting.min_by_key(|(_, (rank, _))| *rank)?;
        let (_, prepared) = state.decoded.swap_remove(at);
        if let Some(running) = state.running.get_mut(&prepared.job.id) {
            running.runner = Some(runner);
        }
        Some(prepared)
    }

    /// A worker has begun: from now on the job can be stopped in the middle of its work.
    pub(crate) fn may_be_stopped_by(&self, id: JobId, switch: StopSwitch) {
        let mut state = self.state();
        let closing = state.closing;
        if let Some(running) = state.running.get_mut(&id) {
            if running.stopped || closing {
                switch.stop();
            }
            running.switch = Some(switch);
        }
    }

    /// Whether nobody wants the job to go on: it was withdrawn, or the daemon ends.
    pub(crate) fn is_stopped(&self, id: JobId) -> bool {
        let state = self.state();
        state.closing || state.running.get(&id).is_some_and(|it| it.stopped)
    }

    /// Nobody works on it any more.
    pub(crate) fn forget(&self, id: JobId) {
        self.state().running.remove(&id);
        self.bell.notify_all();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Takes back every job on that file up to that generation. Those that nobody works on come back.
    pub(crate) fn stop(&self, inbox: InboxId, generation: u64) -> Vec<Job> {
        let mut state = self.state();
        let mut withdrawn = state.backlog.withdraw(inbox, generation);
        let State { decoded, running, .. } = &mut *state;
        let is_meant = |it: &Running| it.inbox == inbox && it.generation <= generation;
        for running in running.values_mut().filter(|it| is_meant(it)) {
            running.stopped = true;
            if let Some(switch) = &running.switch {
                switch.stop();
            }
        }
        let is_waiting = |(_, it): &mut (Rank, Prepared)| {
            it.job.inbox == inbox && it.job.generation <= generation
        };
        for (_, prepared) in decoded.extract_if(.., is_waiting) {
            running.remove(&prepared.job.id);
            withdrawn.push(prepared.job);
        }
        drop(state);
        self.bell.notify_all();
        withdrawn
    }

    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        state.decoded.clear();
        for running in state.running.values() {
            if let Some(switch) = &running.switch {
                switch.stop();
            }
        }
        drop(state);
        self.bell.notify_all();
    }
}
