//! What has to be said to reach a bucket, and what may be told of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::store::{LONGEST_CHANGE, Provider};

/// How to reach a bucket. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct BucketOptions {
    pub bucket: String,
    /// Everything of ours lies below it. Empty, or ends in `/`.
    pub prefix: String,
    /// `None`: the profile's, else what the endpoint says, else the provider's default.
    pub region: Option<String>,
    /// `http://` or `https://` and a host. `None`: AWS, in the region.
    pub endpoint: Option<String>,
    pub provider: Provider,
    /// `None`: host names only at AWS itself.
    pub addressing: Option<Addressing>,
    pub encryption: Encryption,
    pub keys: Keys,
    /// When keys that were said outright end, where that was said too.
    pub keys_end_at: Option<Timestamp>,
    /// For one small request and its answer. 15 s by default: a file manager has not given up by then.
    pub deadline: Duration,
    /// A transfer may take [`BucketOptions::deadline`] and as long as its bytes take at this speed. 32 KiB/s by
    /// default.
    pub slowest_bytes_per_second: u64,
    /// A download without a byte for so long is over, and an upload after twice as long. 15 s by default.
    pub longest_silence: Duration,
}

impl BucketOptions {
    /// The bucket of that name at AWS, with keys from the machine's own role.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            provider: Provider::Aws,
            addressing: None,
            encryption: Encryption::BucketDefault,
            keys: Keys::Surroundings(BTreeMap::new()),
            keys_end_at: None,
            deadline: Duration::from_secs(15),
            slowest_bytes_per_second: 32 << 10,
            longest_silence: Duration::from_secs(15),
        }
    }

    /// How long a request that changes the bucket with so many bytes may take, however it goes.
    pub fn change_deadline(&self, bytes: u64) -> Duration {
        self.deadline_of(bytes).min(LONGEST_CHANGE)
    }

    /// How long the transfer of so many bytes may take.
    pub fn deadline_of(&self, bytes: u64) -> Duration {
        let seconds = bytes / self.slowest_bytes_per_second.max(1);
        self.deadline.saturating_add(Duration::from_secs(seconds))
    }
}

/// Where the bucket's name stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `https://endpoint/bucket/key`.
    Path,
    /// `https://bucket.endpoint/key`.
    VirtualHost,
}

/// Who encrypts what lies in the bucket, and with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// What the bucket is set to; at AWS SSE-S3 at least.
    BucketDefault,
    /// SSE-S3, asked for with each object.
    SseS3,
    /// SSE-KMS. `None`: the account's default key.
    Kms { key_id: Option<String> },
    /// SSE-C: 32 bytes in base 64. Who loses the key loses every object.
    Customer { key: Secret },
}

impl Encryption {
    /// One word for a person.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BucketDefault => "bucket default",
            Self::SseS3 => "SSE-S3",
            Self::Kms { .. } => "SSE-KMS",
            Self::Customer { .. } => "SSE-C",
        }
    }
}

/// Where the keys for signing come from.
#[derive(Debug, Clone)]
pub enum Keys {
    /// Said outright.
    Given { id: String, secret: Secret, session_token: Option<Secret> },
    /// A profile of the files that the `aws` command keeps. Read again when they have changed.
    Profile(Profile),
    /// What surrounds the process hands them out: web identity, ECS, EKS or IMDS, whichever the `AWS_*`
    /// variables in here point to, in that order. Variables that have nothing to do with keys are ignored.
    Surroundings(BTreeMap<String, String>),
}

/// One profile of the files that the `aws` command keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    /// Usually `~/.aws/credentials`. Need not exist.
    pub credentials: PathBuf,
    /// Usually `~/.aws/config`. Need not exist.
    pub config: PathBuf,
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever has to sign with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What anybody may know of a bucket that is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BucketFacts {
    pub bucket: String,
    pub prefix: String,
    pub region: String,
    /// Without user and password, should the address have them.
    pub endpoint: String,
    pub provider: &'static str,
    pub encryption: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::outbox::SINGLE_PUT_BYTES;

    #[test]
    fn nothing_shows_a_secret() {
        let mut options = BucketOptions::new("recordings");
        options.keys = Keys::Given {
            id: "AKIAEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI"),
            session_token: Some(Secret::new("FwoGZXIvYXdzE")),
        };
        options.encryption = Encryption::Customer { key: Secret::new("bXlrZXk=") };
        let shown = format!("{options:?}");
        for secret in ["wJalrXUtnFEMI", "FwoGZXIvYXdzE", "bXlrZXk="] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("AKIAEXAMPLE"), "{shown}");
    }

    #[test]
    fn a_large_transfer_has_more_time() {
        let options = BucketOptions::new("recordings");
        assert_eq!(options.deadline_of(1_000), Duration::from_secs(15));
        assert_eq!(options.deadline_of(16 << 20), Duration::from_secs(15 + 512));
        assert_eq!(options.change_deadline(1 << 20), Duration::from_secs(15 + 32));
        for bytes in [SINGLE_PUT_BYTES, 16 << 20, u64::MAX] {
            assert_eq!(options.change_deadline(bytes), LONGEST_CHANGE);
        }
    }
}
