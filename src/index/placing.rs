//! Where recordings are and where they belong: placements, local copies, open uploads.

use std::ops::Bound;

use jiff::Timestamp;
use redb::{ReadableTable, WriteTransaction};

use crate::index::filing::{at, file};
use crate::index::tables::{
    ARCHIVED, CONVERSATIONS, COPIED, COPIES, COUNTERS, NOTES, RECORDINGS, RecordingKey, UPLOADS,
    decoded, readable, recording_key, row_at,
};
use crate::index::writer::WriteTxn;
use crate::index::{Change, IndexError, Verification, verified};
use crate::model::{Destination, Key, ObjectVersion, Placement, Recording, RecordingId};

/// Rows that are held in memory at once.
const AT_ONCE: usize = 1_000;

pub(crate) const DESTINATION: &str = "destination";

/// The bucket that the state folder belongs to.
pub(crate) const PLACE: &str = "place";

/// Present while the bucket has not been asked for what the index may lack: it was made anew, or the bucket is new to
/// it.
pub(crate) const DISCOVERY: &str = "discovery";
pub(crate) const COPIED_BYTES: &str = "copied_bytes";

/// Sets the placement of a row of that revision. `false`: it was written anew meanwhile, or is gone.
pub(crate) fn set_placement(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
    revision: u32,
    placement: Placement,
) -> Result<bool, IndexError> {
    let (conversation, mut recording) = match at(writing.tables(), id) {
        Err(IndexError::NoConversation) => return Ok(false),
        found => found?,
    };
    if recording.revision != revision {
        return Ok(false);
    }
    if recording.placement != placement {
        recording.placement = placement.clone();
        file(writing, &conversation, &recording, None)?;
        writing.tell(Change::Placed { id, placement });
    }
    Ok(true)
}

/// The same for what has arrived in the bucket. `copied_at`: there is a local copy of the audio too; `version`: it was
/// sent from here as that one.
pub(crate) fn set_stored(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
    revision: u32,
    copied_at: Option<Timestamp>,
    version: Option<ObjectVersion>,
) -> Result<bool, IndexError> {
    let is_ours = set_placement(writing, id, revision, Placement::Stored)?;
    if is_ours && let Some(since) = copied_at {
        let (_, recording) = at(writing.tables(), id)?;
        add_copy(writing.begin(), &recording, since)?;
        if let Some(version) = version {
            verified::note(writing.begin(), id, &Verification::Same { version })?;
        }
    }
    Ok(is_ours)
}

/// Notes which version of the audio has the recording's bytes, as long as there is a local copy to compare for.
pub(crate) fn set_verified(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
    version: ObjectVersion,
) -> Result<(), IndexError> {
    if writing.tables().open_table(COPIED)?.get(recording_key(id))?.is_some() {
        verified::note(writing.begin(), id, &Verification::Same { version })?;
    }
    Ok(())
}

/// What was in the bucket is not there any more, or never was.
pub(crate) fn set_lost(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
    revision: u32,
    found: Option<Verification>,
) -> Result<bool, IndexError> {
    remove_copy(writing.begin(), recording_key(id))?;
    let is_ours = set_placement(writing, id, revision, Placement::unknown())?;
    if is_ours && let Some(found) = found {
        verified::note(writing.begin(), id, &found)?;
    }
    Ok(is_ours)
}

/// Notes that there is a local copy of what is in the bucket.
pub(crate) fn note_copy(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
    since: Timestamp,
) -> Result<(), IndexError> {
    let (_, recording) = at(writing.tables(), id)?;
    if is_in_bucket(&recording.placement) {
        add_copy(writing.begin(), &recording, since)?;
    }
    Ok(())
}

/// The same of everything that is in the bucket.
pub(crate) fn note_copies(writing: &mut WriteTxn<'_>, since: Timestamp) -> Result<(), IndexError> {
    let tables = writing.begin();
    each_recording(tables, |recording| match is_in_bucket(&recording.placement) {
        true => add_copy(tables, &recording, since),
        false => Ok(()),
    })
}

