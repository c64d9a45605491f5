//! The models that a job is done with, and the recipe that names them.

use crate::jobs::JobConfig;
use crate::model::{ModelRef, Recipe, SpeakerBounds};
use crate::models::{Installed, Library};

/// The weights that a job is done with.
#[derive(Debug)]
pub(crate) struct Models {
    pub(crate) recognizer: Installed,
    pub(crate) diarizer: Option<Installed>,
}

impl Models {
    /// Those that are configured. `None` as long as the recognizer is not installed.
    pub(crate) fn installed(setup: &JobConfig) -> Option<Self> {
        Some(Self {
            recognizer: setup.library.find(&setup.recognizer)?,
            diarizer: setup.diarizer.as_ref().and_then(|name| setup.library.find(name)),
        })
    }

    /// Those of a recipe, where they are installed and have not changed.
    pub(crate) fn of(recipe: &Recipe, library: &Library) -> Option<Self> {
        let find = |reference: &ModelRef| {
            library.find(&reference.name).filter(|model| model.reference == *reference)
        };
        let diarizer = match &recipe.diarizer {
            Some(reference) => Some(find(reference)?),
            None => None,
        };
        Some(Self { recognizer: find(&recipe.recognizer)?, diarizer })
    }

    pub(crate) fn recipe(&self, setup: &JobConfig, speakers: SpeakerBounds) -> Recipe {
        Recipe {
            recognizer: self.recognizer.reference.clone(),
            diarizer: self.diarizer.as_ref().map(|model| model.reference.clone()),
            language: setup.language.clone(),
            speakers,
            threads: setup.threads,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            options: std::collections::BTreeMap::new(),
        }
    }
}
