//! Variables that every program knows a cloud by: who we are there, and where it is.
//!
//! They may hold secrets, so nothing of them is ever shown, and no settings file takes them.

use std::collections::BTreeMap;
use std::fmt;

/// How they begin.
const PREFIX: &str = "AWS_";

/// The one of ours that is a secret: the key of SSE-C, 32 bytes in base 64.
pub(crate) const CUSTOMER_KEY: &str = "SCRIBEFS_S3_CUSTOMER_KEY";

/// These belong together: a token of one place does not fit the keys of another.
const STATIC_KEYS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_SESSION_EXPIRATION",
];

/// When temporary keys end, as `aws configure export-credentials` and others say it.
pub(crate) const KEYS_END_AT: [&str; 2] = ["AWS_CREDENTIAL_EXPIRATION", "AWS_SESSION_EXPIRATION"];

/// What was said of clouds in one place, by variable. Empty values count as not said.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct AwsEnvironment(BTreeMap<String, String>);

impl AwsEnvironment {
    pub(crate) fn from_variables(variables: &BTreeMap<String, String>) -> Self {
        let is_ours = |name: &str| name.starts_with(PREFIX) || name == CUSTOMER_KEY;
        let said = variables.iter().filter(|(name, value)| is_ours(name) && !value.is_empty());
        Self(said.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Our word, and where we are silent theirs. Keys are taken from one place, all or none.
    pub(crate) fn over(mut self, mut under: Self) -> Self {
        if STATIC_KEYS.iter().any(|name| self.0.contains_key(*name)) {
            under.0.retain(|name, _| !STATIC_KEYS.contains(&name.as_str()));
        }
        for (name, value) in under.0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The first of these that was said.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// All of the cloud's own, to be handed to the room that talks to it.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = self.0.clone();
        variables.remove(CUSTOMER_KEY);
        variables
    }
}

/// Names only.
impl fmt::Debug for AwsEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(said: &[(&str, &str)]) -> AwsEnvironment {
        let said = said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        AwsEnvironment::from_variables(&said.collect())
    }

    #[test]
    fn a_token_is_never_taken_with_the_keys_of_another_place() {
        let environment = cloud(&[("AWS_ACCESS_KEY_ID", "new"), ("AWS_SECRET_ACCESS_KEY", "s")]);
        let dot_env = cloud(&[
            ("AWS_ACCESS_KEY_ID", "old"),
            ("AWS_SESSION_TOKEN", "old"),
            ("AWS_REGION", "eu-central-1"),
        ]);
        let both = environment.over(dot_env);
        assert_eq!(both.get("AWS_ACCESS_KEY_ID"), Some("new"));
        assert_eq!(both.get("AWS_SESSION_TOKEN"), None);
        assert_eq!(both.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]), Some("eu-central-1"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", cloud(&[("AWS_SECRET_ACCESS_KEY", "hush"), ("PATH", "/bin")]));
        assert_eq!(shown, r#"{"AWS_SECRET_ACCESS_KEY"}"#);
    }
}
