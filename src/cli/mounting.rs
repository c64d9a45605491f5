//! `mount`, `umount` and `reindex`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::arguments::{Mount, Reindex, Umount};
use crate::cli::report::{self, Trouble};
use crate::cli::{place, settings};
use crate::config::{Config, KEYS, Layer, Origin};
use crate::daemon::{
    Detached, Environment, Plan, Readiness, detach, open_bucket, open_near,
    reindex as make_index_anew, serve, set_up_logging,
};
use crate::fs::{self as filesystem, MountOptions};
use crate::models::Library;

/// Options that `mount` and fstab may pass, and that change nothing here.
const HARMLESS: [&str; 13] = [
    "rw",
    "nosuid",
    "nodev",
    "noatime",
    "relatime",
    "auto",
    "noauto",
    "user",
    "nofail",
    "_netdev",
    "default_permissions",
    "defaults",
    "exec",
];

/// How long `umount --wait` waits for the daemon.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn mount(wish: &Mount, environment: &Environment) -> Result<ExitCode, Trouble> {
    let (mut layer, options) = options(&wish.options)?;
    if wish.read_only {
        layer.say("read_only", "true", Origin::Flag);
    }
    let config = wish.settings.config_with(layer, environment)?;
    let mountpoint = mountpoint(&wish.mountpoint, environment)?;
    let log = config.state.join("daemon.log");
    warn_of_missing_models(&config);
    let mount = MountOptions {
        allow_other: config.allow_other,
        no_exec: options.no_exec,
        ..MountOptions::new(mountpoint)
    };
    let plan = settings::plan(config, mount, environment);
    if wish.foreground || options.foreground {
        set_up_logging(plan.config.log_level);
        return Ok(serve(&plan, Readiness::unawaited(), report::explain));
    }
    fs::create_dir_all(&plan.config.state).map_err(|source| Trouble::File {
        path: plan.config.state.clone(),
        source,
        remedy: "Give a folder that you may write to with `--state`.".to_owned(),
    })?;
    go_to_background(&plan, &log)
}

fn go_to_background(plan: &Plan, log: &Path) -> Result<ExitCode, Trouble> {
    let detached = detach(log).map_err(|source| Trouble::File {
        path: log.to_owned(),
        source,
        remedy: "Use `--foreground`, or give another folder with `--state`.".to_owned(),
    })?;
    match detached {
        Detached::Parent(Ok(())) => {
            let at = plan.mount.mountpoint.display();
            report::remark(&format!("scribefs: mounted at {at}; drop recordings into {at}/inbox"));
            Ok(ExitCode::SUCCESS)
        }
        Detached::Parent(Err(why)) => Err(Trouble::NotMounted(why)),
        Detached::Child(readiness) => {
            set_up_logging(plan.config.log_level);
            Ok(serve(plan, readiness, report::explain))
        }
    }
}

/// What `-o` said beside settings.
#[derive(Debug, Default)]
struct Options {
    no_exec: bool,
    foreground: bool,
}

fn options(said: &[String]) -> Result<(Layer, Options), Trouble> {
    let mut layer = Layer::default();
    let mut options = Options::default();
    for option in said {
        let (key, value) = option.split_once('=').unwrap_or((option, "true"));
        match key {
            "noexec" => options.no_exec = true,
            "foreground" => options.foreground = true,
            "ro" => layer.say("read_only", "true", Origin::Flag),
            _ if KEYS.contains(&key) => layer.say(key, value, Origin::Flag),
            _ if HARMLESS.contains(&key) || key.starts_with("x-") => {}
            _ => {
                return Err(Trouble::plain(
                    format!("there is no mount option `{key}`"),
                    "`scribefs mount --help` lists what can stand behind `-o`.",
                ));
            }
        }
    }
    Ok((layer, options))
}

