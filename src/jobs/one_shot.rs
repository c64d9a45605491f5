//! Recordings from anywhere, without mount, store or index: for `scribefs transcribe`.

use std::fs::File;
use std::path::Path;

use crate::jobs::decode::{self, DecodeJob};
use crate::jobs::job_models::Models;
use crate::jobs::worker_process::{DecodeBudget, WorkerError, WorkerProcess};
use crate::jobs::{JobConfig, convert, job_run, speakers};
use crate::model::{Failure, FailureCause, FileName, Recipe, SoundFacts, Talk, WorkEvent};

/// Transcribes files, each decoded in a process of its own, all with the same engines.
#[derive(Debug)]
pub struct FileTranscriber {
    setup: JobConfig,
    engines: Option<WorkerProcess>,
}

impl FileTranscriber {
    /// Starts nothing yet.
    pub fn new(setup: JobConfig) -> Self {
        Self { setup, engines: None }
    }

    /// Transcribes the file at `path`. `hear` is told all that the workers say.
    pub fn transcribe(
        &mut self,
        path: &Path,
        hear: &mut dyn FnMut(&WorkEvent),
    ) -> Result<(SoundFacts, Recipe, Talk), Failure> {
        let recording = File::open(path).map_err(|err| Failure {
            cause: FailureCause::NotAudio,
            message: format!("The file cannot be opened: {err}."),
            remedy: "Check the path and its permissions.".to_owned(),
        })?;
        let models = Models::installed(&self.setup).ok_or_else(|| Failure {
            cause: FailureCause::NoModel,
            message: format!("The model `{}` is not installed.", self.setup.recognizer),
            remedy: format!("Install it with `scribefs models pull {}`.", self.setup.recognizer),
        })?;
        let name = path.file_name().and_then(|name| FileName::new(name.as_encoded_bytes()));
        let hint = name.and_then(|name| speakers::hint(&[name], None));
        let recipe = models.recipe(&self.setup, hint.unwrap_or(self.setup.speakers));
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let job = DecodeJob {
            setup: &self.setup,
            recording: &recording,
            extension,
            hand_out: &|_| {},
            may_go_on: &|| true,
        };
        let decoded = decode::decode(&job, hear).map_err(failure)?;
        let mut engines = match self.engines.take() {
            Some(engines) => engines,
            None => WorkerProcess::engines(&self.setup).map_err(failure)?,
        };
        let with = (&recipe, &models);
        let talk = job_run::listen(&mut engines, &self.setup, with, &decoded, hear);
        self.engines = Some(engines).filter(WorkerProcess::is_fit);
        Ok((decoded.facts, recipe, talk.map_err(failure)?))
    }
}

/// Starts workers as a job would, and sends them home again.
pub fn try_workers(setup: &JobConfig) -> Result<(), Failure> {
    let budget = DecodeBudget { file_bytes: 0, cpu_seconds: 30 };
    WorkerProcess::decoder(setup, budget).map_err(failure)?;
    WorkerProcess::engines(setup).map(drop).map_err(failure)
}

fn failure(err: WorkerError) -> Failure {
    match err {
        WorkerError::Failed(failure) => failure,
        WorkerError::NeedsConverter { what } => convert::useless(&what),
        WorkerError::NoRoom { .. } => Failure {
            cause: FailureCause::Storage,
            message: "There is not enough space for the decoded sound.".to_owned(),
            remedy: "An hour takes 115 MB for each party: free some space, or set TMPDIR to another folder."
                .to_owned(),
        },
        WorkerError::Stopped => Failure {
            cause: FailureCause::Internal,
            message: "The transcription was stopped.".to_owned(),
            remedy: "Run the command again.".to_owned(),
        },
    }
}
