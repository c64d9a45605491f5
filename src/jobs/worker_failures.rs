//! What went wrong in a worker, in words for the user.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::model::{Failure, FailureCause};

/// What a worker was doing, as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Decoder,
    Engines,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Decoder => "decoder",
            Self::Engines => "transcriber",
        }
    }
}

/// By its exit status and the last lines of its standard error.
pub(crate) fn died(role: Role, status: Option<ExitStatus>, last_words: &str) -> Failure {
    let out_of_memory = [
        "memory allocation of",
        "bad_alloc",
        "Cannot allocate memory",
        // ONNX Runtime.
        "Failed to allocate memory",
        "out of memory",
    ];
    let name = role.name();
    let how = match status {
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        None => "ended".to_owned(),
    };
    if status.and_then(|status| status.signal()) == Some(libc::SIGXCPU) {
        return too_costly();
    }
    if out_of_memory.iter().any(|words| last_words.contains(words)) {
        return Failure {
            cause: FailureCause::OutOfMemory,
            message: format!("The {name} ran out of memory and {how}."),
            remedy: "Raise `worker_memory_mb` in the settings, choose a smaller model, or close other programs; \
                     then `touch` the recording to try again."
                .to_owned(),
        };
    }
    Failure {
        cause: FailureCause::Crashed,
        message: format!("The {name} {how} while processing this recording."),
        remedy: "`touch` the recording to try again. If it happens again, convert it to WAV or \
                 FLAC with another program, or choose another model; the log has the details."
            .to_owned(),
    }
}

/// Again it would cost as much.
fn too_costly() -> Failure {
    Failure {
        cause: FailureCause::NotAudio,
        message: "Decoding took far longer than a file of this size should need: it is damaged, or made to keep \
                  scribefs busy."
            .to_owned(),
        remedy: "If it plays in a media player, convert it to WAV or FLAC with another program \
                 and drop that."
            .to_owned(),
    }
}

pub(crate) fn stalled(role: Role, after: Duration) -> Failure {
    Failure {
        cause: FailureCause::TimedOut,
        message: format!("The {} did not respond for {} s.", role.name(), after.as_secs()),
        remedy: "`touch` the recording to try again. On a very slow machine, raise `stall_timeout` in the \
                 settings."
            .to_owned(),
    }
}

/// `what` completes "The decoder ...".
pub(crate) fn misbehaved(role: Role, what: &str) -> Failure {
    Failure {
        cause: FailureCause::Crashed,
        message: format!("The {} {what}, and was stopped.", role.name()),
        remedy: "`touch` the recording to try again. If it happens again, this recording breaks \
                 scribefs: convert it to WAV or FLAC with another program, and please report it."
            .to_owned(),
    }
}

pub(crate) fn not_started(role: Role, err: &io::Error) -> Failure {
    Failure {
        cause: FailureCause::Crashed,
        message: format!("The {} could not be started: {err}.", role.name()),
        remedy: "Check the installation with `scribefs doctor`, then `touch` the recording."
            .to_owned(),
    }
}

/// A fault of ours.
pub(crate) fn internal(what: &str) -> Failure {
    Failure {
        cause: FailureCause::Internal,
        message: format!("scribefs could not describe the work: {what}."),
        remedy: "This is a bug in scribefs: please report it.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_cannot_allocate_is_out_of_memory() {
        let status = Some(ExitStatus::from_raw(libc::SIGABRT));
        let failure = died(Role::Engines, status, "memory allocation of 4096 bytes failed");
        assert_eq!(failure.cause, FailureCause::OutOfMemory);
        let words = "bfc_arena.cc:359 Failed to allocate memory for requested buffer of size 9";
        assert_eq!(died(Role::Engines, status, words).cause, FailureCause::OutOfMemory);
        assert_eq!(died(Role::Engines, status, "").cause, FailureCause::Crashed);
    }

    #[test]
    fn a_decoder_that_spent_its_time_is_not_tried_again() {
        let failure = died(Role::Decoder, Some(ExitStatus::from_raw(libc::SIGXCPU)), "");
        assert!(!failure.cause.is_worth_retrying(), "{failure:?}");
    }
}
