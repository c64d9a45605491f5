//! `doctor`: everything that scribefs needs, looked at, with what to do about what is missing.

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::arguments::Doctor;
use crate::cli::find_mount;
use crate::cli::print::{self, CliError, causes};
use crate::cli::settings;
use crate::config::Config;
use crate::daemon::{Environment, open_bucket};
use crate::effective_user::effective_user;
use crate::fs::{self as filesystem, Liveness, MountOptions};
use crate::jobs;
use crate::model::{printable, without_error_numbers};
use crate::models::Library;
use crate::store::{BucketOptions, StoreError, is_open_to_strangers};
use crate::upkeep::{self, ProbeError, Probed, Step};
use crate::worker::has_landlock;

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

pub(crate) fn doctor(args: &Doctor, environment: &Environment) -> Result<ExitCode, CliError> {
    let config = args.settings.config(environment)?;
    let mounted = filesystem::mounts();
    let found = filesystem::liveness_of_all(&mounted);
    let findings = [
        ("fuse", fuse(environment)),
        ("mounts", mounts(&mounted, &found)),
        ("hidden", hidden(&mounted, &found)),
        ("state", folder(&config.state, "--state")),
        ("store", store(&config.uploads)),
        ("bucket", bucket(&config)),
        ("recognizer", model(&config, &config.recognizer, true)),
        ("diarizer", diarizer(&config)),
        ("workers", worker(&config, environment)),
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
        let said = without_error_numbers(&said);
        let _ = writeln!(text, "{mark}  {what:<10}  {}", printable(&said));
        if let Some(remedy) = remedy {
            let _ = writeln!(text, "                  {}", printable(&remedy));
        }
    }
    print::print(text)?;
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
            remedy: "Make it readable and writable for everyone: `chmod 666 /dev/fuse`.".to_owned(),
        },
        Ok(_) if effective_user() == 0 => Well("/dev/fuse, mounting as root".to_owned()),
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

/// A mount that does not let us in is somebody's private one, and alive.
fn mounts(mounts: &[PathBuf], found: &[Liveness]) -> Finding {
    let those = |wanted: Liveness, what: &str| -> Option<(String, String)> {
        let those = mounts.iter().zip(found).filter(|(_, it)| **it == wanted);
        let paths: Vec<_> = those.map(|(mount, _)| mount.display()).collect();
        let told: Vec<String> = paths.iter().map(|path| format!("the {what} at {path}")).collect();
        Some((told.join(", "), paths.first()?.to_string()))
    };
    if let Some((mounts, first)) = those(Liveness::Silent, "mount") {
        return Wrong {
            what: format!("no answer from {mounts}"),
            remedy: format!("Unmount it with `scribefs umount {first}`, then mount it again."),
        };
    }
    if let Some((mounts, first)) = those(Liveness::Dead, "daemon of the mount") {
        return Wrong {
            what: format!("no longer running: {mounts}"),
            remedy: format!("Mount it again with `scribefs mount {first}`."),
        };
    }
    if mounts.is_empty() {
        return Well("nothing is mounted".to_owned());
    }
    let paths: Vec<String> = mounts.iter().map(|it| it.display().to_string()).collect();
    Well(paths.join(", "))
}

/// What was written to the folders that mounts cover, as far as their daemons tell this user.
fn hidden(mounts: &[PathBuf], found: &[Liveness]) -> Finding {
    let alive = mounts.iter().zip(found).filter(|(_, it)| **it == Liveness::Alive);
    let first = alive.filter_map(|(mount, _)| hidden_below(mount)).next();
    first.unwrap_or_else(|| Well("nothing is hidden below a mount".to_owned()))
}

fn hidden_below(mount: &Path) -> Option<Finding> {
    let status = find_mount::status(mount).ok()?;
    let count = status["hidden"].as_u64().filter(|count| *count != 0)?;
    let first = status["hidden_first"].as_str().unwrap_or_default();
    let at = mount.display();
    Some(Wrong {
        what: format!("hidden below the mount at {at}: {count} files or folders (`{first}`)"),
        remedy: format!(
            "Run `scribefs umount {at}`, move them elsewhere, mount again, and drop them into the inbox."
        ),
    })
}

/// A folder that must be ours to write in; one that is not there yet will be made.
fn folder(path: &Path, flag: &str) -> Finding {
    let there = path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    match tempfile::tempfile_in(there) {
        Ok(_) => Well(path.display().to_string()),
        Err(err) => Wrong {
            what: format!("cannot write to {}: {err}", there.display()),
            remedy: format!("Change its owner, or choose another folder with `{flag}`."),
        },
    }
}

