//! From options to a client that can be asked.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use object_store::aws::{
    AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider, Checksum, S3ConditionalPut,
};
use object_store::path::Path;
use object_store::signer::{Method, Signer};
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, RetryConfig};

use crate::store::blocking::block_on;
use crate::store::bucket::credentials::{is_sendable, provider};
use crate::store::bucket::failure::refused;
use crate::store::bucket::foreign::ForeignNames;
use crate::store::bucket::key_lifetime::KeyLifetime;
use crate::store::bucket::plain_http::{is_loopback, plain_http_host};
use crate::store::bucket::profile::Said;
use crate::store::bucket::transport::{CONNECT, IDLE, Transport, USER_AGENT};
use crate::store::{
    Addressing, BucketFacts, BucketOptions, Encryption, Keys, Provider, Secret, StoreError,
};

/// The clients of one bucket.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Asks twice more when there was no answer.
    pub(crate) reads: AmazonS3,
    /// Asks once. Whether a write without an answer was carried out is for its sender to find out.
    pub(crate) writes: AmazonS3,
    /// The same as `reads`, and removes many objects with one request.
    pub(crate) bulk: AmazonS3,
    pub(crate) facts: BucketFacts,
    /// What listings have left out.
    pub(crate) foreign: Arc<ForeignNames>,
    pub(crate) keys: AwsCredentialProvider,
    /// Of keys that a role hands out.
    pub(crate) lifetime: Arc<KeyLifetime>,
}

impl Connection {
    /// Makes ready and asks nobody.
    pub(crate) fn new(options: &BucketOptions) -> Result<Self, StoreError> {
        check(options).map_err(|words| refused(&options.bucket, words))?;
        let fail = |err: object_store::Error| refused(&options.bucket, err.to_string());
        let facts = facts(options);
        let foreign = Arc::<ForeignNames>::default();
        let lifetime = Arc::<KeyLifetime>::default();
        let host = facts.endpoint.split_once("://").map_or("", |(_, host)| host);
        let transport = Transport {
            foreign: foreign.clone(),
            lifetime: lifetime.clone(),
            host: host.split('/').next().unwrap_or_default().to_owned(),
            options: options.clone(),
            allows_http: facts.endpoint.starts_with("http://"),
        };
        let bare = bare_builder(options, &facts).with_http_connector(transport);
        check_address(&bare).map_err(fail)?;
        let keys = provider(&options.keys, &bare).map_err(fail)?;
        let reads = reading(bare.clone(), options, keys.clone()).build().map_err(fail)?;
        let bulk = reading(bare.clone(), options, keys.clone()).with_disable_bulk_delete(false);
        let bulk = bulk.build().map_err(fail)?;
        let writes = writing(bare, options, keys.clone()).build().map_err(fail)?;
        Ok(Self { reads, writes, bulk, facts, foreign, keys, lifetime })
    }
}

