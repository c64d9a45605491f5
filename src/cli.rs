//! Subcommands: what people type, and what they read.

mod arguments;
mod doctor;
mod files;
mod fsck;
mod import;
mod library;
mod migrate;
mod mounting;
mod place;
mod report;
mod settings;
mod status;
mod stock;
mod transcribe;
mod trash;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::arguments::{Arguments, Command};
use crate::cli::report::Trouble;
use crate::daemon::{Environment, set_up_logging};
use crate::worker;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let environment = Environment::read();
    match dispatch(arguments.command, &environment) {
        Ok(code) => code,
        Err(trouble) => {
            report::complain(&trouble);
            trouble.code()
        }
    }
}

fn dispatch(command: Command, environment: &Environment) -> Result<ExitCode, Trouble> {
    // The daemon sets up its own, by its configuration.
    if !matches!(command, Command::Mount(_)) {
        set_up_logging(log::LevelFilter::Warn);
    }
    match command {
        Command::Mount(wish) => mounting::mount(&wish, environment),
        Command::Umount(wish) => mounting::umount(&wish, environment),
        Command::Status(wish) => status::status(&wish, environment),
        Command::StorageInfo(wish) => status::storage_info(&wish, environment),
        Command::Wait(wish) => files::wait(&wish, environment),
        Command::Retry(wish) => files::retry(&wish, environment),
        Command::Cancel(wish) => files::cancel(&wish, environment),
        Command::Name(wish) => files::name(&wish, environment),
        Command::RetryUploads(wish) => status::retry_uploads(&wish, environment),
        Command::Trash(wish) => trash::trash(&wish, environment),
        Command::Restore(wish) => trash::restore(&wish, environment),
        Command::Warm(wish) => trash::warm(&wish, environment),
        Command::Url(wish) => trash::url(&wish, environment),
        Command::Import(wish) => import::import(&wish, environment),
        Command::Migrate(wish) => migrate::migrate(&wish, environment),
        Command::Fsck(wish) => fsck::fsck(&wish, environment),
        Command::Gc(wish) => fsck::gc(&wish, environment),
        Command::Reindex(wish) => mounting::reindex(&wish, environment),
        Command::Models(wish) => library::models(&wish, environment),
        Command::Transcribe(wish) => transcribe::transcribe(&wish, environment),
        Command::Doctor(wish) => doctor::doctor(&wish, environment),
        Command::Worker(wish) => Ok(match wish.convert {
            Some(ffmpeg) => worker::convert(&ffmpeg, wish.memory_mb),
            None => worker::run(&worker::Options {
                scratch: wish.scratch,
                models: wish.models,
                memory_mb: wish.memory_mb,
            }),
        }),
    }
}
