//! [`CredentialsError`]: why there is nothing to sign with.

use std::io;
use std::path::PathBuf;

use crate::store::Profile;

/// Why there is nothing to sign with, in words to act on. Never holds a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error(
        "there is no profile `{}` in `{}` or `{}`",
        .profile.name, .profile.credentials.display(), .profile.config.display()
    )]
    NoProfile { profile: Profile },
    #[error("the profile `{name}` has no usable `{setting}`")]
    NoKeys { name: String, setting: &'static str },
    #[error(
        "the profile `{name}` uses `{setting}`, which scribefs does not support; give it keys of its own, or get \
         some with `aws configure export-credentials`"
    )]
    Unsupported { name: String, setting: &'static str },
    #[error("`{}` could not be read", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "there are no keys for the bucket: set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, name a profile, or \
         run where a role provides them"
    )]
    NoneAround,
    #[error("the role that provides keys for the bucket does not answer")]
    Lapsed,
}

impl CredentialsError {
    /// Whether time cures it.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Lapsed => true,
            Self::NoProfile { .. }
            | Self::NoKeys { .. }
            | Self::Unsupported { .. }
            | Self::Unreadable { .. }
            | Self::NoneAround => false,
        }
    }
}
