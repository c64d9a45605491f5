//! One order: decode, diarize, transcribe, and tell how it goes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::audio::{self, AudioError, Decoded, Sound};
use crate::model::{Failure, FailureCause, SoundFacts, Talk, WorkEvent, WorkOrder, WorkStage};
use crate::speech::{
    self, Diarizer, Engines, Go, Heading, SpeechError, Transcriber, open_diarizer,
    open_transcribers,
};
use crate::worker::Events;

/// Progress is told this often at most: each line wakes the daemon.
const RARELY: Duration = Duration::from_millis(200);

/// The worker's place, with engines that stay warm between orders.
pub(crate) struct Bench {
    scratch: PathBuf,
    transcribers: Option<(Wanted, Vec<Box<dyn Transcriber>>)>,
    diarizer: Option<(Wanted, Box<dyn Diarizer>)>,
}

/// What engines were opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    folder: PathBuf,
    language: Option<String>,
    threads: u16,
}

/// Why an order came to no talk.
enum Stop {
    Failed(Failure),
    NeedsConverter(String),
    /// Nobody listens any more.
    Deaf(io::Error),
}

impl Bench {
    pub(crate) fn new(scratch: &Path) -> Self {
        Self { scratch: scratch.to_owned(), transcribers: None, diarizer: None }
    }

    /// Works on one order to its end, which is told like everything else.
    ///
    /// # Errors
    /// The daemon cannot be told anything any more.
    pub(crate) fn work(
        &mut self,
        order: &WorkOrder,
        recording: File,
        events: &mut Events,
    ) -> io::Result<()> {
        let end = match self.travel(order, recording, events) {
            Ok((facts, talk)) => WorkEvent::Done { facts, talk },
            Err(Stop::Failed(failure)) => WorkEvent::Failed { failure },
            Err(Stop::NeedsConverter(what)) => WorkEvent::NeedsConverter { what },
            Err(Stop::Deaf(err)) => return Err(err),
        };
        events.say(&end)
    }

    fn travel(
        &mut self,
        order: &WorkOrder,
        recording: File,
        events: &mut Events,
    ) -> Result<(SoundFacts, Talk), Stop> {
        let decoded = self.decode(order, recording, events)?;
        let facts = facts(order, decoded.facts);
        events.say(&WorkEvent::Facts { facts: facts.clone() }).map_err(Stop::Deaf)?;
        let mut talk = self.listen(order, &decoded.sound, events)?;
        talk.warnings.splice(0..0, decoded.warnings);
        Ok((facts, talk))
    }

    fn decode(
        &self,
        order: &WorkOrder,
        recording: File,
        events: &mut Events,
    ) -> Result<Decoded, Stop> {
        let mut teller = Teller::new(events);
        let mut progress = |done| teller.progress(WorkStage::Decoding, done);
        progress(0.0);
        let decoded = audio::decode(recording, &order.extension, &self.scratch, &mut progress);
        teller.finish()?;
        decoded.map_err(|err| match err {
            AudioError::Refused(failure) => Stop::Failed(failure),
            AudioError::NeedsConverter { what, facts } => {
                let told = facts.map(|facts| events.say(&WorkEvent::Facts { facts: *facts }));
                match told {
                    Some(Err(err)) => Stop::Deaf(err),
                    _ => Stop::NeedsConverter(what),
                }
            }
            AudioError::Scratch(err) => Stop::Failed(no_room(&err)),
        })
    }

    fn listen(
        &mut self,
        order: &WorkOrder,
        sound: &Sound,
        events: &mut Events,
    ) -> Result<Talk, Stop> {
        self.open_engines(order).map_err(|err| Stop::Failed(failure(&err)))?;
        let sounds: Vec<&[i16]> = match sound {
            Sound::Mixed(pcm) => vec![pcm],
            Sound::Parties(parties) => parties.iter().map(|pcm| &**pcm).collect(),
        };
        let mut teller = Teller::new(events);
        let mut heading = |heading| match heading {
            Heading::Progress(stage, done) => {
                teller.progress(stage, done);
                teller.go()
            }
            Heading::Segment(segment) => {
                teller.say(&WorkEvent::Partial { segment });
                teller.go()
            }
        };
        let diarizer = self.diarizer.as_mut().map(|(_, diarizer)| diarizer.as_mut() as _);
        let transcribers =
            self.transcribers.as_mut().map(|(_, them)| them.as_mut_slice()).unwrap_or_default();
        let engines = Engines { diarizer, transcribers };
        let talk = speech::write_down(&sounds, engines, order.recipe.speakers, &mut heading);
        teller.finish()?;
        talk.map_err(|err| Stop::Failed(failure(&err)))
    }

