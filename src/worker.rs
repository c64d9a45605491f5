//! The child processes. One decodes: it lives for one recording, gets that as an open file, and writes sound. One
//! runs the engines: it is kept warm, and gets sound, never a stranger's file. One becomes `ffmpeg`.
//!
//! None has a network, none sees more than it was handed and its models, and each may be killed at any moment:
//! the daemon starts another.

mod confine;
mod confine_error;
mod decoding;
mod engines;
mod events;
mod interpreter;
mod orders;
mod syscalls;

pub use confine::has_landlock;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use crate::audio;
use crate::model::WorkEvent;
use crate::worker::confine::{Access, Limits};
use crate::worker::confine_error::ConfineError;
use crate::worker::engines::LoadedEngines;
use crate::worker::events::EventWriter;
use crate::worker::orders::OrderReader;

/// Could not begin, or was told nonsense: why is on standard error.
const GAVE_UP: u8 = 70;

/// What a worker is started with.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Most private memory that it may take.
    pub memory_mb: u64,
    /// Largest file that it may write.
    pub file_bytes: u64,
    /// Most processor time; `None` where there is no limit.
    pub cpu_seconds: Option<u64>,
    /// The process that started it, with which it ends.
    pub parent: u32,
}

impl Options {
    fn limits(self) -> Limits {
        Limits {
            memory_mb: self.memory_mb,
            file_bytes: self.file_bytes,
            cpu_seconds: self.cpu_seconds,
            parent: self.parent,
        }
    }
}

/// Transcribes sound on orders from standard input until there are no more. `models` is all that it may read.
pub fn run_engines(models: &Path, options: Options) -> ExitCode {
    end(serve_engines(models, options))
}

/// Decodes the one recording that comes with an order on standard input.
pub fn decode(options: Options) -> ExitCode {
    end(decode_one(options))
}

/// Puts `ffmpeg` in this process's place, confined: recording on standard input, WAV on standard output.
pub fn convert(ffmpeg: &Path, options: Options) -> ExitCode {
    confine::close_inherited();
    if let Err(err) = confine::confine(Access::Converter { ffmpeg }, options.limits()) {
        return give_up(&err);
    }
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(recording) => give_up(&audio::convert(ffmpeg, &File::from(recording))),
        Err(err) => give_up(&err),
    }
}

fn serve_engines(models: &Path, options: Options) -> Result<(), WorkerError> {
    confine::close_inherited();
    let mut events = EventWriter::take_stdout()?;
    confine::confine(Access::Engines { models }, options.limits())?;
    events.send(&WorkEvent::Ready)?;
    let mut engines = LoadedEngines::new(options.memory_mb);
    let mut orders = OrderReader::from_stdin();
    while let Some((order, sounds)) = orders.next()? {
        engines.work(&order, &sounds, &mut events)?;
    }
    Ok(())
}

fn decode_one(options: Options) -> Result<(), WorkerError> {
    confine::close_inherited();
    let mut events = EventWriter::take_stdout()?;
    confine::confine(Access::Decoder, options.limits())?;
    events.send(&WorkEvent::Ready)?;
    match OrderReader::from_stdin().next()? {
        Some((order, files)) => Ok(decoding::decode(&order, files, &mut events)?),
        None => Ok(()),
    }
}

/// Why a worker ends before its time.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error("the conversation with the daemon broke off: {0}")]
    Conversation(#[from] io::Error),
}

fn end(result: Result<(), WorkerError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // A daemon that no longer listens has gone, and so does its worker.
        Err(WorkerError::Conversation(err)) if err.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(err) => give_up(&err),
    }
}

fn give_up(err: &dyn std::error::Error) -> ExitCode {
    // Standard error is all that is left to say it on.
    let _ = writeln!(io::stderr(), "worker: {err}");
    ExitCode::from(GAVE_UP)
}
