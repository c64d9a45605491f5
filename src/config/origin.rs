//! [`Origin`]: where a setting was said.

use std::fmt;
use std::path::PathBuf;

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    Environment,
    /// A `.env` file.
    DotEnv(PathBuf),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::DotEnv(path) => write!(f, "{}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

impl Origin {
    /// Whether what was said here wins over what was said there.
    pub(crate) fn wins_over(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    fn rank(&self) -> u8 {
        match self {
            Self::File(_) => 0,
            Self::DotEnv(_) => 1,
            Self::Environment => 2,
            Self::Flag => 3,
        }
    }
}