    fn open_engines(&mut self, order: &WorkOrder) -> Result<(), SpeechError> {
        let recipe = &order.recipe;
        let wanted = Wanted {
            folder: order.recognizer.clone(),
            language: recipe.language.clone(),
            threads: recipe.threads,
        };
        if self.transcribers.as_ref().is_none_or(|(is, _)| *is != wanted) {
            // Before the new ones: there may not be room for both.
            self.transcribers = None;
            let language = wanted.language.as_deref();
            let opened = open_transcribers(&wanted.folder, language, wanted.threads)?;
            self.transcribers = Some((wanted, opened));
        }
        let wanted = order.diarizer.as_ref().map(|folder| Wanted {
            folder: folder.clone(),
            language: None,
            threads: recipe.threads,
        });
        if self.diarizer.as_ref().map(|(is, _)| is) != wanted.as_ref() {
            self.diarizer = None;
            if let Some(wanted) = wanted {
                let opened = open_diarizer(&wanted.folder, wanted.threads)?;
                self.diarizer = Some((wanted, opened));
            }
        }
        Ok(())
    }
}

/// Facts of the recording, not of what a converter made of it; how long it is, only decoding tells.
fn facts(order: &WorkOrder, decoded: SoundFacts) -> SoundFacts {
    match &order.converted_from {
        Some(original) => SoundFacts {
            duration: decoded.duration,
            channels: if original.channels == 0 { decoded.channels } else { original.channels },
            sample_rate: match original.sample_rate {
                0 => decoded.sample_rate,
                rate => rate,
            },
            ..original.clone()
        },
        None => decoded,
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
                "`scribefs models verify` checks it, `scribefs models pull` gets it anew; then \
                     `touch` the recording."
                    .to_owned(),
        },
        SpeechError::Engine(_) if is_short_of_memory => Failure {
            cause: FailureCause::OutOfMemory,
            message: format!("The transcriber ran out of memory: {message}."),
            remedy: "Allow it more with `worker_memory_mb` in the configuration, choose a smaller \
                     model, or close other programs; then `touch` the recording to try again."
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

fn no_room(err: &io::Error) -> Failure {
    Failure {
        cause: FailureCause::Storage,
        message: format!("The decoded sound could not be written: {err}."),
        remedy: "An hour of sound needs 120 MB below the state folder while it is worked on: free \
                 some space, then `touch` the recording."
            .to_owned(),
    }
}

/// Tells the daemon, now and then, and remembers when it could not.
struct Teller<'a> {
    events: &'a mut Events,
    last: Option<(WorkStage, Instant)>,
    deaf: Option<io::Error>,
}

impl<'a> Teller<'a> {
    fn new(events: &'a mut Events) -> Self {
        Self { events, last: None, deaf: None }
    }

    fn progress(&mut self, stage: WorkStage, done: f32) {
        let is_told = |(told, at): (WorkStage, Instant)| told == stage && at.elapsed() < RARELY;
        if self.last.is_some_and(is_told) {
            return;
        }
        self.last = Some((stage, Instant::now()));
        self.say(&WorkEvent::Progress { stage, done });
    }

    fn say(&mut self, event: &WorkEvent) {
        if self.deaf.is_none() {
            self.deaf = self.events.say(event).err();
        }
    }

    fn go(&self) -> Go {
        if self.deaf.is_some() { Go::Stop } else { Go::On }
    }

    fn finish(self) -> Result<(), Stop> {
        self.deaf.map_or(Ok(()), |err| Err(Stop::Deaf(err)))
    }
}
