//! A bucket of S3 or of something that speaks like it.
//!
//! What is said about a bucket (options, provider) is always here; the bucket itself needs the feature `s3`.

mod options;
mod provider;

pub use crate::store::bucket::options::{
    Addressing, BucketFacts, BucketOptions, Encryption, Keys, Profile, Secret,
};
pub use crate::store::bucket::provider::{Provider, UnknownProvider};
