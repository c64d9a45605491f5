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
}
