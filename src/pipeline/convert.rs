//! What only an outside converter can read goes through it, in a confined process of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child as Process, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::model::{Failure, FailureCause, SoundFacts};
use crate::pipeline::Setup;

/// Time between looks at a converter that is at work: it has no way to call us.
const LOOK: Duration = Duration::from_millis(50);

/// The recording as a 16 kHz WAV in an unlinked file below `scratch`. `what` names the codec, for messages.
pub(crate) fn to_wav(
    setup: &Setup,
    recording: &File,
    scratch: &Path,
    what: &str,
) -> Result<File, Failure> {
    let ffmpeg = setup.ffmpeg.as_deref().ok_or_else(|| missing(what))?;
    let convert = || -> io::Result<Option<File>> {
        std::fs::create_dir_all(scratch)?;
        let wav = tempfile::tempfile_in(scratch)?;
        let mut command = Command::new(&setup.executable);
        command.env_clear().envs(&setup.variables);
        command.arg("worker").arg("--convert").arg(ffmpeg);
        command.arg("--memory-mb").arg(setup.memory_mb.to_string());
        command.stdin(recording.try_clone()?).stdout(wav.try_clone()?).stderr(Stdio::null());
        let process = command.spawn()?;
        let succeeded = watch(process, &wav, setup.stall)?;
        Ok((succeeded && wav.metadata()?.len() > 0).then_some(wav))
    };
    match convert() {
        Ok(Some(wav)) => Ok(wav),
        Ok(None) => Err(useless(what)),
        Err(err) => Err(Failure {
            cause: FailureCause::Crashed,
            message: format!("The converter for {what} could not be run: {err}."),
            remedy: "`scribefs doctor` checks the installation; then `touch` the recording."
                .to_owned(),
        }),
    }
}

/// Waits for the converter, as long as its output grows.
fn watch(mut process: Process, wav: &File, stall: Duration) -> io::Result<bool> {
    let mut last_growth = (Instant::now(), 0);
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(status.success());
        }
        let bytes = wav.metadata()?.len();
        if bytes != last_growth.1 {
            last_growth = (Instant::now(), bytes);
        }
        if last_growth.0.elapsed() > stall {
            process.kill()?;
            process.wait()?;
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
}

fn missing(what: &str) -> Failure {
    Failure {
        cause: FailureCause::NeedsConverter,
        message: format!("This is {what}, which scribefs cannot read by itself."),
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

/// Facts of a recording that we could not look into ourselves.
pub(crate) fn unknown_facts(what: &str) -> SoundFacts {
    SoundFacts {
        container: "unknown".to_owned(),
        codec: what.to_owned(),
        channels: 0,
        sample_rate: 0,
        bits_per_sample: None,
        duration: 0.0,
        created: None,
        tags: BTreeMap::new(),
    }
}
