//! The desk: hears the spool, keeps the queue, knows what is being worked on and stops it when asked.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ulid::Ulid;

use crate::index::{Change, IndexError};
use crate::model::{ConversationId, InboxId, Job, JobId, JobState};
use crate::pipeline::child::StopSwitch;
use crate::pipeline::{Services, Setup, lane, pages_due, run};
use crate::spool::{Dropped, SpoolEvent, Work};

/// Time between looks for a model that jobs wait for.
const LOOK_FOR_MODEL: Duration = Duration::from_secs(5);

/// Rest after the spool's news: of a burst of files, such as a copied folder, one wakes the desk.
const BREATH: Duration = Duration::from_millis(10);

/// Rest before a failed attempt is repeated, times the attempts so far.
const REST: Duration = Duration::from_secs(2);

/// The running pipeline: a desk thread and one thread for each lane.
#[derive(Debug)]
pub struct Pipeline {
    desk: Arc<Desk>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    /// Starts all threads. Jobs that a daemon left unfinished are taken up as the spool offers them again.
    pub fn start(setup: Setup, services: Services) -> Result<Self, IndexError> {
        let remembered = services.index.unfinished_jobs()?;
        let events = services.spool.subscribe();
        let changes = services.index.subscribe();
        let lanes = setup.workers.max(1);
        let state = State { remembered, ..State::default() };
        let desk =
            Arc::new(Desk { setup, services, state: Mutex::new(state), bell: Condvar::new() });
        desk.close_jobs_without_file();
        let mut threads = vec![named("desk", {
            let desk = desk.clone();
            move || desk.hear(&events)
        })];
        threads.push(named("pages", {
            let desk = desk.clone();
            move || desk.keep_pages(&changes)
        }));
        threads.extend((0..lanes).map(|number| {
            let desk = desk.clone();
            named(&format!("lane-{number}"), move || lane::work(&desk))
        }));
        Ok(Self { desk, threads })
    }

    /// Stops every worker and joins every thread. What was being worked on begins anew with the next daemon.
    pub fn stop(self) {
        self.desk.close();
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a pipeline thread has panicked");
            }
        }
    }
}

fn named(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .expect("a thread can be started while the daemon starts")
}

/// What a lane is to do now.
pub(crate) enum Next {
    Job(Box<Job>),
    /// Nothing for the idle time: the worker may go home.
    Idle,
    Closed,
}

/// Shared by the desk thread and the lanes.
pub(crate) struct Desk {
    pub(crate) setup: Setup,
    pub(crate) services: Services,
    state: Mutex<State>,
    bell: Condvar,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("setup", &self.setup).finish_non_exhaustive()
    }
}

/// Guarded by `Desk::state`.
#[derive(Debug, Default)]
struct State {
    /// Jobs to be done, oldest first. Bounded by the files of the inbox: each has at most one job here.
    queue: VecDeque<Queued>,
    running: Vec<Running>,
    /// Unfinished jobs of an earlier daemon whose files have not been offered yet.
    remembered: Vec<Job>,
    closing: bool,
}

#[derive(Debug)]
struct Queued {
    job: Job,
    not_before: Instant,
    needs_model: bool,
}

