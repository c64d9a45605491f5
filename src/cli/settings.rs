//! Settings from all places of one command: flags, environment, `.env`, file.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::dot_env;
use crate::cli::print::CliError;
use crate::cli::setting_flags::{ModelFlags, SettingFlags};
use crate::config::{self, Config, Layer, Origin, Places};
use crate::daemon::{DaemonConfig, Environment};
use crate::fs::MountOptions;
use crate::regular_file::{self, SETTINGS_BYTES};

/// Names the settings file.
const CONFIG_VARIABLE: &str = "SCRIBEFS_CONFIG";

/// The settings that the flags of a command name, and the files that hold others.
#[derive(Debug, Args, Default)]
pub(crate) struct Settings<F: SettingFlags> {
    /// Settings file [default: ~/.config/scribefs/scribefs.toml, /etc/scribefs/scribefs.toml]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// File with NAME=VALUE lines [default: .env in this folder, if both are yours and only you can write to them]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    env_file: Option<PathBuf>,
    #[command(flatten)]
    flags: F,
}

impl Settings<ModelFlags> {
    /// With a models folder given by another flag.
    pub(crate) fn with_models(models: Option<&Path>) -> Self {
        Self { config: None, env_file: None, flags: ModelFlags::with_folder(models) }
    }
}

impl<F: SettingFlags> Settings<F> {
    /// Everything that was said anywhere, checked.
    pub(crate) fn config(&self, environment: &Environment) -> Result<Config, CliError> {
        self.config_with(Layer::default(), environment)
    }

    /// The same with more flags, which win.
    pub(crate) fn config_with(
        &self,
        more: Layer,
        environment: &Environment,
    ) -> Result<Config, CliError> {
        let variables = Layer::from_variables(environment.variables(), Origin::Environment)?;
        let dot_env = dot_env::layer(environment, self.env_file.as_deref())?;
        let file = self.file(environment)?;
        let mut flags = Layer::default();
        self.flags.add_to(&mut flags);
        let layer = more.over(flags).over(variables).over(dot_env).over(file);
        Ok(Config::new(&layer, &places(environment))?)
    }

    fn file(&self, environment: &Environment) -> Result<Layer, CliError> {
        let variable = environment.variables().get(CONFIG_VARIABLE).map(PathBuf::from);
        if let Some(path) = self.config.clone().or(variable) {
            let text =
                regular_file::read_text(&path, SETTINGS_BYTES).map_err(|err| CliError::File {
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
                    return Err(CliError::File { path, source, remedy });
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
pub(crate) fn plan(config: Config, mount: MountOptions, environment: &Environment) -> DaemonConfig {
    DaemonConfig {
        config,
        mount,
        executable: environment.executable().to_owned(),
        worker_variables: environment.for_workers(),
        ffmpeg: environment.find_program("ffmpeg"),
    }
}
