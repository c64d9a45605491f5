//! How long conversations and recordings have been in the trash, as far as this index has seen it. The wall clock alone decides
//! nothing that cannot be taken back: it may be years off until a server of time has answered.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use redb::ReadableTable;

use crate::index::removal::mark_purging;
use crate::index::tables::{
    CONDEMNED, NOTES, RecordingKey, TRASH, TRASH_SEEN, TRASHED, TRASHED_SEEN,
};
use crate::index::trashing::begin_purge;
use crate::index::writer::WriteTxn;
use crate::index::{Index, IndexError};
use crate::model::ConversationSeq;

/// Seconds that a daemon has had this index open, all in all.
const OBSERVED: &str = "observed_seconds";

impl Index {
    /// Takes conversations out of sight, to be removed, that have been in the trash for `kept`: by the wall
    /// clock, and by the time that was observed since they were first seen there. `since_last` more has been
    /// observed than when this was last called.
    pub fn mark_old_purging(
        &self,
        kept: Duration,
        now: Timestamp,
        since_last: Duration,
    ) -> Result<u64, IndexError> {
        self.inner.writer.change(move |writing| mark_old_purging(writing, kept, now, since_last))
    }
}

fn mark_old_purging(
    writing: &mut WriteTxn<'_>,
    kept: Duration,
    now: Timestamp,
    since_last: Duration,
) -> Result<u64, IndexError> {
    let notes = writing.tables().open_table(NOTES)?;
    let observed = notes.get(OBSERVED)?.and_then(|note| note.value().parse::<u64>().ok());
    drop(notes);
    let observed = observed.unwrap_or(0).saturating_add(since_last.as_secs());
    let signed = SignedDuration::try_from(kept).unwrap_or(SignedDuration::MAX);
    let limit = now.checked_sub(signed).unwrap_or(Timestamp::MIN);
    let mut trashed = Vec::new();
    for row in writing.tables().open_table(TRASH)?.iter()? {
        trashed.push(row?.0.value());
    }
    let tables = writing.begin();
    tables.open_table(NOTES)?.insert(OBSERVED, observed.to_string().as_str())?;
    let mut old = Vec::new();
    {
        let mut seen = tables.open_table(TRASH_SEEN)?;
        // What was taken out of the trash begins anew.
        seen.retain(|seq, _| trashed.contains(&seq))?;
        for seq in trashed {
            let since = seen.get(seq)?.map(|since| since.value());
            match since {
                Some(since) if kept.as_secs() <= observed.saturating_sub(since) => old.push(seq),
                Some(_) => {}
                None => drop(seen.insert(seq, observed)?),
            }
        }
    }
    purge_old_recordings(writing, kept, observed, limit)?;
    let mut purging_conversations = 0;
    for seq in old {
        if writing.tables().open_table(CONDEMNED)?.get(seq)?.is_none() {
            purging_conversations += u64::from(mark_purging(writing, ConversationSeq(seq), limit)?);
        }
    }
    Ok(purging_conversations)
}

/// The same for recordings that are in the trash by themselves.
fn purge_old_recordings(
    writing: &mut WriteTxn<'_>,
    kept: Duration,
    observed: u64,
    limit: Timestamp,
) -> Result<(), IndexError> {
    let mut trashed: BTreeSet<RecordingKey> = BTreeSet::new();
    for row in writing.tables().open_table(TRASHED)?.iter()? {
        let key = row?.0.value();
        let is_recording = key.2 != 0;
        if is_recording && writing.tables().open_table(CONDEMNED)?.get(key.0)?.is_none() {
            trashed.insert(key);
        }
    }
    let mut old = Vec::new();
    {
        let mut seen = writing.begin().open_table(TRASHED_SEEN)?;
        // What was taken out of the trash begins anew.
        seen.retain(|key, _| trashed.contains(&key))?;
        for key in trashed {
            let since = seen.get(key)?.map(|since| since.value());
            match since {
                Some(since) if kept.as_secs() <= observed.saturating_sub(since) => old.push(key),
                Some(_) => {}
                None => drop(seen.insert(key, observed)?),
            }
        }
    }
    old.into_iter().try_for_each(|key| begin_purge(writing, key, limit))
}