#[derive(Debug)]
struct Running {
    id: JobId,
    inbox: InboxId,
    generation: u64,
    stopped: bool,
    switch: Option<StopSwitch>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, events: &Receiver<SpoolEvent>) {
        loop {
            match events.recv_timeout(Duration::from_secs(1)) {
                Ok(event) => {
                    self.hear_one(event);
                    events.try_iter().for_each(|event| self.hear_one(event));
                    thread::sleep(BREATH);
                }
                Err(RecvTimeoutError::Timeout) if !self.is_closing() => {}
                Err(_) => return,
            }
        }
    }

    fn keep_pages(&self, changes: &Receiver<Change>) {
        let Services { store, index, .. } = &self.services;
        pages_due::serve(store.as_ref(), index, changes, &|| self.is_closing());
    }

    fn hear_one(&self, event: SpoolEvent) {
        match event {
            SpoolEvent::Ready(dropped) => {
                if let Err(err) = self.accept(&dropped) {
                    log::error!("a recording could not be queued: {err}");
                    (self.services.alarm)();
                }
            }
            SpoolEvent::Withdrawn { id, generation } => self.stop(id, generation),
            SpoolEvent::CancelRequested { id } => self.stop(id, u64::MAX),
            SpoolEvent::Stage { .. } | SpoolEvent::Name { .. } => {}
        }
    }

    /// Queues a complete recording, under the number it had before a restart if it had one.
    fn accept(&self, dropped: &Dropped) -> Result<(), IndexError> {
        let remembered = {
            let mut state = self.state();
            if state.queue.iter().any(|queued| is_for(&queued.job, dropped))
                || state
                    .running
                    .iter()
                    .any(|it| (it.inbox, it.generation) == (dropped.id, dropped.generation))
            {
                return Ok(());
            }
            let same = state.remembered.iter().position(|job| is_same_file(job, dropped));
            same.map(|at| state.remembered.swap_remove(at))
        };
        let job = match remembered {
            Some(job) => Job {
                inbox: dropped.id,
                generation: dropped.generation,
                state: JobState::Queued,
                ..job
            },
            None => self.new_job(dropped)?,
        };
        self.services.index.save_job(job.clone())?;
        self.services.spool.mark(
            job.inbox,
            job.generation,
            Work { state: JobState::Queued, done: 0.0 },
        );
        self.push(job, Duration::ZERO, false);
        Ok(())
    }

    fn new_job(&self, dropped: &Dropped) -> Result<Job, IndexError> {
        let now = Timestamp::now();
        let conversation = match dropped.path.as_slice() {
            [folder, _, ..] => ConversationId::cleaned(folder.as_bytes()),
            _ => ConversationId::from_random(low_bits(Ulid::generate().random())),
        };
        Ok(Job {
            id: self.services.index.next_job_id()?,
            inbox: dropped.id,
            generation: dropped.generation,
            path: dropped.path.clone(),
            bytes: dropped.bytes,
            modified_ns: dropped.modified_ns,
            conversation,
            state: JobState::Queued,
            attempts: 0,
            recipe: None,
            created_at: now,
            updated_at: now,
            failure: None,
            remark: None,
            recording: None,
        })
    }

    fn push(&self, job: Job, rest: Duration, needs_model: bool) {
        let mut state = self.state();
        let not_before = Instant::now() + rest;
        let behind = state.queue.iter().position(|queued| queued.job.id > job.id);
        let at = behind.unwrap_or(state.queue.len());
        state.queue.insert(at, Queued { job, not_before, needs_model });
        drop(state);
        self.bell.notify_one();
    }

    /// A job whose attempt failed and may be repeated.
    pub(crate) fn again(&self, job: Job) {
        let rest = REST * job.attempts;
        self.push(job, rest, false);
    }

    pub(crate) fn wait_for_model(&self, job: Job) {
        self.push(job, LOOK_FOR_MODEL, true);
    }

    /// Waits for the oldest job that may begin. With a warm worker it waits no longer than the idle time.
    pub(crate) fn next(&self, has_worker: bool) -> Next {
        let idle_at = Instant::now() + self.setup.idle;
        let mut state = self.state();
        loop {
            if state.closing {
                return Next::Closed;
            }
            let now = Instant::now();
            if let Some(at) = state.queue.iter().position(|queued| queued.not_before <= now) {
                let queued = state.queue.remove(at).expect("the place was found a moment ago");
                if queued.needs_model && run::Models::installed(&self.setup).is_none() {
                    let later = Queued { not_before: now + LOOK_FOR_MODEL, ..queued };
                    state.queue.insert(at, later);
                    continue;
                }
                let Job { id, inbox, generation, .. } = queued.job;
                state.running.push(Running { id, inbox, generation, stopped: false, switch: None });
                return Next::Job(Box::new(queued.job));
            }
            if has_worker && idle_at <= now {
                return Next::Idle;
            }
            let soonest = state.queue.iter().map(|queued| queued.not_before).min();
            let until = soonest.into_iter().chain(has_worker.then_some(idle_at)).min();
            state = match until {
                Some(until) => {
                    let wait = until.saturating_duration_since(now);
                    let woken = self.bell.wait_timeout(state, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// The lane has begun: from now on the job can be stopped in the middle of its work.
    pub(crate) fn may_be_stopped_by(&self, id: JobId, switch: StopSwitch) {
        let mut state = self.state();
        let closing = state.closing;
        if let Some(running) = state.running.iter_mut().find(|running| running.id == id) {
            if running.stopped || closing {
                switch.stop();
            }
            running.switch = Some(switch);
        }
    }

    pub(crate) fn forget(&self, id: JobId) {
        self.state().running.retain(|running| running.id != id);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Takes back every job on that file up to that generation.
    fn stop(&self, inbox: InboxId, generation: u64) {
        let mut state = self.state();
        for running in &mut state.running {
            if running.inbox == inbox && running.generation <= generation {
                running.stopped = true;
                if let Some(switch) = &running.switch {
                    switch.stop();
                }
            }
        }
        let is_meant = |job: &Job| job.inbox == inbox && job.generation <= generation;
        let (taken_back, kept): (VecDeque<_>, VecDeque<_>) =
            state.queue.drain(..).partition(|queued| is_meant(&queued.job));
        state.queue = kept;
        drop(state);
        for queued in taken_back {
            self.cancel(queued.job);
        }
    }

    fn cancel(&self, job: Job) {
        let id = job.id;
        let cancelled = Job { state: JobState::Cancelled, updated_at: Timestamp::now(), ..job };
        match self.services.index.save_job(cancelled) {
            Ok(()) => log::info!("job {id}: cancelled"),
            Err(err) => log::error!("job {id}: could not be cancelled: {err}"),
        }
    }

    /// Unfinished jobs whose file is gone came to an end while nobody looked.
    fn close_jobs_without_file(&self) {
        let jobs = std::mem::take(&mut self.state().remembered);
        let (kept, gone): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| {
            let path: PathBuf = job.path.iter().map(|name| name.as_os_str()).collect();
            self.services.spool.find(&path).is_ok()
        });
        self.state().remembered = kept;
        for job in gone {
            self.cancel(job);
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        for running in &state.running {
            if let Some(switch) = &running.switch {
                switch.stop();
            }
        }
        drop(state);
        self.bell.notify_all();
    }
}

fn is_for(job: &Job, dropped: &Dropped) -> bool {
    (job.inbox, job.generation) == (dropped.id, dropped.generation)
}

fn is_same_file(job: &Job, dropped: &Dropped) -> bool {
    (&job.path, job.bytes, job.modified_ns) == (&dropped.path, dropped.bytes, dropped.modified_ns)
}

/// 60 of the 80 random bits of a ULID name a conversation.
fn low_bits(random: u128) -> u64 {
    u64::try_from(random & u128::from(u64::MAX)).unwrap_or_default()
}
