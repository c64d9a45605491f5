//! `doctor`: everything that scribefs needs, looked at, with what to do about what is missing.

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::arguments::Doctor;
use crate::cli::report::{self, Trouble};
use crate::cli::settings;
use crate::config::{Config, StoreChoice};
use crate::daemon::Environment;
use crate::fs::{self as filesystem, MountOptions};
use crate::models::Library;
use crate::pipeline;

/// How a check came out.
enum Finding {
    Well(String),
    /// It works without, in part.
    Lacking {
        what: String,
        remedy: String,
    },
    Wrong {
        what: String,
        remedy: String,
    },
}

use Finding::{Lacking, Well, Wrong};

pub(crate) fn doctor(wish: &Doctor, environment: &Environment) -> Result<ExitCode, Trouble> {
    let config = wish.settings.config(environment)?;
    let findings = [
        ("fuse", fuse(environment)),
        ("mounts", mounts()),
        ("state", folder(&config.state, "--state")),
        ("store", store(&config)),
        ("recognizer", model(&config, &config.recognizer, true)),
        ("diarizer", diarizer(&config)),
        ("worker", worker(&config, environment)),
        ("converter", converter(environment)),
    ];
    let mut text = String::new();
    let mut code = ExitCode::SUCCESS;
    for (what, finding) in findings {
        let (mark, said, remedy) = match finding {
            Well(said) => ("ok  ", said, None),
            Lacking { what, remedy } => ("warn", what, Some(remedy)),
            Wrong { what, remedy } => {
                code = ExitCode::FAILURE;
                ("FAIL", what, Some(remedy))
            }
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{mark}  {what:<10}  {said}");
        if let Some(remedy) = remedy {
            let _ = writeln!(text, "                  {remedy}");
        }
    }
    report::print(text)?;
    Ok(code)
}

fn fuse(environment: &Environment) -> Finding {
    match File::options().read(true).write(true).open("/dev/fuse") {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Wrong {
            what: "/dev/fuse is missing".to_owned(),
            remedy: "Load the module: `modprobe fuse`; in a container: `--device /dev/fuse`."
                .to_owned(),
        },
        Err(err) => Wrong {
            what: format!("/dev/fuse cannot be opened: {err}"),
            remedy: "It should be readable and writable for everybody: `chmod 666 /dev/fuse`."
                .to_owned(),
        },
        Ok(_) if is_root() => Well("/dev/fuse, mounting as root".to_owned()),
        Ok(_) => match environment.find_program("fusermount3") {
            Some(path) => Well(format!("/dev/fuse, {}", path.display())),
            None => Wrong {
                what: "`fusermount3` is not on PATH".to_owned(),
                remedy: "Debian, Ubuntu: `apt install fuse3`; Fedora: `dnf install fuse3`."
                    .to_owned(),
            },
        },
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

fn mounts() -> Finding {
    let mounts = filesystem::mounts();
    let dead = mounts.iter().find(|mount| fs::read_dir(mount).is_err());
    match (dead, mounts.len()) {
        (Some(dead), _) => Wrong {
            what: format!("the mount at {} is dead", dead.display()),
            remedy: format!("`scribefs mount {}` mounts it again.", dead.display()),
        },
        (None, 0) => Well("nothing is mounted".to_owned()),
        (None, _) => {
            let paths: Vec<String> = mounts.iter().map(|it| it.display().to_string()).collect();
            Well(paths.join(", "))
        }
    }
}

/// A folder that must be ours to write in; one that is not there yet will be made.
fn folder(path: &Path, flag: &str) -> Finding {
    let there = path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    match tempfile::tempfile_in(there) {
        Ok(_) => Well(path.display().to_string()),
        Err(err) => Wrong {
            what: format!("{} cannot be written in: {err}", there.display()),
            remedy: format!("Change its owner, or give another folder with `{flag}`."),
        },
    }
}

fn store(config: &Config) -> Finding {
    match &config.store {
        StoreChoice::Local(path) => folder(path, "--store"),
        bucket @ StoreChoice::Bucket { .. } => Wrong {
            what: format!("{bucket}: buckets are not supported by this version"),
            remedy: "Give a folder with `--store`.".to_owned(),
        },
    }
}

fn model(config: &Config, name: &str, is_needed: bool) -> Finding {
    let library = Library::new(&config.models);
    if let Some(model) = library.find(name) {
        return Well(format!("{name} in {}", model.folder.display()));
    }
    let what = format!("`{name}` is not installed");
    let remedy = format!("`scribefs models pull {name}`");
    if is_needed { Wrong { what, remedy } } else { Lacking { what, remedy } }
}

fn diarizer(config: &Config) -> Finding {
    match &config.diarizer {
        Some(name) => model(config, name, false),
        None => Well("none wanted: everybody counts as one speaker".to_owned()),
    }
}

/// Starts a worker as the daemon would, and sees it confine itself and load its engines' libraries.
fn worker(config: &Config, environment: &Environment) -> Finding {
    let scratch = match tempfile::tempdir() {
        Ok(scratch) => scratch,
        Err(err) => {
            return Wrong {
                what: format!("no temporary folder can be made: {err}"),
                remedy: "Free some space, or name another folder with TMPDIR.".to_owned(),
            };
        }
    };
    let plan = settings::plan(config.clone(), MountOptions::new("/"), environment);
    let mut setup = plan.setup();
    setup.scratch = scratch.path().to_owned();
    match pipeline::try_worker(&setup) {
        Ok(()) => Well("starts and confines itself".to_owned()),
        Err(failure) => Wrong { what: failure.message, remedy: failure.remedy },
    }
}

fn converter(environment: &Environment) -> Finding {
    match environment.find_program("ffmpeg") {
        Some(path) => Well(path.display().to_string()),
        None => Lacking {
            what: "`ffmpeg` is not on PATH: HE-AAC, AMR, WMA and the like cannot be read"
                .to_owned(),
            remedy: "`apt install ffmpeg`".to_owned(),
        },
    }
}
