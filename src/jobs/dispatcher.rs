//! `Jobs`: the threads, and the dispatcher among them, which hears the spool and makes jobs of what it offers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use ulid::Ulid;

use crate::index::{ChangeQueue, IndexError};
use crate::jobs::queue::{JobQueue, Runner};
use crate::jobs::recorded_at::naming_folder;
use crate::jobs::{JobConfig, JobContext, runner};
use crate::model::{ConversationId, FileName, Job, JobState};
use crate::publishing::{self, pages_due};
use crate::spool::{Dropped, SpoolEvent, Work};

/// Rest after the spool's news: of a burst of files, such as a copied folder, one wakes the dispatcher.
const BREATH: Duration = Duration::from_millis(10);

/// Events that are dealt with at once: their jobs share a commit.
const MOST_AT_ONCE: usize = 1_000;

/// Jobs that are done and looked at by a daemon that starts: all that the index keeps.
const MOST_REMEMBERED: usize = 1_000;

/// The running pipeline.
#[derive(Debug)]
pub struct Jobs {
    queue: Arc<JobQueue>,
    threads: Vec<JoinHandle<()>>,
}

impl Jobs {
    /// Starts all threads. Jobs that a daemon left unfinished are taken up as the spool offers them again.
    pub fn start(setup: JobConfig, services: JobContext) -> Result<Self, IndexError> {
        let unfinished = services.index.unfinished_jobs()?;
        let events = services.spool.subscribe();
        let changes = services.index.subscribe();
        let queue = JobQueue::new(setup, services);
        let mut dispatcher = Dispatcher {
            queue: queue.clone(),
            remembered: HashMap::new(),
            published: HashMap::new(),
        };
        dispatcher.remember(unfinished);
        dispatcher.remember_published()?;
        let mut threads = vec![
            named("dispatcher", move || dispatcher.hear(&events)),
            named("pages", {
                let queue = queue.clone();
                move || keep_pages(&queue, &changes)
            }),
        ];
        let workers = queue.workers();
        for number in 0..=workers {
            // The last of each is for short recordings only.
            let (only_short, runner) = match number {
                number if number < workers => (false, Runner::Any(number)),
                _ => (true, Runner::OnlyShort),
            };
            let ours = queue.clone();
            threads.push(named(&format!("decode-{number}"), move || {
                runner::decode_all(&ours, only_short);
            }));
            let ours = queue.clone();
            threads.push(named(&format!("runner-{number}"), move || {
                runner::transcribe_all(&ours, runner);
            }));
        }
        Ok(Self { queue, threads })
    }

