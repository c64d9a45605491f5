//! The filesystem: the tree that users see, and a thin adapter to the kernel's FUSE.
//!
//! `tree` knows names and changes, `archive` what is published, `files` what is open, all in plain Rust;
//! `adapter` turns requests of the kernel into calls of theirs. Nothing here waits for the network or an
//! engine, except the threads of `fetching`.

mod adapter;
mod answers;
mod archive;
mod attributes;
mod backing;
mod changing;
mod control;
mod errno;
mod events;
mod fetching;
mod files;
mod labels;
mod mounting;
mod news;
mod notifying;
mod removal;
mod replies;
mod tree;
mod writing;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use fuser::{BackgroundSession, Config, Session, SessionACL};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::fs::adapter::Adapter;
use crate::fs::attributes::Owner;
use crate::fs::backing::Backings;
use crate::fs::fetching::Fetchers;
use crate::fs::files::Files;
use crate::fs::notifying::Herald;
use crate::fs::tree::Tree;
use crate::index::Index;
use crate::model::Key;
use crate::spool::Spool;
use crate::store::Store;

/// Worker threads that answer the kernel; more where there are more cores.
const LEAST_THREADS: usize = 4;

/// How long [`Mount::stop`] waits for files to be closed before it ends the connection regardless.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct MountOptions {
    pub mountpoint: PathBuf,
    /// What `mount` and `df` show in their first column. Default `scribefs`.
    pub source: String,
    /// Let other users in, as far as the permissions go. Default no.
    pub allow_other: bool,
    /// Let nothing be executed. Default no.
    pub no_exec: bool,
    /// Let nothing be changed, not even in the inbox: for what another machine writes. Default no.
    pub read_only: bool,
}

impl MountOptions {
    pub fn new(mountpoint: impl Into<PathBuf>) -> Self {
        Self {
            mountpoint: mountpoint.into(),
            source: "scribefs".to_owned(),
            allow_other: false,
            no_exec: false,
            read_only: false,
        }
    }
}

/// The rooms that the filesystem shows.
#[derive(Clone)]
pub struct Services {
    pub spool: Spool,
    pub index: Index,
    pub store: Arc<dyn Store>,
    pub facts: Arc<dyn Facts>,
}

/// What only the daemon knows, for the files of `.scribefs/`. Asked on threads that answer the kernel, so
/// nothing in it may wait.
pub trait Facts: Send + Sync {
    /// Fields of `status.json` beside ours: mount, state directory, models. The same name wins over ours.
    fn status(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Fields of `storage.json` beside ours.
    fn storage(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Lines for `metrics`, in the text format of Prometheus, each ending in a line end.
    fn metrics(&self) -> String {
        String::new()
    }

    /// Days that what is in the trash is kept for; `None`: for ever.
    fn trash_days(&self) -> Option<u32> {
        None
    }

    /// A link with which anybody can get the object for a while; `None`: there is none. The one question that
    /// may wait.
    fn link(&self, _key: &Key) -> Option<String> {
        None
    }

    /// A line of `control` that is not `retry PATH` or `cancel PATH`. `false`: there is no such order.
    fn command(&self, _verb: &str, _rest: &str) -> bool {
        false
    }
}

/// Nobody knows more.
impl Facts for () {}

/// Why there is no mount, by what must be mended.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("cannot mount at {path}")]
    Mountpoint { path: PathBuf, source: io::Error },
    /// `/dev/fuse` is missing, or `mount(2)` was refused.
    #[error("the kernel does not mount FUSE")]
    Kernel { source: io::Error },
    /// `fusermount3` could not be run: the package `fuse3` is missing.
    #[error("`fusermount3` cannot be run; it comes with the package fuse3")]
    Helper { source: io::Error },
    #[error("`fusermount3` refused: {said}")]
    Refused { said: String },
    #[error("the kernel and we found no common language")]
    Session { source: io::Error },
    #[error("threads could not be started")]
    Threads { source: io::Error },
}

/// A mount that answers. It ends by [`Mount::stop`], by `umount`, or with the process: then the mount
/// stays, and every access to it fails, until it is detached.
pub struct Mount {
    mountpoint: PathBuf,
    device_minor: u32,
    tree: Arc<Tree>,
    fetchers: Arc<Fetchers>,
    end: Arc<End>,
    threads: Mutex<Option<(Herald, JoinHandle<()>)>>,
}

/// Whether the kernel has let go of the connection.
#[derive(Debug, Default)]
struct End {
    has_come: Mutex<bool>,
    told: Condvar,
}

impl Mount {
    /// Mounts, over a dead mount of ours if there is one, and answers from then on. No thread is needed
    /// before, and all of ours are started here.
    pub fn start(options: &MountOptions, services: &Services) -> Result<Self, MountError> {
        let at = |source| MountError::Mountpoint { path: options.mountpoint.clone(), source };
        mounting::detach_dead(&options.mountpoint).map_err(at)?;
        let options = MountOptions {
            mountpoint: mounting::absolute(&options.mountpoint).map_err(at)?,
            ..options.clone()
        };
        let tree = Arc::new(Tree::new(services, owner()));
        let files = Arc::new(Files::new(tree.clone(), services.store.clone()));
        let fetchers = Arc::new(Fetchers::new(&files));
        let adapter = Adapter {
            files,
            backings: Backings::default(),
            fetchers: fetchers.clone(),
            is_privileged: mounting::is_root(),
        };
        // Before the first request is answered: nothing that is changed after it may be missed.
        let (changes, drops) = (services.index.subscribe(), services.spool.subscribe());
        let device = mounting::attach(&options)?;
        let begun = begin(adapter, device).and_then(|session| {
            let kernel = session.notifier();
            let herald = Herald::start(kernel, &tree, changes, drops)
                .map_err(|source| MountError::Threads { source })?;
            let end = Arc::new(End::default());
            let watching = end.clone().watch(session)?;
            Ok((herald, watching, end))
        });
        let (herald, watching, end) = begun.inspect_err(|_| {
            // Nobody would answer; the reason for that is what the caller must hear of.
            let _ = mounting::detach(&options.mountpoint);
        })?;
        let place = options.mountpoint.metadata().map_err(at)?;
        mounting::raise_read_ahead(&options.mountpoint);
        let mount = Self {
            mountpoint: options.mountpoint,
            device_minor: libc::minor(place.dev()),
            tree,
            fetchers,
            end,
            threads: Mutex::new(Some((herald, watching))),
        };
        let at = Timestamp::now().to_string();
        mount.tree.events.append(&json!({ "event": "mounted", "at": at }));
        Ok(mount)
    }

    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Waits until the mount has ended, whoever has ended it.
    pub fn wait(&self) {
        self.end.wait(None);
    }

