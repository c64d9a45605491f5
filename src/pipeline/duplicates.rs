//! Bytes that are known already: nothing to write down, and never a reason to lose them.
//!
//! Dropped into the conversation that has them, they are a duplicate, once its stored copy was looked at: where
//! that is gone or damaged, the drop takes its place. Dropped into another one they are filed there too, with the
//! words that are known. Each place has audio of its own, so that one can go without the other.

use std::fs::File;

use crate::index::{Index, IndexError};
use crate::model::{Conversation, Job, Object, Placement, Recipe, Recording, Talk};
use crate::pipeline::Services;
use crate::pipeline::publish::{self, PublishError};
use crate::pipeline::shelves::Shelves;
use crate::pipeline::stock::{self, StockError};
use crate::store::{Store, StoreError};

/// What is known of the bytes of a drop.
pub(crate) enum Known {
    /// The conversation has them.
    Here(Box<Recording>),
    /// Another one has them, and what was said.
    Elsewhere(Box<Told>),
    /// They lie in the trash, with what was said.
    InTrash(Box<Told>),
}

/// A recording with its words.
pub(crate) struct Told {
    pub(crate) recording: Recording,
    pub(crate) talk: Talk,
    pub(crate) recipe: Recipe,
}

/// Looks the bytes up. A drop that names no conversation is at home wherever they are; in the trash nothing is at
/// home.
pub(crate) fn known(
    services: &Services,
    job: &Job,
    blake3: &str,
) -> Result<Option<Known>, PublishError> {
    let index = &services.index;
    let (mut elsewhere, mut in_trash) = (Vec::new(), Vec::new());
    for recording in index.recordings_with_audio(blake3)? {
        match index.conversation(recording.id.conversation)? {
            None => in_trash.push(recording),
            Some(_) if recording.overlay.trashed_at.is_some() => in_trash.push(recording),
            Some(conversation) if is_at_home(index, job, &recording, &conversation)? => {
                return Ok(Some(Known::Here(Box::new(recording))));
            }
            Some(_) => elsewhere.push(recording),
        }
    }
    let shelves = Shelves { store: services.store.as_ref(), index };
    let told = |recordings| first_told(shelves, recordings).map(|told| told.map(Box::new));
    if let Some(told) = told(elsewhere)? {
        return Ok(Some(Known::Elsewhere(told)));
    }
    Ok(told(in_trash)?.map(Known::InTrash))
}

fn is_at_home(
    index: &Index,
    job: &Job,
    recording: &Recording,
    conversation: &Conversation,
) -> Result<bool, IndexError> {
    let is_loose = job.path.len() < 2;
    if is_loose || conversation.id == job.conversation {
        return Ok(true);
    }
    // What did not fit into a full day went on in `calls-2`.
    let Some(named) = index.conversation_named(&job.conversation)? else { return Ok(false) };
    let tail = conversation.id.as_str().strip_prefix(job.conversation.as_str());
    let is_next = tail.and_then(|tail| tail.strip_prefix('-')?.parse::<u32>().ok()).is_some();
    Ok(is_next && index.is_day_full(named.seq, recording.id.day)?)
}

/// The first one whose words can still be read.
fn first_told(
    shelves: Shelves<'_>,
    recordings: Vec<Recording>,
) -> Result<Option<Told>, PublishError> {
    for recording in recordings {
        match shelves.read_talk(&recording) {
            Ok(Some((talk, recipe))) => return Ok(Some(Told { recording, talk, recipe })),
            // It is heard again then.
            Ok(None) | Err(StoreError::Unavailable { .. }) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(None)
}

/// Whether the same work would be done again: what a new run would say is what was said.
pub(crate) fn is_same_work(done: &Recipe, wanted: &Recipe) -> bool {
    let said = |recipe: &Recipe| {
        let Recipe { recognizer, diarizer, language, speakers, options, .. } = recipe.clone();
        (recognizer, diarizer, language, speakers, options)
    };
    said(done) == said(wanted)
}

/// Sees to it that the stored audio of a recording is there and has its bytes, which `dropped` has. Whether it had
/// to be put back.
pub(crate) fn keep_whole(
    services: &Services,
    recording: &Recording,
    dropped: &File,
) -> Result<bool, PublishError> {
    let (store, audio) = (services.store.as_ref(), &recording.audio);
    if is_whole(store, audio)? {
        return Ok(false);
    }
    let _alone = publish::alone();
    // The index owns what lies there, damaged as it is.
    store.put_file(&audio.key, dropped)?;
    if services.index.destination()?.first_placement() != Placement::Stored {
        // The bucket may lack it too, or may be away and have it: it is looked at when it answers.
        let is_there = matches!(
            recording.placement,
            Placement::Stored | Placement::PagesChanged | Placement::Paused { .. }
        );
        if is_there {
            let (id, revision) = (recording.id, recording.revision);
            services.index.set_placement(id, revision, Placement::unknown())?;
        }
    }
    log::warn!("{}: was lost or damaged, and is put back from a drop", audio.key);
    Ok(true)
}

/// By all bytes where it is on local disk, by its label where it is in the bucket. What cannot be asked now is not
/// known to be there.
fn is_whole(store: &dyn Store, audio: &Object) -> Result<bool, StoreError> {
    if store.is_taken(audio.key.as_str())? {
        return match stock::hash_near(store, audio) {
            Ok(hash) => Ok(hash == audio.blake3),
            Err(StockError::Store(StoreError::Unavailable { at, source })) => {
                Err(StoreError::Unavailable { at, source })
            }
            // It cannot be read: whatever lies there is not the recording any more.
            Err(_) => Ok(false),
        };
    }
    let facts = store.facts(&audio.key);
    Ok(facts.is_ok_and(|it| it.bytes == audio.bytes && it.blake3.as_ref() == Some(&audio.blake3)))
}

/// For whoever waits for the drop.
pub(crate) fn remark(known: &Recording, is_put_back: bool) -> String {
    let name = known.audio_name.display();
    if is_put_back {
        format!("The same bytes were there as {name}, lost or damaged: they are put back.")
    } else {
        format!("The same bytes are there already, as {name}.")
    }
}