pub(crate) fn set_evicted(writing: &mut WriteTxn<'_>, id: RecordingId) -> Result<(), IndexError> {
    // What is known of the bucket's bytes stays: a drop of the same bytes asks for it.
    remove_copy_row(writing.begin(), recording_key(id))
}

pub(crate) fn note_archived(
    writing: &mut WriteTxn<'_>,
    id: RecordingId,
    seen_at: Timestamp,
) -> Result<(), IndexError> {
    let key = recording_key(id);
    if writing.tables().open_table(COPIED)?.get(key)?.is_some() {
        writing.begin().open_table(ARCHIVED)?.insert(key, seen_at.as_microsecond())?;
    }
    Ok(())
}

pub(crate) fn forget_upload(writing: &mut WriteTxn<'_>, id: &str) -> Result<(), IndexError> {
    writing.begin().open_table(UPLOADS)?.remove(id)?;
    Ok(())
}

pub(crate) fn remember_upload(
    writing: &mut WriteTxn<'_>,
    id: &str,
    key: &Key,
) -> Result<(), IndexError> {
    writing.begin().open_table(UPLOADS)?.insert(id, key.as_str())?;
    Ok(())
}

/// Whether the bucket may have recordings that nobody has told this index of.
pub(crate) fn needs_remote_scan(tables: &WriteTransaction) -> Result<bool, IndexError> {
    Ok(tables.open_table(NOTES)?.get(DISCOVERY)?.is_some())
}

pub(crate) fn set_needs_remote_scan(
    writing: &mut WriteTxn<'_>,
    owes: bool,
) -> Result<(), IndexError> {
    let mut notes = writing.begin().open_table(NOTES)?;
    if owes {
        notes.insert(DISCOVERY, "owed")?;
    } else {
        notes.remove(DISCOVERY)?;
    }
    Ok(())
}

pub(crate) fn set_note(
    writing: &mut WriteTxn<'_>,
    name: &str,
    text: &str,
) -> Result<(), IndexError> {
    writing.begin().open_table(NOTES)?.insert(name, text)?;
    Ok(())
}

pub(crate) fn remove_note(writing: &mut WriteTxn<'_>, name: &str) -> Result<(), IndexError> {
    if writing.tables().open_table(NOTES)?.get(name)?.is_some() {
        writing.begin().open_table(NOTES)?.remove(name)?;
    }
    Ok(())
}

/// Where recordings belong, as it was settled last.
pub(crate) fn destination(tables: &WriteTransaction) -> Result<Destination, IndexError> {
    let notes = tables.open_table(NOTES)?;
    let note = notes.get(DESTINATION)?;
    note.map_or(Ok(Destination::Here), |note| decoded(note.value().as_bytes()))
}

/// [`destination`] of a note that was read by somebody else.
pub(crate) fn destination_of(note: Option<String>) -> Result<Destination, IndexError> {
    note.map_or(Ok(Destination::Here), |note| decoded(note.as_bytes()))
}

/// Where recordings belong from now on. What is elsewhere is marked, so that it moves. How many those are.
pub(crate) fn set_destination(
    writing: &mut WriteTxn<'_>,
    wanted: &Destination,
) -> Result<u64, IndexError> {
    let settled = destination(writing.tables())?;
    if settled == *wanted {
        return Ok(0);
    }
    if let Destination::Bucket { place } = &settled {
        refuse_remote_only(writing.tables(), place)?;
    }
    let tables = writing.begin();
    let text = serde_json::to_string(wanted).map_err(crate::index::failure::damaged)?;
    tables.open_table(NOTES)?.insert(DESTINATION, text.as_str())?;
    // Which bucket that is turns out when it answers.
    tables.open_table(NOTES)?.remove(PLACE)?;
    if let Destination::Bucket { .. } = wanted {
        // It may be full of recordings already, of another index or of this one's former self.
        tables.open_table(NOTES)?.insert(DISCOVERY, "owed")?;
    }
    let mut moved = 0;
    each_recording(tables, |mut recording| {
        remove_copy(tables, recording_key(recording.id))?;
        recording.placement = match wanted {
            Destination::Here => Placement::Stored,
            // Another scribefs, or this one long ago, may have brought it there.
            Destination::Bucket { .. } => Placement::unknown(),
        };
        let seq = recording.id.conversation.0;
        let conversation = row_at(&tables.open_table(CONVERSATIONS)?, seq)?;
        let conversation = conversation.ok_or(IndexError::NoConversation)?;
        file(writing, &conversation, &recording, None)?;
        moved += 1;
        Ok(())
    })?;
    Ok(moved)
}

