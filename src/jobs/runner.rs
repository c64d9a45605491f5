//! The threads that take jobs from the queue, one after the other: some decode, some have engines.

use std::time::Instant;

use jiff::Timestamp;

use crate::index::IndexError;
use crate::jobs::MOST_ATTEMPTS;
use crate::jobs::backlog::Rest;
use crate::jobs::job_run::{self, Context, Prepared};
use crate::jobs::outcome::Outcome;
use crate::jobs::queue::{JobQueue, Next, Runner};
use crate::jobs::worker_process::WorkerProcess;
use crate::model::{Failure, Job, JobState, Waiting};
use crate::spool::{SpoolError, Work};

/// Decodes until the queue closes.
pub(crate) fn decode_all(queue: &JobQueue, only_short: bool) {
    while let Some(mut job) = queue.next_to_decode(only_short) {
        let id = job.id;
        log::info!("job {id}: started, attempt {}", job.attempts + 1);
        let context = context(queue, &job);
        match job_run::prepare(&context, &mut job, &|blake3| queue.twin(id, blake3)) {
            Ok(material) => {
                if let Some(job) = queue.put_decoded(Prepared { job, material }) {
                    queue.forget(id);
                    conclude(queue, job, Outcome::Withdrawn);
                }
            }
            Err(outcome) => {
                queue.forget(id);
                conclude(queue, job, outcome);
            }
        }
    }
}

/// Transcribes and publishes until the queue closes.
pub(crate) fn transcribe_all(queue: &JobQueue, runner: Runner) {
    let mut engines: Option<WorkerProcess> = None;
    loop {
        match queue.next_to_transcribe(runner, engines.is_some()) {
            Next::Job(prepared) => {
                let begun = Instant::now();
                let context = context(queue, &prepared.job);
                let (job, outcome) = job_run::finish(&context, *prepared, &mut engines);
                let took = begun.elapsed().as_secs_f64();
                log::info!("job {}: engines and pages took {took:.1} s", job.id);
                queue.forget(job.id);
                conclude(queue, job, outcome);
            }
            Next::Idle => engines = None,
            Next::Closed => return,
        }
    }
}

fn context<'a>(queue: &'a JobQueue, job: &Job) -> Context<'a> {
    let id = job.id;
    Context {
        setup: &queue.setup,
        services: &queue.services,
        hand_out: Box::new(move |switch| queue.may_be_stopped_by(id, switch)),
        is_stopped: Box::new(move || queue.is_stopped(id)),
    }
}

fn conclude(queue: &JobQueue, mut job: Job, outcome: Outcome) {
    let id = job.id;
    job.updated_at = Timestamp::now();
    match outcome {
        Outcome::Published(recording) => {
            queue.unsaved.forget(id);
            log::info!("job {id}: published as {}", recording.id);
            log::debug!("job {id}: published as {}", recording.audio.key);
        }
        Outcome::Duplicate(recording) => {
            log::info!("job {id}: the same bytes as {}", recording.id);
            job.recording = Some(recording.id);
            end(queue, job, JobState::Duplicate);
        }
        Outcome::Withdrawn if queue.is_closing() => {
            // The daemon ends: the job is taken up again by the next one.
            log::debug!("job {id}: interrupted by the end of the daemon");
        }
        Outcome::Withdrawn => {
            log::info!("job {id}: withdrawn: its file was changed, moved, removed or cancelled");
            end(queue, job, JobState::Cancelled);
        }
        Outcome::NoModel => {
            log::info!("job {id}: waits for the model `{}`", queue.setup.recognizer);
            wait(queue, job, Rest::Model, Some(Waiting::Model));
        }
        Outcome::NoRoom { bytes } => {
            log::warn!("job {id}: waits for disk space: its sound takes more than {bytes} bytes");
            wait(queue, job, Rest::Room { bytes }, Some(Waiting::Room));
        }
        Outcome::Twin { of } => {
            log::debug!("job {id}: waits for job {of}, which has the same bytes");
            wait(queue, job, Rest::Twin { of }, None);
        }
        Outcome::Short(what) => {
            log::debug!("job {id}: waits for {}", what.as_str());
            wait(queue, job, Rest::Shortage, Some(what));
        }
        Outcome::Failed(failure) => failed(queue, job, failure),
        Outcome::Broken(err) => {
            log::error!("job {id}: the index can no longer be written: {err}");
            (queue.services.alarm)();
        }
    }
}

/// `shown`: what its file says that it waits for.
fn wait(queue: &JobQueue, mut job: Job, what: Rest, shown: Option<Waiting>) {
    job.state = JobState::Queued;
    let spool = &queue.services.spool;
    if shown.is_none() || spool.waits_for(job.inbox) != shown {
        spool.mark(job.inbox, job.generation, Work { state: job.state, done: 0.0 });
    }
    if let Some(shown) = shown {
        spool.wait_for(job.inbox, job.generation, shown);
    }
    queue.wait_for(job, what);
}

fn failed(queue: &JobQueue, mut job: Job, failure: Failure) {
    let id = job.id;
    job.attempts += 1;
    if failure.cause.is_worth_retrying() && job.attempts < MOST_ATTEMPTS {
        log::warn!(
            "job {id}: attempt {} failed while {}, will be tried again: {}",
            job.attempts,
            job.state.as_str(),
            failure.message
        );
        job.state = JobState::Queued;
        let queued = Work { state: job.state, done: 0.0 };
        queue.services.spool.mark(job.inbox, job.generation, queued);
        save(queue, job.clone());
        queue.again(job);
        return;
    }
    let stage = job.state.as_str();
    log::warn!(
        "job {id}: failed while {stage}: {}; `.scribefs/errors` names its file",
        failure.message
    );
    match queue.services.spool.fail(job.inbox, job.generation, &failure) {
        Ok(()) | Err(SpoolError::Changed | SpoolError::Missing) => {}
        Err(err) => log::error!("job {id}: its error note could not be written: {err}"),
    }
    job.failure = Some(failure);
    end(queue, job, JobState::Failed);
}

fn end(queue: &JobQueue, mut job: Job, state: JobState) {
    job.state = state;
    save(queue, job);
}

fn save(queue: &JobQueue, job: Job) {
    let id = job.id;
    match queue.services.index.save_jobs(vec![job.clone()]) {
        Ok(()) => queue.unsaved.forget(id),
        // Nothing is broken: there will be room again.
        Err(IndexError::Full(_)) => queue.unsaved.keep(job),
        Err(err) => {
            log::error!("job {id}: its state could not be saved: {err}");
            (queue.services.alarm)();
        }
    }
}