/// The folder as an absolute path without detours. It is made if only its last part is missing.
fn mountpoint(path: &Path, environment: &Environment) -> Result<PathBuf, Trouble> {
    let path = environment.working_directory().join(path);
    let trouble = |source| Trouble::File {
        path: path.clone(),
        source,
        remedy: "Make the folder first: `mkdir -p`.".to_owned(),
    };
    // A mount whose daemon has died answers nothing, not even this: it is detached, and mounted over.
    if filesystem::detach_dead(&path).map_err(trouble)? {
        report::remark(&format!("scribefs: a dead mount was detached from {}", path.display()));
    }
    if !path.exists() {
        fs::create_dir(&path).map_err(trouble)?;
    }
    let path = path.canonicalize().map_err(trouble)?;
    if filesystem::is_mounted(&path).unwrap_or(false) {
        return Err(Trouble::plain(
            format!("a scribefs is mounted at {} already", path.display()),
            format!("`scribefs umount {}` ends it.", path.display()),
        ));
    }
    Ok(path)
}

fn warn_of_missing_models(config: &Config) {
    let library = Library::new(&config.models);
    for name in std::iter::once(&config.recognizer).chain(&config.diarizer) {
        if library.find(name).is_none() {
            report::remark(&format!(
                "scribefs: the model `{name}` is not installed; get it with `scribefs models pull {name}`. \
                 Until then {}.",
                if *name == config.recognizer {
                    "recordings wait in the inbox"
                } else {
                    "everybody counts as one speaker"
                }
            ));
        }
    }
}

pub(crate) fn umount(wish: &Umount, environment: &Environment) -> Result<ExitCode, Trouble> {
    let mountpoint = match &wish.mountpoint {
        Some(path) => environment.working_directory().join(path),
        None => place::only_mount()?,
    };
    let pid = place::status(&mountpoint).ok().and_then(|status| status["pid"].as_i64());
    filesystem::unmount(&mountpoint).map_err(|source| Trouble::File {
        path: mountpoint.clone(),
        source,
        remedy: "`findmnt -t fuse.scribefs` shows what is mounted.".to_owned(),
    })?;
    if let (true, Some(pid)) = (wish.wait, pid) {
        wait_for_end(pid, &mountpoint)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The daemon is nobody's child here, so its end can only be looked for.
fn wait_for_end(pid: i64, mountpoint: &Path) -> Result<(), Trouble> {
    let begun = Instant::now();
    while is_running(pid) {
        if PATIENCE < begun.elapsed() {
            return Err(Trouble::plain(
                format!("the daemon of {} is still at work (process {pid})", mountpoint.display()),
                "Its log says what it waits for; it loses nothing if it is killed.",
            ));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A process that has ended and that nobody has asked about yet runs no more.
fn is_running(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its state follows its name, which may hold anything but ends in the last parenthesis.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) fn reindex(wish: &Reindex, environment: &Environment) -> Result<ExitCode, Trouble> {
    let config = wish.settings.config(environment)?;
    let (near, bucket) = (Arc::new(open_near(&config)?), open_bucket(&config)?);
    let rebuilt = make_index_anew(&config, &near, bucket.as_ref())?;
    for (key, why) in &rebuilt.unreadable {
        report::remark(&format!(
            "{key}: left out: {why}; put it back from a backup, and run this again"
        ));
    }
    for key in &rebuilt.incomplete {
        report::remark(&format!(
            "{key}: left out: its recording is missing; put it back from a backup, and run this again"
        ));
    }
    for key in &rebuilt.torn {
        report::remark(&format!("{key}: taken over; some of its pages were rendered again"));
    }
    report::print(format!("{} recordings\n", rebuilt.recordings))?;
    let is_whole = rebuilt.unreadable.is_empty() && rebuilt.incomplete.is_empty();
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_fstab_are_understood_or_refused() {
        let said = |text: &str| {
            let words: Vec<String> = text.split(',').map(str::to_owned).collect();
            options(&words).map(|(_, options)| (options.no_exec, options.foreground))
        };
        assert_eq!(
            said("rw,noexec,allow_other,settle=1s,x-systemd.automount").unwrap(),
            (true, false)
        );
        assert!(said("setle=1s").unwrap_err().to_string().contains("setle"));
    }
}
