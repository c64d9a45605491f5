//! From settings to what `sync` and `store` need: the cache, the tiers, and who sees to them.

use std::sync::Arc;

use crate::config::{Config, Storage as Configured};
use crate::daemon::error::DaemonError;
use crate::store::outbox::Sizes;
use crate::store::{BlockCache, Bucket, CacheOptions, LocalStore, ReadOptions, TieredStore};
use crate::sync::{Retention, SyncRole, UploaderConfig};

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
    local: Arc<LocalStore>,
    bucket: Option<Arc<dyn Bucket>>,
) -> Result<TieredStore, DaemonError> {
    let Some(bucket) = bucket else { return Ok(TieredStore::new(local)) };
    let path = config.state.join("cache");
    let cache = BlockCache::open(&path, cache_options(config))
        .map_err(|source| DaemonError::Folder { path: path.clone(), source })?;
    Ok(TieredStore::with_bucket(local, bucket, cache, ReadOptions::default()))
}

/// What is done about the bucket while the mount is up.
pub(crate) fn sync_role(config: &Config, has_bucket: bool) -> SyncRole {
    if has_bucket && config.read_only {
        return SyncRole::Follower;
    }
    if has_bucket && config.storage != Configured::Local {
        return SyncRole::Uploader(uploader_config(config));
    }
    SyncRole::Local { trash: config.retention.trash }
}

/// How recordings are carried to the bucket.
pub fn uploader_config(config: &Config) -> UploaderConfig {
    UploaderConfig {
        uploads_at_once: config.uploads_at_once,
        bytes_per_second: config.upload_bytes_per_second,
        sizes: Sizes::default(),
        retention: Retention {
            keeps_local: config.storage != Configured::S3,
            // Blocks of what is read have a quarter at least.
            copied_bytes: config.retention.cache_bytes - config.retention.cache_bytes / 4,
            keep_free_bytes: config.keep_free_bytes,
            audio: config.retention.audio,
            trash: config.retention.trash,
        },
        writer: config.state.join("writer"),
    }
}
