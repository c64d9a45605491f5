//! Links with which anybody can get an object for a while.

use std::time::Duration;

use jiff::Timestamp;
use object_store::signer::{Method, Signer};

use crate::model::Key;
use crate::store::bucket::failure::refused;
use crate::store::bucket::profile::Said;
use crate::store::{Encryption, Keys, S3Bucket, StoreError};

/// The bucket's kind of link lasts no longer.
const LONGEST_LINK: Duration = Duration::from_hours(7 * 24);

impl S3Bucket {
    /// [`Bucket::link`](crate::store::Bucket::link). A link that is signed with temporary keys ends with them, and says
    /// so where it is known when that is.
    pub(crate) fn signed_link(&self, key: &Key, valid: Duration) -> Result<String, StoreError> {
        if let Encryption::Customer { .. } = self.options.encryption {
            let words = "links do not work with SSE-C: whoever opens one does not have the key";
            return Err(refused(key.as_str(), words));
        }
        if LONGEST_LINK < valid {
            return Err(refused(key.as_str(), "a link lasts seven days at most"));
        }
        // Keys that are about to end are fetched anew by this.
        let keys = self.connection.keys.get_credential();
        let is_temporary = self.ask(key, self.options.deadline, keys)?.token.is_some();
        let ends_at = if is_temporary { self.keys_end_at() } else { None };
        let valid = match ends_at {
            None => valid,
            Some(ends_at) => {
                let left = Duration::try_from(ends_at.duration_since(Timestamp::now()));
                valid.min(Duration::from_secs(left.unwrap_or_default().as_secs()))
            }
        };
        if valid.is_zero() {
            return Err(refused(key.as_str(), "the temporary keys for the bucket have expired"));
        }
        let path = self.path(key);
        let sign = self.connection.reads.signed_url(Method::GET, &path, valid);
        Ok(self.ask(key, self.options.deadline, sign)?.to_string())
    }

    /// When temporary keys end; `None`: nobody has said.
    fn keys_end_at(&self) -> Option<Timestamp> {
        match &self.options.keys {
            Keys::Given { .. } => self.options.keys_end_at,
            Keys::Profile(profile) => Said::read(profile).ok()?.keys_end_at(),
            Keys::Surroundings(_) => self.connection.lifetime.ends_at(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use jiff::SignedDuration;

    use super::*;
    use crate::store::{Bucket, BucketOptions, Profile, Secret};

    /// Seconds for which a link says that it is valid.
    fn lasts(options: &BucketOptions, wanted: Duration) -> u64 {
        let bucket = S3Bucket::open(options).unwrap();
        let link = bucket.link(&Key::new("a/2024/01/15/x.wav").unwrap(), wanted).unwrap();
        let (_, rest) = link.split_once("X-Amz-Expires=").unwrap();
        rest.split('&').next().unwrap().parse().unwrap()
    }

    fn options(keys: Keys) -> BucketOptions {
        let endpoint = Some("http://127.0.0.1:9".to_owned());
        BucketOptions { endpoint, keys, ..BucketOptions::new("talks") }
    }

    fn in_ten_minutes() -> Timestamp {
        Timestamp::now().checked_add(SignedDuration::from_mins(10)).unwrap()
    }

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_link_promises_no_more_than_its_keys_live() {
        let token = |token: Option<&str>| Keys::Given {
            id: "AKIA".to_owned(),
            secret: Secret::new("s"),
            session_token: token.map(Secret::new),
        };
        let ends =
            BucketOptions { keys_end_at: Some(in_ten_minutes()), ..options(token(Some("t"))) };
        assert!((1..=600).contains(&lasts(&ends, DAY)));
        assert_eq!(lasts(&ends, Duration::from_secs(60)), 60);
        // Keys that stay, and keys of which nobody knows.
        let stays = BucketOptions { keys: token(None), ..ends.clone() };
        assert_eq!(lasts(&stays, DAY), 86_400);
        assert_eq!(lasts(&BucketOptions { keys_end_at: None, ..ends.clone() }, DAY), 86_400);
        let over = BucketOptions { keys_end_at: Some(Timestamp::UNIX_EPOCH), ..ends };
        let bucket = S3Bucket::open(&over).unwrap();
        assert!(bucket.link(&Key::new("a/2024/01/15/x.wav").unwrap(), DAY).is_err());
    }

    #[test]
    fn a_link_ends_with_the_keys_of_a_profile_and_of_a_role() {
        let dir = tempfile::tempdir().unwrap();
        let (credentials, config) = (dir.path().join("credentials"), dir.path().join("config"));
        let text = format!(
            "[work]\naws_access_key_id=A\naws_secret_access_key=s\naws_session_token=t\n\
             x_security_token_expires={}\n",
            in_ten_minutes()
        );
        fs::write(&credentials, text).unwrap();
        let profile = Profile { name: "work".to_owned(), credentials, config };
        assert!((1..=600).contains(&lasts(&options(Keys::Profile(profile)), DAY)));

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}/keys", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let keys = format!(
                    r#"{{"AccessKeyId":"A","SecretAccessKey":"s","Token":"t","Expiration":"{}"}}"#,
                    in_ten_minutes()
                );
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
                let _ = write!(stream, "{head} {}\r\n\r\n{keys}", keys.len());
            }
        });
        let token = dir.path().join("token");
        fs::write(&token, "authorized").unwrap();
        let variables = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.display().to_string()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        assert!((1..=600).contains(&lasts(&options(Keys::Surroundings(variables)), DAY)));
    }
}
