//! The child process: a recording comes in, events go out. All that strangers' bytes are parsed by runs here.
//!
//! It has no network, sees only its models, its scratch folder and the recording it was handed, and may be
//! killed at any moment: the daemon starts another.

mod confine;
mod orders;
mod work;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::audio;
use crate::model::WorkEvent;
use crate::worker::confine::Reach;
use crate::worker::orders::Orders;
use crate::worker::work::Bench;

/// Sent home by us, not dead: the daemon is told why on standard error.
const CANNOT_CONFINE: u8 = 70;

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it keeps decoded sound while it works.
    pub scratch: PathBuf,
    /// All that it may read.
    pub models: PathBuf,
    /// Most memory that it may take.
    pub memory_mb: u64,
}

/// Works on orders from standard input until there are no more.
pub fn run(options: &Options) -> ExitCode {
    let mut events = match Events::take_stdout() {
        Ok(events) => events,
        Err(err) => return give_up(&err),
    };
    let reach = Reach::Worker { models: &options.models, scratch: &options.scratch };
    if let Err(err) = confine::confine(&reach, options.memory_mb) {
        return give_up(&err);
    }
    let mut bench = Bench::new(&options.scratch);
    let mut orders = Orders::from_stdin();
    if events.say(&WorkEvent::Ready).is_err() {
        return ExitCode::SUCCESS;
    }
    loop {
        match orders.next() {
            Ok(Some((order, recording))) => {
                // A daemon that no longer listens has gone.
                if bench.work(&order, recording, &mut events).is_err() {
                    return ExitCode::SUCCESS;
                }
            }
            Ok(None) => return ExitCode::SUCCESS,
            Err(err) => return give_up(&err),
        }
    }
}

/// Puts `ffmpeg` in this process's place, confined: recording on standard input, WAV on standard output.
pub fn convert(ffmpeg: &Path, memory_mb: u64) -> ExitCode {
    if let Err(err) = confine::confine(&Reach::Converter { ffmpeg }, memory_mb) {
        return give_up(&err);
    }
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(recording) => give_up(&audio::convert(ffmpeg, &File::from(recording))),
        Err(err) => give_up(&err),
    }
}

fn give_up(err: &dyn std::error::Error) -> ExitCode {
    // Standard error is all that is left to say it on.
    let _ = writeln!(io::stderr(), "worker: {err}");
    ExitCode::from(CANNOT_CONFINE)
}

/// Standard output as it was at the start. What native libraries print goes to standard error instead.
pub(crate) struct Events {
    out: File,
}

impl Events {
    fn take_stdout() -> io::Result<Self> {
        let out: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
        // SAFETY: both descriptors are open; 1 is replaced, and `out` keeps what it was.
        if unsafe { libc::dup2(io::stderr().as_raw_fd(), io::stdout().as_raw_fd()) } == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { out: File::from(out) })
    }

    /// One line, at once.
    pub(crate) fn say(&mut self, event: &WorkEvent) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.out.write_all(&line)
    }
}
