//! What goes into the bucket.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use object_store::multipart::{MultipartStore, PartId};
use object_store::{
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, UpdateVersion,
};

use crate::model::{Key, ObjectVersion, UploadedPart};
use crate::store::bucket::failure::{is_unmet_condition, refused};
use crate::store::bucket::label::attributes;
use crate::store::reach::Interrupted;
use crate::store::{Bytes, LONGEST_CHANGE, Label, Reach, S3Bucket, StoreError, Version, Written};

/// A bucket may put thousands of parts together for minutes before it answers.
const ASSEMBLY: Duration = Duration::from_mins(2);

impl S3Bucket {
    pub(crate) fn send(
        &self,
        key: &Key,
        bytes: Bytes,
        label: &Label,
    ) -> Result<Written, StoreError> {
        self.send_within(self.options.change_deadline(bytes.len() as u64), key, bytes, label)
    }

    /// The same, if it is done so soon.
    pub(crate) fn send_within(
        &self,
        longest: Duration,
        key: &Key,
        bytes: Bytes,
        label: &Label,
    ) -> Result<Written, StoreError> {
        let options = PutOptions { attributes: attributes(label), ..PutOptions::default() };
        let put = self.try_send(longest, key, bytes, options)?;
        put.map(written).map_err(|err| self.failed(key, &err))
    }

    /// The same on the condition that there is nothing. `None`: there is.
    pub(crate) fn send_new(
        &self,
        key: &Key,
        bytes: Bytes,
        label: &Label,
    ) -> Result<Option<Written>, StoreError> {
        let attributes = attributes(label);
        let options = PutOptions { attributes, mode: PutMode::Create, ..PutOptions::default() };
        let longest = self.options.change_deadline(bytes.len() as u64);
        match self.try_send(longest, key, bytes, options)? {
            Ok(put) => Ok(Some(written(put))),
            Err(err) if is_unmet_condition(&err) => Ok(None),
            Err(err) => Err(self.failed(key, &err)),
        }
    }

    fn try_send(
        &self,
        longest: Duration,
        key: &Key,
        bytes: Bytes,
        options: PutOptions,
    ) -> Result<object_store::Result<PutResult>, StoreError> {
        let path = self.path(key);
        let put = self.connection.writes.put_opts(&path, PutPayload::from_bytes(bytes), options);
        let answer = self.wait(key.as_str(), longest, put).map_err(slow)?;
        Ok(answer.inspect(|_| self.note_answer()))
    }

    /// [`Store::put_file`](crate::store::Store::put_file), in one request, so that whoever asks for a lease before it has
    /// asked for all of it. Large audio goes in parts, each of which is a change of its own.
    pub(crate) fn send_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        let fail = |err: io::Error| refused(key.as_str(), Box::new(err));
        let bytes = read(file).map_err(fail)?;
        self.send(key, bytes, &Label::default()).map(drop)
    }

    pub(crate) fn begin(&self, key: &Key, label: &Label) -> Result<String, StoreError> {
        let options =
            PutMultipartOptions { attributes: attributes(label), ..PutMultipartOptions::default() };
        let path = self.path(key);
        let begin = self.connection.writes.create_multipart_opts(&path, options);
        self.ask(key, self.options.change_deadline(0), begin)
    }

    pub(crate) fn send_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        let size = bytes.len() as u64;
        let (path, upload_id) = (self.path(key), upload_id.to_owned());
        // Counted from 0 on that side.
        let place = number.saturating_sub(1) as usize;
        let payload = PutPayload::from_bytes(bytes);
        let put = self.connection.writes.put_part(&path, &upload_id, place, payload);
        let longest = self.options.change_deadline(size);
        let answer = self.wait(key.as_str(), longest, put).map_err(slow)?;
        let part = answer.inspect(|_| self.note_answer()).map_err(|err| self.failed(key, &err))?;
        Ok(UploadedPart { number, etag: part.content_id, bytes: size })
    }

    /// Parts are known by their place in the list on that side too, so there may be no gap.
    pub(crate) fn complete(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<Written, StoreError> {
        let (path, upload_id) = (self.path(key), upload_id.to_owned());
        let parts = parts.iter().map(|part| PartId { content_id: part.etag.clone() }).collect();
        let complete = self.connection.writes.complete_multipart(&path, &upload_id, parts);
        let longest = ASSEMBLY.max(self.options.deadline).min(LONGEST_CHANGE);
        self.ask(key, longest, complete).map(written)
    }

    /// The client for reads does it: the other would name an encryption, which is refused here.
    pub(crate) fn abort(&self, key: &Key, upload_id: &str) -> Result<(), StoreError> {
        let (path, upload_id) = (self.path(key), upload_id.to_owned());
        let abort = self.connection.reads.abort_multipart(&path, &upload_id);
        match self.ask(key, self.options.change_deadline(0), abort) {
            Ok(()) | Err(StoreError::Missing { .. }) => Ok(()),
            Err(err) => Err(err),
        }
    }

    /// A put on a condition that the bucket keeps.
    pub(crate) fn send_if(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError> {
        let mode = match expected {
            None => PutMode::Create,
            Some(Version(tag)) => {
                PutMode::Update(UpdateVersion { e_tag: Some(tag.clone()), version: None })
            }
        };
        let options = PutOptions { mode, ..PutOptions::default() };
        let longest = self.options.change_deadline(bytes.len() as u64);
        match self.try_send(longest, key, bytes, options)? {
            Ok(put) => version_of(key, put).map(Some),
            Err(err) if is_unmet_condition(&err) => Ok(None),
            Err(err) => match self.failed(key, &err) {
                // There is nothing whose version could be the expected one.
                StoreError::Missing { .. } => Ok(None),
                err => Err(err),
            },
        }
    }

    /// The same where the bucket keeps no conditions: two at once may both succeed.
    pub(crate) fn look_and_send(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, StoreError> {
        let (begun, longest) = (Instant::now(), self.options.change_deadline(bytes.len() as u64));
        let found = match self.whole(key) {
            Ok((_, version)) => Some(version),
            Err(StoreError::Missing { .. }) => None,
            Err(err) => return Err(err),
        };
        if found.as_ref() != expected {
            return Ok(None);
        }
        let left = longest.saturating_sub(begun.elapsed());
        let put = self.try_send(left, key, bytes, PutOptions::default())?;
        version_of(key, put.map_err(|err| self.failed(key, &err))?).map(Some)
    }
}

/// Bytes went out until the time was over: the line is slow, or was cut while it had them.
fn slow(err: StoreError) -> StoreError {
    match err {
        StoreError::Unavailable { at, source } => {
            let late = Interrupted { words: source.to_string(), reach: Reach::Slow };
            StoreError::Unavailable { at, source: Box::new(late) }
        }
        err => err,
    }
}

fn version_of(key: &Key, put: PutResult) -> Result<Version, StoreError> {
    let tag = put.e_tag.ok_or_else(|| refused(key.as_str(), "the bucket returns no versions"))?;
    Ok(Version(tag))
}

fn written(put: PutResult) -> Written {
    let PutResult { e_tag, version, .. } = put;
    Written { version: e_tag.and_then(|tag| ObjectVersion::new(&tag, version)) }
}

/// All bytes of a file, from its start.
fn read(file: &File) -> io::Result<Bytes> {
    let size = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.into())
}
