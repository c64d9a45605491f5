//! The one place that reads the environment; every other room is told.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Variables that workers are given.
const WORKERS_NEED: [&str; 4] = ["LD_LIBRARY_PATH", "PATH", "RUST_BACKTRACE", "TMPDIR"];

/// What this process was given by those who started it.
#[derive(Clone)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    path: OsString,
    home: PathBuf,
    working_directory: PathBuf,
    executable: PathBuf,
}

/// Variables may hold secrets: nothing of them is ever shown.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("home", &self.home).finish_non_exhaustive()
    }
}

impl Environment {
    /// As it is now. Variables that are not UTF-8 are left out.
    pub fn read() -> Self {
        let variables = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            variables,
            path: env::var_os("PATH").unwrap_or_default(),
            home: env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
            working_directory: env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            executable: env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
        }
    }

    /// What a worker may know of it: how to find libraries, and nothing that could be a secret. It parses strangers'
    /// bytes.
    pub fn for_workers(&self) -> BTreeMap<String, String> {
        let kept = |(name, _): &(&String, &String)| WORKERS_NEED.contains(&name.as_str());
        self.variables.iter().filter(kept).map(|(a, b)| (a.clone(), b.clone())).collect()
    }

    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where relative paths start.
    pub fn working_directory(&self) -> &Path {
        &self.working_directory
    }

    /// This very program.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// `$XDG_CONFIG_HOME/scribefs`.
    pub fn config_dir(&self) -> PathBuf {
        self.base_dir("XDG_CONFIG_HOME", ".config")
    }

    /// `$XDG_STATE_HOME/scribefs`.
    pub fn state_dir(&self) -> PathBuf {
        self.base_dir("XDG_STATE_HOME", ".local/state")
    }

    /// `$XDG_DATA_HOME/scribefs`.
    pub fn data_dir(&self) -> PathBuf {
        self.base_dir("XDG_DATA_HOME", ".local/share")
    }

    fn base_dir(&self, variable: &str, below_home: &str) -> PathBuf {
        let given = self.variables.get(variable).map(PathBuf::from);
        let base = given.filter(|path| path.is_absolute());
        base.unwrap_or_else(|| self.home.join(below_home)).join("scribefs")
    }

    /// The program of that name on `PATH`.
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        let is_program = |path: &PathBuf| {
            path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
        };
        env::split_paths(&self.path).map(|folder| folder.join(name)).find(is_program)
    }
}
