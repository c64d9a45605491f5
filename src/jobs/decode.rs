//! Decoding, seen from the daemon: a process of its own for each recording, which gets the recording and empty
//! files for its sound, and nothing else.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::audio::SCRATCH_FILES;
use crate::jobs::shortage::spare_bytes;
use crate::jobs::worker_failures::{self, Role};
use crate::jobs::worker_process::{DecodeBudget, StopSwitch, WorkerError, WorkerProcess};
use crate::jobs::{JobConfig, convert};
use crate::model::{DecodeOrder, SoundFacts, Warning, WorkEvent};

/// 16-bit mono sound at 16 kHz.
pub(crate) const BYTES_PER_SECOND: u64 = 32_000;
/// Processor time that any file may take: a slow machine loads libraries for seconds.
const BASE_CPU_SECONDS: u64 = 30;
/// Bytes that may take a second of processor time more. The densest codecs take a tenth of that on a slow core.
const BYTES_PER_CPU_SECOND: u64 = 50_000;

/// A recording that is ready for the engines.
#[derive(Debug)]
pub(crate) struct DecodedRecording {
    pub(crate) facts: SoundFacts,
    /// Everybody in one, or one for each party. Files without a name, open for reading only.
    pub(crate) sounds: Vec<File>,
    /// `truncated`, `corrupt`, `silent`: the sound goes as far as it goes.
    pub(crate) warnings: Vec<Warning>,
}

/// What decoding one recording is done with.
pub(crate) struct DecodeJob<'a> {
    pub(crate) setup: &'a JobConfig,
    pub(crate) recording: &'a File,
    /// In lower case: a hint.
    pub(crate) extension: String,
    /// Is given the switch that stops it.
    pub(crate) hand_out: &'a dyn Fn(StopSwitch),
    /// Asked while a converter is at work, which has no such switch.
    pub(crate) may_go_on: &'a dyn Fn() -> bool,
}

/// Decodes, with a converter's help where that takes one.
pub(crate) fn decode(
    job: &DecodeJob<'_>,
    hear: &mut dyn FnMut(&WorkEvent),
) -> Result<DecodedRecording, WorkerError> {
    let setup = job.setup;
    let mut order = DecodeOrder {
        extension: job.extension.clone(),
        converted_from: None,
        longest: setup.longest,
    };
    match decode_once(job, &order, job.recording, hear) {
        Err(WorkerError::NeedsConverter { what }) => {
            let budget = budget(setup, job.recording);
            let converted = convert::to_wav(setup, job.recording, budget, &what, job.may_go_on)?;
            "wav".clone_into(&mut order.extension);
            order.converted_from = Some(SoundFacts::unknown(&what));
            decode_once(job, &order, &converted, hear).map_err(|err| match err {
                WorkerError::NeedsConverter { what } => {
                    WorkerError::Failed(convert::useless(&what))
                }
                err => err,
            })
        }
        decoded => decoded,
    }
}

fn decode_once(
    job: &DecodeJob<'_>,
    order: &DecodeOrder,
    input: &File,
    hear: &mut dyn FnMut(&WorkEvent),
) -> Result<DecodedRecording, WorkerError> {
    let setup = job.setup;
    let scratch = scratch_files(&setup.scratch).map_err(|err| cannot(&err))?;
    let mut worker = WorkerProcess::decoder(setup, budget(setup, input))?;
    (job.hand_out)(worker.switch_for_next());
    let files: Vec<&File> = std::iter::once(input).chain(&scratch).collect();
    let mut has_room = || 0 < spare_bytes(setup);
    let event = worker.work(order, &files, setup.stall, &mut has_room, hear);
    let event = event.map_err(|err| match err {
        WorkerError::NoRoom { .. } => WorkerError::NoRoom { reached_bytes: bytes(&scratch) },
        err => err,
    })?;
    let decoded = take(event, &scratch);
    let decoded = decoded.ok_or_else(|| worker.misbehaved("reported something impossible"))?;
    // From here on nobody writes to the sound, whatever became of the process.
    drop(worker);
    decoded.map_err(|err| cannot(&err))
}

/// `None` for an answer that makes no sense.
fn take(event: WorkEvent, scratch: &[File]) -> Option<io::Result<DecodedRecording>> {
    let WorkEvent::Decoded { facts, files, warnings } = event else { return None };
    let is_sound = matches!(files.as_slice(), [_]) || matches!(files.as_slice(), [a, b] if a != b);
    if !is_sound {
        return None;
    }
    let sounds: Option<Vec<&File>> = files.iter().map(|number| scratch.get(*number)).collect();
    let sounds: io::Result<Vec<File>> = sounds?.into_iter().map(read_only).collect();
    Some(sounds.map(|sounds| DecodedRecording { facts, sounds, warnings }))
}

fn scratch_files(folder: &Path) -> io::Result<Vec<File>> {
    fs::create_dir_all(folder)?;
    (0..SCRATCH_FILES).map(|_| tempfile::tempfile_in(folder)).collect()
}

/// The same file, through a descriptor that cannot change it.
fn read_only(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn bytes(files: &[File]) -> u64 {
    files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

fn budget(setup: &JobConfig, input: &File) -> DecodeBudget {
    let bytes = input.metadata().map_or(0, |it| it.len());
    DecodeBudget {
        // A little more than what is accepted, so that the refusal comes in words.
        file_bytes: (setup.longest.as_secs() + 60).saturating_mul(BYTES_PER_SECOND),
        cpu_seconds: BASE_CPU_SECONDS + bytes / BYTES_PER_CPU_SECOND,
    }
}

fn cannot(err: &io::Error) -> WorkerError {
    if matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return WorkerError::NoRoom { reached_bytes: 0 };
    }
    WorkerError::Failed(worker_failures::not_started(Role::Decoder, err))
}
