//! Settings from all places of one command: flags, environment, `.env`, file.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::dot_env;
use crate::cli::report::Trouble;
use crate::config::{self, Config, Layer, Origin, Places};
use crate::daemon::{Environment, Plan};
use crate::fs::MountOptions;
use crate::regular_file::{self, SETTINGS_BYTES};

/// Names the settings file.
const CONFIG_VARIABLE: &str = "SCRIBEFS_CONFIG";

/// Flags that are settings; each can stand in the settings file and in the environment too.
#[derive(Debug, Args, Default)]
pub(crate) struct Settings {
    /// Settings file [default: ~/.config/scribefs/scribefs.toml, /etc/scribefs/scribefs.toml]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// File with NAME=VALUE lines [default: .env here, if it and this folder are yours and only you may write to them]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    env_file: Option<PathBuf>,
    /// Folder of spool, index and log [default: $XDG_STATE_HOME/scribefs]
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    state: Option<String>,
    /// Where what is published is kept [default: uploads/ below the state folder]
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX", help_heading = "Settings")]
    store: Option<String>,
    /// Where recordings belong: local, s3 or both [default: s3 where a bucket is named, else local]
    #[arg(long, value_name = "WHERE", help_heading = "Settings")]
    storage: Option<String>,
    /// Folder of models [default: $XDG_DATA_HOME/scribefs/models]
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    models: Option<String>,
    /// Quiet time before a file is taken for complete [default: 5s]
    #[arg(long, value_name = "TIME", help_heading = "Settings")]
    settle: Option<String>,
    /// Largest file that is transcribed, 0 for any [default: 4096]
    #[arg(long, value_name = "MB", help_heading = "Settings")]
    max_upload_size_mb: Option<String>,
    /// Longest recording that is transcribed [default: 24h]
    #[arg(long, value_name = "TIME", help_heading = "Settings")]
    max_duration: Option<String>,
    /// Wait for the disk on every close, so that `mv` is safe against power cuts
    #[arg(long, help_heading = "Settings")]
    sync_on_close: bool,
    /// Model that writes down [default: moonshine-tiny-en]
    #[arg(long, value_name = "MODEL", help_heading = "Settings")]
    recognizer: Option<String>,
    /// Model that tells speakers apart, or none [default: pyannote-community-1]
    #[arg(long, value_name = "MODEL", help_heading = "Settings")]
    diarizer: Option<String>,
    /// Language spoken: en, de, ... or auto [default: auto]
    #[arg(long, value_name = "CODE", help_heading = "Settings")]
    language: Option<String>,
    /// How many people speak: auto, 2, 2-4 [default: auto]
    #[arg(long, value_name = "NUMBER", help_heading = "Settings")]
    speakers: Option<String>,
    /// Threads of one worker, 0 for all cores [default: 0]
    #[arg(long, value_name = "NUMBER", help_heading = "Settings")]
    threads: Option<String>,
    /// Recordings worked on at once [default: 1]
    #[arg(long, value_name = "NUMBER", help_heading = "Settings")]
    workers: Option<String>,
    /// Most memory of one worker [default: 4096]
    #[arg(long, value_name = "MB", help_heading = "Settings")]
    worker_memory_mb: Option<String>,
    /// Time after which a silent worker is killed [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "Settings")]
    stall_timeout: Option<String>,
    /// Folder whose recordings are copied into the inbox; may be given again
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    watch: Vec<String>,
    /// off, error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = "Settings")]
    log_level: Option<String>,
}

impl Settings {
    /// With a folder of models given by another flag.
    pub(crate) fn with_models(models: Option<&Path>) -> Self {
        let models = models.map(|path| path.display().to_string());
        Self { models, ..Self::default() }
    }

    fn layer(&self) -> Layer {
        let yes = |flag: bool| flag.then(|| "true".to_owned());
        let watch = (!self.watch.is_empty()).then(|| self.watch.join(":"));
        let said = [
            ("state", &self.state),
            ("store", &self.store),
            ("storage", &self.storage),
            ("models", &self.models),
            ("settle", &self.settle),
            ("max_upload_size_mb", &self.max_upload_size_mb),
            ("max_duration", &self.max_duration),
            ("sync_on_close", &yes(self.sync_on_close)),
            ("recognizer", &self.recognizer),
            ("diarizer", &self.diarizer),
            ("language", &self.language),
            ("speakers", &self.speakers),
            ("threads", &self.threads),
            ("workers", &self.workers),
            ("worker_memory_mb", &self.worker_memory_mb),
            ("stall_timeout", &self.stall_timeout),
            ("watch", &watch),
            ("log_level", &self.log_level),
        ];
        let mut layer = Layer::default();
        for (key, value) in said {
            if let Some(value) = value {
                layer.say(key, value, Origin::Flag);
            }
        }
        layer
    }

    /// Everything that was said anywhere, checked.
    pub(crate) fn config(&self, environment: &Environment) -> Result<Config, Trouble> {
        self.config_with(Layer::default(), environment)
    }

    /// The same with more flags, which win.
    pub(crate) fn config_with(
        &self,
        more: Layer,
        environment: &Environment,
    ) -> Result<Config, Trouble> {
        let variables = Layer::from_variables(environment.variables(), Origin::Environment)?;
        let dot_env = dot_env::layer(environment, self.env_file.as_deref())?;
        let file = self.file(environment)?;
        let layer = more.over(self.layer()).over(variables).over(dot_env).over(file);
        Ok(Config::new(&layer, &places(environment))?)
    }

    fn file(&self, environment: &Environment) -> Result<Layer, Trouble> {
        let variable = environment.variables().get(CONFIG_VARIABLE).map(PathBuf::from);
        if let Some(path) = self.config.clone().or(variable) {
            let text =
                regular_file::read_text(&path, SETTINGS_BYTES).map_err(|err| Trouble::File {
                    path: path.clone(),
                    source: err,
                    remedy: "Check the path given with `--config`.".to_owned(),
                })?;
            return Ok(Layer::from_toml(&text, &path)?);
        }
        for path in config::usual_files(&environment.config_dir()) {
            match regular_file::read_text(&path, SETTINGS_BYTES) {
                Ok(text) => return Ok(Layer::from_toml(&text, &path)?),
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let remedy = "Make it readable, move it away, or name another with `--config`."
                        .to_owned();
                    return Err(Trouble::File { path, source, remedy });
                }
            }
        }
        Ok(Layer::default())
    }
}

fn places(environment: &Environment) -> Places {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Places {
        home: environment.home().to_owned(),
        working_directory: environment.working_directory().to_owned(),
        state: environment.state_dir(),
        models: environment.data_dir().join("models"),
        cores: u16::try_from(cores).unwrap_or(u16::MAX),
    }
}

/// What a daemon, or a road without one, is started with.
pub(crate) fn plan(config: Config, mount: MountOptions, environment: &Environment) -> Plan {
    Plan {
        config,
        mount,
        executable: environment.executable().to_owned(),
        worker_variables: environment.for_workers(),
        ffmpeg: environment.find_program("ffmpeg"),
    }
}
