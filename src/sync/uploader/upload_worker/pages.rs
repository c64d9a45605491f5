//! Pages of a recording on their way: only in the place of our own.

use crate::model::{DayTranscript, Key, Object, Recording};
use crate::publishing::page_lock;
use crate::publishing::page_store::{PageStore, is};
use crate::publishing::rewrite::{self, RewriteError};
use crate::publishing::verify::{self, InBucket};
use crate::store::outbox::{self, Event};
use crate::store::{Bytes, StoreError};
use crate::sync::uploader::object_labels;
use crate::sync::uploader::upload::Upload;
use crate::sync::uploader::upload_error::UploadError;
use crate::sync::uploader::upload_worker::UploadWorker;
use crate::sync::uploader::upload_worker::owner::{self, Owner};

/// A page on local disk.
enum Page {
    Sound(Object, Bytes),
    Absent(Object),
    Damaged(Object),
}

impl UploadWorker<'_> {
    pub(crate) fn put_page(&self, upload: &mut Upload, place: usize) -> Result<Event, UploadError> {
        let Upload { recording, transcript, seen, sent_transcript, .. } = upload;
        let cargo = outbox::cargo(recording, transcript);
        let object = cargo.get(place).ok_or(UploadError::Overtaken)?;
        let _room = self.budget.reserve(object.bytes);
        let (object, bytes) = match self.page(recording, object, &transcript.object.key)? {
            Page::Sound(object, bytes) => (object, bytes),
            Page::Absent(object) if self.has_page(&object)? => {
                note_transcript(sent_transcript, transcript, &object);
                return Ok(Event::PutDone);
            }
            Page::Absent(object) | Page::Damaged(object) => {
                log::warn!("{}: a page is not what was published, and is rewritten", recording.id);
                log::debug!("{}: is not what was published", object.key);
                return self.write_pages_anew(recording);
            }
        };
        self.rate_limit.take(object.bytes);
        let seq = recording.id.conversation;
        let conversation = self.index.filed_conversation(seq)?.ok_or(UploadError::Overtaken)?;
        let is_about_it = object.key != transcript.object.key;
        let label = match is_about_it {
            true => object_labels::of_page(recording, &object),
            false => object_labels::of_transcript(&conversation, &object),
        };
        let is_first = is_about_it && seen.is_new;
        if is_first && seen.page_may_be_there != Some(place) {
            seen.page_may_be_there = Some(place);
            let put = self.bucket.put_new(&object.key, bytes.clone(), &label);
            if put.map_err(UploadError::Bucket)?.is_some() {
                return Ok(Event::PutDone);
            }
        }
        if seen.page_is_ours != Some(place) {
            let owner = match is_about_it {
                true => {
                    owner::of_page(self.bucket, recording, &object).map_err(UploadError::Bucket)?
                }
                false => owner::of_transcript(self.bucket, self.index, &conversation, &object)?,
            };
            match owner {
                Owner::Nobody | Owner::Ours => seen.page_is_ours = Some(place),
                Owner::Same => {
                    note_transcript(sent_transcript, transcript, &object);
                    return Ok(Event::PutDone);
                }
                Owner::Other if is_about_it => return Err(UploadError::Taken { key: object.key }),
                Owner::Other => return Err(UploadError::Foreign { key: object.key }),
            }
        }
        self.bucket.put_labelled(&object.key, bytes, &label).map_err(UploadError::Bucket)?;
        note_transcript(sent_transcript, transcript, &object);
        Ok(Event::PutDone)
    }

    /// A page as it is now, read while nobody writes.
    ///
    /// The day's transcript may have become another one with another recording, whose own upload brings
    /// it again. Any other page changes with the row.
    fn page(
        &self,
        recording: &Recording,
        object: &Object,
        transcript: &Key,
    ) -> Result<Page, UploadError> {
        let _alone = page_lock::lock();
        self.standing(recording)?;
        let mut object = object.clone();
        if object.key == *transcript {
            let (seq, day) = (recording.id.conversation, recording.id.day);
            object = self.index.filed_transcript(seq, day)?.ok_or(UploadError::Overtaken)?.object;
        }
        match self.local.get_range(&object.key, 0..object.bytes.saturating_add(1)) {
            Ok(bytes) if is(&object, &bytes) => Ok(Page::Sound(object, Bytes::from(bytes))),
            Ok(_) => Ok(Page::Damaged(object)),
            Err(StoreError::Missing { .. }) => Ok(Page::Absent(object)),
            Err(err) => Err(UploadError::Near(err)),
        }
    }

    /// Where the row is still ours and a page is not, a power cut came between the two.
    fn write_pages_anew(&self, recording: &Recording) -> Result<Event, UploadError> {
        self.standing(recording)?;
        let page_store = PageStore { store: self.store, index: self.index };
        match rewrite::write_again(page_store, recording.id) {
            Ok(()) => Err(UploadError::Overtaken),
            Err(RewriteError::Index(err)) => Err(UploadError::Index(err)),
            Err(err) => Err(UploadError::Rewrite(err)),
        }
    }

    fn has_page(&self, page: &Object) -> Result<bool, UploadError> {
        let found = verify::look(self.bucket, page).map_err(UploadError::Bucket)?;
        Ok(found == InBucket::Same)
    }
}

/// Keeps which text of the day the bucket has now.
fn note_transcript(sent: &mut Option<String>, transcript: &DayTranscript, object: &Object) {
    if object.key == transcript.object.key {
        *sent = Some(object.blake3.clone());
    }
}
