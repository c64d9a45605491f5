//! What settings say about encryption in the bucket.

/// What `encryption` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EncryptionChoice {
    Bucket,
    Aes256,
    Kms,
    Customer,
}
