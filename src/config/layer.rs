//! What was said in one place: a file, the environment, or flags. Nothing is checked yet but the names.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Value;

use crate::config::ConfigError;
use crate::config::aws_environment::{self, AwsEnvironment};
use crate::config::origin::Origin;

/// Every setting there is. In a file, those of a section stand below its head: `bucket` in `[s3]` is `s3_bucket`.
pub const KEYS: [&str; 42] = [
    "state",
    "store",
    "storage",
    "read_only",
    "models",
    "settle",
    "settle_after_rename",
    "sync_on_close",
    "max_upload_size_mb",
    "max_duration",
    "keep_free_mb",
    "recognizer",
    "diarizer",
    "language",
    "speakers",
    "threads",
    "workers",
    "worker_memory_mb",
    "stall_timeout",
    "idle_timeout",
    "zone",
    "allow_other",
    "uid",
    "gid",
    "umask",
    "inbox_mode",
    "watch",
    "log_level",
    "s3_bucket",
    "s3_prefix",
    "s3_region",
    "s3_endpoint",
    "s3_provider",
    "s3_profile",
    "s3_encryption",
    "s3_kms_key_id",
    "s3_customer_key_file",
    "s3_uploads",
    "s3_upload_limit",
    "retention_audio_days",
    "retention_trash_days",
    "retention_cache_bytes",
];

/// Heads of sections in a settings file.
const SECTIONS: [&str; 2] = ["s3", "retention"];

/// Our variables begin so.
const PREFIX: &str = "SCRIBEFS_";

/// Variables of ours that are no settings of the daemon: for builds, tests and downloads.
const OTHERS: [&str; 6] = [
    aws_environment::CUSTOMER_KEY,
    "SCRIBEFS_NATIVE_LIB",
    "SCRIBEFS_SHARED",
    "SCRIBEFS_FULL",
    "SCRIBEFS_WHEEL",
    "SCRIBEFS_CONFIG",
];

/// Names that the first system used.
const ALIASES: [(&str, &str); 5] = [
    ("MAX_UPLOAD_SIZE_MB", "max_upload_size_mb"),
    ("S3_BUCKET_NAME", "s3_bucket"),
    ("S3_REGION", "s3_region"),
    ("S3_ENDPOINT_URL", "s3_endpoint"),
    ("S3_PREFIX", "s3_prefix"),
];

/// What was said, by key.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    said: BTreeMap<&'static str, (Vec<String>, Origin)>,
    cloud: AwsEnvironment,
}

