//! [`Storage`]: who sees to what is published while the mount is up. On local disk alone, brought to a bucket, or
//! followed in a bucket that another machine writes to.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::index::Index;
use crate::model::{self, Key};
use crate::store::{Bucket, LocalStore, TieredStore};
use crate::sync::context::SyncContext;
use crate::sync::error::SyncError;
use crate::sync::follower::{FOLLOW_EVERY, Follower, FollowerConfig, PageRefresher, StartError};
use crate::sync::links;
use crate::sync::trash_thread::TrashThread;
use crate::sync::uploader::UploaderConfig;
use crate::sync::uploader_start::UploaderStart;

/// What is done about the bucket.
#[derive(Debug, Clone)]
pub enum SyncRole {
    /// What is published goes there.
    Uploader(UploaderConfig),
    /// Another machine writes to it.
    Follower,
    /// Nothing: all is on local disk. The trash is emptied after that time; `None`: never.
    Local { trash: Option<Duration> },
}

/// What is published, and the threads that see to it.
pub struct Storage {
    pub store: Arc<TieredStore>,
    index: Index,
    threads: Threads,
}

enum Threads {
    Uploader(UploaderStart),
    Follower(Follower),
    /// All is on local disk; the trash is emptied there.
    Trash(TrashThread),
}

impl Storage {
    /// Starts the threads of that role. Waits a few seconds for the bucket, and goes on without it. Without a bucket
    /// behind `store` every role is that of local disk.
    ///
    /// # Errors
    /// `Uploader`: the bucket has answered soon, and another scribefs writes to it.
    pub fn start(
        role: SyncRole,
        local: Arc<LocalStore>,
        store: Arc<TieredStore>,
        index: &Index,
        alarm: &Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, SyncError> {
        let threads = match (role, store.bucket().cloned()) {
            (SyncRole::Follower, Some(bucket)) => {
                Threads::Follower(follow(&store, bucket, index, alarm)?)
            }
            (SyncRole::Uploader(options), Some(bucket)) => {
                let context = SyncContext {
                    free_bytes: free_bytes(local.clone()),
                    copied: share_cache(&store),
                    health: store.health().unwrap_or_default(),
                    local,
                    store: store.clone(),
                    bucket,
                    index: index.clone(),
                    alarm: alarm.clone(),
                };
                Threads::Uploader(UploaderStart::start(options, context)?)
            }
            (SyncRole::Local { trash }, _) => {
                Threads::Trash(TrashThread::start(store.clone(), index, trash)?)
            }
            (SyncRole::Follower | SyncRole::Uploader(_), None) => {
                Threads::Trash(TrashThread::start(store.clone(), index, None)?)
            }
        };
        Ok(Self { store, index: index.clone(), threads })
    }

    /// Fields of `storage.json`.
    pub fn facts(&self) -> Map<String, Value> {
        let mut facts = Map::new();
        match &self.threads {
            Threads::Uploader(uploader) => match uploader.status() {
                Ok(status) => {
                    facts.insert("placement".into(), json!(status));
                }
                Err(err) => log::debug!("the placement's status is not known: {err}"),
            },
            Threads::Follower(follower) => {
                let status = follower.status();
                let heard_at = status.heard_at.map(|at| at.to_string());
                let told = json!({
                    "heard_at": heard_at, "trouble": status.trouble, "is_complete": follower.is_complete(),
                });
                facts.insert("following".into(), told);
            }
            Threads::Trash(_) => {}
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
    pub fn is_complete(&self) -> bool {
        match &self.threads {
            Threads::Follower(follower) => follower.is_complete(),
            Threads::Uploader(_) | Threads::Trash(_) => true,
        }
    }

    /// A link to an object, if it is in the bucket.
    pub fn link(&self, key: &Key, lasts: Duration) -> Option<String> {
        match links::link(self.store.bucket()?.as_ref(), &self.index, key, lasts) {
            Ok(link) => link,
            Err(err) => {
                log::warn!("a link could not be made: {}", model::causes(&err));
                log::debug!("{key}: there is no link");
                None
            }
        }
    }

    /// Somebody has mended what the bucket refused.
    pub fn retry_now(&self) -> bool {
        match &self.threads {
            Threads::Uploader(uploader) => {
                uploader.retry_now();
                true
            }
            Threads::Follower(_) | Threads::Trash(_) => false,
        }
    }

    pub fn stop(&self) {
        match &self.threads {
            Threads::Uploader(uploader) => uploader.stop(),
            Threads::Follower(follower) => follower.stop(),
            Threads::Trash(trash) => trash.stop(),
        }
    }
}

fn free_bytes(local: Arc<LocalStore>) -> Arc<dyn Fn() -> Option<u64> + Send + Sync> {
    Arc::new(move || local.free_bytes().ok())
}

/// Copies and blocks have one limit together.
fn share_cache(store: &Arc<TieredStore>) -> Arc<dyn Fn(u64) + Send + Sync> {
    let store = store.clone();
    Arc::new(move |bytes| store.share_cache_with(bytes))
}

fn follow(
    store: &TieredStore,
    bucket: Arc<dyn Bucket>,
    index: &Index,
    alarm: &Arc<dyn Fn() + Send + Sync>,
) -> Result<Follower, SyncError> {
    let refresher = PageRefresher::start(bucket.clone(), index.clone());
    let refresher = refresher.map_err(SyncError::Threads)?;
    store.when_replaced(Box::new(move |page, deadline| refresher.refresh(page, deadline)));
    let following =
        FollowerConfig { bucket, index: index.clone(), alarm: alarm.clone(), every: FOLLOW_EVERY };
    Follower::start(following).map_err(|err| match err {
        StartError::Index(err) => SyncError::Index(err),
        StartError::Thread(err) => SyncError::Threads(err),
    })
}
