//! [`ConfigError`]: why settings cannot be used.

use crate::config::origin::Origin;

/// Why settings cannot be used. Each says which key, where it was said, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: {key} = {:?} is {why}", without_secrets(.value))]
    Value { origin: Origin, key: String, value: String, why: String },
    #[error("{origin}: there is no setting `{key}`{}", suggestion(.nearest.as_deref()))]
    UnknownKey { origin: Origin, key: String, nearest: Option<String> },
    /// Only where: the line itself may hold a secret.
    #[error("{origin}, line {line}: {why}")]
    Syntax { origin: Origin, line: usize, why: &'static str },
    /// Each word is right, but not beside the others.
    #[error("{what}: {remedy}")]
    Contradiction { what: String, remedy: String },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// A value as it may be shown: names and keys before the host of an address, and what follows a `?`, may be secret.
fn without_secrets(value: &str) -> String {
    let (shown, query) = value.split_once('?').map_or((value, ""), |(shown, _)| (shown, "?***"));
    let Some((before, after)) = shown.rsplit_once('@') else { return format!("{shown}{query}") };
    let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
    format!("{}***@{after}{query}", scheme.unwrap_or_default())
}