/// A folder that others may enter shows them every recording, whatever its mode in the mount.
fn store(path: &Path) -> Finding {
    let mode = fs::metadata(path).map_or(0, |found| found.mode());
    match folder(path, "--store") {
        Well(_) if mode & 0o077 != 0 => Lacking {
            what: format!("other users can enter {} (mode {:o})", path.display(), mode & 0o777),
            remedy: format!("Unless you want that, close it: `chmod 700 {}`.", path.display()),
        },
        found => found,
    }
}

/// Puts, gets and removes a small object, as the daemon would.
fn bucket(config: &Config) -> Finding {
    let Some(options) = &config.bucket else { return Well("none configured".to_owned()) };
    let place = format!("s3://{}/{}", options.bucket, options.prefix);
    let bucket = match open_bucket(config) {
        Ok(Some(bucket)) => bucket,
        Ok(None) => return Well("none configured".to_owned()),
        Err(err) => {
            return Wrong {
                what: format!("{place}: {}", causes(&err)),
                remedy: "Check `[s3]` in the settings.".to_owned(),
            };
        }
    };
    match upkeep::try_bucket(bucket.as_ref()) {
        Ok(probed) => tried(place, options, probed),
        Err(err) => {
            Wrong { what: format!("{place}: {}", causes(&err)), remedy: remedy_of(&err).to_owned() }
        }
    }
}

fn tried(place: String, options: &BucketOptions, probed: Probed) -> Finding {
    if let Some(endpoint) = options.endpoint.as_deref()
        && is_open_to_strangers(endpoint)
    {
        return Lacking {
            what: format!(
                "{place} works, but {endpoint} sends recordings over the network unencrypted"
            ),
            remedy: "Use an endpoint that begins with `https://`.".to_owned(),
        };
    }
    if let Some(skew) = probed.skew {
        return Lacking {
            what: format!("{place} works, but its clock is {skew:#} ahead of this machine's"),
            remedy:
                "Set the clock (`timedatectl set-ntp true`): from 15 min on, everything is refused."
                    .to_owned(),
        };
    }
    if probed.ignores_conditions {
        return Lacking {
            what: format!("{place} works, but would let two scribefs write to it at once"),
            remedy: "Set `provider` in `[s3]`, and make sure that only one scribefs writes to it."
                .to_owned(),
        };
    }
    if let Some(name) = probed.foreign.named.first() {
        let count = probed.foreign.count;
        return Well(format!(
            "{place}: list, put, get and delete work; {count} objects there do not belong to scribefs (`{name}`)"
        ));
    }
    Well(format!("{place}: list, put, get and delete work"))
}

fn remedy_of(err: &ProbeError) -> &'static str {
    match (&err.source, err.step) {
        (StoreError::Unavailable { .. }, _) => {
            "Check `endpoint` and the network. Until it answers, recordings stay on local disk."
        }
        (StoreError::Missing { .. } | StoreError::Refused { .. }, Step::List) => {
            "Check name, region and keys. The keys need s3:ListBucket on the bucket."
        }
        (StoreError::Missing { .. } | StoreError::Refused { .. }, Step::Put) => {
            "The keys need s3:PutObject below the prefix, and with `kms` permission to use the key."
        }
        (StoreError::Missing { .. } | StoreError::Refused { .. }, Step::Get) => {
            "The keys need s3:GetObject below the prefix, and with `kms` permission to use the key."
        }
        (StoreError::Missing { .. } | StoreError::Refused { .. }, Step::Delete) => {
            "The keys need s3:DeleteObject below the prefix. `_scribefs/probe` may be left there."
        }
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
        None => Well("none configured: everyone counts as one speaker".to_owned()),
    }
}

/// Starts a worker as the daemon would, and sees it confine itself and load its engines' libraries.
fn worker(config: &Config, environment: &Environment) -> Finding {
    let scratch = match tempfile::tempdir() {
        Ok(scratch) => scratch,
        Err(err) => {
            return Wrong {
                what: format!("cannot create a temporary folder: {err}"),
                remedy: "Free some space, or set TMPDIR to another folder.".to_owned(),
            };
        }
    };
    let plan = settings::plan(config.clone(), MountOptions::new("/"), environment);
    let mut setup = plan.setup();
    setup.scratch = scratch.path().to_owned();
    match jobs::try_workers(&setup) {
        Ok(()) if !has_landlock() => Lacking {
            what:
                "this kernel has no Landlock: a recording that takes over a worker could read your files"
                    .to_owned(),
            remedy: "Linux 5.13 and newer has it; it may be missing from `lsm=` on the kernel's \
                     command line. Network, other processes and privileges are out of reach anyway."
                .to_owned(),
        },
        Ok(()) => Well("start and confine themselves".to_owned()),
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
