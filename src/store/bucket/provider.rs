//! What the makers of S3 and its kin do differently.
//!
//! We use little of S3, so there is little to say: no tags are written and objects are removed one by one,
//! which everybody can do.

use std::fmt;
use std::str::FromStr;

/// Who runs the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    Aws,
    Minio,
    /// Cloudflare R2.
    R2,
    Wasabi,
    Garage,
    Ceph,
    /// Backblaze B2.
    B2,
    /// Anything else: only what all of them can do is used.
    Other,
}

impl Provider {
    pub const ALL: [Self; 8] = [
        Self::Aws,
        Self::Minio,
        Self::R2,
        Self::Wasabi,
        Self::Garage,
        Self::Ceph,
        Self::B2,
        Self::Other,
    ];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Minio => "minio",
            Self::R2 => "r2",
            Self::Wasabi => "wasabi",
            Self::Garage => "garage",
            Self::Ceph => "ceph",
            Self::B2 => "b2",
            Self::Other => "other",
        }
    }

    /// Who it seems to be, by the endpoint's host name. A machine's own name tells as a rule what runs on it;
    /// nobody but Garage listens on 3900.
    pub fn guess(endpoint: Option<&str>) -> Self {
        let Some(endpoint) = endpoint else { return Self::Aws };
        let authority = authority(endpoint).to_ascii_lowercase();
        let (host, port) = authority.rsplit_once(':').unwrap_or((&authority, ""));
        for (domain, provider) in [
            ("amazonaws.com", Self::Aws),
            ("amazonaws.com.cn", Self::Aws),
            ("r2.cloudflarestorage.com", Self::R2),
            ("wasabisys.com", Self::Wasabi),
            ("backblazeb2.com", Self::B2),
        ] {
            if host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            {
                return provider;
            }
        }
        for (word, provider) in [
            ("minio", Self::Minio),
            ("garage", Self::Garage),
            ("ceph", Self::Ceph),
            ("rgw", Self::Ceph),
        ] {
            if host.contains(word) {
                return provider;
            }
        }
        if port == "3900" { Self::Garage } else { Self::Other }
    }

    /// Whether a put with `If-None-Match` or `If-Match` is refused when it should be.
    ///
    /// Garage ignores both headers without a word, B2 answers 501, Wasabi promises nothing.
    pub fn knows_conditions(self) -> bool {
        match self {
            Self::Aws | Self::Minio | Self::R2 | Self::Ceph => true,
            Self::Wasabi | Self::Garage | Self::B2 | Self::Other => false,
        }
    }

    /// Whether `x-amz-checksum-sha256` may go with an upload. It stays with the object and can be asked for.
    ///
    /// B2 refuses the header, Wasabi and older versions of Ceph do not know it. Nothing is lost there: the signature covers
    /// a SHA-256 of each body, so bytes that change on their way are refused by all of them.
    pub fn keeps_checksums(self) -> bool {
        match self {
            Self::Aws | Self::Minio | Self::R2 | Self::Garage => true,
            Self::Wasabi | Self::Ceph | Self::B2 | Self::Other => false,
        }
    }

    /// The region to sign for where nobody has said one.
    pub fn region(self, endpoint: Option<&str>) -> String {
        let named = endpoint.and_then(|endpoint| self.region_in(authority(endpoint)));
        named
            .unwrap_or(match self {
                Self::R2 => "auto",
                Self::Garage => "garage",
                Self::Aws | Self::Minio | Self::Wasabi | Self::Ceph | Self::B2 | Self::Other => {
                    "us-east-1"
                }
            })
            .to_owned()
    }

    /// The region in a host like `s3.eu-central-003.backblazeb2.com`.
    fn region_in(self, host: &str) -> Option<&str> {
        let domain = match self {
            Self::Aws => ".amazonaws.com",
            Self::Wasabi => ".wasabisys.com",
            Self::B2 => ".backblazeb2.com",
            Self::Minio | Self::R2 | Self::Garage | Self::Ceph | Self::Other => return None,
        };
        let region = host.split_once(domain)?.0.strip_prefix("s3.")?;
        (!region.contains('.')).then_some(region)
    }
}

/// Host and port of an address.
fn authority(endpoint: &str) -> &str {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, UnknownProvider> {
        let found = Self::ALL.into_iter().find(|provider| provider.name() == name);
        found.ok_or_else(|| UnknownProvider(name.to_owned()))
    }
}

/// There is no preset of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of aws, minio, r2, wasabi, garage, ceph, b2 and other")]
pub struct UnknownProvider(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_tells_whose_bucket_it_is() {
        for (endpoint, provider) in [
            ("https://s3.eu-west-1.amazonaws.com", Provider::Aws),
            ("https://s3.cn-north-1.amazonaws.com.cn", Provider::Aws),
            ("https://0123abc.r2.cloudflarestorage.com/", Provider::R2),
            ("https://s3.eu-central-1.wasabisys.com", Provider::Wasabi),
            ("https://s3.us-west-004.backblazeb2.com", Provider::B2),
            ("http://minio.lan:9000", Provider::Minio),
            ("http://user:word@garage:3900", Provider::Garage),
            ("http://127.0.0.1:3900", Provider::Garage),
            ("https://rgw.example.org", Provider::Ceph),
            ("https://not-amazonaws.com", Provider::Other),
            ("http://127.0.0.1:9000", Provider::Other),
        ] {
            assert_eq!(Provider::guess(Some(endpoint)), provider, "{endpoint}");
        }
        assert_eq!(Provider::guess(None), Provider::Aws);
    }

    #[test]
    fn a_region_that_nobody_named_is_the_endpoints_or_the_providers() {
        for (provider, endpoint, region) in [
            (Provider::Aws, None, "us-east-1"),
            (Provider::Aws, Some("https://s3.eu-west-1.amazonaws.com"), "eu-west-1"),
            (Provider::Aws, Some("https://s3.amazonaws.com"), "us-east-1"),
            (
                Provider::Aws,
                Some("https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com"),
                "us-east-1",
            ),
            (Provider::B2, Some("https://s3.us-west-004.backblazeb2.com"), "us-west-004"),
            (Provider::Wasabi, Some("https://s3.eu-central-1.wasabisys.com/"), "eu-central-1"),
            (Provider::Garage, Some("http://127.0.0.1:3900"), "garage"),
            (Provider::R2, Some("https://0.r2.cloudflarestorage.com"), "auto"),
        ] {
            assert_eq!(provider.region(endpoint), region, "{endpoint:?}");
        }
    }

    #[test]
    fn each_name_is_understood() {
        for provider in Provider::ALL {
            assert_eq!(provider.to_string().parse(), Ok(provider));
            assert!(UnknownProvider(String::new()).to_string().contains(provider.name()));
        }
        assert!("amazon".parse::<Provider>().is_err());
    }
}
