//! The filesystem: the tree that users see, and a thin adapter to the kernel's FUSE.
//!
//! `tree` knows names and changes, `archive` what is published, `files` what is open, all in plain Rust;
//! `adapter` turns requests of the kernel into calls of theirs. Nothing here waits for the network or an
//! engine, except the threads of `fetching`.

mod adapter;
mod answers;
mod archive;
mod archive_listing;
mod attributes;
mod backing;
mod changing;
mod control;
mod errno;
mod events;
mod fetching;
mod files;
mod invalidation;
mod labels;
mod log_limit;
mod mount_table;
mod mounting;
mod news;
mod notifying;
mod page_drops;
mod recent_removals;
mod removing;
mod replies;
mod snapshots;
mod tree;
mod worker_pool;
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
use crate::fs::attributes::{Owner, Ownership};
use crate::fs::backing::Backings;
use crate::fs::fetching::Fetchers;
use crate::fs::files::Files;
use crate::fs::notifying::Herald;
use crate::fs::tree::Tree;
use crate::fs::worker_pool::WorkerPool;
use crate::index::Index;
use crate::model::Key;
use crate::spool::Spool;
use crate::store::Store;

/// Worker threads that answer the kernel; more where there are more cores.
const LEAST_THREADS: usize = 4;

/// Threads for what waits for a disk: syncing, copying, laying out, and commits of the index.
const DISK_THREADS: usize = 32;

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
    /// User that everything but the inbox belongs to. Default `None`: recordings to whoever has dropped them, the
    /// rest to the user who mounts.
    pub uid: Option<u32>,
    /// The same for the group.
    pub gid: Option<u32>,
    /// Mode bits that nobody gets, outside of the inbox. Default 022.
    pub umask: u32,
}

impl MountOptions {
    pub fn new(mountpoint: impl Into<PathBuf>) -> Self {
        Self {
            mountpoint: mountpoint.into(),
            source: "scribefs".to_owned(),
            allow_other: false,
            no_exec: false,
            read_only: false,
            uid: None,
            gid: None,
            umask: 0o022,
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

    /// A link with which anybody can get the object for that time; `None`: there is none. The one question
    /// that may wait.
    fn link(&self, _key: &Key, _lasts: Duration) -> Option<String> {
        None
    }

    /// A line of `control` that is not `retry PATH` or `cancel PATH`.
    fn command(&self, _verb: &str, _rest: &str) -> Result<(), CommandError> {
        Err(CommandError::Unknown)
    }
}

/// Nobody knows more.
impl Facts for () {}

/// Why a line of `control` is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("no such command, or not written as it should be")]
    Unknown,
    #[error("no such recording")]
    NoRecording,
    #[error("the recording has no such speaker")]
    NoSpeaker,
    /// The same command may be taken a little later.
    #[error("too many commands are waiting")]
    Busy,
}

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
    disk: Arc<WorkerPool>,
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
            mountpoint: mount_table::absolute(&options.mountpoint).map_err(at)?,
            ..options.clone()
        };
        let tree = Arc::new(Tree::new(services, ownership(&options)));
        let files = Arc::new(Files::new(tree.clone(), services.store.clone()));
        let fetchers = Arc::new(Fetchers::new(&files));
        let disk = Arc::new(WorkerPool::new("fs-disk", DISK_THREADS));
        let adapter = Adapter {
            files,
            backings: Backings::default(),
            fetchers: fetchers.clone(),
            disk: disk.clone(),
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
            disk,
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

    pub fn has_ended(&self) -> bool {
        self.end.wait(Some(Duration::ZERO))
    }

    /// Takes the mount out of the tree. Another one that was mounted at the same path since is left alone.
    pub fn detach(&self) {
        match mounting::detach_own(&self.mountpoint, self.device_minor) {
            Ok(true) => {}
            Ok(false) => log::debug!("mount: it is not at its place any more"),
            Err(err) => log::warn!("mount: it could not be detached: {err}"),
        }
    }

    /// Ends the mount. Who has files open has ten seconds to close them.
    pub fn stop(&self) {
        self.tree.events.close();
        if !self.has_ended() {
            self.detach();
            if !self.end.wait(Some(PATIENCE)) {
                log::warn!("mount: files are still open, and will answer ENOTCONN from now on");
                mounting::abort(self.device_minor);
            }
        }
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((herald, watching)) = threads else { return };
        herald.stop();
        self.fetchers.stop();
        self.disk.stop();
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

fn ownership(options: &MountOptions) -> Ownership {
    // SAFETY: both only read a number.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let owner = Owner { uid: options.uid.unwrap_or(uid), gid: options.gid.unwrap_or(gid) };
    // Users of the machine that writes are not those of one that follows it.
    let keeps_droppers = options.uid.is_none() && options.gid.is_none() && !options.read_only;
    Ownership { owner, keeps_droppers, umask: options.umask }
}

/// Detaches the mount at `path`, alive or dead. The daemon behind it ends when its files are closed.
pub fn unmount(path: &Path) -> io::Result<()> {
    if !mount_table::is_mounted(path)? {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no scribefs is mounted there"));
    }
    mounting::detach(&mount_table::absolute(path)?)
}

/// Detaches a mount of ours whose daemon has died. Says whether there was one.
pub fn detach_dead(path: &Path) -> io::Result<bool> {
    mounting::detach_dead(path)
}

/// Whether the daemon of the mount at `path` has died. A mount that this user may not enter has not.
pub fn is_dead(path: &Path) -> bool {
    mounting::is_dead(path)
}

/// Whether a scribefs is mounted at `path`, alive or dead.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    mount_table::is_mounted(path)
}

/// Where a scribefs is mounted, alive or dead, as far as this process can see.
pub fn mounts() -> Vec<PathBuf> {
    mount_table::mounts().into_iter().map(|mount| mount.path).collect()
}

/// Those of them that `user` has mounted.
pub fn mounts_of(user: u32) -> Vec<PathBuf> {
    let mounts = mount_table::mounts().into_iter();
    mounts.filter(|mount| mount.user == Some(user)).map(|mount| mount.path).collect()
}

/// Who has mounted the scribefs at `path`.
pub fn user_of(path: &Path) -> Option<u32> {
    mount_table::top_of(path).ok()??.user
}
