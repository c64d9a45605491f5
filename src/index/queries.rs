//! Questions, each asked of one consistent moment.

use std::ops::Bound;

use jiff::Timestamp;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, TableError};

use crate::index::failure::damaged;
use crate::index::filing::pending_upload_key;
use crate::index::placing::COPIED_BYTES;
use crate::index::same_audio::with_audio;
use crate::index::tables::{
    ARCHIVED, AUDIO, CONDEMNED, CONVERSATIONS, COPIES, COUNTERS, DAYS, DayRow, EMPTY, EVERYTHING,
    JOBS, NAMES, NOTES, PREFIXES, PURGING, RECORDINGS, RecordingKey, SAME_AUDIO, STEMS, SUMS, Sums,
    TRASH, UNFINISHED, UNPLACED, UPLOADS, day_key, readable, recording_key, row_at,
};
use crate::index::{Copy, IndexError};
use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, FileName, Job, JobId, Key,
    Placement, Recording, RecordingId,
};

/// Numbers for status. What is in the trash does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Totals {
    pub conversations: u64,
    pub recordings: u64,
    /// Of the original recordings.
    pub audio_bytes: u64,
    /// Recordings on their way to where the configuration wants them.
    pub pending: u64,
    /// Recordings that cannot get there before somebody has changed something.
    pub paused: u64,
}

/// A snapshot, for one question.
pub(crate) struct Snapshot(pub(crate) ReadTransaction);

impl Snapshot {
    pub(crate) fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<ReadOnlyTable<K, V>, TableError> {
        self.0.open_table(definition)
    }

    fn is_trashed(&self, seq: ConversationSeq) -> Result<bool, IndexError> {
        Ok(self.table(TRASH)?.get(seq.0)?.is_some())
    }

    pub(crate) fn conversation(
        &self,
        seq: ConversationSeq,
    ) -> Result<Option<Conversation>, IndexError> {
        let row: Option<Conversation> = row_at(&self.table(CONVERSATIONS)?, seq.0)?;
        Ok(row.filter(|conversation| conversation.trashed_at.is_none()))
    }

