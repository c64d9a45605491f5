//! A listing of all that the bucket has: at first, after so long that markers may have been missed, and now and
//! then at a low rate, since a marker may be missed at any time.
//!
//! Bucket and index are compared page by page in the order of keys, so that memory stays flat and a restart goes
//! on where it was.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::index::{Followed, Surveying};
use crate::model::Key;
use crate::store::Found;
use crate::sync::follower::state::{FollowError, FollowerConfig};
use crate::sync::follower::{reading, rows};

/// Keys of one listing: what S3 answers at most.
const PAGE: usize = 1000;

/// The writer keeps markers for 30 days. Who has not asked for this long may have missed some.
pub(crate) const MARKERS_LAST: SignedDuration = SignedDuration::from_hours(29 * 24);

/// Begins one, or goes on with the one that was under way. From its beginning on markers are heard afterwards:
/// what changes behind the listing's back is among them.
pub(crate) fn begin(with: &FollowerConfig, now: Timestamp) -> Result<Surveying, FollowError> {
    let under_way = with.index.surveying()?;
    let is_recent = |it: &Surveying| now.duration_since(it.from.asked_at) < MARKERS_LAST;
    if let Some(under_way) = under_way.filter(is_recent) {
        return Ok(under_way);
    }
    let place = reading::last_marker(with.bucket.as_ref())?;
    Ok(Surveying { from: Followed { place, asked_at: now }, after: String::new() })
}

/// Lists and compares the next page. Whether there is more.
pub(crate) fn go_on(
    with: &FollowerConfig,
    survey: &mut Surveying,
    is_stopping: &dyn Fn() -> bool,
) -> Result<bool, FollowError> {
    let listed = with.bucket.list_after("", &survey.after, PAGE)?;
    let last = listed.last().filter(|_| listed.len() == PAGE).map(|found| found.key.to_string());
    compare(with, survey, &listed, last.as_deref(), is_stopping)?;
    match last {
        Some(last) => {
            survey.after = last;
            with.index.set_surveying(survey)?;
            Ok(true)
        }
        None => {
            with.index.end_survey(survey.from.asked_at)?;
            Ok(false)
        }
    }
}

/// Reads what is new or has another size, and forgets what is not there any more. What has the same size is the
/// same, but for a change whose marker was missed as well.
fn compare(
    with: &FollowerConfig,
    survey: &Surveying,
    listed: &[Found],
    last: Option<&str>,
    is_stopping: &dyn Fn() -> bool,
) -> Result<(), FollowError> {
    let known = with.index.metadata_between(&survey.after, last)?;
    let mut known: BTreeMap<Key, u64> = known.into_iter().map(|it| (it.key, it.bytes)).collect();
    let pages = listed.iter().filter(|found| is_page(&found.key));
    let changed: Vec<Key> = pages
        .filter(|found| known.remove(&found.key) != Some(found.bytes))
        .map(|found| found.key.clone())
        .collect();
    rows::take(with, &changed, is_stopping)?;
    let gone: Vec<Key> = known.into_keys().collect();
    rows::forget(with, &gone)
}

/// Whether it is the metadata page of a recording, at the place where such a page belongs.
pub(crate) fn is_page(key: &Key) -> bool {
    key.is_metadata() && key.folder().is_some()
}
