//! `import`: recordings of the first system.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::arguments::{Import, Wait};
use crate::cli::import_inbox::{CopyError, Inbox};
use crate::cli::print::{self, CliError, causes};
use crate::cli::stores::{Opened, unless_mounted};
use crate::cli::{files, find_mount};
use crate::config::{Config, Layer, Origin};
use crate::daemon::{DaemonError, Environment, open_bucket, open_local_store};
use crate::index::IndexError;
use crate::model::Key;
use crate::publishing::StoresError;
use crate::store::{Bucket, BucketOptions, Foreign, StoreError};
use crate::upkeep::{self, Find, ImportError, Imported, NotTaken, Reason};

pub(crate) fn import(args: &Import, environment: &Environment) -> Result<ExitCode, CliError> {
    let config = args.settings.config(environment)?;
    let target = match &args.mount {
        Some(mount) => Target::Inbox(Inbox::at(environment.working_directory().join(mount))?),
        None => match Opened::try_open(&config) {
            // This state is mounted somewhere, or another command works on it.
            Err(CliError::Daemon(in_use @ DaemonError::Index(IndexError::InUse { .. }))) => {
                match find_mount::of_state(&config.state) {
                    Some(mount) => Target::Inbox(Inbox::at(mount)?),
                    None => return Err(unless_mounted(in_use)),
                }
            }
            opened => Target::Index(Box::new(opened?)),
        },
    };
    let mut importer =
        Importer { target, zone: config.zone.clone(), again: args.again, done: Done::default() };
    let taken = match args.source.starts_with("s3://") {
        true => importer.take_bucket(args, &config, environment),
        false => importer.take_folder(&environment.working_directory().join(&args.source)),
    };
    importer.report(&args.source, taken.as_ref().err())?;
    let Done { dropped, failures, .. } = importer.done;
    let mut code = if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if let Err(trouble) = taken {
        print::complain(&trouble);
        code = trouble.code();
    }
    if !args.wait || dropped.is_empty() {
        return Ok(code);
    }
    // What is in the inbox is waited for, whatever became of the rest.
    let waited = files::wait(&Wait { files: dropped, timeout: None }, environment)?;
    Ok(if code == ExitCode::SUCCESS { waited } else { code })
}

/// Another bucket than the one that recordings go to, reached in the same way.
fn source_bucket(
    args: &Import,
    config: &Config,
    environment: &Environment,
) -> Result<Arc<dyn Bucket>, CliError> {
    let mut store = Layer::default();
    store.say("store", &args.source, Origin::Flag);
    let named = args.settings.config_with(store, environment);
    let source = match (&config.bucket, named) {
        (_, Ok(named)) => named,
        // The settings name a bucket of their own beside it: all else that they say of it counts here too.
        (Some(own), Err(_)) => {
            let place = args.source.trim_start_matches("s3://");
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            let prefix = prefix.trim_matches('/');
            let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
            let options = BucketOptions { bucket: bucket.to_owned(), prefix, ..own.clone() };
            Config { bucket: Some(options), ..config.clone() }
        }
        (None, Err(err)) => return Err(err),
    };
    open_bucket(&source)?.ok_or_else(|| nothing_in(&args.source))
}

fn nothing_in(source: &str) -> CliError {
    CliError::plain(
        format!("there are no recordings in {source}"),
        "Name the folder that contains <conversation>/<yyyy>/<mm>/<dd>/.",
    )
}

/// Where recordings go.
enum Target {
    /// Those with a transcript are published with it, without any engine.
    Index(Box<Opened>),
    /// Those without are dropped into the inbox of a mount.
    Inbox(Inbox),
}

/// What was done so far.
#[derive(Default)]
struct Done {
    found: u64,
    published: u64,
    known: u64,
    dropped: Vec<PathBuf>,
    /// Not for this target.
    left: u64,
    not_taken: NotTaken,
    /// Those of `not_taken` that should have been taken.
    failures: u64,
}

impl Done {
    fn fail(&mut self, path: PathBuf, why: String) {
        self.failures += 1;
        self.not_taken.note(path, Reason::Unreadable(why));
    }
}

struct Importer {
    target: Target,
    zone: TimeZone,
    /// Transcripts do not count.
    again: bool,
    done: Done,
}

impl Importer {
    fn take_folder(&mut self, source: &Path) -> Result<(), CliError> {
        self.refuse_own(source)?;
        self.take(source)
    }

    fn take_bucket(
        &mut self,
        args: &Import,
        config: &Config,
        environment: &Environment,
    ) -> Result<(), CliError> {
        let bucket = source_bucket(args, config, environment)?;
        let found = upkeep::days(bucket.as_ref())?;
        self.done.not_taken.add(foreign(found.passed_over));
        for day in found.days {
            // Where they are going to, if that is here: recordings may be larger than the disk of /tmp.
            let folder = match &self.target {
                Target::Index(opened) => tempfile::tempdir_in(opened.local.staging()),
                Target::Inbox(_) => tempfile::tempdir_in(open_local_store(config)?.staging()),
            };
            let folder = folder.map_err(StoresError::Disk)?;
            match upkeep::fetch_day(bucket.as_ref(), &day, folder.path()) {
                // One that was removed meanwhile or lies in an archive says nothing of the others.
                Err(StoresError::Store(
                    err @ (StoreError::Missing { .. } | StoreError::Refused { .. }),
                )) => {
                    let why = causes(&err);
                    for key in day {
                        self.done
                            .fail(key.as_str().into(), format!("its day cannot be read: {why}"));
                    }
                }
                fetched => {
                    fetched?;
                    self.take(folder.path())?;
                }
            }
        }
        Ok(())
    }

