//! A bucket tried out: everything that is asked of it later, asked once of an object that is removed again.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::model::Key;
use crate::store::{Bucket, Bytes, Foreign, StoreError};

/// Signatures are refused when clocks differ by 15 minutes; a third of that deserves a word.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Names that are looked at.
const LISTED: usize = 1_000;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    List,
    Put,
    Get,
    Delete,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Put => "put",
            Self::Get => "get",
            Self::Delete => "delete",
        })
    }
}

/// The first thing that did not work.
#[derive(Debug, thiserror::Error)]
#[error("{step} does not work")]
pub struct ProbeError {
    pub step: Step,
    #[source]
    pub source: StoreError,
}

/// A bucket that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// How far its clock is ahead of ours, where that is much.
    pub skew: Option<SignedDuration>,
    /// It does not refuse a second writer that begins at once.
    pub ignores_conditions: bool,
    /// Names among the first ones below the prefix that cannot be scribefs'.
    pub foreign: Foreign,
}

/// Tries the bucket. A probe that cannot be removed is named in the error and stays.
pub fn try_bucket(bucket: &dyn Bucket) -> Result<Probed, ProbeError> {
    let (key, bytes) = (Key::probe(), Bytes::from_static(b"scribefs was here\n"));
    let at = |step| move |source| ProbeError { step, source };
    bucket.list_after(Key::CHANGES, "", 1).map_err(at(Step::List))?;
    bucket.take_foreign();
    bucket.put(&key, &bytes).map_err(at(Step::Put))?;
    let read = bucket.get_range(&key, 0..u64::MAX).map_err(at(Step::Get))?;
    if read != bytes {
        let source =
            StoreError::Refused { at: key.to_string(), source: "other bytes came back".into() };
        return Err(ProbeError { step: Step::Get, source });
    }
    let written_at = bucket.written_at(&key).map_err(at(Step::Get))?;
    let ahead = written_at.map(|written_at| written_at.duration_since(Timestamp::now()));
    bucket.delete(&key).map_err(at(Step::Delete))?;
    let ignores_conditions = !bucket.try_conditions().map_err(at(Step::Put))?;
    bucket.list_after("", "", LISTED).map_err(at(Step::List))?;
    let skew = ahead.filter(|ahead| SKEW < ahead.abs());
    Ok(Probed { skew, ignores_conditions, foreign: bucket.take_foreign() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{FlakyStore, MemoryStore, Store};

    #[test]
    fn a_bucket_that_works_is_left_as_it_was() {
        let bucket = MemoryStore::default();
        let probed = try_bucket(&bucket).unwrap();
        assert_eq!(
            probed,
            Probed { skew: None, ignores_conditions: false, foreign: Foreign::default() }
        );
        assert_eq!(bucket.list("").unwrap(), []);
    }

    #[test]
    fn the_step_that_fails_is_named() {
        let steps = [Step::List, Step::Put, Step::Get, Step::Get, Step::Delete, Step::List];
        for (calls, step) in (0..).zip(steps) {
            let bucket = FlakyStore::failing_after(calls, Arc::new(MemoryStore::default()));
            assert_eq!(try_bucket(&bucket).unwrap_err().step, step);
        }
    }
}
