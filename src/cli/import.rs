//! `import`: recordings of the first system.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::arguments::{Import, Wait};
use crate::cli::report::{self, Trouble};
use crate::cli::stock::Opened;
use crate::cli::{files, place};
use crate::config::{Config, Layer, Origin};
use crate::daemon::{DaemonError, Environment, open_bucket, open_near};
use crate::index::IndexError;
use crate::pipeline::{self, Find, Imported, StockError};
use crate::store::{Bucket, BucketOptions, Foreign};

pub(crate) fn import(wish: &Import, environment: &Environment) -> Result<ExitCode, Trouble> {
    let config = wish.settings.config(environment)?;
    let target = match &wish.mount {
        Some(mount) => Target::Inbox(environment.working_directory().join(mount)),
        None => match Opened::open(&config) {
            // This state is mounted somewhere.
            Err(Trouble::Daemon(DaemonError::Index(IndexError::InUse { .. }))) => {
                Target::Inbox(place::only_mount(environment.working_directory())?)
            }
            opened => Target::Index(Box::new(opened?)),
        },
    };
    let mut importer =
        Importer { target, zone: config.zone.clone(), again: wish.again, done: Done::default() };
    if wish.source.starts_with("s3://") {
        let bucket = source_bucket(wish, &config, environment)?;
        let found = pipeline::days(bucket.as_ref())?;
        tell_passed_over(&found.passed_over);
        for day in found.days {
            // Where they are going to, if that is here: recordings may be larger than the disk of /tmp.
            let folder = match &importer.target {
                Target::Index(opened) => tempfile::tempdir_in(opened.near.staging()),
                Target::Inbox(_) => tempfile::tempdir_in(open_near(&config)?.staging()),
            };
            let folder = folder.map_err(StockError::Disk)?;
            pipeline::fetch_day(bucket.as_ref(), &day, folder.path())?;
            importer.take(folder.path())?;
        }
    } else {
        let source = environment.working_directory().join(&wish.source);
        importer.refuse_own(&source)?;
        importer.take(&source)?;
    }
    importer.report(&wish.source)?;
    let dropped = importer.done.dropped;
    if wish.wait && !dropped.is_empty() {
        return files::wait(&Wait { files: dropped, timeout: None }, environment);
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing is left out without a word.
fn tell_passed_over(passed_over: &Foreign) {
    for name in &passed_over.named {
        report::remark(&format!("{name}: passed over"));
    }
    if passed_over.count != 0 {
        report::remark(&format!(
            "{} objects were passed over: their names are none that scribefs can take, or lie in no \
             <conversation>/<yyyy>/<mm>/<dd>/; copy them to a folder and import that",
            passed_over.count
        ));
    }
}

/// Another bucket than the one that recordings go to, reached in the same way.
fn source_bucket(
    wish: &Import,
    config: &Config,
    environment: &Environment,
) -> Result<Arc<dyn Bucket>, Trouble> {
    let mut store = Layer::default();
    store.say("store", &wish.source, Origin::Flag);
    let named = wish.settings.config_with(store, environment);
    let source = match (&config.bucket, named) {
        (_, Ok(named)) => named,
        // The settings name a bucket of their own beside it: all else that they say of it counts here too.
        (Some(own), Err(_)) => {
            let place = wish.source.trim_start_matches("s3://");
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            let prefix = prefix.trim_matches('/');
            let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
            let options = BucketOptions { bucket: bucket.to_owned(), prefix, ..own.clone() };
            Config { bucket: Some(options), ..config.clone() }
        }
        (None, Err(err)) => return Err(err),
    };
    open_bucket(&source)?.ok_or_else(|| nothing_in(&wish.source))
}

fn nothing_in(source: &str) -> Trouble {
    Trouble::plain(
        format!("there are no recordings in {source}"),
        "Give the folder that has <conversation>/<yyyy>/<mm>/<dd>/ in it.",
    )
}

/// Where recordings go.
enum Target {
    /// Those with a transcript are published with it, without any engine.
    Index(Box<Opened>),
    /// Those without are dropped into the inbox of a mount.
    Inbox(PathBuf),
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
}

struct Importer {
    target: Target,
    zone: TimeZone,
    /// Transcripts do not count.
    again: bool,
    done: Done,
}

impl Importer {
    /// The store is no source: its recordings would be filed a second time.
    fn refuse_own(&self, source: &Path) -> Result<(), Trouble> {
        let Target::Index(opened) = &self.target else { return Ok(()) };
        let store = opened.near.root();
        // A source that is not there is told of later.
        if pipeline::lies_in(source, store).unwrap_or(false) {
            return Err(Trouble::plain(
                format!("{} lies in the store {}", source.display(), store.display()),
                "Name another folder with `store` in the settings, and import into that.",
            ));
        }
        Ok(())
    }

    /// Takes what a tree has.
    fn take(&mut self, root: &Path) -> Result<(), Trouble> {
        let survey = pipeline::survey(root).map_err(|source| Trouble::File {
            path: root.to_owned(),
            source,
            remedy: "Give the folder that has <conversation>/<yyyy>/<mm>/<dd>/ in it.".to_owned(),
        })?;
        for path in &survey.passed_over {
            report::remark(&format!("{}: passed over", path.display()));
        }
        for find in &survey.finds {
            self.done.found += 1;
            self.take_one(find)?;
        }
        Ok(())
    }

    fn take_one(&mut self, find: &Find) -> Result<(), Trouble> {
        match (&self.target, &find.text) {
            (Target::Index(opened), Some(text)) => {
                let now = Timestamp::now();
                match pipeline::import(opened.stock(), find, text, &self.zone, now)? {
                    Imported::Published(_) => self.done.published += 1,
                    Imported::Known(_) => self.done.known += 1,
                }
            }
            (Target::Inbox(mount), text) if text.is_none() || self.again => {
                let target = target_of(mount, find);
                copy(find, &target, &self.zone).map_err(|source| Trouble::File {
                    path: target.clone(),
                    source,
                    remedy: "Check that the mount answers and has room: `scribefs status`."
                        .to_owned(),
                })?;
                self.done.dropped.push(target);
            }
            (Target::Index(_) | Target::Inbox(_), _) => self.done.left += 1,
        }
        Ok(())
    }

    fn report(&self, source: &str) -> Result<(), Trouble> {
        let Done { found, published, known, dropped, left } = &self.done;
        if *found == 0 {
            return Err(nothing_in(source));
        }
        let (said, rest) = match &self.target {
            Target::Index(_) => (
                format!(
                    "{published} recordings published with their transcripts, {known} known already\n"
                ),
                "have no transcript: mount, and run this again to have them written down",
            ),
            Target::Inbox(_) => (
                format!("{} recordings dropped into the inbox\n", dropped.len()),
                "have a transcript: unmount, and run this again to publish them with it; or give \
                 `--again` to have them written down anew",
            ),
        };
        report::print(said)?;
        if *left != 0 {
            report::remark(&format!("{left} {rest}"));
        }
        Ok(())
    }
}

fn target_of(mount: &Path, find: &Find) -> PathBuf {
    let folder = mount.join("inbox").join(find.conversation.as_str());
    folder.join(find.day.to_string()).join(find.name.as_os_str())
}

/// The same bytes and time, so that the day is the folder's. One that is there already is left to its job.
fn copy(find: &Find, target: &Path, zone: &TimeZone) -> io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    fs::create_dir_all(target.parent().unwrap_or(target))?;
    let mut from = File::open(&find.audio)?;
    let modified = from.metadata()?.modified()?;
    let mut to = File::create_new(target)?;
    io::copy(&mut from, &mut to)?;
    let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
    let modified = pipeline::time_for_inbox(modified, find.day, zone);
    to.set_times(FileTimes::new().set_modified(SystemTime::from(modified)))
}
