//! The audio of a recording on its way: never over anything that is there, and never a byte that was not hashed.

use crate::model::{Object, ObjectVersion, Recording, UploadedPart};
use crate::publishing::page_store::is;
use crate::publishing::verify::{self, InBucket, Proof};
use crate::store::outbox::Event;
use crate::store::{Bytes, StoreError, Written};
use crate::sync::uploader::object_labels;
use crate::sync::uploader::upload::Upload;
use crate::sync::uploader::upload_error::UploadError;
use crate::sync::uploader::upload_worker::{UploadWorker, upload_fault};

impl UploadWorker<'_> {
    /// Makes the parts one object, if they are the recording.
    pub(crate) fn complete(
        &self,
        upload: &mut Upload,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<Event, UploadError> {
        let audio = &upload.recording.audio;
        upload.seen.is_new = true;
        upload.throughput.catch_up(audio.bytes, |from, to| self.read(audio, from, to))?;
        if !upload.throughput.is(audio) {
            return Err(self.damaged(audio));
        }
        // Parts become an object whatever is there: somebody may have come first.
        if self.has_audio(&upload.recording)? {
            self.index.forget_upload(upload_id)?;
            self.drop_upload(&audio.key, Some(upload_id.to_owned()))?;
        } else {
            let completed = self.bucket.complete_upload(&audio.key, upload_id, parts);
            let version = self.verify(audio, completed.map_err(upload_fault)?)?;
            // Parts of an earlier process may have been read from a copy that was damaged then: their bytes are not known.
            upload.version = version.filter(|_| upload.throughput.is_of_sent_bytes());
            self.index.forget_upload(upload_id)?;
        }
        Ok(Event::Completed)
    }

    pub(crate) fn put_audio(&self, upload: &mut Upload) -> Result<Event, UploadError> {
        let Upload { recording, seen, version, .. } = upload;
        let audio = &recording.audio;
        let _room = self.budget.reserve(audio.bytes);
        let bytes = self.read(audio, 0, audio.bytes)?;
        if !is(audio, &bytes) {
            return Err(self.damaged(audio));
        }
        self.rate_limit.take(audio.bytes);
        let label = object_labels::of_audio(recording);
        if let Some(put) =
            self.bucket.put_new(&audio.key, bytes, &label).map_err(UploadError::Bucket)?
        {
            seen.is_new = true;
            *version = self.verify(audio, put)?;
        } else if !self.has_audio(recording)? {
            // What was there has gone meanwhile.
            return Err(UploadError::Torn { key: audio.key.clone() });
        }
        Ok(Event::PutDone)
    }

    /// Whether the bucket has the audio. Where its bytes were known once, a label says nothing.
    pub(crate) fn has_audio(&self, recording: &Recording) -> Result<bool, UploadError> {
        let audio = &recording.audio;
        let known = self.index.verification(recording.id)?;
        let found = match &known {
            None => verify::look(self.bucket, audio).map_err(UploadError::Bucket)?,
            known => {
                let may_go_on = || !self.rate_limit.is_closed();
                let proof = verify::prove(self.bucket, audio, known.as_ref(), &may_go_on);
                match proof.map_err(UploadError::Bucket)? {
                    Some(Proof::Nothing) => InBucket::Nothing,
                    Some(Proof::Same(_)) => InBucket::Same,
                    Some(Proof::Other(_)) => InBucket::Other,
                    // The end has come: the next uploader asks again.
                    None => return Err(UploadError::Overtaken),
                }
            }
        };
        match found {
            InBucket::Nothing => Ok(false),
            InBucket::Same => Ok(true),
            InBucket::Other => Err(UploadError::Taken { key: audio.key.clone() }),
        }
    }

    /// Looks whether what was just sent is there. Which version it is, if the bucket has told and still has that one.
    pub(crate) fn verify(
        &self,
        audio: &Object,
        sent: Written,
    ) -> Result<Option<ObjectVersion>, UploadError> {
        let torn = || UploadError::Torn { key: audio.key.clone() };
        let facts = match self.bucket.facts(&audio.key) {
            Err(StoreError::Missing { .. }) => return Err(torn()),
            facts => facts.map_err(UploadError::Bucket)?,
        };
        // A bucket that keeps no labels has told the size.
        let is_it =
            facts.bytes == audio.bytes && facts.blake3.is_none_or(|blake3| blake3 == audio.blake3);
        if !is_it {
            return Err(torn());
        }
        Ok(sent.version.filter(|version| facts.version.as_ref() == Some(version)))
    }

    /// Bytes of the local copy. Fewer than asked for are damage.
    pub(crate) fn read(&self, object: &Object, from: u64, to: u64) -> Result<Bytes, UploadError> {
        let bytes = self.local.get_range(&object.key, from..to).map_err(UploadError::Near)?;
        if (bytes.len() as u64) < to.saturating_sub(from) {
            return Err(self.damaged(object));
        }
        Ok(Bytes::from(bytes))
    }
}
