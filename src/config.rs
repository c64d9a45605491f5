//! Settings: what was said in file, environment and flags, laid over each other and checked once.
//!
//! [`Layer`] is what was said in one place; [`Config`] is everything, complete and checked. Flags win over
//! the environment, the environment over `.env`, that over the file, the file over the defaults.

mod aws_environment;
mod bucket;
mod encryption;
mod error;
mod layer;
mod origin;
mod parse;
mod places;
mod storage;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use log::LevelFilter;

use crate::config::bucket::Place;
use crate::model::{Destination, SpeakerBounds};
use crate::store::BucketOptions;

pub use error::ConfigError;
pub use layer::{KEYS, Layer, nearest_setting, setting};
pub use origin::Origin;
pub use places::Places;
pub use storage::Storage;

/// What is kept for how long. Nothing goes that is not where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Of local copies of audio that is in the bucket. Default `None` from 0: as long as there is room.
    pub audio: Option<Duration>,
    /// Of conversations in the trash. Default 30 days; `None` from 0: they stay.
    pub trash: Option<Duration>,
    /// Room for local copies of audio that is in the bucket, and for what was read from there. Default 10 GB:
    /// some twenty hours of WAV, or ten times that of anything compressed.
    pub cache_bytes: u64,
}

/// Every setting, complete and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Spool, index and logs. Default `$XDG_STATE_HOME/scribefs`.
    pub state: PathBuf,
    /// Where everything that is published comes first. Default: the folder `uploads` below `state`.
    pub uploads: PathBuf,
    /// Default `local`, or `s3` where a bucket is named.
    pub storage: Storage,
    /// Default `None`: there is only local disk.
    pub bucket: Option<BucketOptions>,
    /// Recordings that are brought to the bucket at once. Default 4: enough to fill a line.
    pub uploads_at_once: usize,
    /// Most that uploads take of the line. Default `None` from 0: all of it.
    pub upload_bytes_per_second: Option<NonZeroU64>,
    pub retention: Retention,
    /// Follow a bucket that another scribefs writes to. Default no.
    pub read_only: bool,
    /// Weights, shared by all mounts of a user. Default `$XDG_DATA_HOME/scribefs/models`.
    pub models: PathBuf,
    /// Quiet time before a file is taken for complete. Default 5 s: recorders close and open again within 4 s.
    pub settle: Duration,
    /// The same after a rename from a temporary name. Default 0.5 s: that is a strong sign.
    pub settle_after_rename: Duration,
    /// Wait for the disk on every close. Default no: only a power cut can lose what `close` has promised.
    pub sync_on_close: bool,
    /// Larger files stay in the inbox and say so. Default 4096 MB; `None` from 0: no limit.
    pub max_upload_bytes: Option<u64>,
    /// Longer recordings stay in the inbox and say so. Default 24 h.
    pub max_duration: Duration,
    /// Space that the inbox leaves free on its disk. Default 1024 MB.
    pub keep_free_bytes: u64,
    /// Name of a model. Default `moonshine-tiny-en`: small, and to be had from any package registry.
    pub recognizer: String,
    /// Name of a model; `None` from `none`. Default `pyannote-community-1`.
    pub diarizer: Option<String>,
    /// BCP 47 code; `None` from `auto`, the default.
    pub language: Option<String>,
    /// How many people speak. Default `auto`.
    pub speakers: SpeakerBounds,
    /// Of one worker. Default 0: as many as there are cores. No more are used than cores, 8, and what memory allows.
    pub threads: u16,
    /// Recordings worked on at once. Default 1: one uses all cores. A short one beside long ones is one more.
    pub workers: usize,
    /// Most memory of one worker. Default 4096 MB: three times what it needs with the default models.
    pub worker_memory_mb: u64,
    /// A worker that is silent for so long is killed. Default 60 s.
    pub stall_timeout: Duration,
    /// A worker without work goes home after so long. Default 5 min: its models take 300 MB.
    pub idle_timeout: Duration,
    /// In which days are counted. Default `local`.
    pub zone: TimeZone,
    /// Let other users into the mount, as far as permissions go. Default no.
    pub allow_other: bool,
    /// User that what is published is shown to belong to. Default `None`: whoever has dropped it.
    pub uid: Option<u32>,
    /// The same for the group.
    pub gid: Option<u32>,
    /// Mode bits that nobody gets outside of the inbox. Default 022.
    pub umask: u32,
    /// Mode of the inbox itself. Default `None`: as it is, at first 700. 1777 lets everybody drop recordings.
    pub inbox_mode: Option<u32>,
    /// Folders elsewhere whose recordings are copied into the inbox. Default none.
    pub watch: Vec<PathBuf>,
    /// Default `info`.
    pub log_level: LevelFilter,
}

