//! What the uploader asks of the index and says to it: what is still to be moved, what has a local copy, what
//! is removed for good.

use jiff::Timestamp;

use crate::index::{DayText, Index, IndexError, Verification, filing, placing, removal};
use crate::model::{
    Conversation, ConversationSeq, Day, DayTranscript, Destination, Key, ObjectVersion, Placement,
    Recording, RecordingId,
};

/// A local copy of audio that is in the bucket too.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    pub recording: Recording,
    /// When it arrived in the bucket.
    pub since: Timestamp,
    /// Of the object in the bucket. `None`: all that is known is what its label says.
    pub verification: Option<Verification>,
}

/// Questions. What the name calls filed is there whether or not its conversation is in the trash.
impl Index {
    /// Recordings that are not yet where they belong, oldest first; those in the trash too.
    pub fn pending_uploads(&self, limit: usize) -> Result<Vec<Recording>, IndexError> {
        self.ask(|now| now.pending_uploads(None, limit))
    }

    /// The same from the one behind `after` on.
    pub fn pending_uploads_after(
        &self,
        after: &Recording,
        limit: usize,
    ) -> Result<Vec<Recording>, IndexError> {
        self.ask(|now| now.pending_uploads(Some(after), limit))
    }

    /// A conversation, whether or not it is in the trash.
    pub fn filed_conversation(
        &self,
        seq: ConversationSeq,
    ) -> Result<Option<Conversation>, IndexError> {
        self.ask(|now| now.filed_conversation(seq))
    }

    /// The days of a conversation, whether or not it is in the trash.
    pub fn filed_days(&self, seq: ConversationSeq) -> Result<Vec<Day>, IndexError> {
        self.ask(|now| now.filed_days(seq))
    }

    /// The recordings of a day, whether or not their conversation is in the trash.
    pub fn filed_recordings(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Vec<Recording>, IndexError> {
        self.ask(|now| now.filed_recordings(seq, day))
    }

    /// A recording's row, whether or not its conversation is in the trash.
    pub fn filed_recording(&self, id: RecordingId) -> Result<Option<Recording>, IndexError> {
        self.ask(|now| now.filed_recording(id))
    }

    /// The transcript of a day, whether or not its conversation is in the trash.
    pub fn filed_transcript(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Option<DayTranscript>, IndexError> {
        self.ask(|now| now.filed_transcript(seq, day))
    }

    /// Conversations that are being removed for good, of which some files may be gone.
    pub fn purging_conversations(&self) -> Result<Vec<Conversation>, IndexError> {
        self.ask(|now| now.purging_conversations())
    }

    /// Local copies that may go: of recordings that are in the bucket with all their pages, and were not seen in an
    /// archive there since `archived_before`. Oldest first.
    pub fn copies(
        &self,
        limit: usize,
        archived_before: Timestamp,
    ) -> Result<Vec<Copy>, IndexError> {
        self.ask(|now| now.copies(limit, archived_before))
    }

    /// Bytes of all local copies of audio that is in the bucket too.
    pub fn copied_bytes(&self) -> Result<u64, IndexError> {
        self.ask(|now| now.copied_bytes())
    }

    /// Multipart uploads that may still be open, with the keys of their objects.
    pub fn uploads(&self) -> Result<Vec<(String, Key)>, IndexError> {
        self.ask(|now| now.uploads())
    }

    /// Where recordings belong, as [`Index::set_destination`] was told last.
    pub fn destination(&self) -> Result<Destination, IndexError> {
        placing::destination_of(self.note("destination")?)
    }

    /// See [`Index::set_needs_remote_scan`].
    pub fn needs_remote_scan(&self) -> Result<bool, IndexError> {
        Ok(self.note(placing::DISCOVERY)?.is_some())
    }

    /// A small fact that is kept by that name.
    pub fn note(&self, name: &str) -> Result<Option<String>, IndexError> {
        self.ask(|now| now.note(name))
    }
}

/// Changes. Each returns when it is durable.
impl Index {
    /// How far a recording is on its way. `false`, and nothing is changed: its row is no longer the one of that
    /// revision.
    pub fn set_placement(
        &self,
        id: RecordingId,
        revision: u32,
        placement: Placement,
    ) -> Result<bool, IndexError> {
        self.inner
            .writer
            .change(move |writing| placing::set_placement(writing, id, revision, placement))
    }

    /// It has arrived in the bucket; `copied_at` if there is a local copy of its audio too. `false` as above.
    pub fn set_stored(
        &self,
        id: RecordingId,
        revision: u32,
        copied_at: Option<Timestamp>,
    ) -> Result<bool, IndexError> {
        self.set_stored_as(id, revision, copied_at, None)
    }

    /// The same, and which version of its audio the bucket was seen to have, if the bytes of that are known.
    pub fn set_stored_as(
        &self,
        id: RecordingId,
        revision: u32,
        copied_at: Option<Timestamp>,
        version: Option<ObjectVersion>,
    ) -> Result<bool, IndexError> {
        self.inner
            .writer
            .change(move |writing| placing::set_stored(writing, id, revision, copied_at, version))
    }

    /// The bucket has the audio of a recording with its bytes: they were read.
    pub fn set_verified(&self, id: RecordingId, version: ObjectVersion) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| placing::set_verified(writing, id, version))
    }

