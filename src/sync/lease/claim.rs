//! The lease itself: a claim in the bucket, put on the condition that nobody else has put one meanwhile.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::model::Key;
use crate::store::{Bucket, Bytes, LONGEST_CHANGE, StoreError, Version, boot_time};
use crate::sync::lease::watch::Watch;
use crate::sync::lease::writer::Writer;

/// A lease that has not been renewed for so long is free.
const VALID: Duration = Duration::from_mins(5);

/// Nothing new begins in the last part of [`VALID`], so that the last change has arrived, or never will, when another
/// may begin.
const GRACE: Duration = Duration::from_mins(3);

/// What is left is for answers and packets that are late.
const _: () = assert!(LONGEST_CHANGE.as_secs() + 30 <= GRACE.as_secs());

/// Nobody's claim keeps others out for longer than this, whatever it says.
const LONGEST_VALID: Duration = Duration::from_hours(1);

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error(
        "scribefs on {host} writes to this bucket (since {since:.0}); if it has stopped, its lease ends in \
         {free_in:#.0}"
    )]
    Held { host: String, since: Timestamp, free_in: jiff::SignedDuration },
    #[error("could not take the lease on the bucket")]
    Store(#[from] StoreError),
}

/// The two clocks: the one that leases are measured by, and the one that people read.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since this machine was started, suspend included.
    pub boot: Duration,
    pub wall: Timestamp,
}

impl Now {
    pub fn read() -> Self {
        Self { boot: boot_time(), wall: Timestamp::now() }
    }
}

/// What stands in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    writer: String,
    host: String,
    since: Timestamp,
    /// For people: nothing is decided by the clock of another machine.
    renewed_at: Timestamp,
    valid_for_seconds: u64,
    /// Another one with each renewal, so that a claim is known for one's own.
    #[serde(default)]
    token: String,
    /// The last change marker that was written, so that the next writer's come after it.
    #[serde(default)]
    last_change: Option<Key>,
}

impl Claim {
    fn valid(&self) -> Duration {
        Duration::from_secs(self.valid_for_seconds).min(LONGEST_VALID)
    }
}

/// The right to change the bucket, until its time is over.
pub struct Lease {
    bucket: Arc<dyn Bucket>,
    claim: Claim,
    version: Version,
    /// Tokens that were sent since the last answer: one of them may stand in the bucket.
    sent: Vec<String>,
    deadline: Duration,
    was_ours: bool,
}

impl Lease {
    /// Takes it: if nobody has it, if it was this state folder's before, or if `watch` has seen its version
    /// unchanged for as long as it is valid.
    pub fn take(
        bucket: Arc<dyn Bucket>,
        writer: &Writer,
        watch: &mut Watch,
        now: Now,
    ) -> Result<Self, LeaseError> {
        let standing = match bucket.get_versioned(&Key::writer()) {
            Ok((bytes, version)) => Some((serde_json::from_slice::<Claim>(&bytes).ok(), version)),
            Err(StoreError::Missing { .. }) => None,
            Err(err) => return Err(err.into()),
        };
        let last_change = match &standing {
            Some((Some(other), version)) => {
                if other.writer != writer.id {
                    let left = other.valid().saturating_sub(watch.stood_for(version, now.boot));
                    // A lease that was given back is valid for no time at all.
                    if !left.is_zero() {
                        return Err(held_by(other, left));
                    }
                }
                other.last_change.clone()
            }
            Some((None, _)) | None => None,
        };
        let claim = Claim {
            writer: writer.id.clone(),
            host: writer.host.clone(),
            since: now.wall,
            renewed_at: now.wall,
            valid_for_seconds: VALID.as_secs(),
            token: Ulid::generate().to_string(),
            last_change,
        };
        let was_ours =
            standing.iter().any(|(found, _)| found.iter().any(|it| it.writer == writer.id));
        let expected = standing.map(|(_, version)| version);
        let version = match put(bucket.as_ref(), &claim, expected.as_ref())? {
            Some(version) => version,
            None => return Err(taken(bucket.as_ref())?),
        };
        watch.end();
        let deadline = deadline(now);
        Ok(Self { bucket, claim, version, sent: Vec::new(), deadline, was_ours })
    }