    /// The store is no source: its recordings would be filed a second time.
    fn refuse_own(&self, source: &Path) -> Result<(), CliError> {
        let Target::Index(opened) = &self.target else { return Ok(()) };
        let store = opened.local.root();
        // A source that is not there is told of later.
        if upkeep::lies_in(source, store).unwrap_or(false) {
            return Err(CliError::plain(
                format!("{} is inside the store {}", source.display(), store.display()),
                "Set `store` to another folder in the settings, and import into that.",
            ));
        }
        Ok(())
    }

    /// Takes what a tree has. Ends early only where nothing more can be published or dropped.
    fn take(&mut self, root: &Path) -> Result<(), CliError> {
        let survey = upkeep::survey(root).map_err(|source| CliError::File {
            path: root.to_owned(),
            source,
            remedy: "Name the folder that contains <conversation>/<yyyy>/<mm>/<dd>/.".to_owned(),
        })?;
        self.done.not_taken.add(survey.not_taken);
        for find in &survey.finds {
            self.done.found += 1;
            self.take_one(root, find)?;
        }
        Ok(())
    }

    fn take_one(&mut self, root: &Path, find: &Find) -> Result<(), CliError> {
        match (&self.target, &find.text) {
            (Target::Index(opened), Some(text)) => {
                let now = Timestamp::now();
                match upkeep::import(opened.stores(), find, text, &self.zone, now) {
                    Ok(Imported::Published(_)) => self.done.published += 1,
                    Ok(Imported::Known(_)) => self.done.known += 1,
                    Err(ImportError::Source { path, source }) => {
                        let path = path.strip_prefix(root).map(Path::to_owned).unwrap_or(path);
                        self.done.fail(path, format!("cannot be read: {source}"));
                    }
                    Err(ImportError::Stores(err)) => return Err(err.into()),
                }
            }
            (Target::Inbox(inbox), text) if text.is_none() || self.again => {
                let target = inbox.path_of(find);
                match inbox.copy(find, &self.zone) {
                    Ok(()) => self.done.dropped.push(target),
                    Err(CopyError::File(err)) => {
                        let path = find.audio.strip_prefix(root).unwrap_or(&find.audio);
                        self.done.fail(path.to_owned(), err.to_string());
                    }
                    Err(CopyError::Mount(source)) => {
                        return Err(CliError::File {
                            path: target,
                            source,
                            remedy: "Check with `scribefs status` that the mount answers and has space, then run \
                                     the command again: it continues where it stopped."
                                .to_owned(),
                        });
                    }
                }
            }
            (Target::Index(_) | Target::Inbox(_), _) => self.done.left += 1,
        }
        Ok(())
    }

    /// `trouble`: why it ended early.
    fn report(&self, source: &str, trouble: Option<&CliError>) -> Result<(), CliError> {
        let Done { found, published, known, dropped, left, not_taken, .. } = &self.done;
        for (path, reason) in &not_taken.named {
            print::remark(&format!("{}: not imported: {reason}", path.display()));
        }
        if not_taken.count != 0 {
            let files = print::counted(not_taken.count, "file");
            let named = not_taken.named.len();
            let rest = match u64::try_from(named).is_ok_and(|named| named < not_taken.count) {
                true => format!("; the first {named} are listed above"),
                false => String::new(),
            };
            print::remark(&format!("{files} not imported{rest}"));
        }
        if *found == 0 {
            return if trouble.is_some() { Ok(()) } else { Err(nothing_in(source)) };
        }
        let (said, rest) = match &self.target {
            Target::Index(_) => (
                format!(
                    "{} published with transcript, {known} already known\n",
                    print::counted(*published, "recording")
                ),
                "without a transcript: mount and run this again to transcribe",
            ),
            Target::Inbox(_) => (
                format!(
                    "{} dropped into the inbox\n",
                    print::counted(dropped.len() as u64, "recording")
                ),
                "with a transcript: unmount and run this again to publish with it, or use `--again` to \
                 transcribe anew",
            ),
        };
        print::print(said)?;
        if *left != 0 {
            print::remark(&format!("{} {rest}", print::counted(*left, "recording")));
        }
        Ok(())
    }
}

/// What a listing of the bucket has left out.
fn foreign(passed_over: Foreign) -> NotTaken {
    let mut not_taken = NotTaken::default();
    for name in passed_over.named {
        // A key of ours that is in no day's folder, or no key at all.
        let reason = if Key::new(&name).is_some() { Reason::Elsewhere } else { Reason::Name };
        not_taken.note(name.into(), reason);
    }
    not_taken.count = passed_over.count;
    not_taken
}
