//! [`DaemonConfig`]: what a daemon is started with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::Config;
use crate::fs::MountOptions;
use crate::jobs::JobConfig;
use crate::models::Library;

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    pub config: Config,
    pub mount: MountOptions,
    /// This very program: workers are its children.
    pub executable: PathBuf,
    /// All that workers get to know of the environment.
    pub worker_variables: BTreeMap<String, String>,
    /// Reads what scribefs cannot; `None` where none is installed.
    pub ffmpeg: Option<PathBuf>,
}

impl DaemonConfig {
    /// How recordings are worked on.
    pub fn setup(&self) -> JobConfig {
        let config = &self.config;
        JobConfig {
            executable: self.executable.clone(),
            variables: self.worker_variables.clone(),
            library: Library::new(&config.models),
            models_dir: config.models.clone(),
            recognizer: config.recognizer.clone(),
            diarizer: config.diarizer.clone(),
            language: config.language.clone(),
            speakers: config.speakers,
            threads: config.threads,
            workers: config.workers,
            longest: config.max_duration,
            keep_free_bytes: config.keep_free_bytes,
            memory_mb: config.worker_memory_mb,
            stall: config.stall_timeout,
            idle: config.idle_timeout,
            scratch: config.state.join("scratch"),
            uploads: config.uploads.clone(),
            ffmpeg: self.ffmpeg.clone(),
            zone: config.zone.clone(),
        }
    }
}
