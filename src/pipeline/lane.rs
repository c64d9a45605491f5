//! A lane takes jobs from the desk, one after the other, with a worker process of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::model::{Failure, Job, JobState};
use crate::pipeline::MOST_ATTEMPTS;
use crate::pipeline::child::Child;
use crate::pipeline::desk::{Desk, Next};
use crate::pipeline::run::{self, Outcome, Road};
use crate::spool::{SpoolError, Work};

/// Works until the desk closes.
pub(crate) fn work(desk: &Arc<Desk>) {
    let mut child: Option<Child> = None;
    loop {
        match desk.next(child.is_some()) {
            Next::Job(job) => work_on(desk, &mut child, *job),
            Next::Idle => child = None,
            Next::Closed => return,
        }
    }
}

fn work_on(desk: &Arc<Desk>, child: &mut Option<Child>, mut job: Job) {
    let id = job.id;
    let begun = Instant::now();
    log::info!("job {id}: started, attempt {}", job.attempts + 1);
    let mut road = Road {
        setup: &desk.setup,
        services: &desk.services,
        child,
        hand_out: &|switch| desk.may_be_stopped_by(id, switch),
    };
    let outcome = run::run(&mut road, &mut job);
    conclude(desk, job, outcome, begun.elapsed());
    desk.forget(id);
}

fn conclude(desk: &Arc<Desk>, mut job: Job, outcome: Outcome, took: Duration) {
    let id = job.id;
    job.updated_at = Timestamp::now();
    match outcome {
        Outcome::Published(recording) => {
            log::info!("job {id}: published as {} in {:.1} s", recording.id, took.as_secs_f64());
            log::debug!("job {id}: published as {}", recording.audio.key);
        }
        Outcome::Duplicate(recording) => {
            log::info!("job {id}: the same bytes as {}", recording.id);
            job.recording = Some(recording.id);
            end(desk, job, JobState::Duplicate);
        }
        Outcome::Withdrawn if desk.is_closing() => {
            // The daemon ends: the job is taken up again by the next one.
            log::debug!("job {id}: interrupted by the end of the daemon");
        }
        Outcome::Withdrawn => {
            log::info!("job {id}: withdrawn: its file was changed, moved, removed or cancelled");
            end(desk, job, JobState::Cancelled);
        }
        Outcome::NoModel => {
            log::info!("job {id}: waits for the model `{}`", desk.setup.recognizer);
            desk.wait_for_model(job);
        }
        Outcome::Failed(failure) => failed(desk, job, failure),
        Outcome::Broken(err) => {
            log::error!("job {id}: the index can no longer be written: {err}");
            (desk.services.alarm)();
        }
    }
}

fn failed(desk: &Arc<Desk>, mut job: Job, failure: Failure) {
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
        desk.services.spool.mark(job.inbox, job.generation, Work { state: job.state, done: 0.0 });
        save(desk, job.clone());
        desk.again(job);
        return;
    }
    let stage = job.state.as_str();
    log::warn!(
        "job {id}: failed while {stage}: {}; `.scribefs/errors` names its file",
        failure.message
    );
    match desk.services.spool.fail(job.inbox, job.generation, &failure) {
        Ok(()) | Err(SpoolError::Changed | SpoolError::Missing) => {}
        Err(err) => log::error!("job {id}: its error note could not be written: {err}"),
    }
    job.failure = Some(failure);
    end(desk, job, JobState::Failed);
}

fn end(desk: &Arc<Desk>, mut job: Job, state: JobState) {
    job.state = state;
    save(desk, job);
}

fn save(desk: &Arc<Desk>, job: Job) {
    let id = job.id;
    if let Err(err) = desk.services.index.save_job(job) {
        log::error!("job {id}: its state could not be saved: {err}");
        (desk.services.alarm)();
    }
}
