//! Profiles as the `aws` command keeps them: two files of sections with `name = value` lines.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::regular_file;
use crate::store::Profile;
use crate::store::bucket::credentials_error::CredentialsError;

/// Tools write a section for each of hundreds of accounts.
const MOST_BYTES: u64 = 4 << 20;

/// What a profile says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    settings: BTreeMap<String, String>,
}

/// Settings by which a profile has its keys from somewhere that we do not ask.
const UNSUPPORTED: [&str; 6] = [
    "role_arn",
    "credential_process",
    "sso_session",
    "sso_start_url",
    "login_session",
    "credential_source",
];

impl Said {
    /// What the files say of the profile now. In the file of credentials a section is named after the
    /// profile alone, and what it says wins.
    pub(crate) fn read(profile: &Profile) -> Result<Self, CredentialsError> {
        let config = text_of(&profile.config)?;
        let credentials = text_of(&profile.credentials)?;
        let long_name = format!("profile {}", profile.name);
        let long_name =
            if profile.name == "default" { profile.name.as_str() } else { long_name.as_str() };
        let configured = section(&config, long_name);
        let credited = section(&credentials, &profile.name);
        if configured.is_none() && credited.is_none() {
            return Err(CredentialsError::NoProfile { profile: profile.clone() });
        }
        let mut settings = configured.unwrap_or_default();
        settings.extend(credited.unwrap_or_default());
        Ok(Self { settings })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// When temporary keys end, as the tools that write them there say; `None`: they do not.
    pub(crate) fn keys_end_at(&self) -> Option<Timestamp> {
        ["x_security_token_expires", "aws_session_expiration", "aws_credential_expiration"]
            .into_iter()
            .find_map(|name| self.get(name)?.parse().ok())
    }

    /// The first setting that asks for more than we can do.
    pub(crate) fn unsupported(&self) -> Option<&'static str> {
        UNSUPPORTED.into_iter().find(|name| self.settings.contains_key(*name))
    }
}

/// The file's text; none where there is no file.
fn text_of(path: &Path) -> Result<String, CredentialsError> {
    match regular_file::read_text(path, MOST_BYTES) {
        Ok(text) => Ok(text),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(err) => Err(CredentialsError::Unreadable { path: path.to_owned(), source: err }),
    }
}

/// The settings in the section of that name. Indented lines are settings within a setting, and none of ours.
fn section(text: &str, name: &str) -> Option<BTreeMap<String, String>> {
    let mut found: Option<BTreeMap<String, String>> = None;
    let mut is_inside = false;
    for line in text.lines() {
        if line.starts_with(['#', ';', ' ', '\t']) {
            continue;
        }
        if let Some(title) = line.strip_prefix('[') {
            let title = title.split(']').next().unwrap_or(title);
            is_inside = title.split_whitespace().eq(name.split_whitespace());
            if is_inside {
                found.get_or_insert_default();
            }
        } else if is_inside && let Some((name, value)) = line.split_once('=') {
            let value = value.split_once(" #").map_or(value, |(value, _)| value).trim();
            if !value.is_empty() {
                found
                    .get_or_insert_default()
                    .insert(name.trim().to_ascii_lowercase(), value.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# made by hand
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key=abc/def+ghi==
s3 =
  region = no
[profile  work]
Region = eu-west-1 # Dublin
output =

[sso-session x]
region = us-east-1
[default]
region = eu-central-1
";

    #[test]
    fn sections_hold_what_stands_in_them() {
        let default = section(FILE, "default").unwrap();
        assert_eq!(default["aws_access_key_id"], "AKIADEFAULT");
        assert_eq!(default["aws_secret_access_key"], "abc/def+ghi==");
        assert_eq!(default["region"], "eu-central-1");
        assert_eq!(default.len(), 3);
        let work = section(FILE, "profile work").unwrap();
        assert_eq!(
            work.into_iter().collect::<Vec<_>>(),
            [("region".to_owned(), "eu-west-1".to_owned())]
        );
        assert_eq!(section(FILE, "work"), None);
    }
}