impl Layer {
    /// From the text of a settings file.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let origin = Origin::File(path.to_owned());
        let table: toml::Table = text.parse().map_err(|err: toml::de::Error| {
            let start = err.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
            ConfigError::Syntax { origin: origin.clone(), line, why: "this is not valid TOML" }
        })?;
        let mut layer = Self::default();
        for (key, value) in table {
            match value {
                Value::Table(section) if SECTIONS.contains(&key.as_str()) => {
                    for (name, value) in section {
                        layer.take(&format!("{key}_{name}"), value, &origin)?;
                    }
                }
                value => layer.take(&key, value, &origin)?,
            }
        }
        Ok(layer)
    }

    fn take(&mut self, key: &str, value: Value, origin: &Origin) -> Result<(), ConfigError> {
        let known = known(key).ok_or_else(|| unknown(key, "", origin))?;
        let values = match value {
            Value::Array(values) => values.into_iter().map(text_of).collect(),
            value => vec![text_of(value)],
        };
        self.said.insert(known, (values, origin.clone()));
        Ok(())
    }

    /// From variables: `SCRIBEFS_SETTLE` for `settle`, names that the first system used, and what every
    /// program knows a cloud by. Lists are separated by colons. Variables of others are passed over, and so
    /// are empty ones of the first system.
    pub fn from_variables(
        variables: &BTreeMap<String, String>,
        origin: Origin,
    ) -> Result<Self, ConfigError> {
        let mut layer =
            Self { cloud: AwsEnvironment::from_variables(variables), ..Self::default() };
        for (name, value) in variables {
            let alias = ALIASES.iter().find(|(alias, _)| alias == name).map(|(_, key)| *key);
            let key = match (alias, name.strip_prefix(PREFIX)) {
                (Some(_), _) if value.is_empty() => continue,
                (Some(key), _) => key,
                (None, Some(_)) if OTHERS.contains(&name.as_str()) => continue,
                (None, Some(rest)) => {
                    let key = rest.to_lowercase();
                    setting(&key).ok_or_else(|| unknown(&key, PREFIX, &origin))?
                }
                (None, None) => continue,
            };
            // Our own name for a setting wins over the first system's.
            if alias.is_none() || !layer.said.contains_key(key) {
                layer.say(key, value, origin.clone());
            }
        }
        Ok(layer)
    }

    /// Says one thing. `key` is one of [`KEYS`]; others are passed over.
    pub fn say(&mut self, key: &str, value: &str, origin: Origin) {
        let Some(key) = known(key) else { return };
        let values = match key {
            "watch" => value.split(':').map(str::to_owned).collect(),
            _ => vec![value.to_owned()],
        };
        self.said.insert(key, (values, origin));
    }

    /// Our word, and where we are silent theirs.
    pub fn over(mut self, under: Self) -> Self {
        for (key, said) in under.said {
            self.said.entry(key).or_insert(said);
        }
        self.cloud = self.cloud.over(under.cloud);
        self
    }

    /// What was said of clouds in variables that are not ours.
    pub(crate) fn cloud(&self) -> &AwsEnvironment {
        &self.cloud
    }

    /// Whether anything was said for `key`.
    pub fn has(&self, key: &str) -> bool {
        self.said.contains_key(key)
    }

    /// Whether `key` was said, and where.
    pub(crate) fn origin(&self, key: &str) -> Option<&Origin> {
        self.said.get(key).map(|(_, origin)| origin)
    }

    /// What was said for `key`, understood by `read`, which says what is wrong otherwise.
    pub(crate) fn read<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((values, origin)) = self.said.get(key) else { return Ok(None) };
        match values.as_slice() {
            [value] => understood(key, value, origin, read).map(Some),
            values => Err(ConfigError::Value {
                origin: origin.clone(),
                key: key.to_owned(),
                value: values.join(", "),
                why: "a list, but only one value is allowed".to_owned(),
            }),
        }
    }

    pub(crate) fn read_list<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some((values, origin)) = self.said.get(key) else { return Ok(Vec::new()) };
        let values = values.iter().filter(|value| !value.is_empty());
        values.map(|value| understood(key, value, origin, &read)).collect()
    }
}

fn understood<T>(
    key: &str,
    value: &str,
    origin: &Origin,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    read(value).map_err(|why| ConfigError::Value {
        origin: origin.clone(),
        key: key.to_owned(),
        value: value.to_owned(),
        why,
    })
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The setting of that name outside of a file: one of [`KEYS`], or one of `[retention]` as it stands there, since no other
/// is called so.
pub fn setting(name: &str) -> Option<&'static str> {
    known(name).or_else(|| known(&format!("retention_{name}")))
}

/// The setting that somebody may have meant by a name that is none.
pub fn nearest_setting(name: &str) -> Option<&'static str> {
    let changes = |known: &&'static str| {
        let short = known.strip_prefix("retention_").unwrap_or(known);
        distance(known, name).min(distance(short, name))
    };
    let nearest = KEYS.into_iter().min_by_key(changes);
    nearest.filter(|known| changes(known) <= 1 + name.len() / 3)
}

fn known(key: &str) -> Option<&'static str> {
    KEYS.into_iter().find(|known| *known == key)
}

/// `prefix`: of variables; empty in a file.
fn unknown(key: &str, prefix: &str, origin: &Origin) -> ConfigError {
    let spelled = |key: &str| match (prefix, section_of(key)) {
        ("", Some((section, name))) => format!("{name}` in `[{section}]"),
        ("", None) => key.to_owned(),
        (prefix, _) => format!("{prefix}{}", key.to_uppercase()),
    };
    ConfigError::UnknownKey {
        origin: origin.clone(),
        key: spelled(key),
        nearest: nearest_setting(key).map(spelled),
    }
}

fn section_of(key: &str) -> Option<(&'static str, &str)> {
    SECTIONS
        .into_iter()
        .find_map(|section| Some((section, key.strip_prefix(section)?.strip_prefix('_')?)))
}

/// Letters that have to be changed, added or left out (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
