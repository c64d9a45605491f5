//! One writer for each bucket: who it is stands in a small object there, renewed while it lives.
//!
//! Two machines that write to one prefix would each keep an index that knows nothing of the other's
//! recordings. Where the bucket knows conditions, only one of two that begin at once gets the lease.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::model::Key;
use crate::store::{Bucket, Bytes, StoreError, Version};

/// A writer that has not been heard of for so long is dead. Clocks may differ by a part of it.
const VALID: Duration = Duration::from_mins(5);

/// How often it is renewed: a few failures in a row do no harm.
pub const RENEWED: Duration = Duration::from_mins(1);

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("scribefs on {host} writes to this bucket since {since:.0}")]
    Held { host: String, since: Timestamp },
    #[error("the lease on the bucket could not be taken")]
    Store(#[from] StoreError),
}

/// Who writes: one for each state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Random.
    pub id: String,
    /// For people.
    pub host: String,
}

impl Writer {
    /// The writer whose id is in that file, which is made if it is missing.
    pub fn kept_in(path: &Path) -> io::Result<Self> {
        let kept = match fs::read_to_string(path) {
            Ok(text) => text.trim().to_owned(),
            Err(err) if err.kind() == io::ErrorKind::NotFound => String::new(),
            Err(err) => return Err(err),
        };
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim().to_owned();
        if !kept.is_empty() {
            return Ok(Self { id: kept, host });
        }
        let id = Ulid::generate().to_string();
        // Lost in a power cut, it costs a wait until the lease of the lost id has ended.
        fs::write(path, &id)?;
        Ok(Self { id, host })
    }
}

/// What stands in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    writer: String,
    host: String,
    since: Timestamp,
    renewed_at: Timestamp,
    valid_for_seconds: u64,
}

impl Claim {
    fn is_live(&self, now: Timestamp) -> bool {
        let valid = Duration::from_secs(self.valid_for_seconds);
        let valid = SignedDuration::try_from(valid).unwrap_or(SignedDuration::MAX);
        // A clock that is ahead of ours has renewed it in our future: it lives.
        now.duration_since(self.renewed_at) < valid
    }
}

/// The right to write to the bucket, until its time is over.
pub struct Lease {
    bucket: Arc<dyn Bucket>,
    claim: Claim,
    version: Version,
}

impl Lease {
    /// Takes it: if nobody has it, if it was ours before, or if its holder has not been heard of for long.
    pub fn take(
        bucket: Arc<dyn Bucket>,
        writer: &Writer,
        now: Timestamp,
    ) -> Result<Self, LeaseError> {
        if !bucket.knows_conditions() {
            log::warn!(
                "the bucket cannot keep two writers apart that begin at once: see to it that only one \
                 scribefs writes to it"
            );
        }
        let claim = Claim {
            writer: writer.id.clone(),
            host: writer.host.clone(),
            since: now,
            renewed_at: now,
            valid_for_seconds: VALID.as_secs(),
        };
        let standing = match bucket.get_versioned(&Key::writer()) {
            Ok((bytes, version)) => Some((serde_json::from_slice::<Claim>(&bytes), version)),
            Err(StoreError::Missing { .. }) => None,
            Err(err) => return Err(err.into()),
        };
        if let Some((Ok(other), _)) = &standing
            && other.writer != writer.id
            && other.is_live(now)
        {
            return Err(LeaseError::Held { host: other.host.clone(), since: other.since });
        }
        let expected = standing.map(|(_, version)| version);
        let version = put(bucket.as_ref(), &claim, expected.as_ref())?;
        Ok(Self { bucket, claim, version })
    }

    /// Prolongs it.
    ///
    /// # Errors
    /// `Held`: somebody else has taken it over, since we were not heard of.
    pub fn renew(&mut self, now: Timestamp) -> Result<(), LeaseError> {
        let claim = Claim { renewed_at: now, ..self.claim.clone() };
        match put(self.bucket.as_ref(), &claim, Some(&self.version)) {
            Ok(version) => self.version = version,
            // The answer to our last renewal may have been lost: the claim there is ours then. Or somebody
            // has emptied the bucket.
            Err(LeaseError::Held { .. } | LeaseError::Store(StoreError::Missing { .. })) => {
                let writer = Writer { id: claim.writer.clone(), host: claim.host.clone() };
                self.version = Self::take(self.bucket.clone(), &writer, now)?.version;
            }
            Err(err) => return Err(err),
        }
        self.claim = claim;
        Ok(())
    }

    /// Whether nobody may have taken it over yet.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.claim.is_live(now)
    }

    /// Gives it back, so that another may begin at once.
    pub fn release(self) {
        let claim = Claim { valid_for_seconds: 0, ..self.claim };
        if let Err(err) = put(self.bucket.as_ref(), &claim, Some(&self.version)) {
            log::debug!("the lease on the bucket was not given back and ends by itself: {err}");
        }
    }
}

