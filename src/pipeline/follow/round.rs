//! One round: what is new since the last one.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::index::Followed;
use crate::model::Key;
use crate::pipeline::Told;
use crate::pipeline::follow::reading::{self, Row};
use crate::pipeline::follow::survey::Survey;
use crate::pipeline::follow::{FollowError, Following, Watch};
use crate::store::{Bucket, StoreError};

/// Markers of one listing: what S3 answers at most.
const PAGE: usize = 1000;

/// Recordings that share one commit.
const BATCH: usize = 200;

/// The writer keeps markers for 30 days. Who has not asked for this long may have missed some.
const MARKERS_LAST: SignedDuration = SignedDuration::from_hours(29 * 24);

/// Markers are listened to again for this long: of two that are put at once, the later one may be seen first,
/// and the writer's clock may be set back a little.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(5);

/// How old the time in the index may be while nothing happens: an idle follower does not write.
const ASKED_WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// The rounds of one follower, and what it remembers from one to the next.
pub(crate) struct Rounds {
    pub(crate) with: Following,
    watch: Arc<Watch>,
    /// A listing of everything that came to no end yet.
    survey: Option<Survey>,
    /// Markers that were heard and will be listed again.
    heard: BTreeSet<Key>,
}

impl Rounds {
    pub(crate) fn new(with: Following, watch: Arc<Watch>) -> Self {
        Self { with, watch, survey: None, heard: BTreeSet::new() }
    }

    /// Brings the index up to what the bucket says now. After a failure the next round goes on from there.
    pub(crate) fn make(&mut self, now: Timestamp) -> Result<(), FollowError> {
        let known = self.with.index.followed()?;
        let is_recent = |it: &Followed| now.duration_since(it.asked_at) < MARKERS_LAST;
        let from = match known.filter(is_recent) {
            Some(known) => known,
            None => {
                let mut survey = match self.survey.take() {
                    Some(survey) => survey,
                    None => Survey::begin(self.with.bucket.as_ref(), now)?,
                };
                let surveyed = survey.go_on(self);
                surveyed.inspect_err(|_| self.survey = Some(survey))?
            }
        };
        self.listen(from, now)
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
                Told::Metadata(key) => put.push(key),
                Told::Removed(key) => removed.push(key),
            }
        }
        self.take(&put)?;
        self.forget(&removed)
    }

    /// Files what the metadata pages at `keys` describe.
    pub(crate) fn take(&self, keys: &[Key]) -> Result<(), FollowError> {
        for batch in keys.chunks(BATCH) {
            if self.watch.is_stopping() {
                return Err(FollowError::Stopped);
            }
            let told = reading::recordings(self.with.bucket.as_ref(), batch)?;
            for told in &told {
                self.drop_outdated(told)?;
            }
            self.with.index.follow(told)?;
        }
        Ok(())
    }

    /// Copies on this machine that are no longer right must be gone before anybody looks for the new bytes.
    fn drop_outdated(&self, (_, recording, transcript): &Row) -> Result<(), FollowError> {
        let index = &self.with.index;
        let known = index.filed_recording_at(&recording.audio.key)?;
        let known_text = match &known {
            Some(known) => index.filed_transcript(known.id.conversation, known.id.day)?,
            None => None,
        };
        for object in recording.objects() {
            let is_known = known.iter().flat_map(|known| known.objects()).any(|it| it == object);
            if !is_known {
                (self.with.outdated)(&object.key);
            }
        }
        if known_text.is_none_or(|known| known.object != transcript.object) {
            (self.with.outdated)(&transcript.object.key);
        }
        Ok(())
    }

    pub(crate) fn forget(&self, keys: &[Key]) -> Result<(), FollowError> {
        let index = &self.with.index;
        for key in keys {
            let Some(recording) = index.filed_recording_at(key)? else { continue };
            let (conversation, day) = (recording.id.conversation, recording.id.day);
            let transcript = index.filed_transcript(conversation, day)?;
            index.forget_recording(recording.id)?;
            recording.objects().for_each(|object| (self.with.outdated)(&object.key));
            if index.filed_recordings(conversation, day)?.is_empty()
                && let Some(transcript) = transcript
            {
                (self.with.outdated)(&transcript.object.key);
            }
        }
        Ok(())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.watch.is_stopping()
    }
}

/// The last marker that is there; `None`: there is none.
pub(crate) fn last_marker(bucket: &dyn Bucket) -> Result<Option<Key>, StoreError> {
    let mut last: Option<Key> = None;
    loop {
        let after = last.as_ref().map_or("", Key::as_str);
        let listed = bucket.list_after(Key::CHANGES, after, PAGE)?;
        let is_last = listed.len() < PAGE;
        last = listed.into_iter().next_back().map(|found| found.key).or(last);
        if is_last {
            return Ok(last);
        }
    }
}

/// Where to begin to listen so as to hear everything after `place`.
fn look_back(place: Option<&Key>) -> String {
    let begin = place.and_then(Key::changed_at).and_then(|at| at.checked_sub(LOOK_BACK).ok());
    begin.map_or_else(String::new, |at| Key::change(at, 0).to_string())
}