    /// The bucket does not have the audio of a recording after all: it is on its way again, and its local copy is not
    /// one that may go. `found`: something else is there. `false` as above.
    pub fn set_lost(
        &self,
        id: RecordingId,
        revision: u32,
        found: Option<Verification>,
    ) -> Result<bool, IndexError> {
        self.inner.writer.change(move |writing| placing::set_lost(writing, id, revision, found))
    }

    /// Its local copy is gone.
    pub fn set_evicted(&self, id: RecordingId) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| placing::set_evicted(writing, id))
    }

    /// Its object was moved to an archive, so its local copy stays.
    pub fn note_archived(&self, id: RecordingId, seen_at: Timestamp) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| placing::note_archived(writing, id, seen_at))
    }

    /// A recording's row with another stem and other keys, and the day's transcript with it. Its objects there are
    /// still to be brought to where they belong.
    pub fn rename_recording(&self, recording: Recording, text: DayText) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| filing::rename_recording(writing, recording, text))
    }

    /// Notes local copies of everything that is in the bucket.
    pub fn note_copies(&self, since: Timestamp) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| placing::note_copies(writing, since))
    }

    /// A multipart upload that no row names and that is to be given up.
    pub fn remember_upload(&self, upload_id: &str, key: &Key) -> Result<(), IndexError> {
        let (id, key) = (upload_id.to_owned(), key.clone());
        self.inner.writer.change(move |writing| placing::remember_upload(writing, &id, &key))
    }

    /// A multipart upload is completed or given up.
    pub fn forget_upload(&self, upload_id: &str) -> Result<(), IndexError> {
        let id = upload_id.to_owned();
        self.inner.writer.change(move |writing| placing::forget_upload(writing, &id))
    }

    /// Says where recordings belong from now on. What is elsewhere is marked, so that it moves there: the
    /// number of these.
    ///
    /// # Errors
    /// `OnlyInBucket`: some could not be found any more. Nothing was changed.
    pub fn set_destination(&self, destination: &Destination) -> Result<u64, IndexError> {
        let destination = destination.clone();
        self.inner.writer.change(move |writing| placing::set_destination(writing, &destination))
    }

    /// Forgets a condemned conversation, after its objects are gone.
    pub fn remove_conversation(&self, seq: ConversationSeq) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| removal::remove(writing, seq))
    }

    /// Whether the bucket may have recordings that this index lacks, because it did not answer when the index
    /// was made anew. Until it has, new conversations are filed under keys that nobody can have used before.
    pub fn set_needs_remote_scan(&self, owes: bool) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| placing::set_needs_remote_scan(writing, owes))
    }

    /// Keeps a small fact by that name, in place of the one that was there.
    pub fn set_note(&self, name: &str, text: &str) -> Result<(), IndexError> {
        let (name, text) = (name.to_owned(), text.to_owned());
        self.inner.writer.change(move |writing| placing::set_note(writing, &name, &text))
    }
}
