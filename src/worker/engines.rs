//! `LoadedEngines`: one order for the engines: diarize, transcribe, and report how it goes.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::audio::Pcm;
use crate::model::{Failure, FailureCause, Talk, WorkEvent, WorkOrder, WorkStage};
use crate::speech::{
    self, Diarizer, Engines, Progress, SpeechError, Transcriber, open_diarizer, open_transcribers,
    usable_threads, with_heartbeat,
};
use crate::worker::events::{EventWriter, ProgressReporter};

/// Engines that stay warm between orders.
pub(crate) struct LoadedEngines {
    memory_mb: u64,
    transcribers: Option<(EngineKey, Vec<Box<dyn Transcriber>>)>,
    diarizer: Option<(EngineKey, Box<dyn Diarizer>)>,
}

/// What engines were opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EngineKey {
    folder: PathBuf,
    language: Option<String>,
    threads: u16,
}

/// Why an order has no result.
enum Interruption {
    Failed(Failure),
    /// The daemon no longer reads events.
    HungUp(io::Error),
}

impl From<io::Error> for Interruption {
    fn from(err: io::Error) -> Self {
        Self::HungUp(err)
    }
}

impl From<SpeechError> for Interruption {
    fn from(err: SpeechError) -> Self {
        Self::Failed(failure(&err))
    }
}

impl LoadedEngines {
    pub(crate) fn new(memory_mb: u64) -> Self {
        Self { memory_mb, transcribers: None, diarizer: None }
    }

    /// Works on one order to its end, which is reported like everything else. `sounds` holds the sound of each party.
    ///
    /// # Errors
    /// The daemon no longer reads events.
    pub(crate) fn work(
        &mut self,
        order: &WorkOrder,
        sounds: &[File],
        events: &mut EventWriter,
    ) -> io::Result<()> {
        let end = match self.transcribe(order, sounds, events) {
            Ok(talk) => WorkEvent::Done { talk },
            Err(Interruption::Failed(failure)) => WorkEvent::Failed { failure },
            Err(Interruption::HungUp(err)) => return Err(err),
        };
        events.send(&end)
    }

    fn transcribe(
        &mut self,
        order: &WorkOrder,
        sounds: &[File],
        events: &mut EventWriter,
    ) -> Result<Talk, Interruption> {
        let sounds: io::Result<Vec<Pcm>> = sounds.iter().map(Pcm::map).collect();
        let sounds = sounds.map_err(|err| Interruption::Failed(unreadable(&err)))?;
        self.open_engines(order, events)?;
        let sounds: Vec<&[i16]> = sounds.iter().map(|pcm| &**pcm).collect();
        let mut reporter = ProgressReporter::new(events);
        let mut report = |progress| {
            match progress {
                Progress::Stage(stage, done) => reporter.progress(stage, done),
                Progress::Segment(segment) => reporter.send(&WorkEvent::Partial { segment }),
            }
            if reporter.is_connected() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let diarizer = self.diarizer.as_mut().map(|(_, diarizer)| diarizer.as_mut() as _);
        let transcribers =
            self.transcribers.as_mut().map(|(_, them)| them.as_mut_slice()).unwrap_or_default();
        let engines = Engines { diarizer, transcribers };
        let talk = speech::transcribe(&sounds, engines, order.recipe.speakers, &mut report);
        reporter.finish()?;
        Ok(talk?)
    }

    /// Opens what is not open yet. A large model takes minutes to load from a slow disk, so it is reported on.
    fn open_engines(
        &mut self,
        order: &WorkOrder,
        events: &mut EventWriter,
    ) -> Result<(), Interruption> {
        let mut reporter = ProgressReporter::new(events);
        let opened = with_heartbeat(|| self.open(order), &mut || {
            reporter.progress(WorkStage::Diarizing, 0.0);
            if reporter.is_connected() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        reporter.finish()?;
        Ok(opened?)
    }

    fn open(&mut self, order: &WorkOrder) -> Result<(), SpeechError> {
        let recipe = &order.recipe;
        let threads = usable_threads(recipe.threads, self.memory_mb);
        let language = recipe.language.clone();
        let key = EngineKey { folder: order.recognizer.clone(), language, threads };
        if self.transcribers.as_ref().is_none_or(|(is, _)| *is != key) {
            // Before the new ones: there may not be room for both.
            self.transcribers = None;
            let language = key.language.as_deref();
            let opened = open_transcribers(&key.folder, language, threads)?;
            self.transcribers = Some((key, opened));
        }
        let key = order.diarizer.clone();
        let key = key.map(|folder| EngineKey { folder, language: None, threads });
        if self.diarizer.as_ref().map(|(is, _)| is) != key.as_ref() {
            self.diarizer = None;
            if let Some(key) = key {
                let opened = open_diarizer(&key.folder, threads)?;
                self.diarizer = Some((key, opened));
            }
        }
        Ok(())
    }
}

fn failure(err: &SpeechError) -> Failure {
    let message = err.to_string();
    let is_short_of_memory =
        ["alloc", "memory"].iter().any(|word| message.to_lowercase().contains(word));
    match err {
        SpeechError::BadModel { .. } => Failure {
            cause: FailureCause::NoModel,
            message: format!("The model cannot be used: {message}."),
            remedy:
                "`scribefs models verify` checks it, `scribefs models pull` downloads it again; then \
                     `touch` the recording."
                    .to_owned(),
        },
        SpeechError::Engine(_) if is_short_of_memory => Failure {
            cause: FailureCause::OutOfMemory,
            message: format!("The transcriber ran out of memory: {message}."),
            remedy: "Raise `worker_memory_mb` in the settings, choose a smaller model, or close other programs; \
                     then `touch` the recording to try again."
                .to_owned(),
        },
        SpeechError::Engine(_) | SpeechError::Stopped => Failure {
            cause: FailureCause::Crashed,
            message: format!("The speech engine failed: {message}."),
            remedy:
                "`touch` the recording to try again. If it happens again, choose another model."
                    .to_owned(),
        },
    }
}

fn unreadable(err: &io::Error) -> Failure {
    Failure {
        cause: FailureCause::Storage,
        message: format!("The decoded sound could not be read: {err}."),
        remedy: "`touch` the recording to try again.".to_owned(),
    }
}
