//! Where recordings belong: what was said of folder, bucket and keys, put together and checked against
//! each other.

use std::path::PathBuf;

use crate::config::aws_environment::{AwsEnvironment, CUSTOMER_KEY, KEYS_END_AT};
use crate::config::encryption::EncryptionChoice;
use crate::config::parse::{self, StoreChoice};
use crate::config::{ConfigError, Layer, Origin, Places, Storage};
use crate::regular_file::{self, SETTINGS_BYTES};
use crate::store::{BucketOptions, Encryption, Keys, Profile, Provider, Secret};

/// Variables that say what of our surroundings hands out keys.
const SURROUNDINGS: [&str; 3] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// Where recordings are to be.
pub(crate) struct Place {
    /// Local disk; `None` for the usual folder.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) storage: Storage,
    pub(crate) bucket: Option<BucketOptions>,
    pub(crate) read_only: bool,
}

impl Place {
    pub(crate) fn of(layer: &Layer, places: &Places) -> Result<Self, ConfigError> {
        let store = layer.read("store", |text| parse::store(text, places))?;
        let (folder, url) = match store {
            Some(StoreChoice::Folder(path)) => (Some(path), None),
            Some(StoreChoice::Bucket { bucket, prefix }) => (None, Some((bucket, prefix))),
            None => (None, None),
        };
        let bucket = match named(layer, url)? {
            Some((name, prefix)) => Some(options(layer, places, name, prefix)?),
            None => None,
        };
        let default = if bucket.is_some() { Storage::S3 } else { Storage::Local };
        let storage = layer.read("storage", parse::storage)?.unwrap_or(default);
        let read_only = layer.read("read_only", parse::flag)?.unwrap_or(false);
        if bucket.is_none() && storage != Storage::Local {
            return Err(contradiction(
                format!("storage = \"{storage}\" without a bucket"),
                "set one with `bucket` in `[s3]`, or with --store s3://BUCKET",
            ));
        }
        if bucket.is_none() && read_only {
            return Err(contradiction(
                "a read-only mount follows a bucket, and none is set".to_owned(),
                "set one with `bucket` in `[s3]`, or with --store s3://BUCKET",
            ));
        }
        Ok(Self { folder, storage, bucket, read_only })
    }
}

/// The bucket and what stands before its keys, from `store` or from the words of their own.
fn named(
    layer: &Layer,
    url: Option<(String, String)>,
) -> Result<Option<(String, String)>, ConfigError> {
    let bucket = layer.read("s3_bucket", parse::bucket)?;
    let prefix = layer.read("s3_prefix", parse::prefix)?;
    let Some((url_bucket, url_prefix)) = url else {
        return Ok(bucket.map(|bucket| (bucket, prefix.unwrap_or_default())));
    };
    for (key, differs) in [
        ("s3_bucket", bucket.is_some_and(|bucket| bucket != url_bucket)),
        ("s3_prefix", prefix.is_some_and(|prefix| prefix != url_prefix)),
    ] {
        let Some(origin) = layer.origin(key) else { continue };
        let is_overruled = layer.origin("store").is_some_and(|store| store.wins_over(origin));
        if differs && !is_overruled {
            return Err(contradiction(
                format!("{origin}: `{key}` contradicts `store`"),
                "set it once, in either of them",
            ));
        }
    }
    Ok(Some((url_bucket, url_prefix)))
}

