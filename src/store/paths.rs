//! Keys as `object_store` spells them, and back.

use object_store::path::Path;

use crate::model::Key;

/// A key's characters are safe for every store, so that the spelling is the same.
pub(crate) fn path_of(key: &Key) -> Path {
    Path::from(key.as_str())
}

/// The key of a listed path below `prefix`; `None` for what was not put there by us, such as a
/// half-written file beside its destination.
pub(crate) fn key_of(path: &Path, prefix: &str) -> Option<Key> {
    let key = Key::new(path.as_ref())?;
    key.as_str().starts_with(prefix).then_some(key)
}

/// Where our keys hang in a bucket that may hold other things too.
#[cfg(feature = "s3")]
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// Empty, or ends in `/`.
    prefix: String,
    path: Path,
}

/// A bucket can hold such a prefix, but we cannot ask for it.
#[cfg(feature = "s3")]
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no prefix: parts with a `/` behind each, none of them empty, `.` or `..`")]
pub(crate) struct NoPrefix(String);

#[cfg(feature = "s3")]
impl Root {
    pub(crate) fn new(prefix: &str) -> Result<Self, NoPrefix> {
        let wrong = || NoPrefix(prefix.to_owned());
        if !prefix.is_empty() && !prefix.ends_with('/') || prefix.starts_with('/') {
            return Err(wrong());
        }
        let path = Path::parse(prefix).map_err(|_| wrong())?;
        Ok(Self { prefix: prefix.to_owned(), path })
    }

    pub(crate) fn path_of(&self, key: &Key) -> Path {
        key.as_str().split('/').fold(self.path.clone(), |path, part| path.join(part))
    }

    /// What a listing of all that is below `prefix` asks for, or where it begins.
    pub(crate) fn spelled(&self, below: &str) -> String {
        format!("{}{below}", self.prefix)
    }

    /// As the free function of that name.
    pub(crate) fn key_of(&self, path: &Path, prefix: &str) -> Option<Key> {
        let rest = path.as_ref().strip_prefix(&self.prefix)?;
        Key::new(rest).filter(|key| key.as_str().starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_a_key_is_spelled_as_it_is() {
        let text = "ABCXYZabcxyz0189._-/2024/01/15/a-b_c.d";
        let key = Key::new(text).unwrap();
        assert_eq!(path_of(&key).as_ref(), text);
        assert_eq!(key_of(&path_of(&key), ""), Some(key));
    }

    #[test]
    fn what_is_no_key_is_not_listed() {
        for text in ["a/b#1", ".staging/0", "a/b c", "a/%23"] {
            assert_eq!(key_of(&Path::parse(text).unwrap(), ""), None);
        }
        assert_eq!(key_of(&Path::from("ab/c"), "a/"), None);
    }

    #[cfg(feature = "s3")]
    #[test]
    fn a_prefix_stands_before_every_key_and_is_kept_byte_for_byte() {
        let key = Key::new("standup/2024/01/15/a.wav").unwrap();
        for prefix in ["", "archive/", "my recordings/größe 100%/"] {
            let root = Root::new(prefix).unwrap();
            let path = root.path_of(&key);
            assert_eq!(path.as_ref(), format!("{prefix}{key}"));
            assert_eq!(root.key_of(&path, "standup/"), Some(key.clone()));
            assert_eq!(root.key_of(&path, "other/"), None);
        }
        let root = Root::new("archive/").unwrap();
        assert_eq!(root.key_of(&path_of(&key), ""), None);
        assert_eq!(root.spelled("standup/"), "archive/standup/");
    }

    #[cfg(feature = "s3")]
    #[test]
    fn a_prefix_that_cannot_be_asked_for_is_refused() {
        for prefix in ["archive", "/", "/archive/", "a//b/", "a/../b/", "a\nb/"] {
            assert!(Root::new(prefix).is_err(), "{prefix:?}");
        }
    }
}
