//! One round: what is new since the last one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::index::Followed;
use crate::model::Key;
use crate::publishing::change_log::BucketChange;
use crate::sync::bucket_identity;
use crate::sync::follower::state::{FollowError, FollowerConfig, Watch};
use crate::sync::follower::{reading, rows, scan};

/// Markers of one listing: what S3 answers at most.
const PAGE: usize = 1000;

/// Markers are listened to again for this long: of two that are put at once, the later one may be seen first,
/// and the writer's clock may be set back a little.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(5);

/// How old the time in the index may be while nothing happens: an idle follower does not write.
const ASKED_WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// The bucket is listed again after so long.
const SURVEYED_EVERY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long a bucket is taken for the one that it was.
const CONFIRMED_FOR: Duration = Duration::from_hours(1);

/// The rounds of one follower, and what it remembers from one to the next.
pub(crate) struct Poll {
    with: FollowerConfig,
    watch: Arc<Watch>,
    /// Markers that were heard and will be listed again.
    heard: BTreeSet<Key>,
    /// When the bucket was last asked which one it is.
    confirmed_at: Option<Instant>,
}

impl Poll {
    pub(crate) fn new(with: FollowerConfig, watch: Arc<Watch>) -> Self {
        Self { with, watch, heard: BTreeSet::new(), confirmed_at: None }
    }

    /// Brings the index up to what the bucket says now. After a failure the next round goes on from there.
    pub(crate) fn make(&mut self, now: Timestamp) -> Result<(), FollowError> {
        self.confirm_place()?;
        let known = self.with.index.followed()?;
        let is_recent = |it: &Followed| now.duration_since(it.asked_at) < scan::MARKERS_LAST;
        let from = match known.filter(is_recent) {
            Some(known) => known,
            None => self.survey_all(now)?,
        };
        self.listen(from, now)?;
        self.survey_a_little(now)
    }

    /// Nothing else counts before it has come to its end.
    fn survey_all(&mut self, now: Timestamp) -> Result<Followed, FollowError> {
        let mut survey = scan::begin(&self.with, now)?;
        let is_stopping = || self.watch.is_stopping();
        while scan::go_on(&self.with, &mut survey, &is_stopping)? {
            if is_stopping() {
                return Err(FollowError::Stopped);
            }
        }
        self.with.index.set_followed(&survey.from)?;
        Ok(survey.from)
    }

    /// One page of a listing a round, once a week: a million recordings take a day, and nobody notices.
    fn survey_a_little(&mut self, now: Timestamp) -> Result<(), FollowError> {
        let index = &self.with.index;
        if index.surveying()?.is_none() {
            let Some(surveyed_at) = index.surveyed_at()? else {
                // Older versions did not note it.
                return Ok(index.end_survey(now)?);
            };
            if now.duration_since(surveyed_at) < SURVEYED_EVERY {
                return Ok(());
            }
        }
        let mut survey = scan::begin(&self.with, now)?;
        scan::go_on(&self.with, &mut survey, &|| self.watch.is_stopping())?;
        Ok(())
    }

    /// An address may come to mean another bucket at any time.
    fn confirm_place(&mut self) -> Result<(), FollowError> {
        if self.confirmed_at.is_none_or(|at| CONFIRMED_FOR <= at.elapsed()) {
            bucket_identity::confirm_follower(self.with.bucket.as_ref(), &self.with.index)?;
            self.confirmed_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Hears all markers after the place that was reached.
    fn listen(&mut self, mut from: Followed, now: Timestamp) -> Result<(), FollowError> {
        let mut after = look_back(from.place.as_ref());
        loop {
            let listed = self.with.bucket.list_after(Key::CHANGES, &after, PAGE)?;
            let is_last = listed.len() < PAGE;
            after = listed.last().map_or(after, |found| found.key.to_string());
            let listed = listed.into_iter().map(|found| found.key);
            let news: Vec<Key> = listed.filter(|key| !self.heard.contains(key)).collect();
            self.hear(&news)?;
            let place = news.iter().max().cloned().max(from.place.clone());
            if place != from.place || ASKED_WITHIN < now.duration_since(from.asked_at) {
                from = Followed { place, asked_at: now };
                self.with.index.set_followed(&from)?;
            }
            self.heard.extend(news);
            if is_last {
                break;
            }
        }
        let oldest = look_back(from.place.as_ref());
        self.heard.retain(|key| oldest.as_str() < key.as_str());
        Ok(())
    }

    fn hear(&mut self, keys: &[Key]) -> Result<(), FollowError> {
        let (mut put, mut removed) = (Vec::new(), Vec::new());
        for marker in reading::markers(self.with.bucket.as_ref(), keys)? {
            match marker {
                BucketChange::Metadata(key) => put.push(key),
                BucketChange::Removed(key) => removed.push(key),
            }
        }
        rows::take(&self.with, &put, &|| self.watch.is_stopping())?;
        rows::forget(&self.with, &removed)
    }
}

/// Where to begin to listen so as to hear everything after `place`.
fn look_back(place: Option<&Key>) -> String {
    let begin = place.and_then(Key::changed_at).and_then(|at| at.checked_sub(LOOK_BACK).ok());
    begin.map_or_else(String::new, |at| Key::change(at, 0).to_string())
}