fn options(
    layer: &Layer,
    places: &Places,
    bucket: String,
    prefix: String,
) -> Result<BucketOptions, ConfigError> {
    let cloud = layer.cloud();
    // What is said to all programs counts only where nothing is said to us, wherever that is.
    let region = layer.read("s3_region", parse::text)?;
    let region = region.or(cloud.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).map(str::to_owned));
    let endpoint = match layer.read("s3_endpoint", parse::endpoint)? {
        Some(endpoint) => Some(endpoint),
        None => common_endpoint(cloud)?,
    };
    let provider = layer.read("s3_provider", parse::provider)?;
    Ok(BucketOptions {
        prefix,
        region,
        provider: provider.unwrap_or_else(|| Provider::guess(endpoint.as_deref())),
        endpoint,
        encryption: encryption(layer, places)?,
        keys: keys(layer, places)?,
        // It only ever shortens a promise, so one that cannot be read makes none.
        keys_end_at: cloud.first(&KEYS_END_AT).and_then(|text| text.parse().ok()),
        ..BucketOptions::new(bucket)
    })
}

fn common_endpoint(cloud: &AwsEnvironment) -> Result<Option<String>, ConfigError> {
    let Some(text) = cloud.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]) else {
        return Ok(None);
    };
    parse::endpoint(text).map(Some).map_err(|why| ConfigError::Value {
        origin: Origin::Environment,
        key: "AWS_ENDPOINT_URL".to_owned(),
        value: text.to_owned(),
        why,
    })
}

/// Whose keys sign: what was said to us, before what was said to all, before what surrounds us.
fn keys(layer: &Layer, places: &Places) -> Result<Keys, ConfigError> {
    let cloud = layer.cloud();
    if let Some(name) = layer.read("s3_profile", parse::text)? {
        return Ok(Keys::Profile(profile(&name, cloud, places)));
    }
    match (cloud.get("AWS_ACCESS_KEY_ID"), cloud.get("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => {
            return Ok(Keys::Given {
                id: id.to_owned(),
                secret: Secret::new(secret),
                session_token: cloud.get("AWS_SESSION_TOKEN").map(Secret::new),
            });
        }
        (None, None) => {}
        _ => {
            return Err(contradiction(
                "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set",
                "set both in one place, the environment or `.env`",
            ));
        }
    }
    if let Some(name) = cloud.get("AWS_PROFILE") {
        return Ok(Keys::Profile(profile(name, cloud, places)));
    }
    let usual = profile("default", cloud, places);
    if cloud.first(&SURROUNDINGS).is_none() && usual.credentials.exists() {
        return Ok(Keys::Profile(usual));
    }
    Ok(Keys::Surroundings(cloud.variables()))
}

fn profile(name: &str, cloud: &AwsEnvironment, places: &Places) -> Profile {
    let file = |variable: &str, usual: &str| match cloud.get(variable) {
        Some(path) => parse::path(path, places),
        None => places.home.join(usual),
    };
    Profile {
        name: name.to_owned(),
        credentials: file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
        config: file("AWS_CONFIG_FILE", ".aws/config"),
    }
}

fn encryption(layer: &Layer, places: &Places) -> Result<Encryption, ConfigError> {
    let wanted =
        layer.read("s3_encryption", parse::encryption)?.unwrap_or(EncryptionChoice::Bucket);
    let kms_key = layer.read("s3_kms_key_id", parse::text)?;
    if kms_key.is_some() && wanted != EncryptionChoice::Kms {
        return Err(contradiction(
            "`kms_key_id` is set, but objects are not encrypted with KMS",
            "add `encryption = \"kms\"`, or remove the key",
        ));
    }
    let customer_key = customer_key(layer, places)?;
    match (wanted, customer_key) {
        (EncryptionChoice::Customer, Some(key)) => Ok(Encryption::Customer { key }),
        (EncryptionChoice::Customer, None) => Err(contradiction(
            "encryption = \"customer\" without a key",
            "set SCRIBEFS_S3_CUSTOMER_KEY or `customer_key_file`; `openssl rand -base64 32` makes one",
        )),
        (_, Some(_)) => Err(contradiction(
            "a customer key is set, but objects are not encrypted with it",
            "add `encryption = \"customer\"`, or remove the key",
        )),
        (EncryptionChoice::Bucket, None) => Ok(Encryption::BucketDefault),
        (EncryptionChoice::Aes256, None) => Ok(Encryption::SseS3),
        (EncryptionChoice::Kms, None) => Ok(Encryption::Kms { key_id: kms_key }),
    }
}

