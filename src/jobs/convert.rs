//! What only an outside converter can read goes through it, in a confined process of its own.

use std::fs::File;
use std::io;
use std::process::{Child as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::jobs::JobConfig;
use crate::jobs::shortage::spare_bytes;
use crate::jobs::worker_process::{DecodeBudget, WorkerError, command};
use crate::model::{Failure, FailureCause};

/// Time between looks at a converter that is at work: it has no way to call us.
const LOOK: Duration = Duration::from_millis(50);

/// The recording as a 16 kHz WAV in an unlinked file. `what` names the codec, for messages. `may_go_on` is asked all
/// the while.
pub(crate) fn to_wav(
    setup: &JobConfig,
    recording: &File,
    budget: DecodeBudget,
    what: &str,
    may_go_on: &dyn Fn() -> bool,
) -> Result<File, WorkerError> {
    let ffmpeg = setup.ffmpeg.as_deref().ok_or_else(|| WorkerError::Failed(missing(what)))?;
    let convert = || -> io::Result<(End, File)> {
        let wav = tempfile::tempfile_in(&setup.scratch)?;
        let mut command = command(setup, setup.memory_mb);
        command.arg("--convert").arg(ffmpeg);
        command.arg("--file-bytes").arg(budget.file_bytes.to_string());
        command.arg("--cpu-seconds").arg(budget.cpu_seconds.to_string());
        command.stdin(recording.try_clone()?).stdout(wav.try_clone()?).stderr(Stdio::null());
        let mut process = Converter(command.spawn()?);
        let end = watch(&mut process, &wav, setup, may_go_on)?;
        Ok((end, wav))
    };
    let failed = |failure| Err(WorkerError::Failed(failure));
    match convert() {
        Ok((End::Succeeded, wav)) if 0 < size(&wav) => Ok(wav),
        Ok((End::Stopped, _)) => Err(WorkerError::Stopped),
        Ok((End::NoRoom, wav)) => Err(WorkerError::NoRoom { reached_bytes: size(&wav) }),
        // What is longer than accepted ends at the largest file that it may write.
        Ok((End::Failed, wav)) if budget.file_bytes <= size(&wav) => failed(too_long()),
        Ok(_) => failed(useless(what)),
        Err(err) => failed(Failure {
            cause: FailureCause::Crashed,
            message: format!("The converter for {what} could not be run: {err}."),
            remedy: "Check the installation with `scribefs doctor`, then `touch` the recording."
                .to_owned(),
        }),
    }
}

fn size(file: &File) -> u64 {
    file.metadata().map_or(0, |it| it.len())
}

/// How a converter ended.
enum End {
    Succeeded,
    Failed,
    NoRoom,
    Stopped,
}

/// Killed when dropped, with all that it may have started.
struct Converter(Process);

impl Drop for Converter {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let group = libc::pid_t::try_from(self.0.id()).unwrap_or(libc::pid_t::MAX);
            // SAFETY: plain numbers; it has not been waited for, so the number is still its own.
            unsafe { libc::killpg(group, libc::SIGKILL) };
            // Reaped, so that no zombie stays.
            let _ = self.0.wait();
        }
    }
}

/// Waits for the converter, as long as its output grows.
fn watch(
    process: &mut Converter,
    wav: &File,
    setup: &JobConfig,
    may_go_on: &dyn Fn() -> bool,
) -> io::Result<End> {
    let mut last_growth = (Instant::now(), 0);
    loop {
        if let Some(status) = process.0.try_wait()? {
            return Ok(if status.success() { End::Succeeded } else { End::Failed });
        }
        if !may_go_on() {
            return Ok(End::Stopped);
        }
        if spare_bytes(setup) == 0 {
            return Ok(End::NoRoom);
        }
        let bytes = wav.metadata()?.len();
        if bytes != last_growth.1 {
            last_growth = (Instant::now(), bytes);
        }
        if setup.stall < last_growth.0.elapsed() {
            return Ok(End::Failed);
        }
        thread::sleep(LOOK);
    }
}

fn too_long() -> Failure {
    Failure {
        cause: FailureCause::TooLarge,
        message: "The recording is longer than the limit.".to_owned(),
        remedy: "Split it and drop the parts, or raise `max_duration` in the settings.".to_owned(),
    }
}

fn missing(what: &str) -> Failure {
    Failure {
        cause: FailureCause::NeedsConverter,
        message: format!("This is {what}, which scribefs cannot read on its own."),
        remedy: "Install ffmpeg (`apt install ffmpeg`, `dnf install ffmpeg-free`) and `touch` the \
                 recording, or convert it to WAV, FLAC, MP3, M4A or Opus with another program."
            .to_owned(),
    }
}

/// Even a converter can make nothing of it.
pub(crate) fn useless(what: &str) -> Failure {
    Failure {
        cause: FailureCause::NotAudio,
        message: format!("This looks like {what}, but ffmpeg cannot read any sound from it."),
        remedy: "Check that the file plays in a media player; if it does, convert it to WAV or \
                 FLAC and drop that."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::fixtures::setup;

    #[test]
    fn a_converter_ends_when_nobody_wants_its_sound() {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = setup(dir.path());
        fs::create_dir(&setup.scratch).unwrap();
        // Stands for the worker that runs ffmpeg, and would go on for ever.
        let program = dir.path().join("worker");
        let text = "#!/bin/sh\necho $$ > \"$(dirname \"$0\")/started\"\nexec sleep 600\n";
        // Written by a process of its own: a file that this one has open for writing cannot be run by it.
        let mut shell = Command::new("sh");
        shell.args(["-c", "printf %s \"$1\" > \"$0\"; chmod 755 \"$0\""]).arg(&program).arg(text);
        assert!(shell.status().unwrap().success());
        setup.executable = program;
        setup.ffmpeg = Some("/usr/bin/ffmpeg".into());
        let started = dir.path().join("started");
        let recording = tempfile::tempfile().unwrap();
        let budget = DecodeBudget { file_bytes: 1 << 20, cpu_seconds: 30 };
        let pid = || fs::read_to_string(&started).unwrap_or_default().trim().to_owned();
        let ended = to_wav(&setup, &recording, budget, "AMR", &|| pid().is_empty());
        assert!(matches!(ended, Err(WorkerError::Stopped)), "{ended:?}");
        assert!(!std::path::Path::new(&format!("/proc/{}", pid())).exists());
    }
}
