//! Everything there is, page by page and also what is in the trash: for those who check, move and clear up.

use std::ops::Bound;

use crate::index::tables::{
    DAYS, DayKey, DayRow, PREFIXES, RECORDINGS, RecordingKey, day_key, readable, recording_key,
};
use crate::index::{Index, IndexError};
use crate::model::{ConversationSeq, Day, DayTranscript, Key, Recording, RecordingId};

impl Index {
    /// Recordings of all conversations in order, from the one after `after`, at most `limit`.
    pub fn every_recording(
        &self,
        after: Option<RecordingId>,
        limit: usize,
    ) -> Result<Vec<Recording>, IndexError> {
        self.ask(|now| {
            let first = after.map(recording_key).map_or(Bound::Unbounded, Bound::Excluded);
            let table = now.table(RECORDINGS)?;
            let mut found = Vec::new();
            let mut rows = table.range::<RecordingKey>((first, Bound::Unbounded))?;
            while found.len() < limit
                && let Some(row) = rows.next().transpose()?
            {
                found.extend(readable::<Recording>(row.0.value(), row.1.value()));
            }
            Ok(found)
        })
    }

    /// Transcripts of all days, in the same way.
    pub fn every_transcript(
        &self,
        after: Option<(ConversationSeq, Day)>,
        limit: usize,
    ) -> Result<Vec<DayTranscript>, IndexError> {
        self.ask(|now| {
            let first = after.map(|(seq, day)| day_key(seq, day));
            let first = first.map_or(Bound::Unbounded, Bound::Excluded);
            let table = now.table(DAYS)?;
            let mut found = Vec::new();
            let mut rows = table.range::<DayKey>((first, Bound::Unbounded))?;
            while found.len() < limit
                && let Some(row) = rows.next().transpose()?
            {
                let day = readable::<DayRow>(row.0.value(), row.1.value());
                found.extend(day.and_then(|day| day.transcript));
            }
            Ok(found)
        })
    }
}

/// A day of a conversation, by the folder that its objects lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiledDay {
    /// What its keys begin with; ends in `/`.
    pub folder: String,
    pub conversation: ConversationSeq,
    pub day: Day,
    /// What the keys of its conversation begin with.
    prefix: String,
}

impl Index {
    /// Days of all conversations in the order of their keys, from the one after `after`, at most `limit`; also of
    /// what is in the trash.
    pub fn filed_days_after(
        &self,
        after: Option<&FiledDay>,
        limit: usize,
    ) -> Result<Vec<FiledDay>, IndexError> {
        self.ask(|now| {
            let (prefixes, days) = (now.table(PREFIXES)?, now.table(DAYS)?);
            let mut found = Vec::new();
            for prefix in prefixes.range::<&str>(after.map_or("", |it| it.prefix.as_str())..)? {
                let (prefix, seq) = prefix?;
                let (prefix, seq) = (prefix.value(), seq.value());
                let first = match after {
                    Some(after) if after.prefix == prefix => {
                        Bound::Excluded((seq, after.day.number()))
                    }
                    _ => Bound::Included((seq, 0)),
                };
                for row in days.range::<DayKey>((first, Bound::Included((seq, u32::MAX))))? {
                    if limit <= found.len() {
                        return Ok(found);
                    }
                    let Some(day) = Day::from_number(row?.0.value().1) else { continue };
                    found.push(FiledDay {
                        folder: Key::day_prefix(prefix, day),
                        conversation: ConversationSeq(seq),
                        day,
                        prefix: prefix.to_owned(),
                    });
                }
            }
            Ok(found)
        })
    }

    /// Recordings of a day in the order of their numbers, from the one after `after`, at most `limit`, whether or
    /// not they are in the trash.
    pub fn filed_recordings_after(
        &self,
        after: RecordingId,
        limit: usize,
    ) -> Result<Vec<Recording>, IndexError> {
        self.ask(|now| {
            let (seq, day, number) = recording_key(after);
            let table = now.table(RECORDINGS)?;
            let rows = (Bound::Excluded((seq, day, number)), Bound::Included((seq, day, u16::MAX)));
            let mut found = Vec::new();
            let mut rows = table.range::<RecordingKey>(rows)?;
            while found.len() < limit
                && let Some(row) = rows.next().transpose()?
            {
                found.extend(readable::<Recording>(row.0.value(), row.1.value()));
            }
            Ok(found)
        })
    }
}
