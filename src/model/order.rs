//! What the daemon and its workers say to each other: one JSON object a line.
//!
//! The daemon writes an order to the worker's standard input, a Unix socket, and sends open files along with it
//! (`SCM_RIGHTS`): with a [`DecodeOrder`] the recording and the files for its sound, with a [`WorkOrder`] the
//! sound, a file for each party. The worker answers on standard output with [`WorkEvent`]s; the last for an
//! order is `Decoded`, `Done`, `Failed`, `NoRoom` or `NeedsConverter`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Failure, JobState, Recipe, Segment, SoundFacts, Talk, Warning};

/// One recording to be made into sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecodeOrder {
    /// The file's extension in lower case: a hint, never believed.
    pub extension: String,
    /// The input is sound that a converter made of the recording; these are the recording's own facts.
    pub converted_from: Option<SoundFacts>,
    /// More sound than this is refused.
    pub longest: Duration,
}

/// Sound to be made into talk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkOrder {
    pub recipe: Recipe,
    /// Folder of the recognizer's files.
    pub recognizer: PathBuf,
    /// Folder of the diarizer's files.
    pub diarizer: Option<PathBuf>,
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
    /// The whole recording is sound now.
    Decoded {
        facts: SoundFacts,
        /// Which of the files hold it: one for everybody, or one for each party.
        files: Vec<usize>,
        warnings: Vec<Warning>,
    },
    /// A segment as soon as it is heard; `Done` has all of them again.
    Partial {
        segment: Segment,
    },
    Done {
        talk: Talk,
    },
    /// The codec is one that only an outside converter can read.
    NeedsConverter {
        what: String,
    },
    /// The disk that the sound is written to is full.
    NoRoom,
    Failed {
        failure: Failure,
    },
}