impl Config {
    /// Checks all that was said, and fills in what was not.
    pub fn new(layer: &Layer, places: &Places) -> Result<Self, ConfigError> {
        let path = |text: &str| Ok(parse::path(text, places));
        let state = layer.read("state", path)?.unwrap_or_else(|| places.state.clone());
        let place = Place::of(layer, places)?;
        let megabytes =
            |key, default| layer.read(key, parse::number).map(|it| it.unwrap_or(default));
        let duration = |key, default| {
            layer.read(key, parse::duration).map(|it| it.unwrap_or(Duration::from_millis(default)))
        };
        let flag = |key| layer.read(key, parse::flag).map(|it| it.unwrap_or(false));
        let threads = layer.read("threads", parse::count)?.unwrap_or(0);
        let text = |key: &str, default: &str| {
            layer.read(key, parse::name).map(|it| it.unwrap_or_else(|| default.to_owned()))
        };
        Ok(Self {
            uploads: place.folder.unwrap_or_else(|| state.join("uploads")),
            storage: place.storage,
            bucket: place.bucket,
            uploads_at_once: layer
                .read("s3_uploads", parse::count)?
                .map_or(4, |it| usize::from(it.max(1))),
            upload_bytes_per_second: layer
                .read("s3_upload_limit", parse::bytes)?
                .and_then(NonZeroU64::new),
            retention: Retention::of(layer)?,
            read_only: place.read_only,
            models: layer.read("models", path)?.unwrap_or_else(|| places.models.clone()),
            settle: duration("settle", 5_000)?,
            settle_after_rename: duration("settle_after_rename", 500)?,
            sync_on_close: flag("sync_on_close")?,
            max_upload_bytes: match megabytes("max_upload_size_mb", 4096)? {
                0 => None,
                most => Some(most.saturating_mul(1 << 20)),
            },
            max_duration: duration("max_duration", 86_400_000)?,
            keep_free_bytes: megabytes("keep_free_mb", 1024)?.saturating_mul(1 << 20),
            recognizer: text("recognizer", "moonshine-tiny-en")?,
            diarizer: Some(text("diarizer", "pyannote-community-1")?).filter(|name| name != "none"),
            language: layer.read("language", parse::language)?.unwrap_or(None),
            speakers: layer.read("speakers", parse::speakers)?.unwrap_or_default(),
            threads: if threads == 0 { places.cores.max(1) } else { threads },
            workers: layer.read("workers", parse::count)?.map_or(1, |it| usize::from(it.max(1))),
            worker_memory_mb: megabytes("worker_memory_mb", 4096)?,
            stall_timeout: duration("stall_timeout", 60_000)?,
            idle_timeout: duration("idle_timeout", 300_000)?,
            zone: layer.read("zone", parse::zone)?.unwrap_or_else(TimeZone::system),
            allow_other: flag("allow_other")?,
            uid: layer.read("uid", parse::id)?,
            gid: layer.read("gid", parse::id)?,
            umask: layer.read("umask", parse::mode)?.unwrap_or(0o022) & 0o777,
            inbox_mode: layer.read("inbox_mode", parse::mode)?,
            watch: layer.read_list("watch", |text| Ok(parse::path(text, places)))?,
            log_level: layer.read("log_level", parse::level)?.unwrap_or(LevelFilter::Info),
            state,
        })
    }
}

impl Config {
    /// Where recordings belong, for people: a folder, or `s3://BUCKET/PREFIX`.
    pub fn place(&self) -> String {
        match (&self.bucket, self.storage) {
            (Some(bucket), Storage::S3 | Storage::Both) => {
                format!("s3://{}/{}", bucket.bucket, bucket.prefix)
            }
            _ => self.uploads.display().to_string(),
        }
    }

    /// Where they belong. A bucket is known by this name until it is asked for its id.
    pub fn destination(&self) -> Destination {
        match self.storage {
            Storage::S3 | Storage::Both if self.bucket.is_some() => {
                Destination::Bucket { place: self.bucket_place() }
            }
            _ => Destination::Here,
        }
    }

    /// The bucket with its address, whatever it is used for. Empty: there is none.
    pub fn bucket_place(&self) -> String {
        let Some(bucket) = &self.bucket else { return String::new() };
        let at = bucket.endpoint.iter().map(|endpoint| format!(" at {endpoint}"));
        format!("s3://{}/{}", bucket.bucket, bucket.prefix) + &at.collect::<String>()
    }
}

impl Retention {
    fn of(layer: &Layer) -> Result<Self, ConfigError> {
        let days = |key: &str, default: u16| {
            layer.read(key, parse::count).map(|days| match days.unwrap_or(default) {
                0 => None,
                days => Some(Duration::from_hours(24 * u64::from(days))),
            })
        };
        Ok(Self {
            audio: days("retention_audio_days", 0)?,
            trash: days("retention_trash_days", 30)?,
            cache_bytes: layer.read("retention_cache_bytes", parse::bytes)?.unwrap_or(10 << 30),
        })
    }
}

/// A time as settings write it, `90s` or `2h`, given with the flag `key`.
pub fn time_limit(key: &str, text: &str) -> Result<Duration, ConfigError> {
    parse::duration(text).map_err(|why| ConfigError::Value {
        origin: Origin::Flag,
        key: key.to_owned(),
        value: text.to_owned(),
        why,
    })
}