/// From the variable, or from the file. The text itself is not repeated in any error.
fn customer_key(layer: &Layer, places: &Places) -> Result<Option<Secret>, ConfigError> {
    let file = layer.read("s3_customer_key_file", |text| Ok(parse::path(text, places)))?;
    let text = match (layer.cloud().get(CUSTOMER_KEY), &file) {
        (Some(text), _) => text.to_owned(),
        (None, Some(path)) => regular_file::read_text(path, SETTINGS_BYTES).map_err(|err| {
            contradiction(
                format!("the customer key in {} cannot be read: {err}", path.display()),
                "check `customer_key_file` and its permissions",
            )
        })?,
        (None, None) => return Ok(None),
    };
    if !parse::is_256_bits(text.trim()) {
        return Err(contradiction(
            "the customer key is not 32 bytes in base64",
            "`openssl rand -base64 32` makes one",
        ));
    }
    Ok(Some(Secret::new(text.trim())))
}

fn contradiction(what: impl Into<String>, remedy: &str) -> ConfigError {
    ConfigError::Contradiction { what: what.into(), remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn places() -> Places {
        Places {
            home: "/home/me".into(),
            working_directory: "/work".into(),
            state: "/state".into(),
            models: "/models".into(),
            cores: 2,
        }
    }

    fn config(file: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables: BTreeMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let environment = Layer::from_variables(&variables, Origin::Environment)?;
        let file = Layer::from_toml(file, Path::new("scribefs.toml"))?;
        Config::new(&environment.over(file), &places())
    }

    fn complaint(file: &str, variables: &[(&str, &str)]) -> String {
        config(file, variables).unwrap_err().to_string()
    }

    #[test]
    fn a_bucket_is_told_from_a_folder() {
        let place = |text: &str| {
            config(&format!("store = '{text}'"), &[]).map(|config| {
                let bucket = config.bucket.map(|it| (it.bucket, it.prefix));
                (config.storage, bucket, config.uploads)
            })
        };
        let bucket = |name: &str, prefix: &str| {
            let bucket = Some((name.to_owned(), prefix.to_owned()));
            (Storage::S3, bucket, PathBuf::from("/state/uploads"))
        };
        assert_eq!(place("s3://talks").unwrap(), bucket("talks", ""));
        assert_eq!(place("s3://talks/a/b/").unwrap(), bucket("talks", "a/b/"));
        assert_eq!(place("out").unwrap(), (Storage::Local, None, "/work/out".into()));
        assert!(place("s3://").is_err());
        assert!(place("ftp://x").unwrap_err().to_string().contains("s3://"));
    }

    #[test]
    fn the_first_systems_variables_choose_a_bucket() {
        let config = config(
            "",
            &[
                ("AWS_ACCESS_KEY_ID", "AKIA1"),
                ("AWS_SECRET_ACCESS_KEY", "hush"),
                ("S3_BUCKET_NAME", "talks"),
                ("S3_REGION", ""),
                ("AWS_DEFAULT_REGION", "eu-west-1"),
                ("S3_ENDPOINT_URL", "http://localhost:9000"),
                ("AWS_ENDPOINT_URL", "http://elsewhere"),
                ("S3_PREFIX", "/a"),
            ],
        )
        .unwrap();
        assert!(!format!("{config:?}").contains("hush"));
        assert_eq!(config.place(), "s3://talks/a/");
        let bucket = config.bucket.unwrap();
        assert_eq!(bucket.endpoint.as_deref(), Some("http://localhost:9000"));
        assert_eq!(bucket.region.as_deref(), Some("eu-west-1"));
        let Keys::Given { id, secret, session_token: None } = bucket.keys else { panic!() };
        assert_eq!((id.as_str(), secret.reveal()), ("AKIA1", "hush"));
    }

    #[test]
    fn what_is_said_to_scribefs_wins_over_what_is_said_to_all_programs() {
        let file = "[s3]\nbucket = 'talks'\nregion = 'eu-central-1'\nprofile = 'talks'";
        let variables = [
            ("AWS_REGION", "us-east-1"),
            ("AWS_PROFILE", "other"),
            ("AWS_ACCESS_KEY_ID", "AKIA1"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
            ("AWS_CONFIG_FILE", "~/aws"),
        ];
        let bucket = config(file, &variables).unwrap().bucket.unwrap();
        assert_eq!(bucket.region.as_deref(), Some("eu-central-1"));
        let Keys::Profile(profile) = bucket.keys else { panic!() };
        assert_eq!(profile.name, "talks");
        assert_eq!(profile.credentials, Path::new("/home/me/.aws/credentials"));
        assert_eq!(profile.config, Path::new("/home/me/aws"));
    }

    #[test]
    fn without_keys_the_surroundings_are_asked() {
        let variables = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "arn")];
        let bucket = config("[s3]\nbucket = 'talks'", &variables).unwrap().bucket.unwrap();
        let Keys::Surroundings(handed_on) = bucket.keys else { panic!() };
        assert_eq!(handed_on["AWS_ROLE_ARN"], "arn");
    }

    #[test]
    fn encryption_has_the_key_that_it_needs_and_no_other() {
        let encryption = |rest: &str, variables: &[(&str, &str)]| {
            let file = format!("[s3]\nbucket = 'talks'\n{rest}");
            config(&file, variables).map(|config| config.bucket.unwrap().encryption)
        };
        let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        let given = [("SCRIBEFS_S3_CUSTOMER_KEY", key)];
        assert_eq!(encryption("", &[]).unwrap(), Encryption::BucketDefault);
        assert_eq!(encryption("encryption = 'aes256'", &[]).unwrap(), Encryption::SseS3);
        let kms = encryption("encryption = 'kms'\nkms_key_id = 'k'", &[]).unwrap();
        assert_eq!(kms, Encryption::Kms { key_id: Some("k".to_owned()) });
        let customer = encryption("encryption = 'customer'", &given).unwrap();
        assert_eq!(customer, Encryption::Customer { key: Secret::new(key) });
        assert!(encryption("kms_key_id = 'k'", &[]).is_err());
        assert!(encryption("", &given).is_err());
        let missing = encryption("encryption = 'customer'", &[]).unwrap_err().to_string();
        assert!(missing.contains("openssl rand -base64 32"), "{missing}");
        let short = [("SCRIBEFS_S3_CUSTOMER_KEY", "aHVzaA==")];
        let short = encryption("encryption = 'customer'", &short).unwrap_err().to_string();
        assert!(!short.contains("aHVzaA"), "{short}");
    }

    #[test]
    fn contradictions_are_errors_with_a_remedy() {
        assert!(complaint("storage = 's3'", &[]).contains("`bucket` in `[s3]`"));
        assert!(complaint("read_only = true", &[]).contains("`bucket` in `[s3]`"));
        let twice = complaint("store = 's3://talks/a'", &[("S3_PREFIX", "b")]);
        assert!(twice.contains("environment: `s3_prefix`"), "{twice}");
        assert!(complaint("store = 's3://talks'", &[("S3_BUCKET_NAME", "x")]).contains("once"));
        assert!(config("store = 's3://talks/a'", &[("S3_PREFIX", "a/")]).is_ok());
        let half = complaint("[s3]\nbucket = 'talks'", &[("AWS_ACCESS_KEY_ID", "AKIA1")]);
        assert!(half.contains("AWS_SECRET_ACCESS_KEY"), "{half}");
        let unknown = complaint("[s3]\nbukket = 'talks'", &[]);
        assert!(unknown.contains("`bucket` in `[s3]`"), "{unknown}");
    }
}
