//! The hash of a recording, added up while its bytes are read in order.

use crate::model::Object;
use crate::store::Bytes;
use crate::sync::uploader::upload_error::UploadError;

/// A part of the audio that is read at once to be hashed only.
const HASHED_AT_ONCE: u64 = 4 << 20;

/// The hash of what was read of the audio so far, in order.
#[derive(Debug, Default)]
pub(crate) struct Throughput {
    hasher: blake3::Hasher,
    at: u64,
}

impl Throughput {
    /// Whether what was read is the object.
    pub(crate) fn is(&self, object: &Object) -> bool {
        self.at == object.bytes && self.hasher.finalize().to_hex().as_str() == object.blake3
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
    }

    /// Reads on until `to`: what was sent before this upload began.
    pub(crate) fn catch_up(
        &mut self,
        to: u64,
        read: impl Fn(u64, u64) -> Result<Bytes, UploadError>,
    ) -> Result<(), UploadError> {
        if to < self.at {
            // A part goes again, or the upload began anew.
            *self = Self::default();
        }
        while self.at < to {
            let bytes = read(self.at, to.min(self.at + HASHED_AT_ONCE))?;
            self.add(&bytes);
        }
        Ok(())
    }
}
