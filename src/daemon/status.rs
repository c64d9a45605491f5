//! What only the daemon knows, for the files of `.scribefs/`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::daemon::control::ControlCommands;
use crate::daemon::daemon_config::DaemonConfig;
use crate::fs::{CommandError, StatusSource};
use crate::model::Key;
use crate::models::Library;
use crate::sync::Storage;
use crate::worker::has_landlock;

/// Facts that do not change while the daemon lives, and where to look for those that do.
pub(crate) struct DaemonStatus {
    plan: DaemonConfig,
    library: Library,
    started_at: Timestamp,
    control_commands: Arc<ControlCommands>,
    storage: Arc<Storage>,
}

impl DaemonStatus {
    pub(crate) fn new(
        plan: &DaemonConfig,
        control_commands: Arc<ControlCommands>,
        storage: Arc<Storage>,
    ) -> Self {
        let library = Library::new(&plan.config.models);
        Self {
            plan: plan.clone(),
            library,
            started_at: Timestamp::now(),
            control_commands,
            storage,
        }
    }

    fn config(&self) -> &Config {
        &self.plan.config
    }

    fn model(&self, name: &str) -> Value {
        json!({ "name": name, "installed": self.library.find(name).is_some() })
    }
}

impl StatusSource for DaemonStatus {
    fn status(&self) -> Map<String, Value> {
        let config = self.config();
        let mut facts = Map::new();
        facts.insert("mountpoint".into(), self.plan.mount.mountpoint.display().to_string().into());
        facts.insert("state".into(), config.state.display().to_string().into());
        facts.insert("store".into(), config.place().into());
        facts.insert("models".into(), config.models.display().to_string().into());
        facts.insert("read_only".into(), config.read_only.into());
        facts.insert("started_at".into(), self.started_at.to_string().into());
        facts.insert("recognizer".into(), self.model(&config.recognizer));
        facts.insert("landlock".into(), has_landlock().into());
        let diarizer = config.diarizer.as_deref().map(|name| self.model(name));
        facts.insert("diarizer".into(), diarizer.unwrap_or_default());
        let underlying = self.plan.mount.underlying.as_ref();
        let (count, first) = underlying.map(|it| it.strays()).unwrap_or_default();
        facts.insert("hidden".into(), count.into());
        facts.insert("hidden_first".into(), first.map(|it| it.display().to_string()).into());
        facts
    }

    fn storage(&self) -> Map<String, Value> {
        let mut facts = self.storage.facts();
        facts.insert("backend".into(), backend(self.config()));
        facts.insert("read_only".into(), self.config().read_only.into());
        facts
    }

    fn trash_days(&self) -> Option<u32> {
        let kept = self.config().retention.trash?;
        u32::try_from(kept.as_secs() / 86_400).ok()
    }

    fn is_complete(&self) -> bool {
        self.storage.is_complete()
    }

    fn link(&self, key: &Key, lasts: Duration) -> Option<String> {
        self.storage.link(key, lasts)
    }

    fn command(&self, verb: &str, rest: &str) -> Result<(), CommandError> {
        match verb {
            "retry-uploads" if self.storage.retry_now() => Ok(()),
            "retry-uploads" => Err(CommandError::Unknown),
            _ => self.control_commands.take(verb, rest),
        }
    }
}

/// Where recordings are kept. No secret, and nothing that one could be guessed from.
fn backend(config: &Config) -> Value {
    let storage = config.storage.to_string();
    let path = config.uploads.display().to_string();
    let Some(options) = &config.bucket else {
        return json!({ "kind": "local", "storage": storage, "path": path });
    };
    let region = options.region.clone();
    json!({
        "kind": "s3",
        "storage": storage,
        "path": path,
        "bucket": options.bucket,
        "prefix": options.prefix,
        "region": region.unwrap_or_else(|| options.provider.region(options.endpoint.as_deref())),
        "endpoint": options.endpoint,
        "provider": options.provider.name(),
        "encryption": options.encryption.name(),
    })
}
