//! Where what is published is kept while the mount is up, and who sees to it: on local disk alone, brought to a
//! bucket, or followed in a bucket that another machine writes to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::config::{Config, Storage as Wanted};
use crate::daemon::DaemonError;
use crate::daemon::bringing::Bringing;
use crate::daemon::rooms::carrier_options;
use crate::index::Index;
use crate::model::{self, Key};
use crate::store::{BlockCache, Bucket, CacheOptions, LocalStore, PlacedStore, ReadOptions};
use crate::sync::{
    self, FOLLOW_EVERY, Follower, Following, Grounds, Now, PageRefresher, Refusals, StartError,
    TrashClock,
};

/// How often the trash is looked at.
const TRASH_EVERY: Duration = Duration::from_hours(1);

/// How often a thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(500);

pub(crate) struct Storage {
    pub(crate) store: Arc<PlacedStore>,
    index: Index,
    keeper: Keeper,
}

/// Who sees to what is published.
enum Keeper {
    Bringing(Bringing),
    Follower(Follower),
    /// All is on local disk; the trash is emptied there.
    Housekeeper(Housekeeper),
}

impl Storage {
    /// Starts whoever sees to it. Waits a few seconds for the bucket, and goes on without it.
    pub(crate) fn open(
        config: &Config,
        near: Arc<LocalStore>,
        bucket: Option<Arc<dyn Bucket>>,
        index: &Index,
        alarm: &Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, DaemonError> {
        let store = Arc::new(open_placed(config, near.clone(), bucket.clone())?);
        let keeper = match bucket {
            Some(bucket) if config.read_only => {
                Keeper::Follower(follow(&store, bucket, index, alarm)?)
            }
            Some(bucket) if config.storage != Wanted::Local => {
                let grounds = Grounds {
                    free_bytes: free_bytes(near.clone()),
                    copied: share_cache(&store),
                    health: store.health().unwrap_or_default(),
                    near,
                    store: store.clone(),
                    bucket,
                    index: index.clone(),
                    alarm: alarm.clone(),
                };
                Keeper::Bringing(Bringing::start(carrier_options(config), grounds)?)
            }
            Some(_) | None => {
                Keeper::Housekeeper(Housekeeper::start(near, index, config.retention.trash)?)
            }
        };
        Ok(Self { store, index: index.clone(), keeper })
    }

    /// Fields of `storage.json`.
    pub(crate) fn facts(&self) -> Map<String, Value> {
        let mut facts = Map::new();
        match &self.keeper {
            Keeper::Bringing(bringing) => match bringing.status() {
                Ok(status) => {
                    facts.insert("placement".into(), json!(status));
                }
                Err(err) => log::debug!("the placement's status is not known: {err}"),
            },
            Keeper::Follower(follower) => {
                let status = follower.status();
                let heard_at = status.heard_at.map(|at| at.to_string());
                let told = json!({
                    "heard_at": heard_at, "trouble": status.trouble, "is_complete": follower.is_complete(),
                });
                facts.insert("following".into(), told);
            }
            Keeper::Housekeeper(_) => {}
        }
        if let Ok(bytes) = self.index.copied_bytes()
            && self.store.bucket().is_some()
        {
            facts.insert("local_copies".into(), json!({ "audio_bytes": bytes }));
        }
        if let Some(usage) = self.store.cache_use() {
            let told = json!({
                "bytes": usage.bytes, "blocks": usage.blocks, "hits": usage.hits, "misses": usage.misses,
            });
            facts.insert("cache".into(), told);
        }
        facts
    }

    /// Whether all that is published is known.
    pub(crate) fn is_complete(&self) -> bool {
        match &self.keeper {
            Keeper::Follower(follower) => follower.is_complete(),
            Keeper::Bringing(_) | Keeper::Housekeeper(_) => true,
        }
    }

    /// A link to an object, if it is in the bucket.
    pub(crate) fn link(&self, key: &Key, lasts: Duration) -> Option<String> {
        match sync::link(self.store.bucket()?.as_ref(), &self.index, key, lasts) {
            Ok(link) => link,
            Err(err) => {
                log::warn!("a link could not be made: {}", model::causes(&err));
                log::debug!("{key}: there is no link");
                None
            }
        }
    }

    /// Somebody has mended what the bucket refused.
    pub(crate) fn retry_now(&self) -> bool {
        match &self.keeper {
            Keeper::Bringing(bringing) => {
                bringing.retry_now();
                true
            }
            Keeper::Follower(_) | Keeper::Housekeeper(_) => false,
        }
    }

    pub(crate) fn stop(&self) {
        match &self.keeper {
            Keeper::Bringing(bringing) => bringing.stop(),
            Keeper::Follower(follower) => follower.stop(),
            Keeper::Housekeeper(housekeeper) => housekeeper.stop(),
        }
    }
}

/// How much room the cache of what was read from the bucket may take.
pub fn cache_options(config: &Config) -> CacheOptions {
    CacheOptions {
        limit_bytes: config.retention.cache_bytes,
        keep_free_bytes: config.keep_free_bytes,
    }
}

/// Local disk, and the bucket behind it where there is one.
pub fn open_placed(
    config: &Config,
    near: Arc<LocalStore>,
    bucket: Option<Arc<dyn Bucket>>,
) -> Result<PlacedStore, DaemonError> {
    let Some(bucket) = bucket else { return Ok(PlacedStore::new(near)) };
    let path = config.state.join("cache");
    let cache = BlockCache::open(&path, cache_options(config))
        .map_err(|source| DaemonError::Folder { path: path.clone(), source })?;
    Ok(PlacedStore::with_bucket(near, bucket, cache, ReadOptions::default()))
}

fn free_bytes(near: Arc<LocalStore>) -> Arc<dyn Fn() -> Option<u64> + Send + Sync> {
    Arc::new(move || near.free_bytes().ok())
}

/// Copies and blocks have one limit together.
fn share_cache(store: &Arc<PlacedStore>) -> Arc<dyn Fn(u64) + Send + Sync> {
    let store = store.clone();
    Arc::new(move |bytes| store.share_cache_with(bytes))
}

fn follow(
    store: &PlacedStore,
    bucket: Arc<dyn Bucket>,
    index: &Index,
    alarm: &Arc<dyn Fn() + Send + Sync>,
) -> Result<Follower, DaemonError> {
    let refresher = PageRefresher::start(bucket.clone(), index.clone());
    let refresher = refresher.map_err(DaemonError::Threads)?;
    store.when_replaced(Box::new(move |page, deadline| refresher.refresh(page, deadline)));
    let following =
        Following { bucket, index: index.clone(), alarm: alarm.clone(), every: FOLLOW_EVERY };
    Follower::start(following).map_err(|err| match err {
        StartError::Index(err) => DaemonError::Index(err),
        StartError::Thread(err) => DaemonError::Threads(err),
    })
}

/// Removes what users have purged. Whether the index answers.
fn remove_purged(near: &LocalStore, index: &Index, refusals: &Refusals) -> bool {
    let removed = sync::remove_purged(near, index, refusals, Timestamp::now());
    if let Err(err) = &removed {
        log::warn!("the trash: {}", model::causes(err));
    }
    removed.is_ok()
}

fn look_into_trash(near: &LocalStore, index: &Index, kept: Duration, clock: &mut TrashClock) {
    let now = Now::read();
    let Some(observed) = clock.observe(now) else { return };
    if let Err(err) = sync::empty_trash(near, index, kept, now.wall, observed) {
        log::warn!("the trash: {}", model::causes(&err));
    }
}

/// Empties the trash where there is no bucket, and removes what is purged.
struct Housekeeper {
    is_stopping: Arc<AtomicBool>,
    /// Guards the thread until it is joined.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Housekeeper {
    fn start(
        near: Arc<LocalStore>,
        index: &Index,
        kept: Option<Duration>,
    ) -> Result<Self, DaemonError> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (stop, index) = (is_stopping.clone(), index.clone());
        let keep = move || {
            let mut rest = TRASH_EVERY;
            let mut clock = TrashClock::new(Now::read());
            let refusals = Refusals::default();
            let mut answers = true;
            while !stop.load(Ordering::Relaxed) {
                answers = answers && remove_purged(near.as_ref(), &index, &refusals);
                if rest.is_zero() {
                    if let Some(kept) = kept {
                        look_into_trash(near.as_ref(), &index, kept, &mut clock);
                    }
                    (rest, answers) = (TRASH_EVERY, true);
                }
                std::thread::park_timeout(TICK);
                rest = rest.saturating_sub(TICK);
            }
        };
        let thread = Builder::new().name("housekeeper".to_owned()).spawn(keep);
        let thread = thread.map_err(DaemonError::Threads)?;
        Ok(Self { is_stopping, thread: Mutex::new(Some(thread)) })
    }

    fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        thread.thread().unpark();
        if thread.join().is_err() {
            log::error!("the housekeeper's thread has panicked");
        }
    }
}
