//! A bucket of S3 or of something that speaks like it.
//!
//! What is said about a bucket (options, provider) is always here; the bucket itself needs the feature `s3`.

mod foreign;
mod options;
mod plain_http;
mod provider;

#[cfg(feature = "s3")]
mod conditions;
#[cfg(feature = "s3")]
mod connection;
#[cfg(feature = "s3")]
mod credentials;
#[cfg(feature = "s3")]
mod credentials_error;
#[cfg(feature = "s3")]
mod failure;
#[cfg(feature = "s3")]
mod key_lifetime;
#[cfg(feature = "s3")]
mod label;
#[cfg(feature = "s3")]
mod link;
#[cfg(feature = "s3")]
mod listing;
#[cfg(feature = "s3")]
mod profile;
#[cfg(feature = "s3")]
mod reading;
#[cfg(feature = "s3")]
mod removing;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "s3")]
mod transport;
#[cfg(feature = "s3")]
mod uploading;
#[cfg(feature = "s3")]
mod writing;

pub use crate::store::bucket::foreign::Foreign;
pub use crate::store::bucket::options::{
    Addressing, BucketFacts, BucketOptions, Encryption, Keys, Profile, Secret,
};
pub use crate::store::bucket::plain_http::is_open_to_strangers;
pub use crate::store::bucket::provider::{Provider, UnknownProvider};
#[cfg(feature = "s3")]
pub use crate::store::bucket::s3::S3Bucket;
