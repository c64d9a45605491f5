//! Everything there is, page by page and also what is in the trash: for those who check, move and clear up.

use std::ops::Bound;

use crate::index::tables::{
    DAYS, DayKey, DayRow, RECORDINGS, RecordingKey, day_key, readable, recording_key,
};
use crate::index::{Index, IndexError};
use crate::model::{ConversationSeq, Day, DayTranscript, Recording, RecordingId};

impl Index {
    /// Recordings of all conversations in order, from the one after `after`, at most `limit`.
    pub fn every_recording(
        &self,
        after: Option<RecordingId>,
        limit: usize,
    ) -> Result<Vec<Recording>, IndexError> {
        let first = after.map(recording_key).map_or(Bound::Unbounded, Bound::Excluded);
        let table = self.now()?.table(RECORDINGS)?;
        let mut found = Vec::new();
        let mut rows = table.range::<RecordingKey>((first, Bound::Unbounded))?;
        while found.len() < limit
            && let Some(row) = rows.next().transpose()?
        {
            found.extend(readable::<Recording>(row.0.value(), row.1.value()));
        }
        Ok(found)
    }

    /// Transcripts of all days, in the same way.
    pub fn every_transcript(
        &self,
        after: Option<(ConversationSeq, Day)>,
        limit: usize,
    ) -> Result<Vec<DayTranscript>, IndexError> {
        let first = after.map(|(seq, day)| day_key(seq, day));
        let first = first.map_or(Bound::Unbounded, Bound::Excluded);
        let table = self.now()?.table(DAYS)?;
        let mut found = Vec::new();
        let mut rows = table.range::<DayKey>((first, Bound::Unbounded))?;
        while found.len() < limit
            && let Some(row) = rows.next().transpose()?
        {
            let day = readable::<DayRow>(row.0.value(), row.1.value());
            found.extend(day.and_then(|day| day.transcript));
        }
        Ok(found)
    }
}
