//! Subcommands: what people type, and what they read.

mod arguments;
mod attributes;
mod doctor;
mod dot_env;
mod files;
mod find_mount;
mod fsck;
mod import;
mod import_inbox;
mod library;
mod migrate;
mod mount_arguments;
mod mount_helper;
mod mounting;
mod orders;
mod print;
mod progress;
mod published_arguments;
mod purge;
mod setting_flags;
mod settings;
mod status;
mod stores;
mod transcribe;
mod trash;
mod umount;
mod version;

use std::env;
use std::ffi::OsStr;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cli::arguments::{Arguments, Command, Worker};
use crate::cli::print::CliError;
use crate::daemon::{Environment, pass_over_contained_panics, set_up_logging, use_private_umask};
use crate::worker;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let command = Arguments::command();
    let is_command = |word: &OsStr| word == "help" || command.find_subcommand(word).is_some();
    let words = mount_helper::translated(env::args_os().collect(), is_command);
    let arguments = Arguments::parse_from(words);
    // Whatever a command writes is its user's alone: indexes, pages, copies of recordings.
    use_private_umask();
    pass_over_contained_panics();
    let environment = Environment::read();
    match dispatch(arguments.command, &environment) {
        Ok(code) => code,
        Err(trouble) => {
            print::complain(&trouble);
            trouble.code()
        }
    }
}

fn dispatch(command: Command, environment: &Environment) -> Result<ExitCode, CliError> {
    // The daemon sets up its own, by its configuration.
    if !matches!(command, Command::Mount(_)) {
        set_up_logging(log::LevelFilter::Warn);
    }
    match command {
        Command::Mount(wish) => mounting::mount(&wish, environment),
        Command::Umount(wish) => umount::umount(&wish, environment),
        Command::Status(wish) => status::status(&wish, environment),
        Command::StorageInfo(wish) => status::storage_info(&wish, environment),
        Command::Wait(wish) => files::wait(&wish, environment),
        Command::Retry(wish) => orders::retry(&wish, environment),
        Command::Cancel(wish) => orders::cancel(&wish, environment),
        Command::Name(wish) => orders::name(&wish, environment),
        Command::RetryUploads(wish) => status::retry_uploads(&wish, environment),
        Command::Trash(wish) => trash::trash(&wish, environment),
        Command::Restore(wish) => trash::restore(&wish, environment),
        Command::Purge(wish) => purge::purge(&wish, environment),
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
        Command::Version => version::version(),
        Command::Worker(wish) => Ok(worker(&wish)),
    }
}

fn worker(wish: &Worker) -> ExitCode {
    let options = worker::Options {
        memory_mb: wish.memory_mb,
        file_bytes: wish.file_bytes,
        cpu_seconds: wish.cpu_seconds,
        parent: wish.parent,
    };
    match (&wish.convert, &wish.models) {
        (Some(ffmpeg), _) => worker::convert(ffmpeg, options),
        (None, Some(models)) => worker::run_engines(models, options),
        (None, None) => worker::decode(options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments that the help of a command and of those below it shows, each with the command's name before it.
    fn arguments(command: &clap::Command) -> Vec<(String, clap::Arg)> {
        let own = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let own = own.map(|argument| {
            (format!("{} {}", command.get_name(), argument.get_id()), argument.clone())
        });
        let below = command.get_subcommands().filter(|it| !it.is_hide_set());
        own.chain(below.flat_map(arguments)).collect()
    }

    #[test]
    fn help_explains_every_command_and_every_argument() {
        let command = Arguments::command();
        let mute = command.get_subcommands().filter(|it| !it.is_hide_set());
        let mute: Vec<&str> =
            mute.filter(|it| it.get_about().is_none()).map(clap::Command::get_name).collect();
        assert_eq!(mute, [""; 0]);
        let arguments = arguments(&command);
        let unexplained: Vec<&String> = arguments
            .iter()
            .filter(|(_, it)| it.get_help().is_none())
            .map(|(name, _)| name)
            .collect();
        assert!(50 < arguments.len() && unexplained.is_empty(), "{unexplained:?}");
    }

    #[test]
    fn a_command_has_only_the_settings_that_it_uses() {
        let names: Vec<String> =
            arguments(&Arguments::command()).into_iter().map(|it| it.0).collect();
        let has = |name: &str| names.iter().any(|it| it == name);
        assert!(has("mount settle") && has("mount state") && has("mount recognizer"));
        for tool in ["import", "migrate", "fsck", "gc", "reindex"] {
            assert!(has(&format!("{tool} state")) && has(&format!("{tool} store")), "{tool}");
            assert!(
                !has(&format!("{tool} settle")) && !has(&format!("{tool} recognizer")),
                "{tool}"
            );
        }
        assert!(
            has("transcribe recognizer") && !has("transcribe state") && !has("transcribe watch")
        );
        assert!(has("doctor models") && has("doctor state") && !has("doctor settle"));
    }
}
