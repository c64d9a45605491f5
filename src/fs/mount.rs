//! `Mount`: the filesystem attached to the kernel, from the first request to the last.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use fuser::{BackgroundSession, Config, Session, SessionACL};
use jiff::Timestamp;
use serde_json::json;

use crate::effective_user::{effective_group, effective_user, is_root};
use crate::fs::answers::Adapter;
use crate::fs::attributes::{Owner, Ownership};
use crate::fs::backing::Backings;
use crate::fs::fetching::Fetchers;
use crate::fs::files::Files;
use crate::fs::kernel_notifier::KernelNotifier;
use crate::fs::tree::Tree;
use crate::fs::worker_pool::WorkerPool;
use crate::fs::{
    FsContext, MountError, MountOptions, mount_table, mounting, replacing, unmounting,
};

/// Worker threads that answer the kernel; more where there are more cores.
const LEAST_THREADS: usize = 4;

/// Threads for what waits for a disk: syncing, copying, laying out, and commits of the index.
const DISK_THREADS: usize = 32;

/// How long [`Mount::stop`] waits for files to be closed before it ends the connection regardless.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mount that answers. It ends by [`Mount::stop`], by `umount`, or with the process: then the mount
/// stays, and every access to it fails, until it is detached.
pub struct Mount {
    mountpoint: PathBuf,
    device_minor: u32,
    tree: Arc<Tree>,
    fetchers: Arc<Fetchers>,
    disk: Arc<WorkerPool>,
    end: Arc<End>,
    threads: Mutex<Option<(KernelNotifier, JoinHandle<()>)>>,
}

/// The connection of a mount to the kernel.
#[derive(Debug, Clone)]
pub struct Connection {
    device_minor: u32,
    end: Arc<End>,
}

impl Connection {
    /// Ends it: every call that waits for an answer fails, and so does every later one. A process that ends while
    /// programs wait for it does this first; otherwise it might wait for them. Without root it does nothing where the
    /// kernel does not show its connections. One that has ended already is left alone: its number is another's by now.
    pub fn abort(&self) {
        if self.end.has_come() {
            return;
        }
        if let Err(err) = unmounting::abort(self.device_minor) {
            log::debug!("mount: its connection could not be ended: {err}");
        }
    }
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
    pub fn start(options: &MountOptions, services: &FsContext) -> Result<Self, MountError> {
        let at = |source| MountError::Mountpoint { path: options.mountpoint.clone(), source };
        let is_over_dead = unmounting::is_dead(&options.mountpoint, None).map_err(at)?;
        let options = MountOptions {
            mountpoint: mount_table::absolute(&options.mountpoint).map_err(at)?,
            ..options.clone()
        };
        let tree = Arc::new(Tree::new(services, ownership(&options), options.read_only));
        let files = Arc::new(Files::new(tree.clone(), services.store.clone()));
        let fetchers = Arc::new(Fetchers::new(&files));
        let disk = Arc::new(WorkerPool::new("fs-disk", DISK_THREADS));
        let adapter = Adapter {
            files,
            backings: Backings::default(),
            fetchers: fetchers.clone(),
            disk: disk.clone(),
            is_privileged: is_root(),
        };
        // Before the first request is answered: nothing that is changed after it may be missed.
        let (changes, drops) = (services.index.subscribe(), services.spool.subscribe());
        if !is_over_dead && mount_table::is_mounted(&options.mountpoint).map_err(at)? {
            return Err(MountError::InUse { path: options.mountpoint });
        }
        let device = match is_over_dead {
            true => replacing::attach_over_dead(&options)?,
            false => mounting::attach(&options)?,
        };
        let begun = begin(adapter, device).and_then(|session| {
            let kernel = session.notifier();
            let notifier = KernelNotifier::start(kernel, &tree, changes, drops)
                .map_err(|source| MountError::Threads { source })?;
            let end = Arc::new(End::default());
            let watching = end.clone().watch(session)?;
            Ok((notifier, watching, end))
        });
        let (notifier, watching, end) = begun.inspect_err(|_| {
            // Nobody would answer; the reason for that is what the caller must hear of.
            let _ = unmounting::detach(&options.mountpoint);
        })?;
        let place = options.mountpoint.metadata().map_err(at)?;
        mounting::raise_read_ahead(&options.mountpoint);
        if let Some(underlying) = &options.underlying {
            underlying.look();
        }
        let mount = Self {
            mountpoint: options.mountpoint,
            device_minor: libc::minor(place.dev()),
            tree,
            fetchers,
            disk,
            end,
            threads: Mutex::new(Some((notifier, watching))),
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

    /// Whether the connection has ended, and programs still see the mount: nobody has unmounted it.
    pub fn has_broken(&self) -> bool {
        let mounts = mount_table::all_at(&self.mountpoint).unwrap_or_default();
        self.has_ended() && mounts.iter().any(|mount| mount.device == (0, self.device_minor))
    }

    /// Takes the mount out of the tree. Another one that was mounted at the same path since is left alone.
    pub fn detach(&self) {
        match unmounting::detach_own(&self.mountpoint, self.device_minor) {
            Ok(true) => {}
            Ok(false) => log::debug!("mount: it is not at its place any more"),
            Err(err) => log::warn!("mount: it could not be detached: {err}"),
        }
    }

    pub fn connection(&self) -> Connection {
        Connection { device_minor: self.device_minor, end: self.end.clone() }
    }

    /// Ends the mount. Who has files open has ten seconds to close them.
    pub fn stop(&self) {
        self.tree.events.close();
        let mut is_given_up = false;
        if !self.has_ended() {
            self.detach();
            if !self.end.wait(Some(PATIENCE)) {
                is_given_up = true;
                log::warn!("mount: files are still open, and will answer ENOTCONN from now on");
                self.connection().abort();
            }
        }
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((notifier, watching)) = threads else { return };
        notifier.stop();
        self.fetchers.stop();
        self.disk.stop();
        if !is_given_up {
            self.tree.spool.release_closed();
        }
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

    /// Waits for nobody, as it may be asked while a thread panics: whoever holds the lock may be about to say so.
    fn has_come(&self) -> bool {
        self.has_come.try_lock().map_or(true, |has_come| *has_come)
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
fn begin(adapter: Adapter, device: OwnedFd) -> Result<BackgroundSession, MountError> {
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
    let (uid, gid) = (effective_user(), effective_group());
    let owner = Owner { uid: options.uid.unwrap_or(uid), gid: options.gid.unwrap_or(gid) };
    // Users of the machine that writes are not those of one that follows it.
    let keeps_droppers = options.uid.is_none() && options.gid.is_none() && !options.read_only;
    Ownership { owner, keeps_droppers, umask: options.umask }
}
