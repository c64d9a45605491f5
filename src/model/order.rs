//! What the daemon and its worker say to each other: one JSON object a line.
//!
//! The daemon writes a [`WorkOrder`] to the worker's standard input, a Unix socket, and sends the open
//! recording along with it (`SCM_RIGHTS`, one file). The worker answers on standard output with
//! [`WorkEvent`]s; the last for an order is `Done`, `Failed` or `NeedsConverter`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{Failure, JobState, Recipe, Segment, SoundFacts, Talk};

/// One recording to be made into talk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkOrder {
    pub recipe: Recipe,
    /// Folder of the recognizer's files.
    pub recognizer: PathBuf,
    /// Folder of the diarizer's files.
    pub diarizer: Option<PathBuf>,
    /// The file's extension in lower case: a hint, never believed.
    pub extension: String,
    /// The input is sound that a converter made of the recording; these are the recording's own facts.
    pub converted_from: Option<SoundFacts>,
}

/// A step of the worker's road.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkStage {
    Decoding,
    Diarizing,
    Transcribing,
}

impl From<WorkStage> for JobState {
    fn from(stage: WorkStage) -> Self {
        match stage {
            WorkStage::Decoding => Self::Decoding,
            WorkStage::Diarizing => Self::Diarizing,
            WorkStage::Transcribing => Self::Transcribing,
        }
    }
}

/// What the worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum WorkEvent {
    /// Confined and waiting for an order. Said once, at the start.
    Ready,
    /// Said at least every few seconds while there is work: a silent worker is taken for a stalled one.
    Progress {
        stage: WorkStage,
        /// 0 to 1, of this stage.
        done: f32,
    },
    /// What the decoder found out.
    Facts {
        facts: SoundFacts,
    },
    /// A segment as soon as it is heard; `Done` has all of them again.
    Partial {
        segment: Segment,
    },
    Done {
        facts: SoundFacts,
        talk: Talk,
    },
    /// The codec is one that only an outside converter can read.
    NeedsConverter {
        what: String,
    },
    Failed {
        failure: Failure,
    },
}