    /// Ends the mount. Who has files open has ten seconds to close them.
    pub fn stop(&self) {
        self.tree.events.close();
        if !self.end.wait(Some(Duration::ZERO)) {
            if let Err(err) = mounting::detach(&self.mountpoint) {
                log::warn!("mount: {} could not be detached: {err}", self.mountpoint.display());
            }
            if !self.end.wait(Some(PATIENCE)) {
                log::warn!("mount: files are still open, and will answer ENOTCONN from now on");
                mounting::abort(self.device_minor);
            }
        }
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((herald, watching)) = threads else { return };
        herald.stop();
        self.fetchers.stop();
        // Without root nothing ends a connection that is still in use; it ends with the process then.
        if self.end.wait(Some(Duration::from_secs(2))) && watching.join().is_err() {
            log::error!("mount: the session's thread has panicked");
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.stop();
    }
}

impl End {
    fn watch(self: Arc<Self>, session: BackgroundSession) -> Result<JoinHandle<()>, MountError> {
        let watch = move || {
            if let Err(err) = session.join() {
                log::error!("mount: the connection to the kernel broke: {err}");
            }
            *self.lock() = true;
            self.told.notify_all();
        };
        let thread = Builder::new().name("fs-session".into()).spawn(watch);
        thread.map_err(|source| MountError::Threads { source })
    }

    /// Whether the end has come, within `time` if that is given.
    fn wait(&self, time: Option<Duration>) -> bool {
        let has_come = self.lock();
        let not_yet = |has_come: &mut bool| !*has_come;
        match time {
            Some(time) => {
                let waited = self.told.wait_timeout_while(has_come, time, not_yet);
                *waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.told.wait_while(has_come, not_yet);
                *waited.unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.has_come.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Greets the kernel, and starts the threads that answer it.
fn begin(adapter: Adapter, device: std::os::fd::OwnedFd) -> Result<BackgroundSession, MountError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut config = Config::default();
    config.n_threads = Some(cores.max(LEAST_THREADS));
    config.clone_fd = mounting::can_clone_device();
    // Who may come in is the kernel's to decide, and it has: fuser would refuse a file that its opener
    // has passed on to a process of another user.
    let session = Session::from_fd(adapter, device, SessionACL::All, config);
    session.and_then(Session::spawn).map_err(|source| MountError::Session { source })
}

fn owner() -> Owner {
    // SAFETY: both only read a number.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    Owner { uid, gid }
}

/// Detaches the mount at `path`, alive or dead. The daemon behind it ends when its files are closed.
pub fn unmount(path: &Path) -> io::Result<()> {
    if !mounting::is_mounted(path)? {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no scribefs is mounted there"));
    }
    mounting::detach(&mounting::absolute(path)?)
}

/// Detaches a mount of ours whose daemon has died. Says whether there was one.
pub fn detach_dead(path: &Path) -> io::Result<bool> {
    mounting::detach_dead(path)
}

/// Whether a scribefs is mounted at `path`, alive or dead.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    mounting::is_mounted(path)
}

/// Where a scribefs is mounted, alive or dead, as far as this process can see.
pub fn mounts() -> Vec<PathBuf> {
    mounting::mounts()
}