/// Puts the claim in place of the one of that version.
fn put(
    bucket: &dyn Bucket,
    claim: &Claim,
    expected: Option<&Version>,
) -> Result<Version, LeaseError> {
    let key = Key::writer();
    let json = serde_json::to_vec_pretty(claim)
        .map_err(|err| StoreError::Refused { at: key.to_string(), source: Box::new(err) })?;
    match bucket.put_if(&key, Bytes::from(json), expected)? {
        Some(version) => Ok(version),
        None => Err(held(bucket)?),
    }
}

/// Who was faster.
fn held(bucket: &dyn Bucket) -> Result<LeaseError, LeaseError> {
    let (bytes, _) = bucket.get_versioned(&Key::writer())?;
    let claim: Option<Claim> = serde_json::from_slice(&bytes).ok();
    let (host, since) = claim.map_or_else(
        || ("another machine".to_owned(), Timestamp::UNIX_EPOCH),
        |claim| (claim.host, claim.since),
    );
    Ok(LeaseError::Held { host, since })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FlakyStore, MemoryStore, Store};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn writer(id: &str) -> Writer {
        Writer { id: id.to_owned(), host: format!("host-{id}") }
    }

    fn holder(taken: Result<Lease, LeaseError>) -> Option<String> {
        match taken {
            Err(LeaseError::Held { host, .. }) => Some(host),
            Err(err) => panic!("{err}"),
            Ok(_) => None,
        }
    }

    #[test]
    fn a_second_writer_is_refused_while_the_first_lives() {
        let bucket = Arc::new(MemoryStore::default());
        let mut first = Lease::take(bucket.clone(), &writer("a"), at(0)).unwrap();
        let second = |now| holder(Lease::take(bucket.clone(), &writer("b"), now));
        assert_eq!(second(at(299)).as_deref(), Some("host-a"));
        first.renew(at(290)).unwrap();
        assert_eq!(second(at(400)).as_deref(), Some("host-a"));
        assert_eq!(second(at(590)), None);
        assert!(!first.is_live(at(590)));
        assert!(matches!(first.renew(at(600)), Err(LeaseError::Held { .. })));
    }

    #[test]
    fn ones_own_lease_is_taken_again_at_once() {
        let bucket = Arc::new(MemoryStore::default());
        Lease::take(bucket.clone(), &writer("a"), at(0)).unwrap();
        let mut again = Lease::take(bucket.clone(), &writer("a"), at(1)).unwrap();
        again.renew(at(2)).unwrap();
    }

    #[test]
    fn a_lease_that_was_given_back_is_free() {
        let bucket = Arc::new(MemoryStore::default());
        Lease::take(bucket.clone(), &writer("a"), at(0)).unwrap().release();
        assert_eq!(holder(Lease::take(bucket, &writer("b"), at(1))), None);
    }

    #[test]
    fn of_two_that_begin_at_once_one_gets_it() {
        let bucket = Arc::new(MemoryStore::default());
        let before = bucket.get_versioned(&Key::writer());
        assert!(matches!(before, Err(StoreError::Missing { .. })));
        Lease::take(bucket.clone(), &writer("a"), at(0)).unwrap();
        // The other has looked before, and puts now.
        let claim = Claim {
            writer: "b".into(),
            host: "host-b".into(),
            since: at(0),
            renewed_at: at(0),
            valid_for_seconds: 300,
        };
        let late = put(bucket.as_ref(), &claim, None);
        assert!(matches!(late, Err(LeaseError::Held { host, .. }) if host == "host-a"));
    }

    #[test]
    fn a_renewal_whose_answer_was_lost_is_still_ours() {
        let memory = Arc::new(MemoryStore::default());
        let flaky = Arc::new(FlakyStore::losing_every(3, memory.clone()));
        let mut lease = Lease::take(flaky, &writer("a"), at(0)).unwrap();
        assert!(matches!(lease.renew(at(60)), Err(LeaseError::Store(_))));
        lease.bucket = memory;
        lease.renew(at(120)).unwrap();
        assert!(lease.is_live(at(400)));
    }

    #[test]
    fn a_bucket_that_was_emptied_is_claimed_again() {
        let bucket = Arc::new(MemoryStore::default());
        let mut lease = Lease::take(bucket.clone(), &writer("a"), at(0)).unwrap();
        bucket.delete(&Key::writer()).unwrap();
        lease.renew(at(60)).unwrap();
        assert_eq!(holder(Lease::take(bucket, &writer("b"), at(61))).as_deref(), Some("host-a"));
    }

    #[test]
    fn a_claim_that_nobody_can_read_stands_in_nobodys_way() {
        let bucket = Arc::new(MemoryStore::default());
        bucket.put(&Key::writer(), b"{").unwrap();
        assert_eq!(holder(Lease::take(bucket, &writer("a"), at(0))), None);
    }

    #[test]
    fn a_writers_id_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("writer.id");
        assert_eq!(Writer::kept_in(&path).unwrap(), Writer::kept_in(&path).unwrap());
    }
}
