//! [`KeyLifetime`]: when temporary keys end, as whoever hands them out says.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// What was last heard of the keys in use.
#[derive(Debug, Default)]
pub(crate) struct KeyLifetime {
    /// Guards the end; `None`: nobody has named one.
    ends_at: Mutex<Option<Timestamp>>,
}

impl KeyLifetime {
    /// Notes what an answer with keys says. One without a time, such as a session's token or a role's name, says nothing.
    pub(crate) fn note(&self, answer: &[u8]) {
        if let Some(found) = std::str::from_utf8(answer).ok().and_then(expiration) {
            *self.ends_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
    }

    pub(crate) fn ends_at(&self) -> Option<Timestamp> {
        *self.ends_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// JSON from a machine or a container, XML from STS.
fn expiration(answer: &str) -> Option<Timestamp> {
    const NAME: &str = "Expiration";
    let (_, rest) = answer.split_once(NAME)?;
    let rest = rest.trim_start_matches(['"', '>', ':', ' ', '\t', '\r', '\n']);
    rest.split(['"', '<']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_keys_is_read_from_every_kind_of_answer() {
        let end = Some("2026-11-28T20:00:00Z".parse().unwrap());
        for answer in [
            r#"{"AccessKeyId":"A","Expiration":"2026-11-28T20:00:00Z","Token":"t"}"#,
            "{\n  \"Expiration\" : \"2026-11-28T20:00:00Z\"\n}",
            "<Credentials><Expiration>2026-11-28T20:00:00Z</Expiration></Credentials>",
        ] {
            assert_eq!(expiration(answer), end, "{answer}");
        }
        for answer in ["", "AQAEAHo", "my-role", r#"{"Expiration":"soon"}"#] {
            assert_eq!(expiration(answer), None, "{answer}");
        }
    }
}
