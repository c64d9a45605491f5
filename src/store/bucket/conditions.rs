//! Whether a bucket keeps conditions, tried out: many servers ignore both headers without a word, and the name
//! of a host does not tell which server answers there.

use crate::model::Key;
use crate::store::{Bytes, Label, S3Bucket, Store, StoreError, Version};

/// Tries with an object that another scribefs may be trying with at the same moment.
const TRIES: u32 = 3;

impl S3Bucket {
    /// Whether puts with `If-None-Match` and with `If-Match` are refused when they should be, and only then.
    pub(crate) fn keeps_conditions(&self) -> Result<bool, StoreError> {
        let mut keeps = false;
        for _ in 0..TRIES {
            keeps = match self.try_both_conditions() {
                // They are not understood.
                Err(StoreError::Refused { .. }) => false,
                tried => tried?,
            };
            if keeps {
                break;
            }
        }
        // Left behind, it is in nobody's way.
        let _ = self.delete(&Key::probe());
        if !keeps && self.options.provider.knows_conditions() {
            log::warn!(
                "the bucket does not honour the conditional requests that its provider promises"
            );
        }
        Ok(keeps)
    }

    fn try_both_conditions(&self) -> Result<bool, StoreError> {
        let key = Key::probe();
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        self.send(&key, bytes("scribefs was here\n"), &Label::default())?;
        if self.send_if(&key, bytes("a second one\n"), None)?.is_some() {
            return Ok(false);
        }
        let (_, version) = self.whole(&key)?;
        let other = Version("\"00000000000000000000000000000000\"".to_owned());
        if self.send_if(&key, bytes("over another version\n"), Some(&other))?.is_some() {
            return Ok(false);
        }
        Ok(self.send_if(&key, bytes("over this version\n"), Some(&version))?.is_some())
    }
}
