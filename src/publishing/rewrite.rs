//! Pages written anew from what is known, without transcribing the recording again.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::index::{Index, IndexError};
use crate::model::{Conversation, PageKind, Recipe, Recording, RecordingId, SpeakerId, Talk};
use crate::publishing::error::StorageError;
use crate::publishing::page_store::PageStore;
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
    write(PageStore { store, index }, id, true, &|recording| {
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
pub(crate) fn write_again(page_store: PageStore<'_>, id: RecordingId) -> Result<(), RewriteError> {
    write(page_store, id, true, &|_| Ok(()))
}

/// The same without the day's transcript, which is owed afterwards.
pub(crate) fn write_pages_again(
    page_store: PageStore<'_>,
    id: RecordingId,
) -> Result<(), RewriteError> {
    write(page_store, id, false, &|_| Ok(()))
}

/// All pages of a recording whose words were lost, from words that were found again.
pub(crate) fn write_words(
    page_store: PageStore<'_>,
    id: RecordingId,
    (recipe, talk): (Recipe, Talk),
) -> Result<(), RewriteError> {
    let index = page_store.index;
    let conversation = index.filed_conversation(id.conversation)?.ok_or(RewriteError::Missing)?;
    let _ahead = day_transcript::read_ahead(page_store, &conversation, id.day)?;
    let _alone = page_lock::lock();
    let mut recording = index.filed_recording(id)?.ok_or(RewriteError::Missing)?;
    recording.language.clone_from(&talk.language);
    recording.speakers = u32::try_from(talk.speakers.len()).unwrap_or(u32::MAX);
    recording.model.clone_from(&recipe.recognizer.name);
    write_alone(page_store, recording, (recipe, talk), true)
}

/// What may be in the bucket only is read before anybody has to wait.
fn write(
    page_store: PageStore<'_>,
    id: RecordingId,
    with_transcript: bool,
    change: &dyn Fn(&mut Recording) -> Result<(), RewriteError>,
) -> Result<(), RewriteError> {
    let index = page_store.index;
    let json = |recording: &Recording| {
        recording.page(PageKind::Json).map(|page| page.object.blake3.clone())
    };
    loop {
        let read = index.filed_recording(id)?.ok_or(RewriteError::Missing)?;
        let conversation =
            index.filed_conversation(id.conversation)?.ok_or(RewriteError::Missing)?;
        let said = said_in(page_store, &read)?;
        let _ahead = with_transcript
            .then(|| day_transcript::read_ahead(page_store, &conversation, id.day))
            .transpose()?;
        let _alone = page_lock::lock();
        let mut recording = index.filed_recording(id)?.ok_or(RewriteError::Missing)?;
        // Else its pages were written anew meanwhile.
        if json(&recording) == json(&read) {
            change(&mut recording)?;
            return write_alone(page_store, recording, said, with_transcript);
        }
    }
}

fn write_alone(
    page_store: PageStore<'_>,
    mut recording: Recording,
    said: (Recipe, Talk),
    with_transcript: bool,
) -> Result<(), RewriteError> {
    let seq = recording.id.conversation;
    let conversation = page_store.index.filed_conversation(seq)?.ok_or(RewriteError::Missing)?;
    let (recipe, talk) = named(said, &recording);
    recording.revision += 1;
    let (said, now) = ((&recipe, &talk), Timestamp::now());
    let text =
        pages::write_over(page_store, &conversation, &mut recording, said, with_transcript, now)?;
    let transcript = text.transcript().map(|transcript| transcript.object.clone());
    fail_point!("rewrite-before-index");
    page_store.index.replace(recording.clone(), text)?;
    fail_point!("rewrite-before-install");
    if let Err(err) = pages::install(page_store, &recording, transcript.as_ref()) {
        // They are owed, and readers find them where they are staged.
        log::warn!("{}: its pages are not in their places yet: {err}", recording.id);
    }
    Ok(())
}

/// The same for a recording that has another stem and other keys from now on, with what [`said_in`] has read. The
/// caller holds the [`page_lock`].
pub(crate) fn write_renamed(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    said: (Recipe, Talk),
    mut renamed: Recording,
) -> Result<(), RewriteError> {
    let (recipe, talk) = named(said, &renamed);
    renamed.revision += 1;
    let (said, now) = ((&recipe, &talk), Timestamp::now());
    let text = pages::write_new(page_store, conversation, &mut renamed, said, now)?;
    let transcript = text.transcript().map(|transcript| transcript.object.clone());
    page_store.index.rename_recording(renamed.clone(), text)?;
    if let Err(err) = pages::install(page_store, &renamed, transcript.as_ref()) {
        log::warn!("{}: its pages are not in their places yet", renamed.id);
        log::debug!("{}: its pages are not in their places yet: {err}", renamed.audio.key);
    }
    Ok(())
}

/// How it was done and what was said.
pub(crate) fn said_in(
    page_store: PageStore<'_>,
    recording: &Recording,
) -> Result<(Recipe, Talk), RewriteError> {
    let (talk, recipe) = page_store
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
