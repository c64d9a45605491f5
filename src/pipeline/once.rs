//! One recording from anywhere, without mount, store or index: for `scribefs transcribe`.

use std::fs::File;
use std::path::Path;

use crate::model::{Failure, FailureCause, Recipe, SoundFacts, Talk, WorkEvent, WorkOrder};
use crate::pipeline::child::{Child, ChildError};
use crate::pipeline::run::Models;
use crate::pipeline::{Setup, convert};

/// Transcribes the file at `path` in a worker of its own. `hear` is told all that the worker says.
pub fn transcribe_file(
    path: &Path,
    setup: &Setup,
    hear: &mut dyn FnMut(&WorkEvent),
) -> Result<(SoundFacts, Recipe, Talk), Failure> {
    let recording = File::open(path).map_err(|err| Failure {
        cause: FailureCause::NotAudio,
        message: format!("The file cannot be opened: {err}."),
        remedy: "Check the path and its permissions.".to_owned(),
    })?;
    let models = Models::installed(setup).ok_or_else(|| Failure {
        cause: FailureCause::NoModel,
        message: format!("The model `{}` is not installed.", setup.recognizer),
        remedy: format!("Install it with `scribefs models pull {}`.", setup.recognizer),
    })?;
    let recipe = models.recipe(setup);
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut order = WorkOrder {
        recipe: recipe.clone(),
        recognizer: models.recognizer.folder,
        diarizer: models.diarizer.map(|model| model.folder),
        extension,
        converted_from: None,
    };
    let mut child = Child::start(setup).map_err(failure)?;
    let answer = match child.work(&order, &recording, setup.stall, hear) {
        Err(ChildError::NeedsConverter { what, facts }) => {
            let wav = convert::to_wav(setup, &recording, child.scratch(), &what)?;
            "wav".clone_into(&mut order.extension);
            order.converted_from =
                Some(facts.map_or_else(|| convert::unknown_facts(&what), |facts| *facts));
            child.work(&order, &wav, setup.stall, hear)
        }
        answer => answer,
    };
    let (facts, talk) = answer.map_err(failure)?;
    Ok((facts, recipe, talk))
}

/// Starts a worker as a job would, and sends it home again.
pub fn try_worker(setup: &Setup) -> Result<(), Failure> {
    Child::start(setup).map(drop).map_err(failure)
}

fn failure(err: ChildError) -> Failure {
    match err {
        ChildError::Failed(failure) => failure,
        ChildError::NeedsConverter { what, .. } => convert::useless(&what),
        ChildError::Stopped => Failure {
            cause: FailureCause::Internal,
            message: "The work was stopped.".to_owned(),
            remedy: "Run the command again.".to_owned(),
        },
    }
}
