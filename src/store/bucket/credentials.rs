//! The keys with which requests are signed.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::StaticCredentialProvider;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};
use object_store::client::CredentialProvider;

use crate::store::bucket::credentials_error::CredentialsError;
use crate::store::bucket::profile::Said;
use crate::store::{Keys, Profile};

/// Where requests get their keys from. Nothing is asked yet; a `builder` with region and client is.
pub(crate) fn provider(
    keys: &Keys,
    builder: &AmazonS3Builder,
) -> Result<AwsCredentialProvider, object_store::Error> {
    Ok(match keys {
        Keys::Given { id, secret, session_token } => {
            Arc::new(StaticCredentialProvider::new(AwsCredential {
                key_id: id.clone(),
                secret_key: secret.reveal().to_owned(),
                token: session_token.as_ref().map(|token| token.reveal().to_owned()),
            }))
        }
        Keys::Profile(profile) => {
            Arc::new(FromProfile { profile: profile.clone(), last: Mutex::default() })
        }
        Keys::Surroundings(variables) => {
            let found = surroundings(builder.clone(), variables).build()?;
            Arc::new(FromRole { role: found.credentials().clone(), has_worked: false.into() })
        }
    })
}

/// What leads to a role that hands out keys, and how to ask there.
fn surroundings(builder: AmazonS3Builder, variables: &BTreeMap<String, String>) -> AmazonS3Builder {
    use AmazonS3ConfigKey::{
        ContainerAuthorizationTokenFile, ContainerCredentialsFullUri,
        ContainerCredentialsRelativeUri, ImdsV1Fallback, MetadataEndpoint, RoleArn,
        RoleSessionName, StsEndpoint, WebIdentityTokenFile,
    };
    [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", WebIdentityTokenFile),
        ("AWS_ROLE_ARN", RoleArn),
        ("AWS_ROLE_SESSION_NAME", RoleSessionName),
        ("AWS_ENDPOINT_URL_STS", StsEndpoint),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", ContainerCredentialsRelativeUri),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", ContainerCredentialsFullUri),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ContainerAuthorizationTokenFile),
        ("AWS_METADATA_ENDPOINT", MetadataEndpoint),
        ("AWS_IMDSV1_FALLBACK", ImdsV1Fallback),
    ]
    .into_iter()
    .filter_map(|(name, key)| Some((key, variables.get(name)?)))
    .fold(builder, |builder, (key, value)| builder.with_config(key, value))
}

type Answer = object_store::Result<Arc<AwsCredential>>;

fn no_keys(err: CredentialsError) -> object_store::Error {
    let source: Box<dyn Error + Send + Sync> = Box::new(err);
    object_store::Error::Generic { store: "S3", source }
}

/// Reads the profile for each request, which is little beside a round trip: who changes the keys need not
/// restart anything.
struct FromProfile {
    profile: Profile,
    /// Guards the last keys that were read. They serve while the files are being written.
    last: Mutex<Option<Arc<AwsCredential>>>,
}

impl FromProfile {
    fn keys(&self) -> Answer {
        let read = keys_of(&self.profile);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (read, &*last) {
            (Ok(keys), _) => Ok(last.insert(Arc::new(keys)).clone()),
            (Err(_), Some(keys)) => Ok(keys.clone()),
            (Err(err), None) => Err(no_keys(err)),
        }
    }
}

fn keys_of(profile: &Profile) -> Result<AwsCredential, CredentialsError> {
    let said = Said::read(profile)?;
    let name = || profile.name.clone();
    if let Some(setting) = said.unsupported() {
        return Err(CredentialsError::Unsupported { name: name(), setting });
    }
    let get = |setting| said.get(setting).filter(|value| is_sendable(value)).map(str::to_owned);
    let must =
        |setting| get(setting).ok_or_else(|| CredentialsError::NoKeys { name: name(), setting });
    Ok(AwsCredential {
        key_id: must("aws_access_key_id")?,
        secret_key: must("aws_secret_access_key")?,
        token: get("aws_session_token"),
    })
}

/// Whether a header can hold the text. The library panics over keys, tokens and regions that none can.
pub(crate) fn is_sendable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Puts it in our words when a role hands out nothing.
struct FromRole {
    role: AwsCredentialProvider,
    has_worked: AtomicBool,
}

impl FromRole {
    async fn keys(&self) -> Answer {
        match self.role.get_credential().await {
            Ok(keys) => {
                self.has_worked.store(true, Ordering::Relaxed);
                Ok(keys)
            }
            Err(_) if self.has_worked.load(Ordering::Relaxed) => {
                Err(no_keys(CredentialsError::Lapsed))
            }
            Err(_) => Err(no_keys(CredentialsError::NoneAround)),
        }
    }
}

// The trait is made by a macro; these are its methods as it spells them.

impl CredentialProvider for FromProfile {
    type Credential = AwsCredential;

    fn get_credential<'life0, 'async_trait>(&'life0 self) -> BoxFuture<'async_trait, Answer>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        ready(self.keys()).boxed()
    }
}

impl CredentialProvider for FromRole {
    type Credential = AwsCredential;

    fn get_credential<'life0, 'async_trait>(&'life0 self) -> BoxFuture<'async_trait, Answer>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.keys().boxed()
    }
}

impl fmt::Debug for FromProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FromProfile({})", self.profile.name)
    }
}

impl fmt::Debug for FromRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromRole")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn profile_in(dir: &Path, name: &str) -> Profile {
        let (credentials, config) = (dir.join("credentials"), dir.join("config"));
        Profile { name: name.to_owned(), credentials, config }
    }

    fn reader_of(dir: &Path, name: &str) -> FromProfile {
        FromProfile { profile: profile_in(dir, name), last: Mutex::default() }
    }

    #[test]
    fn new_keys_in_a_profile_count_from_the_next_request_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let reader = reader_of(dir.path(), "work");
        for id in ["AKIAOLD", "AKIANEW"] {
            let text = format!("[work]\naws_access_key_id={id}\naws_secret_access_key=s\n");
            fs::write(&path, text).unwrap();
            assert_eq!(reader.keys().unwrap().key_id, id);
        }
        fs::write(&path, "[wo").unwrap();
        assert_eq!(reader.keys().unwrap().key_id, "AKIANEW");
    }

    #[test]
    fn a_profile_that_cannot_be_followed_says_what_is_wrong_and_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("config"),
            "[profile sso]\nsso_session = x\n[profile role]\nrole_arn = arn\n\
             source_profile = keys\n[profile half]\nregion = eu-west-1\n",
        )
        .unwrap();
        fs::write(
            dir.path().join("credentials"),
            "[half]\naws_access_key_id = AKIA\n[role]\naws_access_key_id = AKIA\n\
             aws_secret_access_key = wJalr\n",
        )
        .unwrap();
        for (name, words) in [
            ("nobody", "there is no profile `nobody`"),
            ("sso", "uses `sso_session`"),
            ("role", "uses `role_arn`"),
            ("half", "has no usable `aws_secret_access_key`"),
        ] {
            let said = reader_of(dir.path(), name).keys().unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
            assert!(!said.contains("wJalr"), "{said}");
        }
    }

    #[test]
    fn a_file_that_may_not_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("credentials")).unwrap();
        let said = reader_of(dir.path(), "default").keys().unwrap_err().to_string();
        assert!(said.contains("credentials` could not be read"), "{said}");
    }
}