    /// Stops every worker and joins every thread. What was being worked on begins anew with the next daemon.
    pub fn stop(self) {
        self.queue.close();
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

fn keep_pages(queue: &JobQueue, changes: &ChangeQueue) {
    let JobContext { store, index, .. } = &queue.services;
    if let Err(err) = publishing::take_back_claims(store.as_ref(), index) {
        log::error!("what publications have left behind could not be looked up: {err}");
    }
    pages_due::serve(store.as_ref(), index, changes, &|| queue.is_closing());
}

/// Turns the spool's events into jobs.
struct Dispatcher {
    queue: Arc<JobQueue>,
    /// Unfinished jobs of an earlier daemon whose files have not been offered yet, by their place.
    remembered: HashMap<Vec<FileName>, Job>,
    /// Jobs of an earlier daemon that are done and whose files it did not come to remove, by their place.
    published: HashMap<Vec<FileName>, Job>,
}

impl Dispatcher {
    fn hear(mut self, events: &Receiver<SpoolEvent>) {
        loop {
            match events.recv_timeout(Duration::from_secs(1)) {
                Ok(event) => {
                    let more = events.try_iter().take(MOST_AT_ONCE);
                    let batch: Vec<SpoolEvent> = std::iter::once(event).chain(more).collect();
                    if let Err(err) = self.deal_with(batch) {
                        log::error!("recordings could not be queued: {err}");
                        (self.queue.services.alarm)();
                    }
                    thread::sleep(BREATH);
                }
                Err(RecvTimeoutError::Timeout) if !self.queue.is_closing() => {
                    self.queue.unsaved.save(&self.queue.services.index);
                }
                Err(_) => return,
            }
        }
    }

    /// In one commit, before any of the jobs begins: a later state of it must not be written over.
    fn deal_with(&mut self, batch: Vec<SpoolEvent>) -> Result<(), IndexError> {
        let (mut accepted, mut withdrawn) = (Vec::new(), Vec::new());
        for event in batch {
            let (id, generation) = match event {
                SpoolEvent::Ready(dropped) => {
                    accepted.extend(self.job(&dropped)?);
                    continue;
                }
                SpoolEvent::Withdrawn { id, generation } => (id, generation),
                SpoolEvent::CancelRequested { id } => (id, u64::MAX),
                SpoolEvent::Stage { .. } | SpoolEvent::Name { .. } | SpoolEvent::Waits { .. } => {
                    continue;
                }
            };
            let is_meant = |job: &mut Job| job.inbox == id && job.generation <= generation;
            withdrawn.extend(accepted.extract_if(.., is_meant));
            withdrawn.extend(self.queue.stop(id, generation));
        }
        let services = &self.queue.services;
        let cancelled: Vec<Job> = withdrawn.into_iter().map(cancelled).collect();
        for job in &cancelled {
            log::info!("job {}: cancelled", job.id);
        }
        let all: Vec<Job> = accepted.iter().cloned().chain(cancelled).collect();
        match services.index.save_jobs(all.clone()) {
            Err(IndexError::Full(_)) => {
                all.into_iter().for_each(|job| self.queue.unsaved.keep(job))
            }
            saved => saved?,
        }
        for job in &accepted {
            let queued = Work { state: JobState::Queued, done: 0.0 };
            services.spool.mark(job.inbox, job.generation, queued);
        }
        self.queue.push(accepted);
        Ok(())
    }

    /// The job of a complete recording, under the number it had before a restart if it had one.
    fn job(&mut self, dropped: &Dropped) -> Result<Option<Job>, IndexError> {
        if self.queue.holds(dropped.id, dropped.generation) {
            return Ok(None);
        }
        let remembered = self.remembered.remove(&dropped.path);
        let job = match remembered.filter(|job| is_same_file(job, dropped)) {
            Some(job) => Job {
                inbox: dropped.id,
                generation: dropped.generation,
                state: JobState::Queued,
                ..job
            },
            None => {
                let published = self.published.remove(&dropped.path);
                let published = published.filter(|job| is_same_file(job, dropped));
                // Wherever that recording is by now, in the trash or under another name: these bytes are filed.
                let recording = published.and_then(|job| job.recording);
                Job { recording, ..self.new_job(dropped)? }
            }
        };
        Ok(Some(job))
    }

    fn new_job(&self, dropped: &Dropped) -> Result<Job, IndexError> {
        let now = Timestamp::now();
        let conversation = match naming_folder(&dropped.path) {
            Some(folder) => ConversationId::cleaned(folder.as_bytes()),
            None => ConversationId::from_random(low_bits(Ulid::generate().random())),
        };
        Ok(Job {
            id: self.queue.services.index.next_job_id()?,
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

    fn remember_published(&mut self) -> Result<(), IndexError> {
        let services = &self.queue.services;
        let jobs = services.index.recent_jobs(MOST_REMEMBERED)?.into_iter();
        let left =
            jobs.filter(|job| job.recording.is_some() && job.state.is_final()).filter(|job| {
                let path: PathBuf = job.path.iter().map(|name| name.as_os_str()).collect();
                services.spool.find(&path).is_ok()
            });
        self.published = left.map(|job| (job.path.clone(), job)).collect();
        Ok(())
    }

    /// Unfinished jobs whose file is gone came to an end while nobody looked.
    fn remember(&mut self, unfinished: Vec<Job>) {
        let services = &self.queue.services;
        let (kept, gone): (Vec<Job>, Vec<Job>) = unfinished.into_iter().partition(|job| {
            let path: PathBuf = job.path.iter().map(|name| name.as_os_str()).collect();
            services.spool.find(&path).is_ok()
        });
        if let Err(err) = services.index.save_jobs(gone.into_iter().map(cancelled).collect()) {
            log::error!("jobs without a file could not be closed: {err}");
        }
        self.remembered = kept.into_iter().map(|job| (job.path.clone(), job)).collect();
    }
}

fn cancelled(job: Job) -> Job {
    Job { state: JobState::Cancelled, updated_at: Timestamp::now(), ..job }
}

fn is_same_file(job: &Job, dropped: &Dropped) -> bool {
    (&job.path, job.bytes, job.modified_ns) == (&dropped.path, dropped.bytes, dropped.modified_ns)
}

/// 60 of the 80 random bits of a ULID name a conversation.
fn low_bits(random: u128) -> u64 {
    u64::try_from(random & u128::from(u64::MAX)).unwrap_or_default()
}
