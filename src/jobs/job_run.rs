//! The road of one recording through all rooms, from top to bottom.
//!
//! spool -> (known already?) -> recipe -> decoder -> engines -> pages -> store -> index -> spool lets go.
//! The first half is [`prepare`], the second [`finish`]; between them a recording waits for engines.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use jiff::Timestamp;

use crate::jobs::decode::{self, DecodeJob, DecodedRecording};
use crate::jobs::duplicates::{self, Checked, DroppedFile, Told};
use crate::jobs::job_models::Models;
use crate::jobs::outcome::{Outcome, Stop, from_publish, from_spool, from_worker, refused};
use crate::jobs::publish::{self, Finished};
use crate::jobs::shortage::has_room;
use crate::jobs::worker_process::{StopSwitch, WorkerError, WorkerProcess};
use crate::jobs::{JobConfig, JobContext, remarks, speakers};
use crate::model::{
    FileName, Job, JobId, JobState, Recipe, Recording, Talk, Waiting, WorkEvent, WorkOrder,
};
use crate::publishing::claim;
use crate::publishing::content_hash::content_hash;
use crate::publishing::page_store::PageStore;
use crate::publishing::rewrite::{self, RewriteError};
use crate::spool::{SpoolError, Work};

/// What a job is done with.
pub(crate) struct Context<'a> {
    pub(crate) setup: &'a JobConfig,
    pub(crate) services: &'a JobContext,
    /// Is given the switch that stops this job.
    pub(crate) hand_out: Box<dyn Fn(StopSwitch) + 'a>,
    /// Whether somebody said stop: asked by whatever takes long and has no worker to be stopped.
    pub(crate) is_stopped: Box<dyn Fn() -> bool + 'a>,
}

/// A recording that is ready for the engines, with its job.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) job: Job,
    pub(crate) material: Material,
}

#[derive(Debug)]
pub(crate) struct Material {
    recording: File,
    blake3: String,
    recipe: Recipe,
    models: Models,
    decoded: DecodedRecording,
}

impl Prepared {
    pub(crate) fn length(&self) -> Duration {
        Duration::try_from_secs_f64(self.material.decoded.facts.duration).unwrap_or(Duration::MAX)
    }

    /// Of the models that it is heard with.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let models = &self.material.models;
        models.recognizer.bytes + models.diarizer.as_ref().map_or(0, |model| model.bytes)
    }
}

/// From the file in the inbox to sound. `twin` names another job that works on the same bytes already.
pub(crate) fn prepare(
    context: &Context<'_>,
    job: &mut Job,
    twin: &dyn Fn(&str) -> Option<JobId>,
) -> Result<Material, Outcome> {
    Ok(decode(context, job, twin)?)
}

fn decode(
    context: &Context<'_>,
    job: &mut Job,
    twin: &dyn Fn(&str) -> Option<JobId>,
) -> Result<Material, Stop> {
    let services = context.services;
    if !has_room(context.setup, job) {
        return Err(Outcome::Short(Waiting::Room).into());
    }
    let recording = services.spool.take(job.inbox, job.generation).map_err(from_spool)?;
    fail_point!("job-taken");
    let may_go_on = || !(context.is_stopped)();
    let blake3 = content_hash(&recording, &may_go_on).map_err(|err| refused(&err))?;
    let blake3 = blake3.ok_or(Outcome::Withdrawn)?;
    let dropped = DroppedFile { job, file: &recording, blake3: &blake3, may_go_on: &may_go_on };
    let known = match duplicates::check(services, dropped).map_err(from_publish)? {
        Checked::Duplicate(known, kept) => {
            job.remark = Some(remarks::remark(&services.index, &known, kept)?);
            let_go(services, job)?;
            return Err(Outcome::Duplicate(known).into());
        }
        Checked::Elsewhere(told) => {
            return Err(publish_again(context, job, *told, &recording, &blake3)?.into());
        }
        Checked::InTrash(told) => Some(told),
        Checked::Unknown => None,
    };
    if let Some(of) = twin(&blake3) {
        return Err(Outcome::Twin { of }.into());
    }
    let (models, recipe) = recipe(context, job)?;
    // Whoever throws a transcript away to have a better one made has changed the settings first.
    if let Some(told) = known.filter(|told| duplicates::is_same_work(&told.recipe, &recipe)) {
        return Err(publish_again(context, job, *told, &recording, &blake3)?.into());
    }
    // The day is known when it is decoded; that numbers have run out is known now.
    services.index.filing_id(&job.conversation, Timestamp::now(), &[])?;
    job.recipe = Some(recipe.clone());
    let decoding = DecodeJob {
        setup: context.setup,
        recording: &recording,
        extension: job.path.last().map(FileName::extension).unwrap_or_default(),
        hand_out: &*context.hand_out,
        may_go_on: &may_go_on,
    };
    enter(services, job, JobState::Decoding, 0.0);
    let (inbox, generation) = (job.inbox, job.generation);
    let decoded = decode::decode(&decoding, &mut |event| {
        if let WorkEvent::Progress { done, .. } = event {
            let done = overall(JobState::Decoding, *done);
            services.spool.mark(inbox, generation, Work { state: JobState::Decoding, done });
        }
    });
    let decoded = decoded.map_err(from_worker)?;
    // Found now, and not after the engines.
    let day = publish::day_of(job, &decoded.facts, &context.setup.zone, Timestamp::now());
    claim::find_room(&services.index, &job.conversation, day, Timestamp::now())?;
    // It may wait for engines for long.
    enter(services, job, JobState::Queued, overall(JobState::Decoding, 1.0));
    Ok(Material { recording, blake3, recipe, models, decoded })
}

