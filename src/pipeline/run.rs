//! The road of one recording through all rooms, from top to bottom.
//!
//! spool -> (known already?) -> recipe -> worker -> pages -> store -> index -> spool lets go.

use std::fs::File;
use std::io;

use jiff::Timestamp;

use crate::index::{Index, IndexError};
use crate::model::{
    Failure, FailureCause, Job, JobState, Recipe, Recording, SoundFacts, Talk, WorkEvent, WorkOrder,
};
use crate::models::Installed;
use crate::pipeline::child::{Child, ChildError, StopSwitch};
use crate::pipeline::convert;
use crate::pipeline::publish::{self, Finished, PublishError};
use crate::pipeline::{Services, Setup, causes};
use crate::spool::{SpoolError, Work};

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Outcome {
    Published(Box<Recording>),
    /// Its bytes are those of this recording.
    Duplicate(Box<Recording>),
    /// The file was changed or removed, or somebody said stop.
    Withdrawn,
    /// No recognizer is installed: the job waits for one.
    NoModel,
    Failed(Failure),
    /// The index can no longer be written: the daemon must end.
    Broken(IndexError),
}

/// One lane's way of working: its worker, kept warm, and who may stop it.
pub(crate) struct Road<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) services: &'a Services,
    pub(crate) child: &'a mut Option<Child>,
    /// Is given the switch that stops this job.
    pub(crate) hand_out: &'a dyn Fn(StopSwitch),
}

/// Takes the job's recording all the way.
pub(crate) fn run(road: &mut Road<'_>, job: &mut Job) -> Outcome {
    match travel(road, job) {
        Ok(outcome) => outcome,
        Err(Stop::Withdrawn) => Outcome::Withdrawn,
        Err(Stop::Failed(failure)) => Outcome::Failed(failure),
        Err(Stop::Index(err)) => match err {
            IndexError::Disk(_) | IndexError::Damaged(_) => Outcome::Broken(err),
            err => Outcome::Failed(storage(&err)),
        },
    }
}

/// Why the road ended early.
enum Stop {
    Withdrawn,
    Failed(Failure),
    Index(IndexError),
}

fn travel(road: &mut Road<'_>, job: &mut Job) -> Result<Outcome, Stop> {
    let services = road.services.clone();
    let recording = services.spool.take(job.inbox, job.generation).map_err(from_spool)?;
    fail_point!("job-taken");
    let blake3 = hash(&recording).map_err(|err| Stop::Failed(storage(&err)))?;
    if let Some(known) = known(&services.index, &blake3).map_err(Stop::Index)? {
        finish(&services, job)?;
        return Ok(Outcome::Duplicate(Box::new(known)));
    }
    let Some(models) = Models::installed(road.setup) else { return Ok(Outcome::NoModel) };
    let recipe = job.recipe.get_or_insert_with(|| models.recipe(road.setup)).clone();
    let (facts, talk) = listen(road, job, &models, &recipe, &recording)?;

    enter(&services, job, JobState::Publishing, 0.98)?;
    fail_point!("job-heard");
    let finished = Finished {
        job,
        blake3: &blake3,
        facts,
        talk: &talk,
        recipe: &recipe,
        recording: &recording,
        zone: &road.setup.zone,
        now: Timestamp::now(),
    };
    let published = publish::publish(&services, finished).map_err(|err| match err {
        PublishError::Withdrawn => Stop::Withdrawn,
        PublishError::Index(err) => Stop::Index(err),
        PublishError::Store(err) => Stop::Failed(storage(&err)),
    })?;
    fail_point!("job-published");
    finish(&services, job)?;
    Ok(Outcome::Published(Box::new(published)))
}

/// The recording that has these bytes, unless it lies in the trash: then this one is new work.
fn known(index: &Index, blake3: &str) -> Result<Option<Recording>, IndexError> {
    let Some(recording) = index.recording_with_audio(blake3)? else { return Ok(None) };
    let conversation = index.conversation(recording.id.conversation)?;
    Ok(conversation.is_some_and(|it| it.trashed_at.is_none()).then_some(recording))
}