/// What is wrong with the options, if anything.
fn check(options: &BucketOptions) -> Result<(), String> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if options.bucket.is_empty() || !options.bucket.bytes().all(is_safe) {
        return Err(format!("`{}` is not the name of a bucket", options.bucket));
    }
    if let Encryption::Customer { key } = &options.encryption
        && BASE64_STANDARD.decode(key.reveal()).map(|key| key.len()) != Ok(32)
    {
        return Err("the key for SSE-C must be 32 bytes in base64".to_owned());
    }
    if !is_sendable(&region(options)) {
        return Err("the region contains characters that no region has".to_owned());
    }
    if let Keys::Given { id, session_token, .. } = &options.keys {
        let token = session_token.as_ref().map_or("", Secret::reveal);
        if id.is_empty() || !is_sendable(id) || !is_sendable(token) {
            return Err("the access key or session token is empty or badly copied".to_owned());
        }
    }
    let Some(endpoint) = &options.endpoint else { return Ok(()) };
    if matches!(options.encryption, Encryption::Customer { .. })
        && let Some(host) = plain_http_host(endpoint)
        && !is_loopback(host)
    {
        return Err(
            "SSE-C sends its key with each request, and over `http://` anybody on the way \
                    reads it: the endpoint must begin with `https://`"
                .to_owned(),
        );
    }
    let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    match host {
        None | Some("") => Err("the endpoint must begin with `https://` or `http://`".to_owned()),
        Some(host) if host.contains(['@', '?', '#']) => {
            Err("the endpoint must be an address alone, without a user or a query".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// Signing a request with an address that is none makes the library panic; signing a link makes it say so.
fn check_address(bare: &AmazonS3Builder) -> object_store::Result<()> {
    let keys = bare.clone().with_access_key_id("none").with_secret_access_key("none");
    let probe = keys.build()?;
    block_on(probe.signed_url(Method::GET, &Path::from("none"), Duration::from_secs(1)))?;
    Ok(())
}

fn facts(options: &BucketOptions) -> BucketFacts {
    let region = region(options);
    let endpoint = match &options.endpoint {
        Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
        // China's part of AWS has a domain of its own.
        None if region.starts_with("cn-") => format!("https://s3.{region}.amazonaws.com.cn"),
        None => format!("https://s3.{region}.amazonaws.com"),
    };
    BucketFacts {
        bucket: options.bucket.clone(),
        prefix: options.prefix.clone(),
        region,
        endpoint,
        provider: options.provider.name(),
        encryption: options.encryption.name(),
    }
}

fn region(options: &BucketOptions) -> String {
    let of_profile = || match &options.keys {
        // What is wrong with a profile is said when its keys are needed.
        Keys::Profile(profile) => Said::read(profile).ok()?.get("region").map(str::to_owned),
        Keys::Given { .. } | Keys::Surroundings(_) => None,
    };
    options
        .region
        .clone()
        .or_else(of_profile)
        .unwrap_or_else(|| options.provider.region(options.endpoint.as_deref()))
}

/// Where the bucket is, its name included.
fn address(options: &BucketOptions, endpoint: &str) -> String {
    let bucket = &options.bucket;
    let usual = match options.provider {
        // A certificate for `*.s3.amazonaws.com` does not cover a name with a dot.
        Provider::Aws if options.endpoint.is_none() && !bucket.contains('.') => {
            Addressing::VirtualHost
        }
        _ => Addressing::Path,
    };
    match (options.addressing.unwrap_or(usual), endpoint.split_once("://")) {
        (Addressing::VirtualHost, Some((scheme, host))) => format!("{scheme}://{bucket}.{host}"),
        _ => format!("{endpoint}/{bucket}"),
    }
}

/// What both clients have in common.
fn bare_builder(options: &BucketOptions, facts: &BucketFacts) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_bucket_name(&options.bucket)
        .with_region(&facts.region)
        .with_endpoint(address(options, &facts.endpoint))
        // To the builder this means that the endpoint is complete, whichever way the bucket stands in it.
        .with_virtual_hosted_style_request(true)
        .with_client_options(client(facts))
        // Whether the bucket keeps them is tried out before they are relied on.
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_disable_tagging(true)
        .with_disable_bulk_delete(true)
}

/// Deadlines are ours: the library's hold for the whole of a body, however large.
fn client(facts: &BucketFacts) -> ClientOptions {
    ClientOptions::new()
        .with_config(ClientConfigKey::UserAgent, USER_AGENT)
        .with_allow_http(facts.endpoint.starts_with("http://"))
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT)
        .with_pool_idle_timeout(IDLE)
}

/// SSE-C is the one encryption that reads, and giving up an upload, must know of; the others are refused
/// there.
fn reading(
    bare: AmazonS3Builder,
    options: &BucketOptions,
    keys: AwsCredentialProvider,
) -> AmazonS3Builder {
    let builder = bare.with_credentials(keys).with_retry(RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: options.deadline,
    });
    match &options.encryption {
        Encryption::Customer { key } => builder.with_ssec_encryption(key.reveal()),
        Encryption::BucketDefault | Encryption::SseS3 | Encryption::Kms { .. } => builder,
    }
}

