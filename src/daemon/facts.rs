//! What only the daemon knows, for the files of `.scribefs/`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::config::{Config, StoreChoice};
use crate::daemon::errands::Errands;
use crate::daemon::serve::Plan;
use crate::fs::Facts;
use crate::models::Library;

/// Facts that do not change while the daemon lives, and where to look for those that do.
pub(crate) struct Known {
    plan: Plan,
    library: Library,
    started_at: Timestamp,
    errands: Arc<Errands>,
}

impl Known {
    pub(crate) fn new(plan: &Plan, errands: Arc<Errands>) -> Self {
        let library = Library::new(&plan.config.models);
        Self { plan: plan.clone(), library, started_at: Timestamp::now(), errands }
    }

    fn config(&self) -> &Config {
        &self.plan.config
    }

    fn model(&self, name: &str) -> Value {
        json!({ "name": name, "installed": self.library.find(name).is_some() })
    }
}

impl Facts for Known {
    fn status(&self) -> Map<String, Value> {
        let config = self.config();
        let mut facts = Map::new();
        facts.insert("mountpoint".into(), self.plan.mount.mountpoint.display().to_string().into());
        facts.insert("state".into(), config.state.display().to_string().into());
        facts.insert("store".into(), config.store.to_string().into());
        facts.insert("models".into(), config.models.display().to_string().into());
        facts.insert("started_at".into(), self.started_at.to_string().into());
        facts.insert("recognizer".into(), self.model(&config.recognizer));
        let diarizer = config.diarizer.as_deref().map(|name| self.model(name));
        facts.insert("diarizer".into(), diarizer.unwrap_or_default());
        facts
    }

    fn storage(&self) -> Map<String, Value> {
        let mut facts = Map::new();
        let backend = match &self.config().store {
            StoreChoice::Local(path) => {
                json!({ "kind": "local", "path": path.display().to_string() })
            }
            StoreChoice::Bucket { bucket, prefix } => {
                json!({ "kind": "s3", "bucket": bucket, "prefix": prefix })
            }
        };
        facts.insert("backend".into(), backend);
        facts
    }

    fn command(&self, verb: &str, rest: &str) -> bool {
        self.errands.take(verb, rest)
    }
}