/// The models of an earlier attempt with its recipe, as far as they are still what they were; else a new recipe,
/// of what is configured now.
fn recipe(context: &Context<'_>, job: &Job) -> Result<(Models, Recipe), Outcome> {
    let setup = context.setup;
    if let Some(recipe) = &job.recipe {
        if let Some(models) = Models::of(recipe, &setup.library) {
            return Ok((models, recipe.clone()));
        }
        log::info!("job {}: the models of its last attempt are no longer there", job.id);
    }
    let models = Models::installed(setup).ok_or(Outcome::NoModel)?;
    let attribute = context.services.spool.attribute(job.inbox, speakers::ATTRIBUTE.as_ref());
    let attribute = attribute.ok().flatten();
    let speakers = speakers::hint(&job.path, attribute.as_deref()).unwrap_or(setup.speakers);
    let recipe = models.recipe(setup, speakers);
    Ok((models, recipe))
}

/// From sound to a published conversation.
pub(crate) fn finish(
    context: &Context<'_>,
    prepared: Prepared,
    engines: &mut Option<WorkerProcess>,
) -> (Job, Outcome) {
    let Prepared { mut job, material } = prepared;
    let outcome = transcribe_and_publish(context, &mut job, material, engines);
    (job, outcome.map_or_else(Outcome::from, |recording| Outcome::Published(Box::new(recording))))
}

fn transcribe_and_publish(
    context: &Context<'_>,
    job: &mut Job,
    material: Material,
    engines: &mut Option<WorkerProcess>,
) -> Result<Recording, Stop> {
    let services = context.services;
    let talk = transcribe(context, job, &material, engines)?;
    enter(services, job, JobState::Publishing, 0.98);
    fail_point!("job-heard");
    let Material { recording, blake3, recipe, decoded, .. } = material;
    let wordless = duplicates::wordless(services, job, &recording, &blake3);
    if let Some(known) = wordless.map_err(from_publish)?
        && let Some(mended) = give_words(services, job, &known, (&recipe, &talk))?
    {
        let_go(services, job)?;
        return Ok(mended);
    }
    let finished = Finished {
        job,
        blake3: &blake3,
        facts: decoded.facts,
        talk: &talk,
        recipe: &recipe,
        names: BTreeMap::new(),
        recording: &recording,
        zone: &context.setup.zone,
        now: Timestamp::now(),
        may_go_on: &|| !(context.is_stopped)(),
    };
    let published = publish::publish(services, finished).map_err(from_publish)?;
    fail_point!("job-published");
    let_go(services, job)?;
    Ok(published)
}