/// From sound to talk, by the worker, with a converter's help where it takes one.
fn listen(
    road: &mut Road<'_>,
    job: &mut Job,
    models: &Models,
    recipe: &Recipe,
    recording: &File,
) -> Result<(SoundFacts, Talk), Stop> {
    let mut order = WorkOrder {
        recipe: recipe.clone(),
        recognizer: models.recognizer.folder.clone(),
        diarizer: models.diarizer.as_ref().map(|model| model.folder.clone()),
        extension: job.path.last().map(crate::model::FileName::extension).unwrap_or_default(),
        converted_from: None,
    };
    match ask(road, job, &order, recording) {
        Err(ChildError::NeedsConverter { what, facts }) => {
            let scratch = road.child.as_ref().map_or(road.setup.scratch.as_path(), Child::scratch);
            let converted =
                convert::to_wav(road.setup, recording, scratch, &what).map_err(Stop::Failed)?;
            "wav".clone_into(&mut order.extension);
            order.converted_from =
                Some(facts.map_or_else(|| convert::unknown_facts(&what), |facts| *facts));
            ask(road, job, &order, &converted)
        }
        answer => answer,
    }
    .map_err(|err| match err {
        ChildError::Stopped => Stop::Withdrawn,
        ChildError::Failed(failure) => Stop::Failed(failure),
        ChildError::NeedsConverter { what, .. } => Stop::Failed(convert::useless(&what)),
    })
}

fn ask(
    road: &mut Road<'_>,
    job: &mut Job,
    order: &WorkOrder,
    recording: &File,
) -> Result<(SoundFacts, Talk), ChildError> {
    let mut child = match road.child.take() {
        Some(child) => child,
        None => Child::start(road.setup)?,
    };
    (road.hand_out)(child.switch_for_next());
    let services = road.services;
    let answer = child.work(order, recording, road.setup.stall, &mut |event| {
        if let WorkEvent::Progress { stage, done } = event {
            let (state, done) = (JobState::from(*stage), overall(JobState::from(*stage), *done));
            if job.state == state {
                services.spool.mark(job.inbox, job.generation, Work { state, done });
            } else if enter(services, job, state, done).is_err() {
                // The index will say so again when the result is to be committed.
                log::debug!("job {}: its state could not be saved", job.id);
            }
        }
    });
    if child.is_fit() {
        *road.child = Some(child);
    }
    answer
}

/// The job's state in the index and in the inbox file's attributes.
fn enter(services: &Services, job: &mut Job, state: JobState, done: f32) -> Result<(), Stop> {
    job.state = state;
    job.updated_at = Timestamp::now();
    services.spool.mark(job.inbox, job.generation, Work { state, done });
    services.index.save_job(job.clone()).map_err(Stop::Index)
}

/// The spool lets go of the file. If it has changed meanwhile it stays, and will be offered again.
fn finish(services: &Services, job: &Job) -> Result<(), Stop> {
    match services.spool.finish(job.inbox, job.generation) {
        Ok(()) | Err(SpoolError::Changed | SpoolError::Missing) => Ok(()),
        Err(err) => Err(from_spool(err)),
    }
}

/// Share of the whole road that is behind at `done` of this state: decoding is short, hearing is long.
fn overall(state: JobState, done: f32) -> f32 {
    let (from, to) = match state {
        JobState::Decoding => (0.0, 0.05),
        JobState::Diarizing => (0.05, 0.45),
        JobState::Transcribing => (0.45, 0.98),
        _ => (0.0, 0.0),
    };
    from + (to - from) * done.clamp(0.0, 1.0)
}

/// The weights that a job is done with.
pub(crate) struct Models {
    pub(crate) recognizer: Installed,
    pub(crate) diarizer: Option<Installed>,
}

impl Models {
    /// `None` as long as the recognizer is not installed.
    pub(crate) fn installed(setup: &Setup) -> Option<Self> {
        Some(Self {
            recognizer: setup.library.find(&setup.recognizer)?,
            diarizer: setup.diarizer.as_ref().and_then(|name| setup.library.find(name)),
        })
    }

    pub(crate) fn recipe(&self, setup: &Setup) -> Recipe {
        Recipe {
            recognizer: self.recognizer.reference.clone(),
            diarizer: self.diarizer.as_ref().map(|model| model.reference.clone()),
            language: setup.language.clone(),
            speakers: setup.speakers,
            threads: setup.threads,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            options: std::collections::BTreeMap::new(),
        }
    }
}

fn hash(recording: &File) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    // A file of its own, so that nobody's position is moved.
    hasher.update_reader(publish::FromStart::new(recording))?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn from_spool(err: SpoolError) -> Stop {
    match err {
        SpoolError::Changed | SpoolError::Missing => Stop::Withdrawn,
        SpoolError::Full { .. } | SpoolError::Overlap { .. } | SpoolError::Disk(_) => {
            Stop::Failed(storage(&err))
        }
    }
}

/// A disk or a store that refused, with all its causes.
pub(crate) fn storage(err: &(dyn std::error::Error + 'static)) -> Failure {
    Failure {
        cause: FailureCause::Storage,
        message: format!("The result could not be kept: {}.", causes(err)),
        remedy: "Free some space or mend what refuses (`scribefs doctor` tells), then `touch` the \
                 recording to try again."
            .to_owned(),
    }
}