/// Audio that is in the old bucket only could be found nowhere after the change.
fn refuse_remote_only(tables: &WriteTransaction, place: &str) -> Result<(), IndexError> {
    let copied = tables.open_table(COPIED)?;
    let mut count = 0;
    each_recording(tables, |recording| {
        let is_local = copied.get(recording_key(recording.id))?.is_some();
        count += u64::from(is_in_bucket(&recording.placement) && !is_local);
        Ok(())
    })?;
    if count == 0 {
        return Ok(());
    }
    Err(IndexError::OnlyInBucket { count, place: place.to_owned() })
}

fn is_in_bucket(placement: &Placement) -> bool {
    match placement {
        Placement::Stored | Placement::PagesChanged => true,
        Placement::Local | Placement::Uploading { .. } | Placement::Paused { .. } => false,
    }
}

/// Shows every row to `look`, some at a time: a million of them have no room in memory.
fn each_recording(
    tables: &WriteTransaction,
    mut look: impl FnMut(Recording) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let mut after = None;
    loop {
        let mut rows = Vec::new();
        {
            let table = tables.open_table(RECORDINGS)?;
            let first = after.map_or(Bound::Unbounded, Bound::Excluded);
            for row in table.range::<RecordingKey>((first, Bound::Unbounded))?.take(AT_ONCE) {
                let (key, row) = row?;
                after = Some(key.value());
                rows.push(readable::<Recording>(key.value(), row.value()));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        rows.into_iter().flatten().try_for_each(&mut look)?;
    }
}

fn add_copy(
    tables: &WriteTransaction,
    recording: &Recording,
    since: Timestamp,
) -> Result<(), IndexError> {
    let (key, bytes) = (recording_key(recording.id), recording.audio.bytes);
    let mut copied = tables.open_table(COPIED)?;
    if copied.get(key)?.is_some() {
        return Ok(());
    }
    let since = since.as_microsecond();
    copied.insert(key, since)?;
    tables.open_table(COPIES)?.insert((since, key), bytes)?;
    let mut counters = tables.open_table(COUNTERS)?;
    let sum = counters.get(COPIED_BYTES)?.map_or(0, |sum| sum.value());
    counters.insert(COPIED_BYTES, sum.saturating_add(bytes))?;
    Ok(())
}

/// With what is known of its object in the bucket.
pub(crate) fn remove_copy(tables: &WriteTransaction, key: RecordingKey) -> Result<(), IndexError> {
    verified::forget(tables, key)?;
    remove_copy_row(tables, key)
}

fn remove_copy_row(tables: &WriteTransaction, key: RecordingKey) -> Result<(), IndexError> {
    let Some(since) = tables.open_table(COPIED)?.remove(key)?.map(|since| since.value()) else {
        return Ok(());
    };
    tables.open_table(ARCHIVED)?.remove(key)?;
    let bytes = tables.open_table(COPIES)?.remove((since, key))?.map_or(0, |row| row.value());
    let mut counters = tables.open_table(COUNTERS)?;
    let sum = counters.get(COPIED_BYTES)?.map_or(0, |sum| sum.value());
    counters.insert(COPIED_BYTES, sum.saturating_sub(bytes))?;
    Ok(())
}

pub(crate) fn forget_copied_bytes(tables: &WriteTransaction) -> Result<(), IndexError> {
    tables.open_table(COUNTERS)?.insert(COPIED_BYTES, 0)?;
    Ok(())
}
