//! Names of directory entries, kept byte for byte as users gave them.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of one directory entry.
///
/// Always 1 to 255 bytes without `/` and NUL, and neither `.` nor `..`. Not always UTF-8. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Arc<[u8]>);

impl FileName {
    pub const MAX_BYTES: usize = 255;

    /// The name, if it is a legal one.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        let legal = (1..=Self::MAX_BYTES).contains(&bytes.len())
            && bytes != b"."
            && bytes != b".."
            && !bytes.iter().any(|byte| matches!(byte, b'/' | 0));
        legal.then(|| Self(bytes.into()))
    }

    /// For what has no name of its own.
    pub fn unnamed() -> Self {
        Self(Arc::from(&b"recording"[..]))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// The part before the last dot, and the part after it; a leading dot starts no extension.
    pub fn split_extension(&self) -> (&[u8], Option<&[u8]>) {
        match self.0.iter().rposition(|byte| *byte == b'.') {
            Some(dot) if dot > 0 => (&self.0[..dot], Some(&self.0[dot + 1..])),
            _ => (&self.0, None),
        }
    }

    /// The extension in lower case, empty if there is none.
    pub fn extension(&self) -> String {
        let extension = self.split_extension().1.unwrap_or_default();
        String::from_utf8_lossy(extension).to_lowercase()
    }

    /// The text to show: what is not UTF-8 becomes U+FFFD.
    pub fn display(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_os_str())
    }
}

/// A string where the name is UTF-8, else an array of its bytes: nothing is lost either way.
impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => self.as_bytes().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Bytes(Vec<u8>),
        }
        let bytes = match Form::deserialize(deserializer)? {
            Form::Text(text) => text.into_bytes(),
            Form::Bytes(bytes) => bytes,
        };
        Self::new(bytes).ok_or_else(|| serde::de::Error::custom("not a legal file name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'a'; 256]] {
            assert_eq!(FileName::new(bad), None);
        }
        assert!(FileName::new("größe ☃".as_bytes()).is_some());
    }

    #[test]
    fn a_name_that_is_not_utf8_survives_json() {
        let name = FileName::new(vec![0xff, b'.', b'w']).unwrap();
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(serde_json::from_str::<FileName>(&json).unwrap(), name);
    }

    #[test]
    fn a_leading_dot_starts_no_extension() {
        let split = |text: &str| FileName::new(text).unwrap().extension();
        assert_eq!(split(".hidden"), "");
        assert_eq!(split("a.tar.GZ"), "gz");
    }
}
