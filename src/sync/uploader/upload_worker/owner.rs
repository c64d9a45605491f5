//! [`Owner`]: whose object lies in the bucket where a page of ours is to go. What it is about decides, never its key:
//! another index may have used the same names.

use crate::index::Index;
use crate::model::{Conversation, Object, PageKind, Recording};
use crate::publishing::verify::{self, InBucket};
use crate::render;
use crate::store::{Bucket, ObjectFacts, StoreError};
use crate::sync::uploader::upload_error::UploadError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    Ours,
    /// It is the very page.
    Same,
    Other,
}

/// Of a page about one recording.
pub(crate) fn of_page(
    bucket: &dyn Bucket,
    recording: &Recording,
    page: &Object,
) -> Result<Owner, StoreError> {
    let Some(facts) = facts(bucket, page)? else { return Ok(Owner::Nobody) };
    if let Some(is_about_it) = verify::is_about(&facts, recording) {
        return Ok(match (is_about_it, is_same(&facts, page)) {
            (true, true) => Owner::Same,
            (true, false) => Owner::Ours,
            (false, _) => Owner::Other,
        });
    }
    // Labels of older versions do not say what a page is about, and what was copied there has none.
    Ok(match verify::look(bucket, page)? {
        InBucket::Nothing => Owner::Nobody,
        InBucket::Same if facts.is_ours => Owner::Same,
        InBucket::Same => Owner::Ours,
        InBucket::Other if metadata_is_about(bucket, recording)? => Owner::Ours,
        InBucket::Other => Owner::Other,
    })
}

/// Of a day's transcript. One of another conversation that is filed under the same name, or of an older version, is
/// ours if every recording of the day in the bucket is in this index: nothing that it says is lost then.
pub(crate) fn of_transcript(
    bucket: &dyn Bucket,
    index: &Index,
    conversation: &Conversation,
    transcript: &Object,
) -> Result<Owner, UploadError> {
    let Some(facts) = facts(bucket, transcript).map_err(UploadError::Bucket)? else {
        return Ok(Owner::Nobody);
    };
    if !facts.is_ours {
        return Ok(match verify::look(bucket, transcript).map_err(UploadError::Bucket)? {
            InBucket::Nothing => Owner::Nobody,
            InBucket::Same => Owner::Ours,
            InBucket::Other => Owner::Other,
        });
    }
    if is_same(&facts, transcript) {
        return Ok(Owner::Same);
    }
    let is_this = verify::is_of(&facts, conversation) == Some(true);
    if is_this || knows_all_beside(bucket, index, transcript)? {
        return Ok(Owner::Ours);
    }
    Ok(Owner::Other)
}

fn knows_all_beside(
    bucket: &dyn Bucket,
    index: &Index,
    transcript: &Object,
) -> Result<bool, UploadError> {
    let key = transcript.key.as_str();
    let folder = &key[..key.rfind('/').map_or(0, |end| end + 1)];
    let beside = bucket.list(folder).map_err(UploadError::Bucket)?;
    for found in beside.iter().filter(|found| found.key.is_metadata()) {
        let Some(row) = index.filed_recording_at(&found.key)? else { return Ok(false) };
        let Some(page) = row.page(PageKind::Metadata) else { return Ok(false) };
        if of_page(bucket, &row, &page.object).map_err(UploadError::Bucket)? == Owner::Other {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the metadata in the bucket that stands beside a recording's pages is about that recording.
fn metadata_is_about(bucket: &dyn Bucket, recording: &Recording) -> Result<bool, StoreError> {
    let key = recording.audio.key.page_beside(PageKind::Metadata);
    let json = match bucket.get_range(&key, 0..u64::MAX) {
        Err(StoreError::Missing { .. }) => return Ok(false),
        json => json?,
    };
    let told = render::from_metadata(&json);
    Ok(told.is_ok_and(|(_, told, _)| told.audio.blake3 == recording.audio.blake3))
}

fn facts(bucket: &dyn Bucket, object: &Object) -> Result<Option<ObjectFacts>, StoreError> {
    match bucket.facts(&object.key) {
        Err(StoreError::Missing { .. }) => Ok(None),
        facts => facts.map(Some),
    }
}

fn is_same(facts: &ObjectFacts, object: &Object) -> bool {
    facts.blake3.as_ref() == Some(&object.blake3)
}