    pub(crate) fn conversation_named(
        &self,
        id: &ConversationId,
    ) -> Result<Option<Conversation>, IndexError> {
        match self.table(NAMES)?.get(id.as_str())?.map(|seq| seq.value()) {
            Some(seq) if self.table(EMPTY)?.get(seq)?.is_none() => {
                self.conversation(ConversationSeq(seq))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn conversations(
        &self,
        after: ConversationSeq,
        limit: usize,
    ) -> Result<Vec<Conversation>, IndexError> {
        let (table, empty) = (self.table(CONVERSATIONS)?, self.table(EMPTY)?);
        let mut found = Vec::new();
        let mut rows = table.range(after.0.saturating_add(1)..)?;
        while found.len() < limit
            && let Some(row) = rows.next().transpose()?
        {
            let Some(conversation) = readable::<Conversation>(row.0.value(), row.1.value()) else {
                continue;
            };
            if conversation.trashed_at.is_none() && empty.get(conversation.seq.0)?.is_none() {
                found.push(conversation);
            }
        }
        Ok(found)
    }

    pub(crate) fn trashed_conversations(&self) -> Result<Vec<Conversation>, IndexError> {
        let (table, purging_conversations) = (self.table(CONVERSATIONS)?, self.table(CONDEMNED)?);
        let mut found = Vec::new();
        for trashed in self.table(TRASH)?.iter()? {
            let seq = trashed?.0.value();
            if purging_conversations.get(seq)?.is_none() {
                let row = table.get(seq)?;
                found.extend(row.and_then(|row| readable::<Conversation>(seq, row.value())));
            }
        }
        Ok(found)
    }

    pub(crate) fn days(&self, seq: ConversationSeq) -> Result<Vec<Day>, IndexError> {
        if self.is_trashed(seq)? {
            return Ok(Vec::new());
        }
        self.filed_days(seq)
    }

    pub(crate) fn day_transcript(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Option<DayTranscript>, IndexError> {
        if self.is_trashed(seq)? {
            return Ok(None);
        }
        self.filed_transcript(seq, day)
    }

    pub(crate) fn recordings(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Vec<Recording>, IndexError> {
        if self.is_trashed(seq)? {
            return Ok(Vec::new());
        }
        self.filed_recordings(seq, day)
    }

    pub(crate) fn recording(&self, id: RecordingId) -> Result<Option<Recording>, IndexError> {
        if self.is_trashed(id.conversation)? {
            return Ok(None);
        }
        row_at(&self.table(RECORDINGS)?, recording_key(id))
    }

    pub(crate) fn recording_with_stem(
        &self,
        seq: ConversationSeq,
        day: Day,
        stem: &FileName,
    ) -> Result<Option<Recording>, IndexError> {
        let key = (seq.0, day.number(), stem.as_bytes());
        match self.table(STEMS)?.get(key)? {
            Some(number) => {
                self.recording(RecordingId { conversation: seq, day, number: number.value() })
            }
            None => Ok(None),
        }
    }

    /// The same, whether or not its conversation is in the trash.
    pub(crate) fn filed_recording_with_stem(
        &self,
        seq: ConversationSeq,
        day: Day,
        stem: &FileName,
    ) -> Result<Option<Recording>, IndexError> {
        let key = (seq.0, day.number(), stem.as_bytes());
        match self.table(STEMS)?.get(key)?.map(|number| number.value()) {
            Some(number) => self.filed_recording(RecordingId { conversation: seq, day, number }),
            None => Ok(None),
        }
    }

    /// The conversation and the day that a key is filed under.
    pub(crate) fn day_at(&self, key: &Key) -> Result<Option<(ConversationSeq, Day)>, IndexError> {
        let Some((prefix, day)) = key.folder() else { return Ok(None) };
        let seq = self.table(PREFIXES)?.get(prefix)?.map(|seq| seq.value());
        Ok(seq.map(|seq| (ConversationSeq(seq), day)))
    }

    pub(crate) fn filed_recording_at(&self, key: &Key) -> Result<Option<Recording>, IndexError> {
        let Some((seq, day)) = self.day_at(key)? else { return Ok(None) };
        let has_it = |it: &Recording| it.objects().any(|object| object.key == *key);
        Ok(self.filed_recordings(seq, day)?.into_iter().find(has_it))
    }

    /// The highest number that was ever given out on a day.
    pub(crate) fn last_number(&self, seq: ConversationSeq, day: Day) -> Result<u16, IndexError> {
        let row: Option<DayRow> = row_at(&self.table(DAYS)?, day_key(seq, day))?;
        Ok(row.map_or(0, |row| row.last_number))
    }

    pub(crate) fn recordings_with_audio(&self, blake3: &str) -> Result<Vec<Recording>, IndexError> {
        let first = self.table(AUDIO)?.get(blake3)?.map(|first| first.value());
        let others = match self.0.open_table(SAME_AUDIO) {
            Ok(others) => with_audio(&others, blake3)?,
            // Nothing was published since an earlier version made this index.
            Err(redb::TableError::TableDoesNotExist(_)) => Vec::new(),
            Err(err) => return Err(err.into()),
        };
        let (recordings, purging_conversations) = (self.table(RECORDINGS)?, self.table(CONDEMNED)?);
        let purging = self.table(PURGING)?;
        let mut found = Vec::new();
        for key in first.into_iter().chain(others) {
            if purging_conversations.get(key.0)?.is_none() && purging.get(key)?.is_none() {
                found.extend(row_at::<RecordingKey, Recording>(&recordings, key)?);
            }
        }
        Ok(found)
    }

    pub(crate) fn pending_uploads(
        &self,
        after: Option<&Recording>,
        limit: usize,
    ) -> Result<Vec<Recording>, IndexError> {
        let (recordings, purging_conversations) = (self.table(RECORDINGS)?, self.table(CONDEMNED)?);
        let purging = self.table(PURGING)?;
        let mut found = Vec::new();
        let table = self.table(UNPLACED)?;
        let begin = after.map_or(Bound::Unbounded, |it| Bound::Excluded(pending_upload_key(it)));
        let mut rows = table.range((begin, Bound::Unbounded))?;
        while found.len() < limit
            && let Some(row) = rows.next().transpose()?
        {
            let (_, key) = row.0.value();
            // What is being removed from the bucket must not be put there again.
            if purging_conversations.get(key.0)?.is_none() && purging.get(key)?.is_none() {
                let row = recordings.get(key)?;
                found.extend(row.and_then(|row| readable::<Recording>(key, row.value())));
            }
        }
        Ok(found)
    }

    pub(crate) fn filed_conversation(
        &self,
        seq: ConversationSeq,
    ) -> Result<Option<Conversation>, IndexError> {
        if self.table(CONDEMNED)?.get(seq.0)?.is_some() {
            return Ok(None);
        }
        row_at(&self.table(CONVERSATIONS)?, seq.0)
    }

    pub(crate) fn filed_recording(&self, id: RecordingId) -> Result<Option<Recording>, IndexError> {
        let is_condemned = self.table(CONDEMNED)?.get(id.conversation.0)?.is_some();
        if is_condemned || self.table(PURGING)?.get(recording_key(id))?.is_some() {
            return Ok(None);
        }
        row_at(&self.table(RECORDINGS)?, recording_key(id))
    }

    pub(crate) fn filed_recordings(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Vec<Recording>, IndexError> {
        let (seq, day) = day_key(seq, day);
        let table = self.table(RECORDINGS)?;
        let mut found = Vec::new();
        for row in table.range((seq, day, 0)..=(seq, day, u16::MAX))? {
            let (key, row) = row?;
            found.extend(readable::<Recording>(key.value(), row.value()));
        }
        Ok(found)
    }

    pub(crate) fn filed_days(&self, seq: ConversationSeq) -> Result<Vec<Day>, IndexError> {
        let mut days = Vec::new();
        for row in self.table(DAYS)?.range((seq.0, 0)..=(seq.0, u32::MAX))? {
            days.extend(Day::from_number(row?.0.value().1));
        }
        Ok(days)
    }

    pub(crate) fn filed_transcript(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Option<DayTranscript>, IndexError> {
        let row: Option<DayRow> = row_at(&self.table(DAYS)?, day_key(seq, day))?;
        Ok(row.and_then(|row| row.transcript))
    }

    pub(crate) fn purging_conversations(&self) -> Result<Vec<Conversation>, IndexError> {
        let table = self.table(CONVERSATIONS)?;
        let mut found = Vec::new();
        for seq in self.table(CONDEMNED)?.iter()? {
            let seq = seq?.0.value();
            let row = table.get(seq)?;
            found.extend(row.and_then(|row| readable::<Conversation>(seq, row.value())));
        }
        Ok(found)
    }

    pub(crate) fn copies(
        &self,
        limit: usize,
        archived_before: Timestamp,
    ) -> Result<Vec<Copy>, IndexError> {
        let archived = match self.0.open_table(ARCHIVED) {
            Err(TableError::TableDoesNotExist(_)) => None,
            table => Some(table?),
        };
        let is_archived = |key| -> Result<bool, IndexError> {
            let Some(archived) = &archived else { return Ok(false) };
            let seen_at = archived.get(key)?;
            Ok(seen_at.is_some_and(|at| archived_before.as_microsecond() < at.value()))
        };
        let (recordings, purging_conversations) = (self.table(RECORDINGS)?, self.table(CONDEMNED)?);
        let purging = self.table(PURGING)?;
        let mut found = Vec::new();
        let table = self.table(COPIES)?;
        let mut rows = table.iter()?;
        while found.len() < limit
            && let Some(row) = rows.next().transpose()?
        {
            let (since, key) = row.0.value();
            let is_going =
                purging_conversations.get(key.0)?.is_some() || purging.get(key)?.is_some();
            if is_going || is_archived(key)? {
                continue;
            }
            let row = recordings.get(key)?;
            let recording = row.and_then(|row| readable::<Recording>(key, row.value()));
            let since = Timestamp::from_microsecond(since).map_err(damaged)?;
            if let Some(recording) = recording.filter(|it| it.placement == Placement::Stored) {
                found.push(Copy { recording, since, verification: self.verification(key)? });
            }
        }
        Ok(found)
    }

    pub(crate) fn copied_bytes(&self) -> Result<u64, IndexError> {
        Ok(self.table(COUNTERS)?.get(COPIED_BYTES)?.map_or(0, |sum| sum.value()))
    }

    pub(crate) fn uploads(&self) -> Result<Vec<(String, Key)>, IndexError> {
        let mut found = Vec::new();
        for row in self.table(UPLOADS)?.iter()? {
            let (id, key) = row?;
            found.extend(Key::new(key.value()).map(|key| (id.value().to_owned(), key)));
        }
        Ok(found)
    }

    pub(crate) fn note(&self, name: &str) -> Result<Option<String>, IndexError> {
        Ok(self.table(NOTES)?.get(name)?.map(|note| note.value().to_owned()))
    }

    pub(crate) fn job(&self, id: JobId) -> Result<Option<Job>, IndexError> {
        row_at(&self.table(JOBS)?, id.0)
    }

    pub(crate) fn unfinished_jobs(&self) -> Result<Vec<Job>, IndexError> {
        let jobs = self.table(JOBS)?;
        let mut found = Vec::new();
        for row in self.table(UNFINISHED)?.iter()? {
            let id = row?.0.value();
            let row = jobs.get(id)?;
            found.extend(row.and_then(|row| readable::<Job>(id, row.value())));
        }
        Ok(found)
    }

    pub(crate) fn recent_jobs(&self, limit: usize) -> Result<Vec<Job>, IndexError> {
        let table = self.table(JOBS)?;
        let mut found = Vec::new();
        for row in table.iter()?.rev().take(limit) {
            let (id, row) = row?;
            found.extend(readable::<Job>(id.value(), row.value()));
        }
        Ok(found)
    }

    pub(crate) fn last_job(&self) -> Result<JobId, IndexError> {
        let table = self.table(JOBS)?;
        let last = table.last()?;
        Ok(JobId(last.map_or(0, |row| row.0.value())))
    }

    pub(crate) fn totals(&self) -> Result<Totals, IndexError> {
        let sums: Sums = row_at(&self.table(SUMS)?, EVERYTHING)?.unwrap_or_default();
        Ok(Totals {
            conversations: sums.conversations,
            recordings: sums.recordings,
            audio_bytes: sums.audio_bytes,
            pending: sums.pending,
            paused: sums.paused,
        })
    }
}
