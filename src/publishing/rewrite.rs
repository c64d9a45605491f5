//! Pages written anew from what is known, without transcribing the recording again.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::index::{Index, IndexError};
use crate::model::{Conversation, PageKind, Recipe, Recording, RecordingId, SpeakerId, Talk};
use crate::publishing::error::StorageError;
use crate::publishing::page_store::Shelves;
use crate::publishing::{day_transcript, page_lock, pages};
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

impl From<StorageError> for RewriteError {
    fn from(err: StorageError) -> Self {
        match err {
            StorageError::Store(err) => Self::Store(err),
            StorageError::Index(err) => Self::Index(err),
        }
    }
}

/// Gives speakers of a recording names, in all its pages. An empty name takes one back.
pub fn name_speakers(
    store: &dyn Store,
    index: &Index,
    id: RecordingId,
    names: &BTreeMap<SpeakerId, String>,
) -> Result<(), RewriteError> {
    write(Shelves { store, index }, id, true, &|recording| {
        // In the trash nobody names anybody.
        index.recording(id)?.ok_or(RewriteError::Missing)?;
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
        Ok(())
    })
}

/// All pages once more, from the json page and the index, and the day's transcript with them; also in the trash.
pub(crate) fn write_again(shelves: Shelves<'_>, id: RecordingId) -> Result<(), RewriteError> {
    write(shelves, id, true, &|_| Ok(()))
}

/// The same without the day's transcript, which is owed afterwards.
pub(crate) fn write_pages_again(shelves: Shelves<'_>, id: RecordingId) -> Result<(), RewriteError> {
    write(shelves, id, false, &|_| Ok(()))
}

/// All pages of a recording whose words were lost, from words that were found again.
pub(crate) fn write_words(
    shelves: Shelves<'_>,
    id: RecordingId,
    (recipe, talk): (Recipe, Talk),
) -> Result<(), RewriteError> {
    let index = shelves.index;
    let conversation = index.filed_conversation(id.conversation)?.ok_or(RewriteError::Missing)?;
    let _ahead = day_transcript::read_ahead(shelves, &conversation, id.day)?;
    let _alone = page_lock::lock();
    let mut recording = index.filed_recording(id)?.ok_or(RewriteError::Missing)?;
    recording.language.clone_from(&talk.language);
    recording.speakers = u32::try_from(talk.speakers.len()).unwrap_or(u32::MAX);
    recording.model.clone_from(&recipe.recognizer.name);
    write_alone(shelves, recording, (recipe, talk), true)
}

/// What may be in the bucket only is read before anybody has to wait.
fn write(
    shelves: Shelves<'_>,
    id: RecordingId,
    with_transcript: bool,
    change: &dyn Fn(&mut Recording) -> Result<(), RewriteError>,
) -> Result<(), RewriteError> {
    let index = shelves.index;
    let json = |recording: &Recording| {
        recording.page(PageKind::Json).map(|page| page.object.blake3.clone())
    };
    loop {
        let read = index.filed_recording(id)?.ok_or(RewriteError::Missing)?;
        let conversation =
            index.filed_conversation(id.conversation)?.ok_or(RewriteError::Missing)?;
        let said = said_in(shelves, &read)?;
        let _ahead = with_transcript
            .then(|| day_transcript::read_ahead(shelves, &conversation, id.day))
            .transpose()?;
        let _alone = page_lock::lock();
        let mut recording = index.filed_recording(id)?.ok_or(RewriteError::Missing)?;
        // Else its pages were written anew meanwhile.
        if json(&recording) == json(&read) {
            change(&mut recording)?;
            return write_alone(shelves, recording, said, with_transcript);
        }
    }
}

fn write_alone(
    shelves: Shelves<'_>,
    mut recording: Recording,
    said: (Recipe, Talk),
    with_transcript: bool,
) -> Result<(), RewriteError> {
    let seq = recording.id.conversation;
    let conversation = shelves.index.filed_conversation(seq)?.ok_or(RewriteError::Missing)?;
    let (recipe, talk) = named(said, &recording);
    recording.revision += 1;
    let (said, now) = ((&recipe, &talk), Timestamp::now());
    let text =
        pages::write_over(shelves, &conversation, &mut recording, said, with_transcript, now)?;
    let transcript = text.transcript().map(|transcript| transcript.object.clone());
    fail_point!("rewrite-before-index");
    shelves.index.replace(recording.clone(), text)?;
    fail_point!("rewrite-before-install");
    if let Err(err) = pages::install(shelves, &recording, transcript.as_ref()) {
        // They are owed, and readers find them where they are staged.
        log::warn!("{}: its pages are not in their places yet: {err}", recording.id);
    }
    Ok(())
}

/// The same for a recording that has another stem and other keys from now on, with what [`said_in`] has read. The
/// caller is [`alone`](publish::alone).
pub(crate) fn write_renamed(
    shelves: Shelves<'_>,
    conversation: &Conversation,
    said: (Recipe, Talk),
    mut renamed: Recording,
) -> Result<(), RewriteError> {
    let (recipe, talk) = named(said, &renamed);
    renamed.revision += 1;
    let (said, now) = ((&recipe, &talk), Timestamp::now());
    let text = pages::write_new(shelves, conversation, &mut renamed, said, now)?;
    let transcript = text.transcript().map(|transcript| transcript.object.clone());
    shelves.index.rename_recording(renamed.clone(), text)?;
    if let Err(err) = pages::install(shelves, &renamed, transcript.as_ref()) {
        log::warn!("{}: its pages are not in their places yet: {err}", renamed.audio.key);
    }
    Ok(())
}

/// How it was done and what was said.
pub(crate) fn said_in(
    shelves: Shelves<'_>,
    recording: &Recording,
) -> Result<(Recipe, Talk), RewriteError> {
    let (talk, recipe) = shelves
        .read_talk(recording)?
        .ok_or_else(|| RewriteError::NoTalk(recording.audio.key.to_string()))?;
    Ok((recipe, talk))
}

/// With the names that users gave.
fn named((recipe, mut talk): (Recipe, Talk), recording: &Recording) -> (Recipe, Talk) {
    for speaker in &mut talk.speakers {
        speaker.name = recording.overlay.names.get(&speaker.id).cloned();
    }
    (recipe, talk)
}