    /// Prolongs it.
    ///
    /// # Errors
    /// `Held`: somebody else has taken it over, since it was not renewed in time.
    pub fn renew(&mut self, last_change: Option<Key>, now: Now) -> Result<(), LeaseError> {
        let mut claim = Claim { renewed_at: now.wall, ..self.claim.clone() };
        claim.last_change = last_change.or(claim.last_change);
        claim.token = Ulid::generate().to_string();
        self.sent.push(claim.token.clone());
        let version = match put(self.bucket.as_ref(), &claim, Some(&self.version))? {
            Some(version) => version,
            None => self.put_again(&claim)?,
        };
        self.claim = claim;
        self.version = version;
        self.sent.clear();
        self.deadline = deadline(now);
        Ok(())
    }

    /// Another version stands there: our own, of a renewal whose answer was lost, or somebody else's. Or
    /// the bucket was emptied.
    fn put_again(&self, claim: &Claim) -> Result<Version, LeaseError> {
        let standing = match self.bucket.get_versioned(&Key::writer()) {
            Ok((bytes, version)) => Some((serde_json::from_slice::<Claim>(&bytes).ok(), version)),
            Err(StoreError::Missing { .. }) => None,
            Err(err) => return Err(err.into()),
        };
        let is_ours =
            |found: &Claim| found.token == self.claim.token || self.sent.contains(&found.token);
        let expected = match standing {
            Some((Some(found), version)) if is_ours(&found) => Some(version),
            Some((Some(found), _)) => return Err(held_by(&found, found.valid())),
            Some((None, _)) => return Err(taken(self.bucket.as_ref())?),
            None => None,
        };
        match put(self.bucket.as_ref(), claim, expected.as_ref())? {
            Some(version) => Ok(version),
            None => Err(taken(self.bucket.as_ref())?),
        }
    }

    /// Whether the claim that stands in the bucket is still this one: where the bucket knows no conditions
    /// two may have put theirs at once, and the later one counts.
    pub fn confirm(&self) -> Result<(), LeaseError> {
        let (bytes, _) = self.bucket.get_versioned(&Key::writer())?;
        match serde_json::from_slice::<Claim>(&bytes) {
            Ok(found) if found.token == self.claim.token => Ok(()),
            Ok(found) => Err(held_by(&found, found.valid())),
            Err(_) => Err(taken(self.bucket.as_ref())?),
        }
    }

    /// Until when changes may begin, by `boot_time`.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether this state folder had it before: nobody else can have begun at once.
    pub(crate) fn was_ours(&self) -> bool {
        self.was_ours
    }

    /// The last change marker that any writer is known to have written.
    pub fn last_change(&self) -> Option<&Key> {
        self.claim.last_change.as_ref()
    }

    /// Gives it back, so that another may begin at once. Nothing may be under way any more.
    pub fn release(self, last_change: Option<Key>) {
        let last_change = last_change.or(self.claim.last_change.clone());
        let claim = Claim { valid_for_seconds: 0, last_change, ..self.claim };
        if let Err(err) = put(self.bucket.as_ref(), &claim, Some(&self.version)) {
            log::debug!("the lease on the bucket was not given back and ends by itself: {err}");
        }
    }
}

/// Counted from before the request: whoever sees its version sees it later.
fn deadline(begun: Now) -> Duration {
    begun.boot + (VALID - GRACE)
}

/// Puts the claim in place of the one of that version. `None`: there is another one.
fn put(
    bucket: &dyn Bucket,
    claim: &Claim,
    expected: Option<&Version>,
) -> Result<Option<Version>, StoreError> {
    let key = Key::writer();
    let json = serde_json::to_vec_pretty(claim)
        .map_err(|err| StoreError::Refused { at: key.to_string(), source: Box::new(err) })?;
    bucket.put_if(&key, Bytes::from(json), expected)
}

