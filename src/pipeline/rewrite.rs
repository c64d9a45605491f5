//! Pages written anew, without hearing the recording again: after names were given, or a conversation
//! was renamed, trashed or restored.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::index::{Change, Index, IndexError};
use crate::model::{ConversationSeq, Recording, RecordingId, SpeakerId};
use crate::pipeline::publish::{self, PublishError, Shelves};
use crate::store::{Store, StoreError};

/// Why pages were not written anew.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    #[error("no such recording")]
    Missing,
    /// What was said can no longer be read.
    #[error("the json page of {0} is missing or damaged")]
    NoTalk(String),
    #[error("the recording has no speaker {0}")]
    NoSpeaker(SpeakerId),
    #[error("the store refused")]
    Store(#[from] StoreError),
    #[error("the index refused")]
    Index(#[from] IndexError),
}

/// Gives speakers of a recording names, in all its pages. An empty name takes one back.
pub fn name_speakers(
    store: &dyn Store,
    index: &Index,
    id: RecordingId,
    names: &BTreeMap<SpeakerId, String>,
) -> Result<(), RewriteError> {
    let _alone = publish::alone();
    let mut recording = index.recording(id)?.ok_or(RewriteError::Missing)?;
    for (speaker, name) in names {
        if u32::from(speaker.0) >= recording.speakers {
            return Err(RewriteError::NoSpeaker(*speaker));
        }
        match name.trim() {
            "" => recording.overlay.names.remove(speaker),
            name => recording.overlay.names.insert(*speaker, name.to_owned()),
        };
    }
    fail_point!("name-before-pages");
    write_again(Shelves { store, index }, recording)
}

/// Keeps the metadata in the store true to what the index says of conversations.
///
/// Renaming, trashing and restoring change one row of the index at once; the pages that repeat it follow.
pub(crate) fn follow(store: &dyn Store, index: &Index, change: &Change) {
    let seq = match change {
        Change::Renamed { seq, .. }
        | Change::Trashed { seq, .. }
        | Change::Restored { seq, .. } => *seq,
        Change::Published { .. }
        | Change::Replaced { .. }
        | Change::DayTranscript { .. }
        | Change::Removed { .. }
        | Change::Placed { .. }
        | Change::Job(_) => return,
    };
    fail_point!("rename-before-pages");
    if let Err(err) = write_conversation_again(Shelves { store, index }, seq) {
        log::warn!("conversation {}: its metadata could not follow a change: {err}", seq.0);
    }
}

fn write_conversation_again(
    shelves: Shelves<'_>,
    seq: ConversationSeq,
) -> Result<(), RewriteError> {
    for day in shelves.index.filed_days(seq)? {
        for recording in shelves.index.filed_recordings(seq, day)? {
            let _alone = publish::alone();
            // Names may have been given while we waited.
            if let Some(recording) = shelves.index.filed_recording(recording.id)? {
                write_again(shelves, recording)?;
            }
        }
    }
    Ok(())
}

/// All pages once more, from the json page and the index; also in the trash. The caller is
/// [`alone`](publish::alone).
pub(crate) fn write_again(
    shelves: Shelves<'_>,
    mut recording: Recording,
) -> Result<(), RewriteError> {
    let seq = recording.id.conversation;
    let conversation = shelves.index.filed_conversation(seq)?.ok_or(RewriteError::Missing)?;
    let (mut talk, recipe) = shelves
        .read_talk(&recording)?
        .ok_or_else(|| RewriteError::NoTalk(recording.audio.key.to_string()))?;
    for speaker in &mut talk.speakers {
        speaker.name = recording.overlay.names.get(&speaker.id).cloned();
    }
    recording.revision += 1;
    let now = Timestamp::now();
    let transcript = shelves
        .write_pages(&conversation, &mut recording, &recipe, &talk, now)
        .map_err(|err| match err {
            PublishError::Withdrawn => RewriteError::Missing,
            PublishError::Store(err) => RewriteError::Store(err),
            PublishError::Index(err) => RewriteError::Index(err),
        })?;
    fail_point!("rewrite-before-index");
    shelves.index.replace(recording, transcript)?;
    Ok(())
}
