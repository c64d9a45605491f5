//! The hash of a recording, added up while its bytes are read in order, and how much of it are bytes that were sent.

use std::collections::HashMap;

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
    /// So much of it, from its start, is what the parts of this upload were given, byte for byte. The rest was read to be
    /// hashed only: the copy may have been another one when it was sent.
    sent: u64,
    /// Hashes of the parts that are in `hasher` as they were sent, by where they start.
    parts: HashMap<u64, blake3::Hash>,
}

impl Throughput {
    /// Whether what was read is the object.
    pub(crate) fn is(&self, object: &Object) -> bool {
        self.at == object.bytes && self.hasher.finalize().to_hex().as_str() == object.blake3
    }

    /// Whether every byte of it was hashed as it was sent. Of parts that an earlier process has sent nobody knows.
    pub(crate) fn is_of_sent_bytes(&self) -> bool {
        self.sent == self.at
    }

    /// Adds a part that is about to be sent, and what is before it as `read` gives it. One that is sent again, with the
    /// same bytes, is in already.
    pub(crate) fn add_part(
        &mut self,
        start: u64,
        bytes: &[u8],
        read: impl Fn(u64, u64) -> Result<Bytes, UploadError>,
    ) -> Result<(), UploadError> {
        let hash = blake3::hash(bytes);
        if self.parts.get(&start) == Some(&hash) {
            return Ok(());
        }
        self.catch_up(start, read)?;
        let is_next = self.is_of_sent_bytes();
        self.add(bytes);
        if is_next {
            self.sent = self.at;
        }
        self.parts.insert(start, hash);
        Ok(())
    }

    /// Reads on until `to`: what was sent before this upload began.
    pub(crate) fn catch_up(
        &mut self,
        to: u64,
        read: impl Fn(u64, u64) -> Result<Bytes, UploadError>,
    ) -> Result<(), UploadError> {
        if to < self.at {
            // A part goes again with other bytes, or the upload began anew.
            *self = Self::default();
        }
        while self.at < to {
            let bytes = read(self.at, to.min(self.at + HASHED_AT_ONCE))?;
            self.add(&bytes);
        }
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &[u8] = b"three parts!";

    fn read(from: u64, to: u64) -> Result<Bytes, UploadError> {
        let place = |at: u64| usize::try_from(at).unwrap();
        Ok(Bytes::from_static(&SOUND[place(from)..place(to)]))
    }

    /// Sends the parts that start there, and reads what is left. Whether all of it was hashed as it was sent.
    fn sent(throughput: &mut Throughput, parts: &[(u64, &[u8])]) -> bool {
        for (start, bytes) in parts {
            throughput.add_part(*start, bytes, read).unwrap();
        }
        throughput.catch_up(SOUND.len() as u64, read).unwrap();
        let blake3 = blake3::hash(SOUND).to_hex().to_string();
        let key = crate::model::Key::new("a/2024/01/15/b.wav").unwrap();
        assert!(throughput.is(&Object { key, bytes: SOUND.len() as u64, blake3 }));
        throughput.is_of_sent_bytes()
    }

    #[test]
    fn only_what_was_sent_from_the_first_byte_on_is_hashed_as_it_was_sent() {
        let [first, second, third] = [(0, &SOUND[..4]), (4, &SOUND[4..8]), (8, &SOUND[8..])];
        let new = Throughput::default;
        assert!(sent(&mut new(), &[first, second, third]));
        // Another process has sent the others.
        assert!(!sent(&mut new(), &[]));
        assert!(!sent(&mut new(), &[third]));
        assert!(!sent(&mut new(), &[first, third]));
        // Sent again, and all behind it is where it was.
        assert!(sent(&mut new(), &[first, second, third, second]));
        // The copy has changed between two attempts: what was sent with the first is not known to be right.
        assert!(!sent(&mut new(), &[first, (4, b"rott"), third, second]));
        assert!(!sent(&mut new(), &[(0, b"rott"), second, third, first]));
        // Another upload begins anew.
        let mut throughput = new();
        assert!(!sent(&mut throughput, &[third]));
        assert!(sent(&mut throughput, &[first, second, third]));
    }
}