fn writing(
    bare: AmazonS3Builder,
    options: &BucketOptions,
    keys: AwsCredentialProvider,
) -> AmazonS3Builder {
    let ask_once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let mut builder = bare.with_credentials(keys).with_retry(ask_once);
    let is_customers = matches!(options.encryption, Encryption::Customer { .. });
    // With both, completing an upload needs the customer's key, which the library does not send along.
    if options.provider.keeps_checksums() && !is_customers {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    match &options.encryption {
        Encryption::BucketDefault => builder,
        Encryption::SseS3 => {
            builder.with_config(server_side("aws_server_side_encryption"), "AES256")
        }
        Encryption::Kms { key_id } => {
            let builder = builder.with_config(server_side("aws_server_side_encryption"), "aws:kms");
            match key_id {
                Some(key_id) => builder.with_config(server_side("aws_sse_kms_key_id"), key_id),
                None => builder,
            }
        }
        Encryption::Customer { key } => builder.with_ssec_encryption(key.reveal()),
    }
}

/// The library has these keys by name only.
fn server_side(name: &str) -> AmazonS3ConfigKey {
    name.parse().expect("a key that the library documents")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::Profile;

    fn options() -> BucketOptions {
        BucketOptions::new("recordings")
    }

    #[test]
    fn the_bucket_stands_in_the_host_name_only_where_that_is_sure_to_work() {
        let at = |options: &BucketOptions| address(options, &facts(options).endpoint);
        assert_eq!(at(&options()), "https://recordings.s3.us-east-1.amazonaws.com");
        let dotted = BucketOptions { bucket: "my.bucket".to_owned(), ..options() };
        assert_eq!(at(&dotted), "https://s3.us-east-1.amazonaws.com/my.bucket");
        let local =
            BucketOptions { endpoint: Some("http://127.0.0.1:3900/".to_owned()), ..options() };
        assert_eq!(at(&local), "http://127.0.0.1:3900/recordings");
        let named = BucketOptions { addressing: Some(Addressing::VirtualHost), ..local };
        assert_eq!(at(&named), "http://recordings.127.0.0.1:3900");
        let china = BucketOptions { region: Some("cn-north-1".to_owned()), ..options() };
        assert_eq!(at(&china), "https://recordings.s3.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn the_region_of_a_profile_counts_where_none_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        fs::write(&config, "[profile work]\nregion = eu-north-1\n").unwrap();
        let credentials = dir.path().join("credentials");
        let profile = Profile { name: "work".to_owned(), credentials, config };
        let mut options = BucketOptions { keys: Keys::Profile(profile), ..options() };
        assert_eq!(facts(&options).region, "eu-north-1");
        options.region = Some("us-west-2".to_owned());
        assert_eq!(facts(&options).region, "us-west-2");
    }

    #[test]
    fn every_kind_of_encryption_can_be_asked_for() {
        let key_id = Some("arn:aws:kms:eu-west-1:123456789012:key/1".to_owned());
        let key = Secret::new(BASE64_STANDARD.encode([7; 32]));
        for encryption in [
            Encryption::BucketDefault,
            Encryption::SseS3,
            Encryption::Kms { key_id: None },
            Encryption::Kms { key_id },
            Encryption::Customer { key },
        ] {
            let connection = Connection::new(&BucketOptions { encryption, ..options() }).unwrap();
            assert_eq!(connection.facts.provider, "aws");
        }
    }

    #[test]
    fn options_that_cannot_work_are_refused_before_anybody_is_asked() {
        for (bucket, endpoint) in [
            ("", None),
            ("a/b", None),
            ("recordings", Some("garage:3900")),
            ("recordings", Some("https://")),
            ("recordings", Some("https://me:word@host")),
            ("recordings", Some("https://host:99999")),
            ("recordings", Some("https://10.0.0.999")),
            ("recordings", Some("https://a host")),
        ] {
            let options = BucketOptions {
                bucket: bucket.to_owned(),
                endpoint: endpoint.map(str::to_owned),
                ..options()
            };
            let refused = Connection::new(&options);
            assert!(matches!(refused, Err(StoreError::Refused { .. })), "{bucket} {endpoint:?}");
        }
        for (region, id) in [("eu-west-1\n", "AKIA"), ("eu-west-1", "AKIA\n"), ("eu-west-1", "")] {
            let (id, secret) = (id.to_owned(), Secret::new("s"));
            let options = BucketOptions {
                region: Some(region.to_owned()),
                keys: Keys::Given { id, secret, session_token: None },
                ..options()
            };
            assert!(matches!(Connection::new(&options), Err(StoreError::Refused { .. })));
        }
        for (endpoint, is_fine) in [
            ("http://s3.example.com", false),
            ("http://192.168.1.9:9000", false),
            ("http://127.0.0.1.example.com", false),
            ("http://127.0.0.1:9000", true),
            ("https://s3.example.com", true),
        ] {
            let key = Secret::new(BASE64_STANDARD.encode([7; 32]));
            let options = BucketOptions {
                encryption: Encryption::Customer { key },
                endpoint: Some(endpoint.to_owned()),
                ..options()
            };
            assert_eq!(Connection::new(&options).is_ok(), is_fine, "{endpoint}");
        }
        let wrong_key = Encryption::Customer { key: Secret::new("not base 64") };
        let options = BucketOptions { encryption: wrong_key, ..options() };
        assert!(matches!(Connection::new(&options), Err(StoreError::Refused { .. })));
    }
}