/// Where settings files are looked for when none is named: the user's, then the machine's.
pub fn usual_files(config_dir: &Path) -> [PathBuf; 2] {
    [config_dir.join("scribefs.toml"), PathBuf::from("/etc/scribefs/scribefs.toml")]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn places() -> Places {
        Places {
            home: "/home/me".into(),
            working_directory: "/work".into(),
            state: "/home/me/.local/state/scribefs".into(),
            models: "/home/me/.local/share/scribefs/models".into(),
            cores: 2,
        }
    }

    fn from_toml(text: &str) -> Result<Config, ConfigError> {
        let layer = Layer::from_toml(text, Path::new("scribefs.toml"))?;
        Config::new(&layer, &places())
    }

    #[test]
    fn with_nothing_said_everything_has_a_default() {
        let config = Config::new(&Layer::default(), &places()).unwrap();
        assert_eq!(config.settle, Duration::from_secs(5));
        assert_eq!(config.place(), "/home/me/.local/state/scribefs/uploads");
        assert_eq!((config.storage, config.bucket.is_none()), (Storage::Local, true));
        assert_eq!(config.max_upload_bytes, Some(4096 << 20));
        assert_eq!(config.threads, 2);
        assert_eq!(config.diarizer.as_deref(), Some("pyannote-community-1"));
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = Layer::from_toml("settle = '1s'\nworkers = 3\nthreads = 1", Path::new("f"));
        let variables: BTreeMap<String, String> =
            [("SCRIBEFS_SETTLE", "2s"), ("SCRIBEFS_WORKERS", "4"), ("HOME", "/x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let environment = Layer::from_variables(&variables, Origin::Environment).unwrap();
        let mut flags = Layer::default();
        flags.say("settle", "3s", Origin::Flag);
        let config = Config::new(&flags.over(environment).over(file.unwrap()), &places()).unwrap();
        assert_eq!(config.settle, Duration::from_secs(3));
        assert_eq!((config.workers, config.threads), (4, 1));
    }

    #[test]
    fn paths_are_made_absolute() {
        let config = from_toml("state = '~/s'\nstore = 'out'\nwatch = ['a', '/b']").unwrap();
        assert_eq!(config.state, Path::new("/home/me/s"));
        assert_eq!(config.uploads, Path::new("/work/out"));
        assert_eq!(config.watch, [Path::new("/work/a"), Path::new("/b")]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_its_remedy() {
        let complaint = |text: &str| from_toml(text).unwrap_err().to_string();
        let unknown = complaint("setle = '5s'");
        assert!(unknown.contains("scribefs.toml") && unknown.contains("`settle`"), "{unknown}");
        assert!(complaint("settle = 5").contains("5s"));
        assert!(complaint("settle = 'soon'").contains("5s"));
        assert!(complaint("speakers = '4-2'").contains("2-4"));
        assert!(complaint("language = 'English'").contains("en"));
        assert!(complaint("zone = 'Mars/Base'").contains("Europe/Berlin"));
        assert!(complaint("workers = -1").contains("number"));
        assert!(complaint("settle = ").contains("scribefs.toml"));
    }

    #[test]
    fn no_error_repeats_what_may_be_a_secret() {
        let complaint = |text: &str| from_toml(text).unwrap_err().to_string();
        for text in [
            "[s3]\nbucket = 'b'\nendpoint = 'http://KEY:sEcReT@host'",
            "[s3]\nbucket = 'b'\nendpoint = 'https://host/?X-Amz-Signature=sEcReT'",
            "[s3]\nbucket = 'b'\nendpoint = ['http://KEY:sEcReT@host', 'x']",
            "store = 's3://KEY:sEcReT@bucket/prefix'",
            "[s3]\nbucket = 'KEY:sEcReT@bucket'",
            "settle = '1s'\nsecret = \"sEcReT",
            "settle = '1s'\nsEcReT foo",
            "aws_secret_access_key = 'sEcReT'",
        ] {
            let said = complaint(text);
            assert!(!said.contains("sEcReT"), "{said}");
            assert!(said.contains("scribefs.toml"), "{said}");
        }
        assert!(complaint("settle = '1s'\n\nworkers 3").contains("line 3"));
        let variables = [("AWS_ENDPOINT_URL", "http://KEY:sEcReT@host"), ("S3_BUCKET_NAME", "b")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let layer = Layer::from_variables(&variables, Origin::Environment).unwrap();
        let said = Config::new(&layer, &places()).unwrap_err().to_string();
        assert!(!said.contains("sEcReT") && said.contains("http://***@host"), "{said}");
    }

    #[test]
    fn the_first_systems_names_still_count() {
        let variables = [("MAX_UPLOAD_SIZE_MB".to_owned(), "100".to_owned())].into_iter().collect();
        let layer = Layer::from_variables(&variables, Origin::Environment).unwrap();
        let config = Config::new(&layer, &places()).unwrap();
        assert_eq!(config.max_upload_bytes, Some(100 << 20));
        let typo = [("SCRIBEFS_SETLE".to_owned(), "1s".to_owned())].into_iter().collect();
        let complaint = Layer::from_variables(&typo, Origin::Environment).unwrap_err().to_string();
        assert!(complaint.contains("SCRIBEFS_SETTLE"), "{complaint}");
    }
}
