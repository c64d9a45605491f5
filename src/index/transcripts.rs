//! Changes to a day's transcript by itself, when it is rendered after its recordings were published.

use redb::ReadableTable;

use crate::index::filing::{at, file};
use crate::index::tables::{DAYS, DayRow, RECORDINGS, day_key, decoded, encoded, row_at};
use crate::index::writer::WriteTxn;
use crate::index::{Change, DayText, Index, IndexError, PagesDue, pages_due, placing};
use crate::model::{ConversationSeq, Day, Destination, Recording, RecordingId};

impl Index {
    /// A day's transcript, rendered anew. Where recordings belong into a bucket, the day's last one brings it
    /// there.
    pub fn set_transcript(&self, text: DayText) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| set_transcript(writing, text))
    }

    /// How many recordings a day has, whether or not their conversation is in the trash.
    pub fn recordings_on(&self, seq: ConversationSeq, day: Day) -> Result<u64, IndexError> {
        self.ask(|now| {
            let (seq, day) = day_key(seq, day);
            let table = now.table(RECORDINGS)?;
            let mut count = 0;
            for row in table.range((seq, day, 0)..=(seq, day, u16::MAX))? {
                row?;
                count += 1;
            }
            Ok(count)
        })
    }

    /// Whether a day has that recording and no other, whether or not they are in the trash.
    pub fn is_only_recording(&self, id: RecordingId) -> Result<bool, IndexError> {
        self.ask(|now| {
            let (seq, day) = day_key(id.conversation, id.day);
            let table = now.table(RECORDINGS)?;
            for row in table.range((seq, day, 0)..=(seq, day, u16::MAX))?.take(2) {
                if row?.0.value().2 != id.number {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}

fn set_transcript(writing: &mut WriteTxn<'_>, text: DayText) -> Result<(), IndexError> {
    let work = text.work();
    let Some(transcript) = text.into_transcript() else { return Ok(()) };
    let (seq, day) = (transcript.conversation, transcript.day);
    let key = day_key(seq, day);
    let row: Option<DayRow> = row_at(&writing.tables().open_table(DAYS)?, key)?;
    let Some(mut row) = row else { return Ok(()) };
    row.transcript = Some(transcript);
    writing.begin().open_table(DAYS)?.insert(key, encoded(&row)?.as_slice())?;
    send_with_last(writing, key)?;
    pages_due::owe(writing, PagesDue::Day(seq, day), work)?;
    writing.tell(Change::DayTranscript { conversation: seq, day });
    Ok(())
}

/// Transcripts have no way of their own to the bucket.
fn send_with_last(writing: &mut WriteTxn<'_>, (seq, day): (u32, u32)) -> Result<(), IndexError> {
    if placing::destination(writing.tables())? == Destination::Here {
        return Ok(());
    }
    let last: Option<Recording> = {
        let recordings = writing.tables().open_table(RECORDINGS)?;
        let mut rows = recordings.range((seq, day, 0)..=(seq, day, u16::MAX))?;
        rows.next_back().transpose()?.map(|row| decoded(row.1.value())).transpose()?
    };
    let Some(last) = last else { return Ok(()) };
    let (conversation, mut last) = match at(writing.tables(), last.id) {
        // It is being removed.
        Err(IndexError::NoConversation) => return Ok(()),
        found => found?,
    };
    let placement = last.placement.clone().rewritten();
    if placement != last.placement {
        last.placement = placement;
        file(writing, &conversation, &last, None)?;
    }
    Ok(())
}
