//! `mount` and `reindex`.

use std::fs;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::arguments::Reindex;
use crate::cli::mount_arguments::Mount;
use crate::cli::print::{self, CliError};
use crate::cli::settings;
use crate::cli::stores::unless_mounted;
use crate::config::{self, Config, Layer, Origin};
use crate::daemon::{
    DaemonConfig, Detached, Environment, Readiness, check_overlaps, close_inherited_files, detach,
    harden, last_server, log_to_file, open_bucket, open_local_store, private_folder,
    reindex as make_index_anew, serve, set_up_logging, supervise,
};
use crate::fs::{self as filesystem, MountOptions, UnderlyingFolder};
use crate::models::Library;

/// Options that `mount` and fstab may pass, and that change nothing here.
const HARMLESS: [&str; 29] = [
    "rw",
    "dev",
    "suid",
    "sync",
    "async",
    "dirsync",
    "diratime",
    "nodiratime",
    "norelatime",
    "strictatime",
    "lazytime",
    "users",
    "nouser",
    "owner",
    "group",
    "comment",
    "subtype",
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

pub(crate) fn mount(args: &Mount, environment: &Environment) -> Result<ExitCode, CliError> {
    // Before anything is opened, and before this process has read anything secret.
    let hardened = close_inherited_files().and_then(|()| harden());
    let (mut layer, options) = options(&args.options)?;
    if args.read_only {
        layer.say("read_only", "true", Origin::Flag);
    }
    let config = args.settings.config_with(layer, environment)?;
    let mount = MountOptions {
        source: options.source.clone().unwrap_or_else(|| "scribefs".to_owned()),
        allow_other: config.allow_other,
        no_exec: options.no_exec,
        uid: config.uid,
        gid: config.gid,
        umask: config.umask,
        ..MountOptions::new(environment.working_directory().join(&args.mountpoint))
    };
    let mut plan = settings::plan(config, mount, environment);
    check_overlaps(&plan.config, &plan.mount.mountpoint)?;
    if options.is_fake {
        return Ok(ExitCode::SUCCESS);
    }
    let may_hide_files = args.nonempty || options.nonempty;
    prepare_mountpoint(&mut plan, may_hide_files)?;
    warn_of_missing_models(&plan.config);
    if let Err(err) = hardened {
        print::remark(&format!("scribefs: the limits of this process could not be set: {err}"));
    }
    if private_folder(&plan.config.state)? {
        print::remark(
            "scribefs: other users could enter the state folder; from now on only you can",
        );
    }
    if args.foreground || options.foreground {
        set_up_logging(plan.config.log_level);
        return Ok(serve_supervised(&plan, Readiness::unawaited(), args.supervise));
    }
    go_to_background(&plan, !args.no_supervise)
}

fn serve_supervised(plan: &DaemonConfig, readiness: Readiness, is_supervised: bool) -> ExitCode {
    let serve = |readiness| serve(plan, readiness, print::explain);
    match is_supervised {
        true => supervise(&plan.mount.mountpoint, readiness, serve),
        false => serve(readiness),
    }
}

fn go_to_background(plan: &DaemonConfig, is_supervised: bool) -> Result<ExitCode, CliError> {
    let log = plan.config.state.join("daemon.log");
    let trouble = |source| CliError::File {
        path: log.clone(),
        source,
        remedy: "Use `--foreground`, or choose another folder with `--state`.".to_owned(),
    };
    match detach(&log).map_err(trouble)? {
        Detached::Parent(Ok(())) => {
            let at = plan.mount.mountpoint.display();
            print::remark(&match plan.config.read_only {
                true => format!("scribefs: mounted at {at}, read-only; see {at}/conversations"),
                false => format!("scribefs: mounted at {at}; drop recordings into {at}/inbox"),
            });
            Ok(ExitCode::SUCCESS)
        }
        Detached::Parent(Err(why)) => Err(CliError::NotMounted(why)),
        Detached::Child(readiness) => {
            log_to_file(plan.config.log_level, &log).map_err(trouble)?;
            Ok(serve_supervised(plan, readiness, is_supervised))
        }
    }
}

/// What `-o` said beside settings.
#[derive(Debug, Default)]
struct Options {
    no_exec: bool,
    foreground: bool,
    nonempty: bool,
    /// Everything is checked, and nothing mounted: `mount -f`.
    is_fake: bool,
    /// What the first column of `df` shows.
    source: Option<String>,
}

fn options(said: &[String]) -> Result<(Layer, Options), CliError> {
    let mut layer = Layer::default();
    let mut options = Options::default();
    for option in said {
        let (key, value) = option.split_once('=').unwrap_or((option, "true"));
        match key {
            "noexec" => options.no_exec = true,
            "foreground" => options.foreground = true,
            "nonempty" => options.nonempty = true,
            "fake" => options.is_fake = true,
            "fsname" => options.source = Some(value.to_owned()),
            "ro" => layer.say("read_only", "true", Origin::Flag),
            _ if HARMLESS.contains(&key) || key.starts_with("x-") => {}
            _ => match config::setting(key) {
                Some(setting) => layer.say(setting, value, Origin::Flag),
                None => return Err(no_such_option(key)),
            },
        }
    }
    Ok((layer, options))
}

fn no_such_option(key: &str) -> CliError {
    let meant = config::nearest_setting(key).map(|it| format!("; did you mean `{it}`?"));
    CliError::plain(
        format!("there is no mount option `{key}`{}", meant.unwrap_or_default()),
        "`scribefs mount --help` lists the options for `-o`, and STORAGE_GUIDE.md all settings.",
    )
}

/// Puts the folder without detours into the plan. It is made if only its last part is missing.
fn prepare_mountpoint(plan: &mut DaemonConfig, may_hide_files: bool) -> Result<(), CliError> {
    let path = plan.mount.mountpoint.clone();
    let trouble = |source| CliError::File {
        path: path.clone(),
        source,
        remedy: "Create the folder first: `mkdir -p`.".to_owned(),
    };
    // A mount whose daemon has died answers nothing, not even what it is. It stays until the new one takes its place.
    let server = last_server(&plan.config.state);
    let is_dead = filesystem::is_dead(&path, server.as_ref()).map_err(|err| match err.kind() {
        io::ErrorKind::TimedOut => CliError::plain(
            format!("the scribefs mounted at {} does not answer", path.display()),
            format!("Unmount it with `scribefs umount {}`, then mount again.", path.display()),
        ),
        _ => trouble(err),
    })?;
    if is_dead {
        print::remark(&format!("scribefs: replacing the dead mount at {}", path.display()));
        let path = filesystem::absolute(&path).map_err(trouble)?;
        let underlying = UnderlyingFolder::new(&path, &plan.config.state, may_hide_files);
        plan.mount.underlying = Some(Arc::new(underlying));
        plan.mount.mountpoint = path;
        return Ok(());
    }
    if !path.exists() {
        fs::create_dir(&path).map_err(trouble)?;
    }
    let path = path.canonicalize().map_err(trouble)?;
    if filesystem::is_mounted(&path).unwrap_or(false) {
        return Err(CliError::plain(
            format!("scribefs is already mounted at {}", path.display()),
            format!("Unmount it with `scribefs umount {}`.", path.display()),
        ));
    }
    let underlying = UnderlyingFolder::new(&path, &plan.config.state, may_hide_files);
    if !may_hide_files && underlying.has_files() {
        return Err(CliError::plain(
            format!("{} is not empty, and a mount would hide what is in it", path.display()),
            "Mount at an empty folder, or use `--nonempty` to hide its files until you unmount.",
        ));
    }
    plan.mount.mountpoint = path;
    plan.mount.underlying = Some(Arc::new(underlying));
    Ok(())
}

fn warn_of_missing_models(config: &Config) {
    let library = Library::new(&config.models);
    for name in std::iter::once(&config.recognizer).chain(&config.diarizer) {
        if library.find(name).is_none() {
            print::remark(&format!(
                "scribefs: the model `{name}` is not installed. Install it with `scribefs models pull {name}`; \
                 until then, {}.",
                if *name == config.recognizer {
                    "recordings wait in the inbox"
                } else {
                    "everyone counts as one speaker"
                }
            ));
        }
    }
}

pub(crate) fn reindex(args: &Reindex, environment: &Environment) -> Result<ExitCode, CliError> {
    let config = args.settings.config(environment)?;
    let (local, bucket) = (Arc::new(open_local_store(&config)?), open_bucket(&config)?);
    let rebuilt = make_index_anew(&config, &local, bucket.as_ref()).map_err(unless_mounted)?;
    for (key, why) in &rebuilt.unreadable {
        print::remark(&format!(
            "{key}: left out: {why}; restore it from a backup and run this again"
        ));
    }
    for key in &rebuilt.incomplete {
        print::remark(&format!(
            "{key}: left out: its recording is missing; restore it from a backup and run this again"
        ));
    }
    for key in &rebuilt.torn {
        print::remark(&format!("{key}: added; some of its pages were rendered again"));
    }
    for key in &rebuilt.salvaged {
        print::remark(&format!(
            "{key}: its metadata is lost; filed again from its json page, without title and custom fields, and \
             readable by its owner only"
        ));
    }
    for key in &rebuilt.unfiled {
        print::remark(&format!(
            "{key}: left out: its metadata and json page are lost; restore them from a backup, or drop a copy into \
             the inbox to transcribe it again"
        ));
    }
    print::print(format!("{}\n", print::counted(rebuilt.recordings, "recording")))?;
    let is_whole = rebuilt.unreadable.is_empty()
        && rebuilt.incomplete.is_empty()
        && rebuilt.unfiled.is_empty();
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
        let wrong = said("setle=1s").unwrap_err().to_string();
        assert_eq!(wrong, "there is no mount option `setle`; did you mean `settle`?");
    }

    #[test]
    fn every_setting_can_stand_behind_o() {
        for key in config::KEYS {
            let (layer, _) = options(&[format!("{key}=1")]).unwrap();
            assert!(layer.has(key), "{key}");
            let Some(short) = key.strip_prefix("retention_") else { continue };
            let (layer, _) = options(&[format!("{short}=1")]).unwrap();
            assert!(layer.has(key), "{short}");
        }
    }
}
