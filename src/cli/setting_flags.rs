//! Flags that are settings: each can be set in the settings file and in the environment too. A command has those that it
//! uses.

use std::path::Path;

use clap::Args;

use crate::config::{Layer, Origin};

/// The settings among the flags of one command.
pub(crate) trait SettingFlags: Args {
    fn add_to(&self, layer: &mut Layer);
}

/// Where recordings are.
#[derive(Debug, Args, Default)]
pub(crate) struct StoreFlags {
    /// Folder for spool, index and log [default: $XDG_STATE_HOME/scribefs]
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    state: Option<String>,
    /// Where published files are kept [default: uploads/ in the state folder]
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX", help_heading = "Settings")]
    store: Option<String>,
    /// Where to keep recordings: local, s3 or both [default: s3 if a bucket is set, otherwise local]
    #[arg(long, value_name = "WHERE", help_heading = "Settings")]
    storage: Option<String>,
}

/// Which models transcribe.
#[derive(Debug, Args, Default)]
pub(crate) struct ModelFlags {
    /// Models folder [default: $XDG_DATA_HOME/scribefs/models]
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    models: Option<String>,
    /// Speech recognition model [default: moonshine-tiny-en]
    #[arg(long, value_name = "MODEL", help_heading = "Settings")]
    recognizer: Option<String>,
    /// Model that tells speakers apart, or none [default: pyannote-community-1]
    #[arg(long, value_name = "MODEL", help_heading = "Settings")]
    diarizer: Option<String>,
}

/// How recordings are transcribed.
#[derive(Debug, Args, Default)]
pub(crate) struct EngineFlags {
    #[command(flatten)]
    models: ModelFlags,
    /// Spoken language: en, de, ... or auto [default: auto]
    #[arg(long, value_name = "CODE", help_heading = "Settings")]
    language: Option<String>,
    /// How many people speak: auto, 2, 2-4 [default: auto]
    #[arg(long, value_name = "NUMBER", help_heading = "Settings")]
    speakers: Option<String>,
    /// Longest recording to transcribe [default: 24h]
    #[arg(long, value_name = "TIME", help_heading = "Settings")]
    max_duration: Option<String>,
    /// Threads per worker; 0 for one per core [default: 0]
    #[arg(long, value_name = "NUMBER", help_heading = "Settings")]
    threads: Option<String>,
    /// Memory limit of a worker [default: 4096]
    #[arg(long, value_name = "MB", help_heading = "Settings")]
    worker_memory_mb: Option<String>,
    /// Kill a worker that is silent for this long [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "Settings")]
    stall_timeout: Option<String>,
}

/// What `doctor` checks.
#[derive(Debug, Args, Default)]
pub(crate) struct DoctorFlags {
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    models: ModelFlags,
}

/// Everything that a daemon uses.
#[derive(Debug, Args, Default)]
pub(crate) struct MountFlags {
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    engines: EngineFlags,
    /// How long a closed file must stay unchanged to count as complete [default: 5s]
    #[arg(long, value_name = "TIME", help_heading = "Settings")]
    settle: Option<String>,
    /// Largest file to transcribe; 0 for no limit [default: 4096]
    #[arg(long, value_name = "MB", help_heading = "Settings")]
    max_upload_size_mb: Option<String>,
    /// Wait for the disk on every close, so that `mv` is safe against power cuts
    #[arg(long, help_heading = "Settings")]
    sync_on_close: bool,
    /// Recordings to process at once [default: 1]
    #[arg(long, value_name = "NUMBER", help_heading = "Settings")]
    workers: Option<String>,
    /// Folder whose recordings are copied into the inbox; can be repeated
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    watch: Vec<String>,
    /// off, error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = "Settings")]
    log_level: Option<String>,
}

impl ModelFlags {
    pub(crate) fn with_folder(folder: Option<&Path>) -> Self {
        let models = folder.map(|path| path.display().to_string());
        Self { models, ..Self::default() }
    }
}

impl SettingFlags for StoreFlags {
    fn add_to(&self, layer: &mut Layer) {
        let Self { state, store, storage } = self;
        add(layer, [("state", state), ("store", store), ("storage", storage)]);
    }
}

impl SettingFlags for ModelFlags {
    fn add_to(&self, layer: &mut Layer) {
        let Self { models, recognizer, diarizer } = self;
        add(layer, [("models", models), ("recognizer", recognizer), ("diarizer", diarizer)]);
    }
}

impl SettingFlags for EngineFlags {
    fn add_to(&self, layer: &mut Layer) {
        self.models.add_to(layer);
        let flags = [
            ("language", &self.language),
            ("speakers", &self.speakers),
            ("max_duration", &self.max_duration),
            ("threads", &self.threads),
            ("worker_memory_mb", &self.worker_memory_mb),
            ("stall_timeout", &self.stall_timeout),
        ];
        add(layer, flags);
    }
}

impl SettingFlags for DoctorFlags {
    fn add_to(&self, layer: &mut Layer) {
        self.store.add_to(layer);
        self.models.add_to(layer);
    }
}

impl SettingFlags for MountFlags {
    fn add_to(&self, layer: &mut Layer) {
        self.store.add_to(layer);
        self.engines.add_to(layer);
        let sync_on_close = self.sync_on_close.then(|| "true".to_owned());
        let watch = (!self.watch.is_empty()).then(|| self.watch.join(":"));
        let flags = [
            ("settle", &self.settle),
            ("max_upload_size_mb", &self.max_upload_size_mb),
            ("sync_on_close", &sync_on_close),
            ("workers", &self.workers),
            ("watch", &watch),
            ("log_level", &self.log_level),
        ];
        add(layer, flags);
    }
}

fn add<const N: usize>(layer: &mut Layer, flags: [(&str, &Option<String>); N]) {
    for (key, value) in flags {
        if let Some(value) = value {
            layer.say(key, value, Origin::Flag);
        }
    }
}
