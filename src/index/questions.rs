//! Questions, each asked of one consistent moment.

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, TableError};

use crate::index::tables::{
    AUDIO, CONVERSATIONS, DAYS, DayRow, EMPTY, EVERYTHING, JOBS, NAMES, RECORDINGS, RecordingKey,
    STEMS, SUMS, Sums, TRASH, UNFINISHED, UNPLACED, day_key, decoded, recording_key, row_at,
};
use crate::index::{IndexError, Totals};
use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, FileName, Job, JobId,
    Recording, RecordingId,
};

/// A snapshot, for one question.
pub(crate) struct Moment(pub(crate) ReadTransaction);

impl Moment {
    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
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
            let conversation: Conversation = decoded(row.1.value())?;
            if conversation.trashed_at.is_none() && empty.get(conversation.seq.0)?.is_none() {
                found.push(conversation);
            }
        }
        Ok(found)
    }

    pub(crate) fn trashed_conversations(&self) -> Result<Vec<Conversation>, IndexError> {
        let table = self.table(CONVERSATIONS)?;
        let mut found = Vec::new();
        for trashed in self.table(TRASH)?.iter()? {
            found.extend(row_at::<u32, Conversation>(&table, trashed?.0.value())?);
        }
        Ok(found)
    }

    pub(crate) fn days(&self, seq: ConversationSeq) -> Result<Vec<Day>, IndexError> {
        if self.is_trashed(seq)? {
            return Ok(Vec::new());
        }
        let mut days = Vec::new();
        for row in self.table(DAYS)?.range((seq.0, 0)..=(seq.0, u32::MAX))? {
            days.extend(Day::from_number(row?.0.value().1));
        }
        Ok(days)
    }

    pub(crate) fn day_transcript(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Option<DayTranscript>, IndexError> {
        if self.is_trashed(seq)? {
            return Ok(None);
        }
        let row: Option<DayRow> = row_at(&self.table(DAYS)?, day_key(seq, day))?;
        Ok(row.and_then(|row| row.transcript))
    }

    pub(crate) fn recordings(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Vec<Recording>, IndexError> {
        if self.is_trashed(seq)? {
            return Ok(Vec::new());
        }
        let (seq, day) = day_key(seq, day);
        let table = self.table(RECORDINGS)?;
        let rows = table.range((seq, day, 0)..=(seq, day, u16::MAX))?;
        rows.map(|row| decoded(row?.1.value())).collect()
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

    pub(crate) fn recording_with_audio(
        &self,
        blake3: &str,
    ) -> Result<Option<Recording>, IndexError> {
        match self.table(AUDIO)?.get(blake3)? {
            Some(key) => row_at(&self.table(RECORDINGS)?, key.value()),
            None => Ok(None),
        }
    }

    pub(crate) fn unplaced(&self, limit: usize) -> Result<Vec<Recording>, IndexError> {
        let (recordings, trash) = (self.table(RECORDINGS)?, self.table(TRASH)?);
        let mut found = Vec::new();
        let table = self.table(UNPLACED)?;
        let mut rows = table.iter()?;
        while found.len() < limit
            && let Some(row) = rows.next().transpose()?
        {
            let (_, key) = row.0.value();
            if trash.get(key.0)?.is_none() {
                found.extend(row_at::<RecordingKey, Recording>(&recordings, key)?);
            }
        }
        Ok(found)
    }

    pub(crate) fn job(&self, id: JobId) -> Result<Option<Job>, IndexError> {
        row_at(&self.table(JOBS)?, id.0)
    }

    pub(crate) fn unfinished_jobs(&self) -> Result<Vec<Job>, IndexError> {
        let jobs = self.table(JOBS)?;
        let mut found = Vec::new();
        for row in self.table(UNFINISHED)?.iter()? {
            found.extend(row_at::<u64, Job>(&jobs, row?.0.value())?);
        }
        Ok(found)
    }

    pub(crate) fn recent_jobs(&self, limit: usize) -> Result<Vec<Job>, IndexError> {
        let table = self.table(JOBS)?;
        let newest = table.iter()?.rev().take(limit);
        newest.map(|row| decoded(row?.1.value())).collect()
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