/// Who was faster.
fn taken(bucket: &dyn Bucket) -> Result<LeaseError, StoreError> {
    let (bytes, _) = bucket.get_versioned(&Key::writer())?;
    let claim: Option<Claim> = serde_json::from_slice(&bytes).ok();
    Ok(claim.map_or_else(
        || LeaseError::Held {
            host: "another machine".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            free_in: signed(VALID),
        },
        |claim| held_by(&claim, claim.valid()),
    ))
}

fn held_by(claim: &Claim, left: Duration) -> LeaseError {
    LeaseError::Held { host: claim.host.clone(), since: claim.since, free_in: signed(left) }
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FlakyStore, MemoryStore, Store};

    /// The wall clock of this machine says anything at all.
    fn at(second: u64) -> Now {
        let wall = Timestamp::from_second(1_700_000_000 - 77 * second.cast_signed()).unwrap();
        Now { boot: Duration::from_secs(1_000 + second), wall }
    }

    fn writer(id: &str) -> Writer {
        Writer { id: id.to_owned(), host: format!("host-{id}") }
    }

    fn take(bucket: &Arc<MemoryStore>, id: &str, now: Now) -> Result<Lease, LeaseError> {
        Lease::take(bucket.clone(), &writer(id), &mut Watch::default(), now)
    }

    fn holder(taken: Result<Lease, LeaseError>) -> Option<String> {
        match taken {
            Err(LeaseError::Held { host, .. }) => Some(host),
            Err(err) => panic!("{err}"),
            Ok(_) => None,
        }
    }

    #[test]
    fn a_second_writer_waits_until_the_first_has_stood_still_for_as_long_as_it_is_valid() {
        let bucket = Arc::new(MemoryStore::default());
        let mut first = take(&bucket, "a", at(0)).unwrap();
        let mut watch = Watch::default();
        let mut second = |now| holder(Lease::take(bucket.clone(), &writer("b"), &mut watch, now));
        assert_eq!(second(at(0)).as_deref(), Some("host-a"));
        first.renew(None, at(290)).unwrap();
        // Seen for the first time now, however old it says it is.
        assert_eq!(second(at(400)).as_deref(), Some("host-a"));
        assert_eq!(second(at(699)).as_deref(), Some("host-a"));
        assert_eq!(second(at(701)), None);
        // The first one has stopped long before.
        assert!(first.deadline() < at(580).boot);
        assert!(matches!(first.renew(None, at(702)), Err(LeaseError::Held { .. })));
    }

    #[test]
    fn the_other_machines_clock_proves_nothing() {
        let bucket = Arc::new(MemoryStore::default());
        for renewed_at in ["1970-01-02T00:00:00Z", "2199-01-01T00:00:00Z"] {
            let renewed_at = renewed_at.parse().unwrap();
            let lease = take(&bucket, "a", at(0)).unwrap();
            let claim = Claim { renewed_at, ..lease.claim.clone() };
            put(bucket.as_ref(), &claim, Some(&lease.version)).unwrap().unwrap();
            let mut watch = Watch::default();
            let mut second =
                |now| holder(Lease::take(bucket.clone(), &writer("b"), &mut watch, now));
            assert!(second(at(0)).is_some());
            assert!(second(at(299)).is_some());
            assert_eq!(second(at(301)), None);
            bucket.delete(&Key::writer()).unwrap();
        }
    }

    #[test]
    fn a_watch_goes_on_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watch");
        let bucket = Arc::new(MemoryStore::default());
        take(&bucket, "a", at(0)).unwrap();
        let second = |now| {
            let mut watch = Watch::kept_in(path.clone());
            holder(Lease::take(bucket.clone(), &writer("b"), &mut watch, now))
        };
        assert!(second(at(0)).is_some() && second(at(150)).is_some());
        assert_eq!(second(at(301)), None);
        assert!(!path.exists());
    }

    #[test]
    fn a_claim_that_says_it_is_valid_for_ever_is_not() {
        let bucket = Arc::new(MemoryStore::default());
        let lease = take(&bucket, "a", at(0)).unwrap();
        let claim = Claim { valid_for_seconds: u64::MAX, ..lease.claim.clone() };
        put(bucket.as_ref(), &claim, Some(&lease.version)).unwrap().unwrap();
        let mut watch = Watch::default();
        let mut second = |now| holder(Lease::take(bucket.clone(), &writer("b"), &mut watch, now));
        assert!(second(at(0)).is_some() && second(at(3_599)).is_some());
        assert_eq!(second(at(3_601)), None);
    }

    #[test]
    fn ones_own_lease_is_taken_again_at_once() {
        let bucket = Arc::new(MemoryStore::default());
        take(&bucket, "a", at(0)).unwrap();
        let mut again = take(&bucket, "a", at(1)).unwrap();
        again.renew(None, at(2)).unwrap();
    }

    #[test]
    fn of_two_with_one_name_the_first_notices_and_stops() {
        let bucket = Arc::new(MemoryStore::default());
        let mut first = take(&bucket, "a", at(0)).unwrap();
        take(&bucket, "a", at(1)).unwrap();
        assert!(matches!(first.renew(None, at(60)), Err(LeaseError::Held { .. })));
    }

    #[test]
    fn a_lease_that_was_given_back_is_free() {
        let bucket = Arc::new(MemoryStore::default());
        let last = Key::change(Timestamp::UNIX_EPOCH, 0);
        take(&bucket, "a", at(0)).unwrap().release(Some(last.clone()));
        let next = take(&bucket, "b", at(1)).unwrap();
        assert_eq!(next.last_change(), Some(&last));
    }

    #[test]
    fn of_two_that_begin_at_once_one_gets_it() {
        let bucket = Arc::new(MemoryStore::default());
        let first = take(&bucket, "a", at(0)).unwrap();
        // The other has looked before, and puts now.
        let claim = Claim { writer: "b".into(), token: "b".into(), ..first.claim.clone() };
        assert_eq!(put(bucket.as_ref(), &claim, None).unwrap(), None);
        first.confirm().unwrap();
        // Without conditions it would stand there.
        bucket.put(&Key::writer(), &serde_json::to_vec(&claim).unwrap()).unwrap();
        assert!(matches!(first.confirm(), Err(LeaseError::Held { .. })));
    }

    #[test]
    fn a_renewal_whose_answer_was_lost_is_still_ours() {
        let memory = Arc::new(MemoryStore::default());
        let flaky = Arc::new(FlakyStore::losing_every(3, memory.clone()));
        let mut lease = Lease::take(flaky, &writer("a"), &mut Watch::default(), at(0)).unwrap();
        assert!(matches!(lease.renew(None, at(60)), Err(LeaseError::Store(_))));
        assert!(lease.deadline() < at(300).boot, "what was not heard of counts for nothing");
        lease.bucket = memory;
        lease.renew(None, at(120)).unwrap();
        assert_eq!(lease.deadline(), at(120).boot + (VALID - GRACE));
    }

    #[test]
    fn a_bucket_that_was_emptied_is_claimed_again() {
        let bucket = Arc::new(MemoryStore::default());
        let mut lease = take(&bucket, "a", at(0)).unwrap();
        bucket.delete(&Key::writer()).unwrap();
        lease.renew(None, at(60)).unwrap();
        assert_eq!(holder(take(&bucket, "b", at(61))).as_deref(), Some("host-a"));
    }

    #[test]
    fn a_claim_that_nobody_can_read_stands_in_nobodys_way() {
        let bucket = Arc::new(MemoryStore::default());
        bucket.put(&Key::writer(), b"{").unwrap();
        assert_eq!(holder(take(&bucket, "a", at(0))), None);
    }
}
