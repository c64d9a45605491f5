//! Decoding: one recording to sound, in files that the daemon has opened. A process does this once and ends.

use std::fs::File;
use std::io;

use crate::audio::{self, AudioError, Decoded, SCRATCH_FILES, Scratch, Sound};
use crate::model::{DecodeOrder, Failure, FailureCause, SoundFacts, WorkEvent, WorkStage};
use crate::worker::events::{EventWriter, ProgressReporter};

/// Does what `order` says with the recording and the files for its sound, and reports how it ended.
///
/// # Errors
/// The daemon cannot be told anything any more, or has sent something else.
pub(crate) fn decode(
    order: &DecodeOrder,
    files: Vec<File>,
    events: &mut EventWriter,
) -> io::Result<()> {
    let count = files.len();
    let files: [File; SCRATCH_FILES + 1] = files
        .try_into()
        .map_err(|_| io::Error::other(format!("a decode order came with {count} files")))?;
    let [recording, scratch @ ..] = files;
    let mut reporter = ProgressReporter::new(events);
    let mut progress = |done| reporter.progress(WorkStage::Decoding, done);
    progress(0.0);
    let scratch = Scratch::new(scratch);
    let decoded =
        audio::decode(recording, &order.extension, &scratch, order.longest, &mut progress);
    reporter.finish()?;
    events.send(&match decoded {
        Ok(decoded) => success(order, decoded),
        Err(AudioError::Refused(failure)) => WorkEvent::Failed { failure },
        Err(AudioError::NeedsConverter { what, .. }) => WorkEvent::NeedsConverter { what },
        Err(AudioError::Scratch(err)) => not_written(&err),
    })
}

fn success(order: &DecodeOrder, decoded: Decoded) -> WorkEvent {
    let files = match &decoded.sound {
        Sound::Mixed(pcm) => vec![pcm.number()],
        Sound::Parties(parties) => parties.iter().map(audio::Pcm::number).collect(),
    };
    let facts = facts(order, decoded.facts);
    WorkEvent::Decoded { facts, files, warnings: decoded.warnings }
}

fn not_written(err: &io::Error) -> WorkEvent {
    if matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return WorkEvent::NoRoom;
    }
    WorkEvent::Failed {
        failure: Failure {
            cause: FailureCause::Storage,
            message: format!("The recording could not be read or decoded to disk: {err}."),
            remedy: "Check the disk of the state folder (`scribefs doctor` helps), then `touch` \
                     the recording to try again."
                .to_owned(),
        },
    }
}

/// Facts of the recording, not of what a converter made of it; how long it is, only decoding tells.
fn facts(order: &DecodeOrder, decoded: SoundFacts) -> SoundFacts {
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