fn transcribe(
    context: &Context<'_>,
    job: &mut Job,
    material: &Material,
    engines: &mut Option<WorkerProcess>,
) -> Result<Talk, Outcome> {
    let mut worker = match engines.take() {
        Some(worker) if worker.is_fit() => worker,
        _ => WorkerProcess::engines(context.setup).map_err(from_worker)?,
    };
    (context.hand_out)(worker.switch_for_next());
    let services = context.services;
    let mut hear = |event: &WorkEvent| {
        if let WorkEvent::Progress { stage, done } = event {
            let state = JobState::from(*stage);
            enter(services, job, state, overall(state, *done));
        }
    };
    let Material { recipe, models, decoded, .. } = material;
    let talk = listen(&mut worker, context.setup, (recipe, models), decoded, &mut hear);
    if worker.is_fit() {
        *engines = Some(worker);
    }
    talk.map_err(from_worker)
}

/// From sound to talk, with what decoding had to say.
pub(crate) fn listen(
    worker: &mut WorkerProcess,
    setup: &JobConfig,
    (recipe, models): (&Recipe, &Models),
    decoded: &DecodedRecording,
    hear: &mut dyn FnMut(&WorkEvent),
) -> Result<Talk, WorkerError> {
    let order = WorkOrder {
        recipe: recipe.clone(),
        recognizer: models.recognizer.folder.clone(),
        diarizer: models.diarizer.as_ref().map(|model| model.folder.clone()),
    };
    let sounds: Vec<&File> = decoded.sounds.iter().collect();
    match worker.work(&order, &sounds, setup.stall, &mut || true, hear)? {
        WorkEvent::Done { mut talk } => {
            talk.warnings.splice(0..0, decoded.warnings.iter().cloned());
            Ok(talk)
        }
        _ => Err(worker.misbehaved("answered a different request")),
    }
}

/// Writes the pages of a recording whose words were lost. `None`: it is gone meanwhile.
fn give_words(
    services: &JobContext,
    job: &mut Job,
    known: &Recording,
    (recipe, talk): (&Recipe, &Talk),
) -> Result<Option<Recording>, Stop> {
    let (store, index) = (services.store.as_ref(), &services.index);
    if !services.spool.is_current(job.inbox, job.generation) {
        return Err(Outcome::Withdrawn.into());
    }
    let said = (recipe.clone(), talk.clone());
    match rewrite::write_words(PageStore { store, index }, known.id, said) {
        Ok(()) => {}
        Err(RewriteError::Store(err)) => return Err(refused(&err).into()),
        Err(RewriteError::Index(err)) => return Err(err.into()),
        Err(RewriteError::Missing | RewriteError::NoTalk(_) | RewriteError::NoSpeaker(_)) => {
            return Ok(None);
        }
    }
    log::warn!("job {}: the words of {} were lost, and are written again", job.id, known.id);
    job.remark = Some(remarks::remark_of_words(index, known)?);
    let Some(mended) = index.filed_recording(known.id)? else { return Ok(None) };
    (job.state, job.recording) = (JobState::Done, Some(known.id));
    index.save_job(job.clone())?;
    Ok(Some(mended))
}

/// Files a recording of bytes that are known elsewhere, with the words that are known.
fn publish_again(
    context: &Context<'_>,
    job: &mut Job,
    told: Told,
    recording: &File,
    blake3: &str,
) -> Result<Outcome, Stop> {
    let Told { recording: known, talk, recipe } = told;
    log::info!("job {}: its bytes are known, filed with their transcript", job.id);
    job.remark = Some(remarks::remark_of_filing(&context.services.index, &known)?);
    let finished = Finished {
        job,
        blake3,
        facts: known.facts,
        talk: &talk,
        recipe: &recipe,
        names: known.overlay.names,
        recording,
        zone: &context.setup.zone,
        now: Timestamp::now(),
        may_go_on: &|| !(context.is_stopped)(),
    };
    let published = publish::publish(context.services, finished).map_err(from_publish)?;
    let_go(context.services, job)?;
    Ok(Outcome::Published(Box::new(published)))
}

/// The job's state in the inbox file's attributes. The index has it only where a restart must know.
fn enter(services: &JobContext, job: &mut Job, state: JobState, done: f32) {
    job.state = state;
    job.updated_at = Timestamp::now();
    services.spool.mark(job.inbox, job.generation, Work { state, done });
}

/// The spool lets go of the file. If it has changed meanwhile it stays, and will be offered again.
fn let_go(services: &JobContext, job: &Job) -> Result<(), Outcome> {
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
